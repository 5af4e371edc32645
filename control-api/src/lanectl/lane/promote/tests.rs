//! Plans: what is to be done, and what stands in the way.

use laneway_proto::admin::{Fallback, Lane, LaneGroup, ServiceCoverage, ServicePolicy};
use laneway_proto::routing::{PolicyRule, WeightedTag};

use super::plan;

const GROUP: &str = "namespaces/default/laneGroups/shop";

fn lane(coverage: &[(&str, u32, u32, u32)]) -> Lane {
    let coverage = coverage.iter().map(|(service, ready, total, baseline)| ServiceCoverage {
        service: laneway_core::name::service("default", service),
        ready_endpoints: *ready,
        total_endpoints: *total,
        baseline_ready_endpoints: *baseline,
    });
    Lane {
        name: format!("{GROUP}/lanes/gray"),
        tag: "gray".to_owned(),
        coverage: coverage.collect(),
        ..Lane::default()
    }
}

#[test]
fn every_service_of_the_lane_is_rolled_out_in_the_size_of_its_baseline() {
    let plan = plan(&lane(&[("a", 1, 1, 3), ("b", 0, 0, 2), ("c", 2, 2, 0)]), &[], &[], &[]);
    assert_eq!(plan.obstacles, Vec::<String>::new());
    let marks: Vec<_> = plan.services.iter().map(|service| (service.mark, service.id.as_str())).collect();
    assert_eq!(marks, [("✓", "a"), ("-", "b"), ("!", "c")]);
    let told = plan.steps.join("\n");
    assert!(told.contains("version of a as baseline: 3 instances"), "{told}");
    assert!(told.contains("version of c as baseline: 1 instance ") && !told.contains("version of b"), "{told}");
    assert!(plan.steps.last().is_some_and(|step| step.ends_with("lanectl lane close gray")), "{told}");
}

#[test]
fn what_is_not_ready_or_not_there_stands_in_the_way() {
    let half = plan(&lane(&[("a", 1, 3, 3)]), &[], &[], &[]);
    assert!(half.obstacles[0].starts_with("a: 2 instances of the lane not ready"), "{half:?}");
    let none = plan(&lane(&[("a", 0, 0, 3)]), &[], &[], &[]);
    assert!(none.obstacles[0].contains("nothing to promote"), "{none:?}");
}

#[test]
fn whoever_names_the_tag_is_named() {
    let chain = |chain: &[&str]| {
        Some(Fallback { chain: chain.iter().map(|tag| (*tag).to_owned()).collect(), ..Fallback::default() })
    };
    let groups = [LaneGroup { name: GROUP.to_owned(), fallback: chain(&["gray"]), ..LaneGroup::default() }];
    let lanes = [
        Lane { name: format!("{GROUP}/lanes/gray"), ..Lane::default() },
        Lane { name: format!("{GROUP}/lanes/blue"), fallback: chain(&["gray", "baseline"]), ..Lane::default() },
        Lane { name: format!("{GROUP}/lanes/red"), fallback: chain(&["baseline"]), ..Lane::default() },
    ];
    let rule = |tag: &str| PolicyRule {
        to: vec![WeightedTag { tag: tag.to_owned(), ..WeightedTag::default() }],
        ..PolicyRule::default()
    };
    let policies = [ServicePolicy {
        name: "namespaces/default/servicePolicies/b".to_owned(),
        rules: vec![rule("baseline"), rule("gray")],
        ..ServicePolicy::default()
    }];
    let told = plan(&lane(&[("a", 1, 1, 1)]), &groups, &lanes, &policies).steps.join("\n");
    assert!(told.contains("policy b, rules[1] sends requests to gray"), "{told}");
    assert!(told.contains("group shop falls back") && told.contains("lane blue falls back"), "{told}");
    assert!(!told.contains("lane red") && !told.contains("rules[0]"), "{told}");
}
