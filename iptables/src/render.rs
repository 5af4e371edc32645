//! A [`Plan`] as the text that nft and iptables-restore read. Pure; the golden files of tests/golden show every form.
//!
//! Both forms have the same three parts: `inbound` (peers, and the application calling itself), `output` (the
//! application), `from_proxy` (the sidecar's own connections). Each text is one transaction and can be applied again.

use std::{fmt::Write, net::IpAddr};

use laneway_proto::contract::{INBOUND_SOURCE_V4, INBOUND_SOURCE_V6};

use crate::{
    cidr::{Cidr, CidrSet},
    host::Family,
    plan::Plan,
    ports::PortSet,
};

/// Our nft table; its family is inet.
pub(crate) const TABLE: &str = "laneway";
const IN: &str = "LANEWAY_IN";
const OUT: &str = "LANEWAY_OUT";
const FROM_PROXY: &str = "LANEWAY_FROM_PROXY";
/// Our iptables chains.
pub(crate) const CHAINS: [&str; 3] = [IN, OUT, FROM_PROXY];
/// What one multiport match of the kernel can hold; a range counts as two.
const MULTIPORT_MAX: usize = 15;

/// The whole redirect for `nft -f -`, both families.
///
/// The first two lines make the third idempotent on every nft: `add`, so that `delete` finds something. Priority is
/// -100, since older nft know no `dstnat` in an output hook, and they want `meta l4proto tcp` right before `redirect`.
pub fn render_nft(plan: &Plan) -> String {
    let mut text = render_nft_undo();
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    line(&format!("table inet {TABLE} {{"));
    line(&nft_set("in_skip_ports", "inet_service", nft_ports(&plan.inbound_skip)));
    if let Some(only) = &plan.inbound_only {
        line(&nft_set("in_only_ports", "inet_service", nft_ports(only)));
    }
    line(&nft_set("out_skip_ports", "inet_service", nft_ports(&plan.outbound_skip)));
    line(&nft_set("out_skip_v4", "ipv4_addr", plan.cidr_skip.v4().map(ToString::to_string).collect()));
    line(&nft_set("out_skip_v6", "ipv6_addr", plan.cidr_skip.v6().map(ToString::to_string).collect()));
    if let Some(only) = &plan.outbound_only {
        line(&nft_set("out_only_ports", "inet_service", nft_ports(only)));
    }
    if let Some(only) = &plan.cidr_only {
        line(&nft_set("out_only_v4", "ipv4_addr", only.v4().map(ToString::to_string).collect()));
        line(&nft_set("out_only_v6", "ipv6_addr", only.v6().map(ToString::to_string).collect()));
    }
    line("  chain prerouting {");
    line("    type nat hook prerouting priority -100; policy accept;");
    line("    iifname \"lo\" return");
    line("    meta l4proto tcp jump inbound");
    line("  }");
    line("  chain output {");
    line("    type nat hook output priority -100; policy accept;");
    line("    meta l4proto != tcp return");
    line(&format!("    meta skuid {} jump from_proxy", plan.proxy_uid));
    line(&format!("    meta skuid {} return", plan.proxy_uid));
    line("    oifname \"lo\" return");
    line("    tcp dport @out_skip_ports return");
    line("    ip daddr @out_skip_v4 return");
    line("    ip6 daddr @out_skip_v6 return");
    if plan.outbound_only.is_some() {
        line("    tcp dport != @out_only_ports return");
    }
    if plan.cidr_only.is_some() {
        // Of a family without included addresses: all of it.
        line("    ip daddr != @out_only_v4 return");
        line("    ip6 daddr != @out_only_v6 return");
    }
    line(&format!("    meta l4proto tcp redirect to :{}", plan.outbound));
    line("  }");
    line("  chain from_proxy {");
    line("    oifname != \"lo\" return");
    line(&format!("    ip saddr {INBOUND_SOURCE_V4} return"));
    line(&format!("    ip6 saddr {INBOUND_SOURCE_V6} return"));
    line("    ip daddr 127.0.0.0/8 return");
    line("    ip6 daddr ::1 return");
    line("    jump inbound");
    line("  }");
    line("  chain inbound {");
    line("    tcp dport @in_skip_ports return");
    if plan.inbound_only.is_some() {
        line("    tcp dport != @in_only_ports return");
    }
    line(&format!("    meta l4proto tcp redirect to :{}", plan.inbound));
    line("  }");
    line("}");
    text
}

/// Takes the nft form away; harmless where it is not.
pub fn render_nft_undo() -> String {
    format!("table inet {TABLE}\ndelete table inet {TABLE}\n")
}

