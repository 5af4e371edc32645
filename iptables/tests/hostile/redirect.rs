//! Flags of any text: what is taken renders to text that says the same in three ways, the flags as a person reads them, nft and
//! iptables; and nothing of a value reaches the text as it was written.
//!
//! An input is flags with their values, each ended by a zero.
#![allow(unreachable_pub, reason = "a module of tests")]

use std::net::IpAddr;

use clap::Parser;
use laneway_iptables::{Options, Plan, host::Family, render_iptables, render_nft};
use laneway_proto::contract::PORT_STATUS;

use super::draw::Draw;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

const FLAGS: [&str; 8] = [
    "--include-inbound-ports",
    "--exclude-inbound-ports",
    "--exclude-outbound-ports",
    "--exclude-outbound-cidrs",
    "--inbound-port",
    "--outbound-port",
    "--status-port",
    "--proxy-uid",
];
const WORDS: [&str; 16] = [
    "80",
    "443",
    "1",
    "65535",
    "8000-8100",
    "15021",
    "15006",
    "0",
    "*",
    ",",
    "-",
    "10.0.0.0/8",
    "10.1.2.3",
    "fd00::/8",
    "::1/128",
    "0.0.0.0/0",
];
const FLAGS_MAX: usize = 8;
const PIECES_MAX: usize = 8;
/// Asked for in each form.
const PORTS: [u16; 13] = [1, 79, 80, 81, 443, 7999, 8000, 8050, 8100, 15006, 15021, PORT_STATUS, 65535];
const ADDRESSES: [&str; 7] = ["10.1.2.3", "10.255.0.1", "11.0.0.1", "169.254.169.254", "fd00::7", "::1", "2001:db8::1"];

/// Returns whether the flags were taken.
pub fn check(bytes: &[u8]) -> bool {
    let mut draw = Draw::new(bytes);
    let mut words = vec!["laneway-init".to_owned()];
    while !draw.is_empty() && words.len() <= FLAGS_MAX {
        let flag = draw.one_of(&FLAGS);
        let mut value = String::new();
        for piece in 0..draw.below(PIECES_MAX) {
            match draw.below(8) {
                0 => {
                    let count = draw.below(12);
                    value.push_str(&String::from_utf8_lossy(draw.take(count)));
                }
                1 => value.push_str(draw.one_of(&WORDS)),
                _ => {
                    value.push_str(if piece == 0 { "" } else { "," });
                    value.push_str(draw.one_of(&WORDS));
                }
            }
        }
        words.push(format!("{flag}={value}"));
    }
    let Ok(Line { options }) = Line::try_parse_from(&words) else { return false };
    let Ok(plan) = Plan::new(&options) else { return false };
    let nft = render_nft(&plan);
    let (v4, v6) = (render_iptables(&plan, Family::V4, &[]), render_iptables(&plan, Family::V6, &[]));
    for text in [&nft, &v4, &v6] {
        let is_ours = |c: char| c.is_ascii_alphanumeric() || "\n \"@_-{}.,:;/!=*[]&".contains(c);
        assert!(text.chars().all(is_ours), "{words:?}\n{text}");
    }
    for port in PORTS {
        let is_in = plan.redirects_inbound(port);
        assert_eq!(is_in, inbound_by_flags(&words, port), "{words:?}: inbound {port}");
        assert_eq!(is_in, inbound_by_nft(&nft, port), "{words:?}: inbound {port}\n{nft}");
        for text in [&v4, &v6] {
            assert_eq!(is_in, by_iptables(text, "-A LANEWAY_IN ", port, None), "{words:?}: inbound {port}\n{text}");
        }
        for address in ADDRESSES.map(|text| text.parse::<IpAddr>().expect("an address")) {
            let text = if address.is_ipv4() { &v4 } else { &v6 };
            let by_iptables = by_iptables(text, "-A LANEWAY_OUT ", port, Some(address));
            assert_eq!(
                outbound_by_nft(&nft, port, address),
                by_iptables,
                "{words:?}: outbound {address} {port}\n{nft}\n{text}"
            );
        }
    }
    true
}

