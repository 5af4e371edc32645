//! From real requests through a real sidecar to what people are shown: the numbers are those that were sent.

use std::time::Duration;

use laneway_tests::mesh::Mesh;
use laneway_tests::process::wait_for;
use serde_json::Value;

use crate::support::{curl_in, namespaces_or_skip, pair};

/// A sidecar that nobody watches reports every ten seconds, and opens its stream again after fifteen.
const DEADLINE: Duration = Duration::from_secs(60);
/// So far back people look here.
const WINDOW: &str = "300s";

/// Requests of one tag, `good` and then `bad` ones, on one connection.
fn send(mesh: &Mesh, tag: &str, good: u32, bad: u32) {
    let header = format!("x-mse-tag: {tag}");
    let mut arguments = vec!["--output", "/dev/null"];
    if !tag.is_empty() {
        arguments.extend(["-H", &header]);
    }
    let urls = [(good, "?n="), (bad, "status/500?n=")];
    let urls = urls.iter().filter(|(count, _)| *count > 0);
    let urls: Vec<String> = urls.map(|(count, path)| format!("http://sc-server:7000/{path}[1-{count}]")).collect();
    arguments.extend(urls.iter().map(String::as_str));
    curl_in(mesh, "caller-base", &arguments).expect("requests are always answered");
}

/// Requests, errors and fallbacks of all series from the caller to the server with this request tag.
fn sums(answer: &Value, tag: &str) -> [u64; 3] {
    let mut sums = [0; 3];
    for series in answer["series"].as_array().into_iter().flatten() {
        let ends_with = |field: &str, end: &str| series[field].as_str().unwrap_or_default().ends_with(end);
        if !ends_with("destinationService", "/server") || series["requestTag"].as_str().unwrap_or_default() != tag {
            continue;
        }
        for point in series["points"].as_array().into_iter().flatten() {
            for (sum, field) in sums.iter_mut().zip(["requests", "errors", "fallbacks"]) {
                *sum += point[field].as_str().and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
            }
        }
    }
    sums
}

fn told(mesh: &Mesh, arguments: &[&str]) -> Value {
    let text = mesh.lanectl(arguments).expect("the control plane answers");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn what_was_sent_is_what_top_compare_and_the_topology_show() {
    if !namespaces_or_skip("what_was_sent_is_what_top_compare_and_the_topology_show") {
        return;
    }
    let mesh = pair("compare", &["", "gray"], "", &[]);
    let documents = mesh.directory().join("lanes.yaml");
    std::fs::write(&documents, "kind: Lane\nname: gray\n---\nkind: Lane\nname: blue\n").expect("it is ours");
    mesh.apply(&documents).expect("the lanes are applied");
    let top = || told(&mesh, &["top", "--once", "--step", WINDOW, "-o", "json"]);

    // Until the sidecar's stream of reports stands nothing is promised. A tag that nobody has is `other`.
    let reports = wait_for(DEADLINE, || {
        send(&mesh, "nobody-has-it", 1, 0);
        (sums(&top(), "other")[0] > 0).then_some(())
    });
    assert!(reports.is_some(), "{}", top());
    send(&mesh, "gray", 40, 4);
    send(&mesh, "", 60, 0);
    send(&mesh, "blue", 7, 0);
    let wanted = [("gray", [44, 4, 0]), ("", [60, 0, 0]), ("blue", [7, 0, 7])];
    let all = |answer: &Value| wanted.iter().all(|(tag, sent)| sums(answer, tag) == *sent);
    assert!(wait_for(DEADLINE, || all(&top()).then_some(())).is_some(), "{wanted:?} is not in {}", top());
    let compared = told(&mesh, &["lane", "compare", "gray", "--window", WINDOW, "-o", "json"]);
    assert_eq!([sums(&compared, "gray"), sums(&compared, "")], [[44, 4, 0], [60, 0, 0]], "{compared}");
    let table = mesh.lanectl(&["lane", "compare", "gray", "--window", WINDOW]).expect("it answers");
    let row = |tag: &str| table.lines().find(|line| line.contains(tag)).unwrap_or_default().to_owned();
    assert!(row("gray").contains("90.90 %") && row("baseline").contains("100.00 %"), "{table}");

    let mut command = mesh.command("control", "curl").expect("the namespace is there");
    command.args(["--silent", "--fail", "--max-time", "15"]);
    command.arg(format!("{}/v1/stats:topology?window={WINDOW}", mesh.admin_url()));
    let graph: Value = serde_json::from_str(&laneway_tests::process::run(command).expect("it answers")).expect("JSON");
    let vertex = |at: &Value| {
        let vertex = &graph["vertices"][at.as_u64().unwrap_or(0) as usize];
        let service = vertex["service"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
        (service, vertex["tag"].as_str().unwrap_or_default().to_owned())
    };
    let edges: Vec<_> = graph["edges"].as_array().into_iter().flatten().collect();
    let gray = edges.iter().find(|edge| edge["requestTag"] == "gray").unwrap_or_else(|| panic!("{graph}"));
    assert_eq!(vertex(&gray["target"]), ("server".to_owned(), "gray".to_owned()), "{graph}");
    assert_eq!(
        (vertex(&gray["source"]).0.as_str(), &gray["total"]["requests"]),
        ("caller", &Value::from("44")),
        "{graph}"
    );
    eprintln!("{table}");
}
