//! What stands in deploy/ for Prometheus and Grafana: its queries, and that they ask for nothing but what is there. Metrics are
//! those of docs/metrics.md, which other tests hold to the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub(crate) const DASHBOARDS: [&str; 3] = ["lanes", "service", "control-plane"];

/// One query: where it stands, and what it asks.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) at: String,
    pub(crate) expr: String,
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn dashboard(name: &str) -> Value {
    let text = fs::read_to_string(folder().join(format!("grafana/{name}.json"))).expect("the dashboard is there");
    serde_json::from_str(&text).expect("it is JSON")
}

/// Of every panel.
pub(crate) fn panels() -> Vec<Asked> {
    let mut all = Vec::new();
    for name in DASHBOARDS {
        for panel in dashboard(name)["panels"].as_array().expect("it has panels") {
            for target in panel["targets"].as_array().expect("a panel asks") {
                let text = |value: &Value| value.as_str().expect("a text").to_owned();
                let at = format!("{name}: {} {}", text(&panel["title"]), text(&target["refId"]));
                all.push(Asked { at, expr: text(&target["expr"]) });
            }
        }
    }
    all
}

/// Of every rule: recording ones by the name of what they make, alerts by theirs.
pub(crate) fn rules() -> Vec<Asked> {
    let text = fs::read_to_string(folder().join("prometheus/rules.yaml")).expect("the rules are there");
    let read: Value = serde_saphyr::from_str(&text).expect("they are YAML");
    let groups = read["groups"].as_array().expect("groups").iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().expect("rules").clone());
    let asked = rules.map(|rule| {
        let name = rule["record"].as_str().or(rule["alert"].as_str()).expect("a rule has a name").to_owned();
        Asked { at: name, expr: rule["expr"].as_str().expect("a rule asks").to_owned() }
    });
    asked.collect()
}

/// Labels of every metric, as docs/metrics.md has them.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(folder().join("../docs/metrics.md")).expect("docs/metrics.md is there");
    let mut metrics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", name, kind @ ("counter" | "gauge" | "histogram"), labels, _, _, ""] = cells.as_slice() else {
            continue;
        };
        let name = name.trim_matches('`').to_owned();
        let labels = labels.split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let mut labels: BTreeSet<String> = labels.filter(|label| !label.is_empty()).collect();
        // Those that Prometheus makes, and the one that docs/observability.md has it put there.
        labels.extend(["instance", "job", "pod_namespace"].map(str::to_owned));
        if *kind == "histogram" {
            for part in ["_sum", "_count"] {
                metrics.insert(format!("{name}{part}"), labels.clone());
            }
            labels.insert("le".to_owned());
            metrics.insert(format!("{name}_bucket"), labels);
            continue;
        }
        // Both programs have some of them.
        metrics.entry(name).or_default().extend(labels);
    }
    metrics
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == ':'
}

/// The metrics of a query, each with the labels that it is selected by.
fn selections(expr: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut rest = expr;
    while let Some(at) = ["laneway_", "process_", "up{"].iter().filter_map(|start| rest.find(start)).min() {
        let is_inside = rest[..at].ends_with(is_word);
        let tail = &rest[at..];
        let end = tail.find(|character| !is_word(character)).unwrap_or(tail.len());
        let (name, after) = tail.split_at(end);
        rest = after;
        if is_inside {
            continue;
        }
        let selector = after.strip_prefix('{').and_then(|inner| inner.split_once('}')).map_or("", |(inner, _)| inner);
        let label = |part: &str| part.trim().split(['=', '!']).next().unwrap_or_default().to_owned();
        // A comma inside a value does not occur.
        let labels = selector.split(',').map(label).filter(|label| !label.is_empty()).collect();
        found.push((name.to_owned(), labels));
    }
    found
}

