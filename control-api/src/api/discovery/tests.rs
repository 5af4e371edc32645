//! What is told, and when.

use std::time::{Duration, Instant};

use super::{SILENT_AFTER, findings};
use crate::discovery::standing::{Problems, Standing};

fn shown(standing: &Standing, now: Instant) -> Vec<String> {
    let words = |finding: &super::Diagnostic| format!("{} {} {}", finding.code, finding.resource, finding.field);
    findings(standing, now).iter().map(words).collect()
}

#[test]
fn a_watch_that_is_not_heard_for_long_is_a_finding_until_it_is_heard() {
    let begun = Instant::now();
    let standing = Standing::default();
    let (pods, _services) = (standing.ear("pods", begun), standing.ear("services", begun + Duration::from_secs(60)));
    let long = begun + SILENT_AFTER;
    assert_eq!(shown(&standing, long - Duration::from_secs(1)), [] as [&str; 0]);
    assert_eq!(shown(&standing, long), ["LANE0811 discovery pods"]);
    assert!(findings(&standing, long)[0].message.contains("200 s"));
    pods.heard(long);
    assert_eq!(shown(&standing, long), [] as [&str; 0]);
}

#[test]
fn what_is_wrong_in_the_cluster_is_told_and_the_rest_is_counted() {
    let (standing, now) = (Standing::default(), Instant::now());
    standing.find(Problems { told: vec!["pod shop/odd is nobody's instance".to_owned()], untold: 7 });
    assert_eq!(shown(&standing, now), ["LANE0812 discovery found"; 2]);
    assert!(findings(&standing, now)[1].message.starts_with("7 more"));
    standing.find(Problems::default());
    assert_eq!(shown(&standing, now), [] as [&str; 0]);
}
