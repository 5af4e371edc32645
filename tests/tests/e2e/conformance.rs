//! The conformance chains behind a real redirect: by nftables and by iptables, on IPv4 and on IPv6, and through every kind
//! of application, from those that forward the tag to those that forward nothing.

use laneway_tests::application::{Application, Forwards, Runtime};
use laneway_tests::conformance::{arrange_with, ask, plan, scenarios};
use laneway_tests::mesh::Mesh;

use crate::support::namespaces_or_skip;

const FORWARDING_ECHO: Application = Application { runtime: Runtime::Echo, forwards: Forwards::Tag };

fn every_chain_is_as_expected(label: &str, init_arguments: &[&str], v6: bool, application: Application) {
    let mut plan = plan(label, true);
    plan.init_arguments = init_arguments.iter().map(|argument| (*argument).to_owned()).collect();
    plan.v6 = v6;
    let mut mesh = Mesh::up(plan).expect("the mesh comes up");
    let mut differs = Vec::new();
    for scenario in scenarios(application) {
        arrange_with(&mut mesh, scenario, application).expect("the scenario is arranged");
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
        every_chain_is_as_expected("nft", &[], false, FORWARDING_ECHO);
    }
}

#[test]
fn every_chain_holds_behind_iptables() {
    if namespaces_or_skip("every_chain_holds_behind_iptables") {
        every_chain_is_as_expected("ipt", &["--backend", "iptables"], false, FORWARDING_ECHO);
    }
}

#[test]
fn every_chain_holds_on_ipv6() {
    if namespaces_or_skip("every_chain_holds_on_ipv6") {
        every_chain_is_as_expected("v6", &[], true, FORWARDING_ECHO);
    }
}

fn every_chain_holds_through(test: &str, runtime: Runtime, forwards: Forwards) {
    if namespaces_or_skip(test) {
        every_chain_is_as_expected("kinds", &[], false, Application { runtime, forwards });
    }
}

#[test]
fn every_chain_holds_where_only_a_trace_id_is_forwarded() {
    every_chain_holds_through("every_chain_holds_where_only_a_trace_id_is_forwarded", Runtime::Echo, Forwards::TraceId);
}

#[test]
fn every_chain_holds_through_flask_that_forwards_only_a_trace_id() {
    every_chain_holds_through(
        "every_chain_holds_through_flask_that_forwards_only_a_trace_id",
        Runtime::Flask,
        Forwards::TraceId,
    );
}

#[test]
fn every_chain_holds_through_node_that_forwards_only_a_trace_id() {
    every_chain_holds_through(
        "every_chain_holds_through_node_that_forwards_only_a_trace_id",
        Runtime::Node,
        Forwards::TraceId,
    );
}

#[test]
fn every_chain_holds_where_nothing_is_forwarded() {
    every_chain_holds_through("every_chain_holds_where_nothing_is_forwarded", Runtime::Echo, Forwards::Nothing);
}

#[test]
fn every_chain_holds_through_flask_that_forwards_nothing() {
    every_chain_holds_through(
        "every_chain_holds_through_flask_that_forwards_nothing",
        Runtime::Flask,
        Forwards::Nothing,
    );
}

#[test]
fn every_chain_holds_through_node_that_forwards_nothing() {
    every_chain_holds_through("every_chain_holds_through_node_that_forwards_nothing", Runtime::Node, Forwards::Nothing);
}
