//! What is on this machine now: IPv6 or not, and what an earlier run left. Reads, never changes.
//!
//! The parsing is pure ([`Nat::parse`], [`source_is_on_lo`]); [`Host::read`] fetches the text.

use std::{fs, io::ErrorKind, net::Ipv6Addr, process::Command};

use laneway_proto::contract::INBOUND_SOURCE_V6;

use crate::render::{CHAINS, TABLE};

/// The kernel's list of IPv6 addresses; absent where it has no IPv6.
const ADDRESSES_V6: &str = "/proc/net/if_inet6";
const DISABLED_ON_LO: &str = "/proc/sys/net/ipv6/conf/lo/disable_ipv6";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6 {
    /// The kernel has none: there is nothing to redirect.
    Absent,
    /// Switched off on lo: `::6` cannot be added there.
    OffOnLoopback,
    On,
}

/// What is here now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub ipv6: Ipv6,
    /// `::6` is on lo.
    pub source_on_lo: bool,
    /// Our nft table is there.
    pub nft: Found<bool>,
    pub nat_v4: Found<Nat>,
    pub nat_v6: Found<Nat>,
}

/// What a tool answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    Read(T),
    /// This program is not installed.
    NoProgram(&'static str),
    /// It is, and said this.
    Failed(String),
}

/// What is ours in the nat table of one iptables family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nat {
    /// Rules of chains that are not ours which lead into one that is, as iptables-save words them.
    pub jumps: Vec<String>,
    /// One of our chains is there.
    pub has_chain: bool,
}

impl Family {
    pub fn save(self) -> &'static str {
        match self {
            Family::V4 => "iptables-save",
            Family::V6 => "ip6tables-save",
        }
    }

    pub fn restore(self) -> &'static str {
        match self {
            Family::V4 => "iptables-restore",
            Family::V6 => "ip6tables-restore",
        }
    }
}

impl Host {
    pub fn read() -> Host {
        let addresses = fs::read_to_string(ADDRESSES_V6);
        let off_on_lo = fs::read_to_string(DISABLED_ON_LO).is_ok_and(|text| text.trim() != "0");
        let ipv6 = match (&addresses, off_on_lo) {
            (Err(_), _) => Ipv6::Absent,
            (Ok(_), true) => Ipv6::OffOnLoopback,
            (Ok(_), false) => Ipv6::On,
        };
        let nat = |family: Family| run(family.save(), &["-t", "nat"]).map(|text| Nat::parse(&text));
        Host {
            ipv6,
            source_on_lo: addresses.is_ok_and(|text| source_is_on_lo(&text)),
            nft: run("nft", &["list", "tables", "inet"]).map(|text| lists_our_table(&text)),
            nat_v4: nat(Family::V4),
            nat_v6: if ipv6 == Ipv6::Absent { Found::Read(Nat::default()) } else { nat(Family::V6) },
        }
    }
}

impl<T> Found<T> {
    fn map<U>(self, convert: impl FnOnce(T) -> U) -> Found<U> {
        match self {
            Found::Read(value) => Found::Read(convert(value)),
            Found::NoProgram(program) => Found::NoProgram(program),
            Found::Failed(message) => Found::Failed(message),
        }
    }
}

impl Nat {
    /// Reads what `iptables-save -t nat` wrote.
    pub fn parse(save: &str) -> Nat {
        let mut nat = Nat::default();
        for line in save.lines() {
            if let Some(declared) = line.strip_prefix(':') {
                nat.has_chain |= declared.split_whitespace().next().is_some_and(|chain| CHAINS.contains(&chain));
            }
            if line.starts_with("-A ") && leads_to_us(line) {
                nat.jumps.push(line.to_owned());
            }
        }
        nat
    }

    pub fn is_empty(&self) -> bool {
        self.jumps.is_empty() && !self.has_chain
    }
}

/// Whether a rule of a foreign chain jumps or goes to one of ours. Quoted words (comments) do not count.
fn leads_to_us(rule: &str) -> bool {
    let words = words(rule);
    let ours = |word: Option<&String>| word.is_some_and(|word| CHAINS.contains(&word.as_str()));
    if ours(words.get(1)) {
        return false;
    }
    words
        .iter()
        .zip(words.iter().skip(1))
        .any(|(flag, target)| matches!(flag.as_str(), "-j" | "-g") && ours(Some(target)))
}

/// Words of a rule; a quoted one keeps its quotes, so that it is never taken for a flag or a chain.
fn words(rule: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut escaped) = (false, false);
    for letter in rule.chars() {
        if letter == ' ' && !quoted {
            words.push(std::mem::take(&mut word));
            continue;
        }
        quoted ^= letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
        word.push(letter);
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Reads /proc/net/if_inet6: address, index, prefix, scope, flags, device.
pub fn source_is_on_lo(addresses: &str) -> bool {
    addresses.lines().any(|line| {
        let mut fields = line.split_whitespace();
        let address = fields.next().and_then(|hex| u128::from_str_radix(hex, 16).ok()).map(Ipv6Addr::from);
        address == Some(INBOUND_SOURCE_V6) && fields.next_back() == Some("lo")
    })
}

fn lists_our_table(tables: &str) -> bool {
    tables.lines().any(|line| line.split_whitespace().eq(["table", "inet", TABLE]))
}

fn run(program: &'static str, args: &[&str]) -> Found<String> {
    match Command::new(program).args(args).output() {
        Ok(output) if output.status.success() => Found::Read(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => Found::Failed(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) if error.kind() == ErrorKind::NotFound => Found::NoProgram(program),
        Err(error) => Found::Failed(format!("{program}: {error}")),
    }
}

#[cfg(test)]
mod tests;
