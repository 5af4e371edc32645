//! How often rules match, as a sidecar counts it.

use laneway_tests::conformance::names;
use laneway_tests::mesh::{Mesh, Plan};

const DRY: &str = "
kind: LaneGroup
name: shop
---
kind: Lane
name: gray
group: shop
dryRun: true
entry: {services: [a], rules: [{name: vip, match: {header: x-vip, present: true}}]}
";

#[test]
fn a_dry_run_is_counted_and_colours_nothing_until_it_is_one_no_more() {
    let mesh = Mesh::up(Plan::chain("rules", false, &[("a", &[""]), ("b", &["", "gray"])])).expect("the mesh comes up");
    let apply = |text: &str| {
        let documents = mesh.directory().join("rules.yaml");
        std::fs::write(&documents, text).expect("the documents are written");
        mesh.apply(&documents).expect("the documents are applied");
    };
    let call = |header: &str| {
        let url = format!("http://{}/a", mesh.socket("a-base").expect("a pod of the mesh"));
        names(mesh.curl(&["-H", "Host: sc-a", "-H", header, &url]).expect("curl runs").trim())
    };
    let counted = |lines: &[&str]| {
        let page = mesh.status_page("a-base", "metrics").expect("the metrics are read");
        let found: Vec<&str> = page.lines().filter(|line| line.starts_with("laneway_rule_matches_total{")).collect();
        let wanted: Vec<String> =
            lines.iter().map(|line| format!("laneway_rule_matches_total{{lane=\"gray\",rule=\"vip\",{line}")).collect();
        assert_eq!(found, wanted);
    };
    apply(DRY);
    counted(&[]);
    assert_eq!(call("x-vip: 1"), "A -> B", "a dry run colours nothing");
    assert_eq!(call("x-vip: 2"), "A -> B");
    assert_eq!(call("x-other: 1"), "A -> B");
    counted(&["mode=\"dry_run\"} 2"]);
    apply(&DRY.replace("dryRun: true", "dryRun: false"));
    assert_eq!(call("x-vip: 1"), "A -> Bgray");
    assert_eq!(call("x-other: 1"), "A -> B");
    counted(&["mode=\"enabled\"} 1", "mode=\"dry_run\"} 2"]);
}
