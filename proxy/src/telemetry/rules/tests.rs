//! What the scrape shows of rules, and its bound.

use super::{Page, RuleMatches, RuleMode, SERIES_MAX, render};

fn rendered(workers: &[RuleMatches]) -> Vec<String> {
    let mut page = Page::default();
    render(&mut page, workers.iter());
    page.into_text().lines().skip(2).map(str::to_owned).collect()
}

#[test]
fn matches_are_added_up_by_lane_rule_and_mode() {
    let workers = [RuleMatches::default(), RuleMatches::default()];
    let gray = "namespaces/default/laneGroups/shop/lanes/gray";
    for (worker, rule, mode) in [
        (0, "vip", RuleMode::Enabled),
        (1, "vip", RuleMode::Enabled),
        (0, "vip", RuleMode::DryRun),
        (1, "0", RuleMode::Enabled),
        (1, "0", RuleMode::Enabled),
    ] {
        workers[worker].matched(gray, rule, mode);
    }
    assert_eq!(
        rendered(&workers),
        [
            r#"laneway_rule_matches_total{lane="gray",rule="0",mode="enabled"} 2"#,
            r#"laneway_rule_matches_total{lane="gray",rule="vip",mode="enabled"} 2"#,
            r#"laneway_rule_matches_total{lane="gray",rule="vip",mode="dry_run"} 1"#,
        ]
    );
}

#[test]
fn the_table_is_bounded_and_what_was_counted_stays() {
    let worker = RuleMatches::default();
    for round in 1..=2 {
        for rule in 0..2 * SERIES_MAX {
            worker.matched("lanes/gray", &rule.to_string(), RuleMode::Enabled);
        }
        let lines = rendered(std::slice::from_ref(&worker));
        assert_eq!(lines.len(), SERIES_MAX + 1);
        assert!(
            lines.contains(&format!(r#"laneway_rule_matches_total{{lane="gray",rule="255",mode="enabled"}} {round}"#))
        );
        let other = SERIES_MAX * round;
        assert!(
            lines.contains(&format!(
                r#"laneway_rule_matches_total{{lane="other",rule="other",mode="enabled"}} {other}"#
            ))
        );
    }
}

#[test]
fn a_name_cannot_break_the_text() {
    let worker = RuleMatches::default();
    worker.matched("a\"b", "c\\\n", RuleMode::Enabled);
    let expected = r#"laneway_rule_matches_total{lane="a\"b",rule="c\\\n",mode="enabled"} 1"#;
    assert_eq!(rendered(std::slice::from_ref(&worker)), [expected]);
}