/// The flags as a person reads them.
fn inbound_by_flags(words: &[String], port: u16) -> bool {
    let values = |flag: &str| {
        let prefix = format!("{flag}=");
        words.iter().filter_map(|word| word.strip_prefix(&prefix).map(str::to_owned)).collect::<Vec<_>>()
    };
    let is_in = |list: &str| {
        let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.into_iter().any(|item| {
            let (from, to) = item.split_once('-').unwrap_or((item, item));
            let number = |text: &str| text.parse::<u16>().expect("it was taken");
            (number(from)..=number(to)).contains(&port)
        })
    };
    let status = values("--status-port").last().map_or(PORT_STATUS, |text| text.parse().expect("it was taken"));
    let included = values("--include-inbound-ports");
    let is_all = included.iter().any(|list| list.trim() == "*") || included.iter().all(|list| list.trim().is_empty());
    port != status
        && (is_all || included.iter().any(|list| is_in(list)))
        && !values("--exclude-inbound-ports").iter().any(|list| is_in(list))
}

fn inbound_by_nft(text: &str, port: u16) -> bool {
    let is_in = |set: &str| has_port(&nft_elements(text, set), '-', port);
    let is_narrowed = text.contains("tcp dport != @in_only_ports return");
    !is_in("in_skip_ports") && (!is_narrowed || is_in("in_only_ports"))
}

fn outbound_by_nft(text: &str, port: u16, address: IpAddr) -> bool {
    let set = if address.is_ipv4() { "out_skip_v4" } else { "out_skip_v6" };
    !has_port(&nft_elements(text, "out_skip_ports"), '-', port)
        && !nft_elements(text, set).iter().any(|range| contains(range, address))
}

fn nft_elements(text: &str, set: &str) -> Vec<String> {
    let head = format!("  set {set} {{");
    let line = text.lines().find(|line| line.starts_with(&head)).unwrap_or_default();
    let inside = line.split_once("elements = {").map_or("", |(_, rest)| rest);
    inside
        .trim_end_matches(['}', ' '])
        .split(',')
        .map(|item| item.trim().to_owned())
        .filter(|item| !item.is_empty())
        .collect()
}

/// What the kernel would do with the rules of one chain, in their order. Rules about who sends are passed over.
fn by_iptables(text: &str, chain: &str, port: u16, address: Option<IpAddr>) -> bool {
    for rule in text.lines().filter_map(|line| line.strip_prefix(chain)) {
        let words: Vec<&str> = rule.split(' ').collect();
        let after = |word: &str| words.iter().position(|w| *w == word).and_then(|at| words.get(at + 1)).copied();
        if after("--uid-owner").is_some() || after("-o").is_some() {
            continue;
        }
        if let Some(ports) = after("--dports") {
            let items: Vec<String> = ports.split(',').map(str::to_owned).collect();
            let size: usize = items.iter().map(|item| if item.contains(':') { 2 } else { 1 }).sum();
            assert!(size <= 15, "more than one multiport match can hold: {ports}");
            if !has_port(&items, ':', port) {
                continue;
            }
        }
        if let Some(range) = after("-d")
            && !address.is_some_and(|address| contains(range, address))
        {
            continue;
        }
        return after("-j") == Some("REDIRECT");
    }
    false
}

fn has_port(items: &[String], dash: char, port: u16) -> bool {
    items.iter().any(|item| {
        let (from, to) = item.split_once(dash).unwrap_or((item, item));
        let number = |text: &str| text.parse::<u16>().expect("a port was rendered");
        (number(from)..=number(to)).contains(&port)
    })
}

fn contains(range: &str, address: IpAddr) -> bool {
    let (network, bits) = range.split_once('/').expect("ranges are rendered with their prefix");
    let bits: u32 = bits.parse().expect("a prefix was rendered");
    let of = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 4),
        IpAddr::V6(v6) => (v6.to_bits(), 6),
    };
    let ((network, family), (address, other)) = (of(network.parse().expect("an address was rendered")), of(address));
    family == other && (bits == 0 || (network ^ address) >> (128 - bits) == 0)
}
