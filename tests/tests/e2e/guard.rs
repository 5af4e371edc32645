//! A lane whose new version fails switches itself off, under load, and its baseline knows nothing of it.

use std::time::Duration;

use laneway_tests::load::{Load, Running, Sample};
use laneway_tests::mesh::network::Network;
use laneway_tests::mesh::{Mesh, Plan};
use laneway_tests::process::wait_for;
use serde_json::Value;

use crate::support::{await_listening, namespaces_or_skip};

const DEADLINE: Duration = Duration::from_secs(60);
/// Requests of the lane that its guard wants to see.
const REQUESTS_MIN: usize = 60;
const B_PORT: u16 = 20_002;

/// A steady load to A's baseline, whose calls reach B.
fn load(mesh: &Mesh, tag: &str) -> Running {
    let Network::Namespaces(namespaces) = mesh.network() else { panic!("the mesh has namespaces") };
    let tagged = (!tag.is_empty()).then(|| ("x-mse-tag".to_owned(), tag.to_owned()));
    Load {
        namespace: Some(namespaces.name("entry")),
        to: mesh.socket("a-base").expect("the pod has an address"),
        path: "/".to_owned(),
        headers: tagged.into_iter().collect(),
        connections: 4,
        requests_per_second: 50,
    }
    .start()
}

fn good(samples: &[Sample]) -> impl Iterator<Item = &str> {
    samples.iter().filter_map(|sample| sample.answer.as_deref().ok())
}

#[test]
fn a_lane_whose_new_version_fails_is_switched_off_and_baseline_is_not_touched() {
    if !namespaces_or_skip("a_lane_whose_new_version_fails_is_switched_off_and_baseline_is_not_touched") {
        return;
    }
    let mut plan = Plan::chain("guard", true, &[("a", &[""]), ("b", &["", "gray"])]);
    let failing = plan.pods.iter_mut().find(|pod| pod.name == "b-gray").expect("it is planned");
    failing.application_environment = vec![("FAIL".to_owned(), "500".to_owned())];
    let mut mesh = Mesh::up(plan).expect("the mesh comes up");
    for (pod, port) in [("a-base", B_PORT - 1), ("b-base", B_PORT), ("b-gray", B_PORT)] {
        await_listening(&mesh, pod, port);
    }
    let documents = mesh.directory().join("guard.yaml");
    let text = format!(
        "kind: Lane\nname: gray\nguard: {{window: 10s, minRequests: {REQUESTS_MIN}, maxErrorRateOverBaseline: 5%}}\n"
    );
    std::fs::write(&documents, text).expect("the directory is ours");
    mesh.apply(&documents).expect("the lane is applied");
    let state = |mesh: &Mesh| {
        let table = mesh.lanectl(&["get", "lane", "gray"]).expect("the lane is there");
        table.lines().nth(1).and_then(|row| row.split_whitespace().nth(3)).unwrap_or_default().to_owned()
    };
    assert_eq!(state(&mesh), "enabled");

    let (baseline, gray) = (load(&mesh, ""), load(&mesh, "gray"));
    let tripped = wait_for(DEADLINE, || (state(&mesh) == "tripped").then_some(()));
    assert!(tripped.is_some(), "{}", mesh.lanectl(&["lane", "compare", "gray"]).unwrap_or_default());
    // What comes now goes to baseline, with its tag, and is served.
    let served = gray.count();
    gray.await_answers(100, DEADLINE).expect("the lane's requests are answered");
    let gray = gray.stop().expect("the load ran");
    let failed = gray.iter().filter(|sample| sample.answer.is_err()).count();
    assert!(failed >= REQUESTS_MIN && good(&gray).all(|answer| answer.contains("-> B[")), "{:?}", gray.first());
    let late = &gray[gray.len() - 50..];
    assert!(late.iter().all(|sample| sample.answer.is_ok()), "{:?}", late.first());

    // Who did it, and why: for people, in the history, in the audit trail, in the log, as a metric.
    let told = mesh.lanectl(&["describe", "lane", "gray"]).expect("the lane is there");
    assert!(told.contains("tripped") && told.contains("LANE0810") && told.contains("error rate"), "{told}");
    let history = mesh.lanectl(&["history", "--for", "lane", "gray"]).expect("there is a history");
    assert!(history.contains("laneway:guard") && history.contains("at most 5 % above"), "{history}");
    let api = |path: &str| {
        let mut command = mesh.command("control", "curl").expect("the namespace is there");
        command.args([
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "15",
            &format!("{}{path}", mesh.admin_url()),
        ]);
        laneway_tests::process::run(command).expect("the API answers")
    };
    let trail: Value = serde_json::from_str(&api("/v1/auditEvents")).expect("JSON");
    let events = trail["auditEvents"].as_array().cloned().unwrap_or_default();
    let own: Vec<&Value> = events.iter().filter(|event| event["principal"] == "laneway:guard").collect();
    let [event] = own.as_slice() else { panic!("{trail}") };
    assert!(event["resource"].as_str().is_some_and(|name| name.ends_with("/lanes/gray")), "{event}");
    assert!(event["reason"].as_str().is_some_and(|reason| reason.starts_with("error rate ")), "{event}");
    let page = api("/metrics");
    assert!(page.contains("laneway_control_guard_actions_total{action=\"disabled\"} 1\n"), "{page}");
    assert!(page.contains("lane=\"gray\",tag=\"gray\",state=\"tripped\"} 1\n"), "{page}");
    let log = std::fs::read_to_string(mesh.directory().join("control.log")).unwrap_or_default();
    assert!(log.contains("its guard disables it"), "{log}");
    eprintln!("{served} answers of the lane until it was off, {failed} of them failed; {}", event["reason"]);

    // Mended and enabled again: what was is not held against it.
    mesh.restart_application("b-gray", |pod| pod.application_environment.clear()).expect("it starts");
    await_listening(&mesh, "b-gray", B_PORT);
    mesh.lanectl(&["lane", "enable", "gray", "--wait"]).expect("it is enabled");
    let gray = load(&mesh, "gray");
    gray.await_answers(5 * REQUESTS_MIN, DEADLINE).expect("the lane's requests are answered");
    let gray = gray.stop().expect("the load ran");
    assert!(good(&gray).count() == gray.len() && good(&gray).all(|answer| answer.contains("-> Bgray[")));
    assert_eq!(state(&mesh), "enabled");

    let baseline = baseline.stop().expect("the load ran");
    let bad: Vec<_> = baseline.iter().filter_map(|sample| sample.answer.as_ref().err()).collect();
    assert!(bad.is_empty() && good(&baseline).all(|answer| answer.contains("-> B[")), "{bad:?}");
}
