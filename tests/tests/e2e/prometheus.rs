//! A real Prometheus scrapes sidecars and control plane under load: every query of deploy/ is answered with data.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use laneway_proto::contract::{PORT_CONTROL, PORT_STATUS};
use laneway_tests::load::Load;
use laneway_tests::mesh::network::Network;
use laneway_tests::mesh::{Mesh, Plan, PodPlan, ServicePlan};
use laneway_tests::process::{Process, run, skip, wait_for};
use serde_json::Value;

use crate::deploy::{Asked, folder, panels, rules};
use crate::support::{await_listening, namespaces_or_skip};

const DEADLINE: Duration = Duration::from_secs(90);
/// Of Prometheus, in the control plane's namespace.
const PORT: u16 = 9090;

/// Debian's `prometheus`, which `./x test` installs.
fn prometheus_or_skip(test: &str) -> bool {
    let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let both = is_there("prometheus") && is_there("promtool");
    if !both {
        skip(test, "it needs prometheus and promtool (Debian package prometheus; ./x test installs it)");
    }
    both
}

fn promtool(arguments: &[&str]) {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(folder().join("prometheus"));
    let said = run(command).unwrap_or_else(|error| panic!("promtool {}: {error:#}", arguments.join(" ")));
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn promtool_takes_the_rules_and_alerts_fire_when_they_should() {
    if !prometheus_or_skip("promtool_takes_the_rules_and_alerts_fire_when_they_should") {
        return;
    }
    promtool(&["check", "rules", "rules.yaml"]);
    promtool(&["check", "config", "prometheus.yaml"]);
    promtool(&["test", "rules", "rules.test.yaml"]);
}

/// The file of deploy/ with the mesh as targets, scraped every second.
fn write_configuration(mesh: &Mesh, directory: &Path) {
    let text = fs::read_to_string(folder().join("prometheus/prometheus.yaml")).expect("it is there");
    let target = |pod: &str, port: u16| {
        let address = mesh.socket(pod).expect("the pod has an address").ip();
        format!("\"{address}:{port}\"")
    };
    let sidecars = ["a-base", "b-base", "b-gray", "c-base"].map(|pod| target(pod, PORT_STATUS)).join(", ");
    let api = mesh.admin_url();
    let control = api.strip_prefix("http://").expect("it is plain");
    assert!(control.ends_with(&PORT_CONTROL.to_string()), "{control}");
    let text = text
        .replace("\"10.1.0.11:15421\"", &sidecars)
        .replace("\"10.1.0.1:15411\"", &format!("\"{control}\""))
        .replace("15s", "1s");
    fs::write(directory.join("prometheus.yaml"), text).expect("the directory is ours");
    let rules = fs::read_to_string(folder().join("prometheus/rules.yaml")).expect("they are there");
    fs::write(directory.join("rules.yaml"), rules.replace("interval: 15s", "interval: 1s")).expect("it is ours");
}

/// What Prometheus answers to a query: the values, or nothing.
fn query(mesh: &Mesh, expr: &str) -> Vec<f64> {
    let mut command = mesh.command("control", "curl").expect("the namespace is there");
    let url = format!("http://127.0.0.1:{PORT}/api/v1/query");
    command.args(["--silent", "--show-error", "--max-time", "15", "--data-urlencode", &format!("query={expr}"), &url]);
    let Ok(said) = run(command) else { return Vec::new() };
    let answer: Value = serde_json::from_str(&said).unwrap_or_default();
    assert_ne!(answer["status"], "error", "{expr}: {said}");
    let samples = answer["data"]["result"].as_array().cloned().unwrap_or_default();
    let value = |sample: &Value| sample["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
    samples.iter().filter_map(value).filter(|value| !value.is_nan()).collect()
}

/// What alerts select because it is rare: here anything of the kind will do. That they fire is shown by rules.test.yaml.
const RARE: [(&str, &str); 2] = [("state=\"tripped\"", "state=~\".+\""), ("why=\"fallback_unhealthy\"", "why=~\".+\"")];

/// What only a control plane that reads a cluster tells; here is none. That the alert fires is shown by rules.test.yaml.
const OF_CLUSTERS: &str = "laneway_control_discovery_";

/// As Grafana asks, with its variables filled in; of an alert what it looks at, whether it holds or not.
fn filled(expr: &str) -> String {
    let expr = RARE.iter().fold(expr.to_owned(), |expr, (rare, any)| expr.replace(rare, any));
    let expr = expr.replace("$__rate_interval", "10s").replace("$service", "b").replace("$lane", "gray|baseline");
    let holds = [" > ", " < "].iter().filter_map(|operator| expr.rfind(operator).map(|at| (at, *operator))).max();
    match holds {
        // The last comparison, outside of any bracket, is the alert's own.
        Some((at, operator)) if !expr[at..].contains(')') => {
            format!("{}{operator}bool {}", &expr[..at], &expr[at + 3..])
        }
        _ => expr,
    }
}

#[test]
fn every_panel_and_rule_is_answered_with_data_by_a_real_prometheus() {
    const NAME: &str = "every_panel_and_rule_is_answered_with_data_by_a_real_prometheus";
    if !namespaces_or_skip(NAME) || !prometheus_or_skip(NAME) {
        return;
    }
    let mut plan = Plan::chain("prometheus", true, &[("a", &[""]), ("b", &["", "gray"])]);
    // An application that hands no lane on: its calls escape.
    plan.services.push(ServicePlan { name: "c".to_owned(), port: 20_003 });
    let forgetful = PodPlan::new("c", "", &plan.service("b").expect("it is planned").url());
    plan.pods.push(PodPlan { forward: String::new(), ..forgetful });
    let mesh = Mesh::up(plan).expect("the mesh comes up");
    for (pod, port) in [("a-base", 20_001), ("b-base", 20_002), ("b-gray", 20_002), ("c-base", 20_003)] {
        await_listening(&mesh, pod, port);
    }
    let documents = mesh.directory().join("lanes.yaml");
    let text =
        "kind: Lane\nname: gray\n---\nkind: Lane\nname: blue\nguard: {maxErrorRateOverBaseline: 50%, action: warn}\n";
    fs::write(&documents, text).expect("the directory is ours");
    mesh.apply(&documents).expect("the lanes are applied");

    let directory = mesh.directory().join("prometheus");
    fs::create_dir_all(&directory).expect("the directory is ours");
    write_configuration(&mesh, &directory);
    let mut command = mesh.command("control", "prometheus").expect("the namespace is there");
    command.args(["--config.file", &directory.join("prometheus.yaml").to_string_lossy()]);
    command.args(["--storage.tsdb.path", &directory.join("data").to_string_lossy()]);
    command.args(["--web.listen-address", &format!("127.0.0.1:{PORT}")]);
    let _prometheus = Process::start("prometheus", command, &directory.join("log")).expect("it starts");

    // Two lanes, of which one falls back, and baseline.
    let Network::Namespaces(namespaces) = mesh.network() else { panic!("the mesh has namespaces") };
    let load = |to: &str, path: &str, tag: &str, requests_per_second: u32| {
        let tagged = (!tag.is_empty()).then(|| ("x-mse-tag".to_owned(), tag.to_owned()));
        Load {
            namespace: Some(namespaces.name("entry")),
            to: mesh.socket(to).expect("the pod has an address"),
            path: path.to_owned(),
            headers: tagged.into_iter().collect(),
            connections: 2,
            requests_per_second,
        }
        .start()
    };
    let [baseline, gray, blue] =
        [("", 20), ("gray", 20), ("blue", 5)].map(|(tag, rate)| load("a-base", "/", tag, rate));
    let escaping = load("c-base", "/", "gray", 5);
    let failing = load("a-base", "/status/500", "", 2);

    let asked = panels().into_iter().chain(rules()).filter(|asked| !asked.expr.contains(OF_CLUSTERS));
    let asked: Vec<Asked> = asked.collect();
    let mut told = String::new();
    for Asked { at, expr } in &asked {
        let filled = filled(expr);
        let values = wait_for(DEADLINE, || Some(query(&mesh, &filled)).filter(|values| !values.is_empty()));
        let log = || fs::read_to_string(directory.join("log")).unwrap_or_default();
        let values = values.unwrap_or_else(|| panic!("{at}: no data for {filled}\n{}", log()));
        let shown: Vec<String> = values.iter().take(6).map(|value| format!("{value:.4}")).collect();
        told.push_str(&format!("{at}: {} series: {}\n", values.len(), shown.join(" ")));
    }
    eprintln!("{told}{} queries", asked.len());

    let fallback = query(&mesh, "sum(laneway_requests_total{lane=\"blue\",why=\"fallback_absent\"})");
    assert!(fallback.first().is_some_and(|count| *count > 0.0), "{fallback:?}");
    let [baseline, gray, blue, _] = [baseline, gray, blue, escaping].map(|running| {
        let samples = running.stop().expect("the load ran");
        let failed = samples.iter().find(|sample| sample.answer.is_err());
        assert!(failed.is_none() && !samples.is_empty(), "{failed:?}");
        samples.len()
    });
    let failing = failing.stop().expect("the load ran");
    assert!(failing.iter().all(|sample| sample.answer.is_err()), "these fail by themselves");

    // And they are right: what was sent is what is counted.
    for (lane, sent) in [("baseline", baseline + failing.len()), ("gray", gray), ("blue", blue)] {
        let served = format!("sum(laneway_requests_total{{direction=\"inbound\",service=\"a\",lane=\"{lane}\"}})");
        let is_right = wait_for(DEADLINE, || (query(&mesh, &served) == [sent as f64]).then_some(()));
        assert!(is_right.is_some(), "{lane}: {sent} were sent, {:?} are counted", query(&mesh, &served));
    }
}