/// Labels behind `by`, `on` and `group_left`.
fn grouped(expr: &str) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    for word in [" by (", " on (", "group_left ("] {
        for part in expr.split(word).skip(1) {
            let inner = part.split(')').next().unwrap_or_default();
            labels.extend(inner.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()));
        }
    }
    labels
}

#[test]
fn queries_ask_for_metrics_and_labels_that_there_are() {
    let metrics = documented();
    let recorded: BTreeSet<String> =
        rules().into_iter().map(|rule| rule.at).filter(|name| name.contains(':')).collect();
    let mut wrong = Vec::new();
    let mut names = BTreeSet::new();
    for Asked { at, expr } in panels().into_iter().chain(rules()) {
        let selections = selections(&expr);
        if selections.is_empty() {
            wrong.push(format!("{at}: asks for nothing: {expr}"));
        }
        let mut may = BTreeSet::new();
        for (name, labels) in selections {
            if name == "up" || recorded.contains(&name) {
                // What a rule makes has the labels that its own query keeps; these are looked at there.
                let kept = ["group", "service", "peer_service", "lane", "why", "job", "instance", "pod_namespace"];
                may.extend(kept.map(str::to_owned));
                continue;
            }
            let Some(known) = metrics.get(&name) else {
                wrong.push(format!("{at}: there is no metric {name}"));
                continue;
            };
            wrong.extend(
                labels
                    .iter()
                    .filter(|label| !known.contains(*label))
                    .map(|label| format!("{at}: {name} has no label {label}")),
            );
            may.extend(known.iter().cloned());
            names.insert(name);
        }
        wrong.extend(grouped(&expr).difference(&may).map(|label| format!("{at}: nothing here has the label {label}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(names.len() > 25, "the scan found only {names:?}");
}

#[test]
fn every_alert_is_shown_to_fire() {
    let read = |file: &str| -> Value {
        let text = fs::read_to_string(folder().join("prometheus").join(file)).expect("it is there");
        serde_saphyr::from_str(&text).expect("it is YAML")
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let alerts = list(&read("rules.yaml")["groups"]).iter().flat_map(|group| list(&group["rules"])).collect::<Vec<_>>();
    let alerts: BTreeSet<&str> = alerts.iter().filter_map(|rule| rule["alert"].as_str()).collect();
    let cases = list(&read("rules.test.yaml")["tests"]);
    let cases = cases.iter().flat_map(|test| list(&test["alert_rule_test"])).collect::<Vec<_>>();
    let fire = cases.iter().filter(|case| !list(&case["exp_alerts"]).is_empty());
    let fire: BTreeSet<&str> = fire.filter_map(|case| case["alertname"].as_str()).collect();
    assert!(alerts.len() >= 13, "{alerts:?}");
    assert_eq!(fire, alerts, "rules.test.yaml has a case for each");
    let runbooks = fs::read_to_string(folder().join("../docs/runbooks.md")).expect("it is there");
    let told: BTreeSet<&str> = runbooks.lines().filter_map(|line| line.strip_prefix("### Laneway")).collect();
    let named: BTreeSet<&str> = alerts.iter().filter_map(|alert| alert.strip_prefix("Laneway")).collect();
    assert_eq!(told, named, "docs/runbooks.md has one for each");
}

#[test]
fn dashboards_say_what_they_show_and_take_any_prometheus() {
    let mut uids = BTreeSet::new();
    for name in DASHBOARDS {
        let dashboard = dashboard(name);
        assert!(uids.insert(dashboard["uid"].as_str().expect("a uid").to_owned()), "{name}: its uid is another's");
        let mut places = BTreeSet::new();
        for panel in dashboard["panels"].as_array().expect("panels") {
            let title = &panel["title"];
            assert!(panel["description"].as_str().is_some_and(|says| !says.is_empty()), "{name}: {title} says nothing");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}");
            let place = &panel["gridPos"];
            assert!(places.insert(place.to_string()), "{name}: two panels at {place}");
        }
    }
}
