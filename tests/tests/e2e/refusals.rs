//! What a sidecar refuses, and how it says so.

use crate::support::{curl_in, namespaces_or_skip, pair};

/// Status and `x-laneway-error` of an answer.
const STATUS_AND_ERROR: [&str; 4] = ["-o", "/dev/null", "-w", "%{http_code} %header{x-laneway-error}"];

#[test]
fn a_strict_lane_without_an_instance_is_refused_by_name() {
    if !namespaces_or_skip("a_strict_lane_without_an_instance_is_refused_by_name") {
        return;
    }
    let mesh = pair("strict", &[""], "", &[]);
    let documents = mesh.directory().join("strict.yaml");
    let text = "kind: LaneGroup\nname: shop\nservices: [caller, server]\n---\nkind: Lane\nname: gray\ngroup: shop\nfallback: {mode: strict}\n";
    std::fs::write(&documents, text).expect("the directory is ours");
    mesh.apply(&documents).expect("the documents are applied");
    let mut arguments = vec!["-H", "x-mse-tag: gray", "http://sc-server:7000/", "-i"];
    let answer = curl_in(&mesh, "caller-base", &arguments).expect("curl runs");
    let head = answer.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 503"), "{answer}");
    let said = head.lines().find(|line| line.starts_with("x-laneway-error:")).unwrap_or_default();
    assert!(said.contains("lane=gray") && said.contains("service=server"), "{answer}");

    arguments.drain(..2);
    let answer = curl_in(&mesh, "caller-base", &arguments).expect("curl runs");
    assert!(answer.starts_with("HTTP/1.1 200"), "an untagged request is not strict's business: {answer}");
}

#[test]
fn a_call_to_the_sidecars_own_ports_is_refused_as_a_loop() {
    if !namespaces_or_skip("a_call_to_the_sidecars_own_ports_is_refused_as_a_loop") {
        return;
    }
    let mesh = pair("loop", &[""], "", &[]);
    let own = mesh.socket("caller-base").expect("a pod").ip();
    for port in [15401, 15406] {
        let url = format!("http://{own}:{port}/");
        let mut arguments = STATUS_AND_ERROR.to_vec();
        arguments.push(&url);
        let answer =
            curl_in(&mesh, "caller-base", &arguments).expect("the sidecar answers, and does not call itself for ever");
        assert!(answer.starts_with("508"), "port {port}: {answer}");
    }
    // It still works afterwards.
    let answer = curl_in(&mesh, "caller-base", &["http://sc-server:7000/"]).expect("curl runs");
    assert!(answer.starts_with("SERVER["), "{answer}");
}

#[test]
fn a_service_without_any_instance_says_so_at_once() {
    if !namespaces_or_skip("a_service_without_any_instance_says_so_at_once") {
        return;
    }
    let mut mesh = pair("none", &[""], "", &[]);
    mesh.rewrite_discovery(|plan| plan.pods[1].state.clear()).expect("discovery is a file");
    let answer = laneway_tests::process::wait_for(std::time::Duration::from_secs(10), || {
        let mut arguments = STATUS_AND_ERROR.to_vec();
        arguments.push("http://sc-server:7000/");
        curl_in(&mesh, "caller-base", &arguments).ok().filter(|answer| answer.starts_with("503"))
    });
    let answer = answer.expect("the sidecar refuses once discovery says that nobody is there");
    assert!(answer.contains("no-baseline") && answer.contains("service=server"), "{answer}");
}