/// The redirect of one family for `iptables-restore --noflush` or `ip6tables-restore --noflush`.
///
/// `jumps` are our jumps that are there now, as iptables-save words them (`-A PREROUTING ..`): a chain is made or emptied
/// by its `:` line, a jump is not, and deleting one that is not there fails the transaction.
pub fn render_iptables(plan: &Plan, family: Family, jumps: &[String]) -> String {
    let (source, loopback) = match family {
        Family::V4 => (IpAddr::V4(INBOUND_SOURCE_V4), "127.0.0.0/8"),
        Family::V6 => (IpAddr::V6(INBOUND_SOURCE_V6), "::1/128"),
    };
    let full = if source.is_ipv4() { 32 } else { 128 };
    let mut text = table_head(jumps);
    let mut rule = |chain: &str, rule: &str| writeln!(text, "-A {chain} {rule}").expect("a String takes all text");
    rule("PREROUTING", &format!("! -i lo -p tcp -j {IN}"));
    rule("OUTPUT", &format!("-p tcp -j {OUT}"));
    for ports in multiport(&plan.inbound_skip) {
        rule(IN, &format!("-p tcp -m multiport --dports {ports} -j RETURN"));
    }
    match &plan.inbound_only {
        None => rule(IN, &format!("-p tcp -j REDIRECT --to-ports {}", plan.inbound)),
        Some(only) => {
            for ports in multiport(only) {
                rule(IN, &format!("-p tcp -m multiport --dports {ports} -j REDIRECT --to-ports {}", plan.inbound));
            }
        }
    }
    rule(OUT, &format!("-m owner --uid-owner {} -j {FROM_PROXY}", plan.proxy_uid));
    rule(OUT, &format!("-m owner --uid-owner {} -j RETURN", plan.proxy_uid));
    rule(OUT, "-o lo -j RETURN");
    for ports in multiport(&plan.outbound_skip) {
        rule(OUT, &format!("-p tcp -m multiport --dports {ports} -j RETURN"));
    }
    for cidr in of_family(&plan.cidr_skip, family) {
        rule(OUT, &format!("-d {cidr} -j RETURN"));
    }
    // Each included address with each match of included ports.
    let ports = plan.outbound_only.as_ref().map_or_else(
        || vec![String::new()],
        |only| multiport(only).into_iter().map(|ports| format!("-m multiport --dports {ports} ")).collect(),
    );
    let addresses = plan.cidr_only.as_ref().map_or_else(
        || vec![String::new()],
        |only| of_family(only, family).into_iter().map(|cidr| format!("-d {cidr} ")).collect(),
    );
    for address in &addresses {
        for ports in &ports {
            rule(OUT, &format!("{address}-p tcp {ports}-j REDIRECT --to-ports {}", plan.outbound));
        }
    }
    rule(FROM_PROXY, "! -o lo -j RETURN");
    rule(FROM_PROXY, &format!("-s {source}/{full} -j RETURN"));
    rule(FROM_PROXY, &format!("-d {loopback} -j RETURN"));
    rule(FROM_PROXY, &format!("-j {IN}"));
    text.push_str("COMMIT\n");
    text
}

/// Takes the iptables form of one family away. The `:` lines empty our chains, or make them, so that `-X` finds them.
pub fn render_iptables_undo(jumps: &[String]) -> String {
    let mut text = table_head(jumps);
    for chain in CHAINS {
        writeln!(text, "-X {chain}").expect("a String takes all text");
    }
    text.push_str("COMMIT\n");
    text
}

fn of_family(set: &CidrSet, family: Family) -> Vec<&Cidr> {
    match family {
        Family::V4 => set.v4().collect(),
        Family::V6 => set.v6().collect(),
    }
}

fn table_head(jumps: &[String]) -> String {
    let mut text = String::from("*nat\n");
    for chain in CHAINS {
        writeln!(text, ":{chain} - [0:0]").expect("a String takes all text");
    }
    for jump in jumps {
        let rule = jump.strip_prefix("-A ").unwrap_or(jump);
        writeln!(text, "-D {rule}").expect("a String takes all text");
    }
    text
}

fn nft_set(name: &str, of: &str, elements: Vec<String>) -> String {
    let elements = match elements.as_slice() {
        [] => String::new(),
        some => format!(" elements = {{ {} }}", some.join(", ")),
    };
    format!("  set {name} {{ type {of}; flags interval;{elements} }}")
}

fn nft_ports(set: &PortSet) -> Vec<String> {
    set.ranges().iter().map(|&(from, to)| if from == to { from.to_string() } else { format!("{from}-{to}") }).collect()
}

/// The set as the values of as few multiport matches as it takes.
fn multiport(set: &PortSet) -> Vec<String> {
    let mut matches: Vec<String> = Vec::new();
    let mut room = 0;
    for &(from, to) in set.ranges() {
        let (size, item) = if from == to { (1, from.to_string()) } else { (2, format!("{from}:{to}")) };
        match matches.last_mut() {
            Some(last) if room >= size => {
                last.push(',');
                last.push_str(&item);
                room -= size;
            }
            _ => {
                matches.push(item);
                room = MULTIPORT_MAX - size;
            }
        }
    }
    matches
}
