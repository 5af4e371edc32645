//! What is told, and when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use laneway_core::snapshot::Identity;
use laneway_core::tag::Tag;
use laneway_proto::status::Proxy;

use super::{MISTAGGED_MAX, SILENT_AFTER, findings, mistagged};
use crate::discovery::standing::{Problems, Standing};
use crate::discovery::{PodTag, TagOf};
use crate::fleet::{Holding, Member};

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

/// A sidecar that was started with a tag.
struct Started(Option<Tag>);

impl Member for Started {
    fn identity(&self) -> Identity {
        Identity { namespace: "shop".to_owned(), service: "cart".to_owned(), tag: self.0 }
    }

    fn pod(&self) -> Option<&str> {
        Some("uid")
    }

    fn seen_revision(&self) -> i64 {
        0
    }

    fn holding(&self, _type_url: &str, _name: &str) -> Holding {
        Holding::default()
    }

    fn report(&self, _full: bool) -> Proxy {
        Proxy::default()
    }

    fn replaced(&self) {}
}

#[test]
fn a_sidecar_with_another_tag_than_its_pod_has_by_now_is_told_of() {
    let tag = |tag: &str| Tag::parse(tag.as_bytes()).expect("a tag");
    let connected = |pod: &str, started: Option<Tag>| -> (String, Arc<dyn Member>) {
        (format!("sidecar~10.0.0.1~{pod}.shop~"), Arc::new(Started(started)))
    };
    let (gray, blue) = (tag("gray"), tag("blue"));
    let tag_of: TagOf = Arc::new(move |namespace, pod, uid| match (namespace, pod, uid) {
        ("shop", "base", Some("uid")) => PodTag::Baseline,
        ("shop", "gray", Some("uid")) => PodTag::Of(gray),
        _ => PodTag::Unknown,
    });
    let told = |started: &[(&str, Option<Tag>)]| {
        let all: Vec<_> = started.iter().map(|(pod, tag)| connected(pod, *tag)).collect();
        mistagged(&all, &tag_of).into_iter().map(|finding| (finding.code, finding.message)).collect::<Vec<_>>()
    };
    assert!(told(&[("base", None), ("gray", Some(gray)), ("unknown", Some(gray))]).is_empty());
    for (pod, started, words) in [
        ("base", Some(gray), "pod shop/base is baseline by its labels, and its sidecar was started as gray"),
        ("gray", None, "pod shop/gray is gray by its labels, and its sidecar was started as baseline"),
        ("gray", Some(blue), "pod shop/gray is gray by its labels, and its sidecar was started as blue"),
    ] {
        let found = told(&[("base", None), (pod, started)]);
        assert!(found.len() == 1 && found[0].0 == "LANE0814" && found[0].1.starts_with(words), "{found:?}");
    }
    // One of a machine, or with an id of its own making, is no pod.
    let edge: Arc<dyn Member> = Arc::new(Started(Some(gray)));
    assert!(mistagged(&[("edge".to_owned(), edge)], &tag_of).is_empty());
    let many = vec![("base", Some(gray)); MISTAGGED_MAX + 3];
    let found = told(&many);
    assert!(found.len() == MISTAGGED_MAX + 1 && found[MISTAGGED_MAX].1.starts_with("3 more"), "{found:?}");
}
