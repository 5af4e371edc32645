//! The conformance chains behind a real redirect, by nftables and by iptables, on IPv4 and on IPv6.

use laneway_tests::conformance::{SCENARIOS, arrange, ask, plan};
use laneway_tests::mesh::Mesh;

use crate::support::namespaces_or_skip;

fn every_chain_is_as_expected(label: &str, init_arguments: &[&str], v6: bool) {
    let mut plan = plan(label, true);
    plan.init_arguments = init_arguments.iter().map(|argument| (*argument).to_owned()).collect();
    plan.v6 = v6;
    let mut mesh = Mesh::up(plan).expect("the mesh comes up");
    let mut differs = Vec::new();
    for scenario in SCENARIOS {
        arrange(&mut mesh, scenario).expect("the scenario is arranged");
        for check in scenario.checks {
            let outcome = ask(&mesh, check).expect("curl runs");
            if !outcome.ok {
                differs.push(format!("{}: expected {}, got {}", outcome.id, outcome.expected, outcome.actual));
            }
        }
    }
    assert!(differs.is_empty(), "{}", differs.join("\n"));
}

#[test]
fn every_chain_holds_behind_nftables() {
    if namespaces_or_skip("every_chain_holds_behind_nftables") {
        every_chain_is_as_expected("nft", &[], false);
    }
}

#[test]
fn every_chain_holds_behind_iptables() {
    if namespaces_or_skip("every_chain_holds_behind_iptables") {
        every_chain_is_as_expected("ipt", &["--backend", "iptables"], false);
    }
}

#[test]
fn every_chain_holds_on_ipv6() {
    if namespaces_or_skip("every_chain_holds_on_ipv6") {
        every_chain_is_as_expected("v6", &[], true);
    }
}
