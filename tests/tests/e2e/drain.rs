//! SIGTERM to a sidecar: what runs is finished, nothing is lost.

use std::time::Duration;

use laneway_tests::load::Load;
use laneway_tests::mesh::network::Network;

use crate::support::{namespaces_or_skip, pair};

#[test]
fn a_sidecar_that_is_told_to_end_loses_nothing() {
    if !namespaces_or_skip("a_sidecar_that_is_told_to_end_loses_nothing") {
        return;
    }
    let mut mesh = pair("drain", &["", "blue"], "", &[]);
    // Both are baseline for discovery; one of them is drained.
    mesh.rewrite_discovery(|plan| plan.pods[2].tag.clear()).expect("discovery is a file");
    let Network::Namespaces(namespaces) = mesh.network() else { unreachable!("the pair lives in namespaces") };
    let load = Load {
        namespace: Some(namespaces.name("entry")),
        to: mesh.socket("caller-base").expect("a pod"),
        path: "/".to_owned(),
        headers: Vec::new(),
        connections: 8,
        requests_per_second: 200,
    }
    .start();
    let deadline = Duration::from_secs(30);
    load.await_answers(100, deadline).expect("requests are answered");
    // As a cluster does: the instance is announced as draining, then its sidecar gets SIGTERM.
    mesh.rewrite_discovery(|plan| "draining".clone_into(&mut plan.pods[2].state)).expect("discovery is a file");
    let mut sidecar = mesh.pod("server-blue").expect("a pod").sidecar.take().expect("it has a sidecar");
    sidecar.terminate();
    load.await_answers(200, deadline).expect("requests are answered");
    let status = sidecar.wait(Duration::from_secs(40)).expect("a drained sidecar ends");
    assert!(status.success(), "{status}: {}", sidecar.log());
    load.await_answers(100, deadline).expect("requests are answered");
    let samples = load.stop().expect("the load ran");
    let lost: Vec<_> = samples.iter().filter_map(|sample| sample.answer.as_ref().err()).collect();
    assert!(lost.is_empty(), "{} of {} lost: {:?}", lost.len(), samples.len(), lost.first());
}
