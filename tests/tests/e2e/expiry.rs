//! A lane ends by itself, before the eyes of its callers.

use std::time::{Duration, SystemTime};

use laneway_tests::process::wait_for;

use crate::support::{curl_in, namespaces_or_skip, pair};

/// What the lane has to live. Long enough for a slow machine to apply it and send the first request.
const LIFE: Duration = Duration::from_secs(4);
const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn a_lane_whose_time_is_over_sends_its_requests_to_baseline_to_their_end() {
    if !namespaces_or_skip("a_lane_whose_time_is_over_sends_its_requests_to_baseline_to_their_end") {
        return;
    }
    let mesh = pair("expiry", &["", "gray"], "", &[]);
    let call = |path: &str| {
        let url = format!("http://sc-server:7000/{path}");
        curl_in(&mesh, "caller-base", &["-H", "x-mse-tag: gray", &url]).expect("a request is always answered")
    };
    let is_gray = || call("").starts_with("SERVERgray");
    let lane = || {
        let table = mesh.lanectl(&["get", "lane", "gray"]).expect("the lane is there");
        table.lines().nth(1).unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };

    let end = SystemTime::now() + LIFE;
    let documents = mesh.directory().join("expiry.yaml");
    let text = format!("kind: Lane\nname: gray\nexpireTime: {}\n", prost_types::Timestamp::from(end));
    std::fs::write(&documents, text).expect("the directory is ours");
    mesh.apply(&documents).expect("the lane is applied");
    assert!(is_gray() && SystemTime::now() < end, "this machine is too slow for a lane of {LIFE:?}");
    assert_eq!(lane()[3..5], ["enabled", "in"]);

    // No request before the end goes elsewhere, and soon after it all do.
    let ended = wait_for(DEADLINE, || (!is_gray()).then(SystemTime::now)).expect("the lane ends");
    let late = ended.duration_since(end).expect("no lane ends before its time");
    assert!(late < Duration::from_secs(2), "the lane ended {late:?} after its time");
    assert!(call("").starts_with("SERVER["));
    let seen: serde_json::Value = serde_json::from_str(&call("echo")).expect("echo answers JSON");
    let tag = serde_json::json!(["x-mse-tag", "baseline"]);
    assert!(seen["headers"].as_array().is_some_and(|headers| headers.contains(&tag)), "it is in no lane: {seen}");
    let counted = mesh.status_page("caller-base", "metrics").expect("the metrics are read");
    assert!(counted.contains("why=\"lane_off\""), "{counted}");
    assert_eq!(lane()[3], "expired");

    // It comes back when somebody says for how long.
    let refused = format!("{:#}", mesh.lanectl(&["lane", "enable", "gray"]).expect_err("its time is over"));
    assert!(refused.contains("lanectl lane enable gray --ttl 48h"), "{refused}");
    mesh.lanectl(&["lane", "enable", "gray", "--ttl", "48h", "--wait"]).expect("it is enabled");
    assert!(is_gray());
    assert_eq!(lane()[3..6], ["enabled", "in", "48h"]);
}
