//! The text, and that docs/metrics.md and the code name the same metrics.

use std::collections::BTreeMap;

use super::super::names::{ALL, Kind, Metric};
use super::Page;

static PLAIN: Metric = Metric { name: "laneway_plain", kind: Kind::Gauge, labels: &[], help: "Plain" };
static BY: Metric = Metric { name: "laneway_by_total", kind: Kind::Counter, labels: &["a", "b"], help: "By" };

#[test]
fn the_text_is_that_of_the_format() {
    let mut page = Page::default();
    page.single(&PLAIN, 1.5);
    page.family(&BY);
    page.sample(&BY, &["x", "say \"no\" \\ or\nyes"], 7);
    let expected = "# HELP laneway_plain Plain.\n# TYPE laneway_plain gauge\nlaneway_plain 1.5\n\
                    # HELP laneway_by_total By.\n# TYPE laneway_by_total counter\n\
                    laneway_by_total{a=\"x\",b=\"say \\\"no\\\" \\\\ or\\nyes\"} 7\n";
    assert_eq!(page.into_text(), expected);
}

/// `| name | kind | labels | meaning | how to misread it |`
#[test]
fn every_metric_is_documented_with_its_kind_and_labels_and_no_other_is() {
    let text = include_str!("../../../../docs/metrics.md");
    let (_, sidecar) = text.split_once("## The sidecar").expect("a chapter of the sidecar");
    let sidecar = sidecar.split("\n## ").next().unwrap_or_default();
    let mut documented = BTreeMap::new();
    for line in sidecar.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", name, kind, labels, meaning, misread, ""] = cells.as_slice()
            && let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'))
        {
            assert!(!meaning.is_empty() && !misread.is_empty(), "{name} has no meaning, or no way to misread it");
            documented.insert(name, (*kind, labels.replace('`', "")));
        }
    }
    let declared: BTreeMap<&str, (&str, String)> =
        ALL.iter().map(|metric| (metric.name, (metric.kind.label(), metric.labels.join(", ")))).collect();
    assert_eq!(documented, declared);
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    for metric in ALL {
        assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
        assert!(metric.name.starts_with("laneway_") || metric.name.starts_with("process_"), "{}", metric.name);
        assert!(!metric.help.ends_with('.') && !metric.help.contains('\n'), "{}", metric.name);
    }
}
