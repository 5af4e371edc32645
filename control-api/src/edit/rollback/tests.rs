//! What a rollback restores, and what it leaves as it is.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use laneway_core::compile::Objects;
use laneway_proto::admin::lane::Expiration;
use laneway_proto::admin::{Diagnostic, Lane, LaneGroup, ServicePolicy};
use laneway_proto::routing::PolicyRule;
use prost_types::Timestamp;

use super::{Edit, Past, edit};
use crate::json;

const GRAY: &str = "namespaces/default/laneGroups/shop/lanes/gray";
const GROUP: &str = "namespaces/default/laneGroups/shop";
const POLICY: &str = "namespaces/default/servicePolicies/b";
/// Seconds since 1970.
const NOW: u64 = 1_900_000_000;

fn lane(priority: i32, enabled: bool, ends_in: Option<i64>) -> Lane {
    let end = |ends_in| Expiration::ExpireTime(Timestamp { seconds: 1_900_000_000 + ends_in, nanos: 0 });
    Lane {
        name: GRAY.to_owned(),
        tag: "gray".to_owned(),
        priority,
        enabled: Some(enabled),
        expiration: ends_in.map(end),
        ..Lane::default()
    }
}

fn policy(enabled: bool, rules: usize) -> ServicePolicy {
    let rules = vec![PolicyRule::default(); rules];
    ServicePolicy { name: POLICY.to_owned(), enabled: Some(enabled), rules, ..ServicePolicy::default() }
}

fn restore(lanes: &[Lane], policies: &[ServicePolicy], past: Past) -> (Edit, Vec<Diagnostic>) {
    let mut current = Objects::default();
    current.lanes.extend(lanes.iter().map(|lane| (lane.name.clone(), lane.clone())));
    current.policies.extend(policies.iter().map(|policy| (policy.name.clone(), policy.clone())));
    edit(&current, &past, SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)).expect("it can be read")
}

fn past(name: &str, was: String, with_state: bool) -> Past {
    Past { objects: BTreeMap::from([(name.to_owned(), was)]), with_state }
}

/// The lane that comes of it, and how many notes.
fn restored(was: &Lane, current: Option<Lane>, with_state: bool) -> (Lane, usize) {
    let past = past(GRAY, json::of_input(was, "Lane").to_string(), with_state);
    let (edit, notes) = restore(current.as_slice(), &[], past);
    assert!(
        notes.iter().all(|note| note.resource == GRAY && note.help.contains("lanectl lane enable gray")),
        "{notes:?}"
    );
    (edit.lanes[0].clone(), notes.len())
}

#[test]
fn rules_come_back_and_switches_stay_as_they_are() {
    let was = lane(1, true, Some(-5));
    // Off now, and to end later: so it stays.
    assert_eq!(restored(&was, Some(lane(2, false, Some(9))), false), (lane(1, false, Some(9)), 0));
    assert_eq!(restored(&was, Some(lane(2, true, None)), false), (lane(1, true, None), 0));
    // Not there: dark, and that is told.
    assert_eq!(restored(&was, None, false), (lane(1, false, Some(-5)), 1));
    assert_eq!(restored(&lane(1, false, None), None, false), (lane(1, false, None), 0));
}

#[test]
fn with_state_switches_come_back_save_for_a_lane_whose_time_is_over() {
    let off = lane(2, false, Some(9));
    assert_eq!(restored(&lane(1, true, Some(5)), Some(off.clone()), true), (lane(1, true, Some(5)), 0));
    assert_eq!(restored(&lane(1, true, None), None, true), (lane(1, true, None), 0));
    assert_eq!(restored(&lane(1, true, Some(0)), Some(lane(2, true, None)), true), (lane(1, false, Some(0)), 1));
    assert_eq!(restored(&lane(1, false, Some(-5)), Some(off), true), (lane(1, false, Some(-5)), 0));
}

#[test]
fn policies_are_as_lanes_and_what_was_not_there_goes() {
    let was = json::of_input(&policy(true, 1), "ServicePolicy").to_string();
    for (current, with_state, enabled, notes) in [
        (Some(policy(false, 0)), false, false, 0),
        (Some(policy(true, 0)), false, true, 0),
        (Some(policy(false, 0)), true, true, 0),
        (None, false, false, 1),
        (None, true, true, 0),
    ] {
        let (edit, told) = restore(&[], current.as_slice(), past(POLICY, was.clone(), with_state));
        assert_eq!((edit.policies, told.len()), (vec![policy(enabled, 1)], notes), "{current:?} {with_state}");
    }
    let (edit, _) = restore(&[lane(1, true, None)], &[], past(GRAY, String::new(), false));
    assert_eq!((edit.deletes, edit.lanes), (vec![GRAY.to_owned()], vec![]));
    let (edit, _) = restore(&[], &[], past(GRAY, String::new(), false));
    assert_eq!(edit.deletes, Vec::<String>::new());
}

#[test]
fn a_group_comes_back_and_what_cannot_be_read_is_told_by_name() {
    let group = LaneGroup { name: GROUP.to_owned(), owner: "team".to_owned(), ..LaneGroup::default() };
    let (edit, _) = restore(&[], &[], past(GROUP, json::of_input(&group, "LaneGroup").to_string(), false));
    assert_eq!(edit.groups, [group]);
    let broken =
        super::edit(&Objects::default(), &past(GRAY, "{\"colour\":1}".to_owned(), false), SystemTime::UNIX_EPOCH);
    let problem = broken.expect_err("no such field");
    assert!(problem.contains(GRAY) && problem.contains("colour"), "{problem}");
}
