//! The text, and that docs/metrics.md and the code name the same metrics.

use std::collections::BTreeMap;

use laneway_proto::status::TypeStatus;

use super::*;

#[test]
fn the_text_is_that_of_the_format() {
    let metric = Metric { name: "laneway_by", kind: "gauge", labels: &["a", "b"], help: "By" };
    let mut page = Page::default();
    page.family(&metric, [(vec!["x", "say \"no\" \\ or\nyes"], 7)]);
    page.single(&LEADER, 1);
    let expected = "# HELP laneway_by By.\n# TYPE laneway_by gauge\n\
                    laneway_by{a=\"x\",b=\"say \\\"no\\\" \\\\ or\\nyes\"} 7\n\
                    # HELP laneway_control_leader 1 on the replica that ends lanes and judges them.\n\
                    # TYPE laneway_control_leader gauge\nlaneway_control_leader 1\n";
    assert_eq!(page.0, expected);
}

#[test]
fn a_sidecar_is_behind_only_after_a_while_unless_it_refused_something() {
    let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
    let ago = |seconds: u64| Some(Timestamp::from(now - Duration::from_secs(seconds)));
    let proxy = |state: ConfigState, connected: u64, sent: u64| Proxy {
        state: state.into(),
        connect_time: ago(connected),
        types: vec![TypeStatus { state: state.into(), last_sent_time: ago(sent), ..TypeStatus::default() }],
        ..Proxy::default()
    };
    let counts = |proxies: &[Proxy]| behind(proxies.iter(), now).map(|(_, count)| count);
    // Each has something in flight, none for long.
    let churn: Vec<Proxy> = (0..9).map(|sent| proxy(ConfigState::Stale, 500, sent)).collect();
    assert_eq!(counts(&churn), [0, 0, 0]);
    assert_eq!(counts(&[proxy(ConfigState::Stale, 500, 10)]), [1, 0, 0]);
    assert_eq!(counts(&[proxy(ConfigState::NotSent, 9, 0), proxy(ConfigState::NotSent, 10, 0)]), [0, 1, 0]);
    assert_eq!(counts(&[proxy(ConfigState::Error, 0, 0), proxy(ConfigState::Synced, 500, 400)]), [0, 0, 1]);
    assert_eq!(counts(&[proxy(ConfigState::Disconnected, 500, 400)]), [0, 0, 0], "it cannot answer");
}

#[test]
fn this_very_process_has_figures() {
    let mut page = Page::default();
    process(&mut page);
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
        let value = page.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
        assert!(value.is_some_and(|value| value >= 0.0), "{name} in {}", page.0);
    }
}

/// `| name | kind | labels | meaning | how to misread it |`
#[test]
fn every_metric_is_documented_with_its_kind_and_labels_and_no_other_is() {
    let text = include_str!("../../../../docs/metrics.md");
    let (_, chapter) = text.split_once("## The control plane").expect("a chapter of the control plane");
    let chapter = chapter.split("\n## ").next().unwrap_or_default();
    let mut documented = BTreeMap::new();
    for line in chapter.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", name, kind, labels, meaning, misread, ""] = cells.as_slice()
            && let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'))
        {
            assert!(!meaning.is_empty() && !misread.is_empty(), "{name} has no meaning, or no way to misread it");
            documented.insert(name, (*kind, labels.replace('`', "")));
        }
    }
    let declared: BTreeMap<&str, (&str, String)> =
        ALL.iter().map(|metric| (metric.name, (metric.kind, metric.labels.join(", ")))).collect();
    assert_eq!(documented, declared);
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    for metric in ALL {
        assert_eq!(metric.kind == "counter", metric.name.ends_with("_total"), "{}", metric.name);
        assert!(metric.name.starts_with("laneway_control_") || metric.name.starts_with("process_"), "{}", metric.name);
        assert!(!metric.help.ends_with('.') && !metric.help.contains('\n'), "{}", metric.name);
    }
}
