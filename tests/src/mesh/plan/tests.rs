//! What discovery and the pods are told.

use super::Plan;
use std::net::IpAddr;

#[test]
fn a_chain_calls_the_next_service_by_its_host() {
    let plan = Plan::chain("t", true, &[("a", &["", "gray"]), ("b", &[""]), ("c", &["gray"])]);
    let pods: Vec<_> = plan.pods.iter().map(|pod| (pod.name.as_str(), pod.next.as_str())).collect();
    let (b, c) = ("http://sc-b:20002/b", "http://sc-c:20003/c");
    assert_eq!(pods, [("a-base", b), ("a-gray", b), ("b-base", c), ("c-gray", "")]);
}

#[test]
fn discovery_lists_what_is_there_and_nothing_else() {
    let mut plan = Plan::chain("t", true, &[("a", &["", "gray"])]);
    plan.pods[1].state = String::new();
    let text = plan.discovery(|index| IpAddr::from([10, 1, 0, 11 + index as u8]));
    assert!(text.contains("10.1.0.11:20001") && !text.contains("10.1.0.12"), "{text}");
    assert!(text.contains("10.96.0.11"), "{text}");
}
