//! Lanes through applications that nobody changed, as `./x test-propagation` counts them, with fewer calls.

use std::io::Write as _;

use laneway_tests::application::Runtime;
use laneway_tests::mesh::Mesh;
use laneway_tests::propagation::{Row, arrange, cases, measure, plan};

use crate::support::namespaces_or_skip;

/// Calls of each line.
const CALLS: u64 = 1_000;

fn no_call_is_in_a_wrong_lane(runtime: Runtime, label: &str) {
    let mut mesh = Mesh::up(plan(label, true)).expect("the mesh comes up");
    let (mut table, mut failures) = (format!("{}\n", Row::HEAD), Vec::new());
    for case in cases(runtime, false) {
        arrange(&mut mesh, case).expect("the case is arranged");
        let row = measure(&mesh, case, CALLS).expect("every call is answered");
        table += &format!("{}\n", row.line());
        failures.extend(row.check().err().map(|failure| format!("{failure:#}")));
    }
    // Past the capture of the test harness: the figures are worth as much as the verdict.
    std::io::stderr().write_all(table.as_bytes()).expect("stderr is open");
    assert!(failures.is_empty(), "{}\n{table}", failures.join("\n"));
}

#[test]
fn no_call_through_echo_is_in_a_wrong_lane() {
    if namespaces_or_skip("no_call_through_echo_is_in_a_wrong_lane") {
        no_call_is_in_a_wrong_lane(Runtime::Echo, "echo");
    }
}

#[test]
fn no_call_through_flask_is_in_a_wrong_lane() {
    if namespaces_or_skip("no_call_through_flask_is_in_a_wrong_lane") {
        no_call_is_in_a_wrong_lane(Runtime::Flask, "flask");
    }
}

#[test]
fn no_call_through_node_is_in_a_wrong_lane() {
    if namespaces_or_skip("no_call_through_node_is_in_a_wrong_lane") {
        no_call_is_in_a_wrong_lane(Runtime::Node, "node");
    }
}
