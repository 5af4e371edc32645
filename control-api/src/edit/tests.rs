//! What an edit makes of what is there.

use std::time::{Duration, SystemTime};

use laneway_core::check::check;
use laneway_core::compile::{Catalog, Objects};
use laneway_proto::admin::diagnostic::Severity;
use laneway_proto::admin::{Fallback, Lane, LaneGroup, ServicePolicy, lane, resource_change};

use super::{Cause, Edit, EditError, Plan, Stamp, join, plan, restore};

const GRAY: &str = "namespaces/default/laneGroups/shop/lanes/gray";

fn group() -> LaneGroup {
    LaneGroup { name: "namespaces/default/laneGroups/shop".to_owned(), ..LaneGroup::default() }
}

fn lane() -> Lane {
    Lane { name: GRAY.to_owned(), ..Lane::default() }
}

fn make(objects: &Objects, revision: i64, edit: Edit) -> Result<Plan, EditError> {
    let stamp = Stamp { revision, time: SystemTime::UNIX_EPOCH + Duration::from_secs(revision.unsigned_abs()) };
    let mut count = 0;
    plan(objects, edit, stamp, &mut || {
        count += 1;
        format!("uid{revision}.{count}")
    })
}

/// The group and the lane are there.
fn shop() -> Objects {
    let edit = Edit { groups: vec![group()], lanes: vec![lane()], ..Edit::default() };
    make(&Objects::default(), 1, edit).expect("a good edit").objects
}

fn refusal(objects: &Objects, edit: Edit) -> (String, String) {
    let findings = make(objects, 9, edit).expect("nothing is stale or missing").findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    (findings[0].code.clone(), findings[0].field.clone())
}

#[test]
fn a_new_lane_gets_its_defaults_and_what_the_server_writes() {
    let objects = shop();
    let lane = &objects.lanes[GRAY];
    assert_eq!((lane.tag.as_str(), lane.enabled, lane.revision), ("gray", Some(true), 1));
    assert!(!lane.uid.is_empty() && !lane.etag.is_empty() && lane.create_time.is_some());
}

#[test]
fn the_same_again_changes_nothing_and_an_unset_switch_stays() {
    let objects = shop();
    let again = make(&objects, 2, Edit { lanes: vec![lane()], ..Edit::default() }).expect("a good edit");
    assert!(again.changes.is_empty() && again.puts.is_empty());

    let off = Lane { enabled: Some(false), ..objects.lanes[GRAY].clone() };
    let off = make(&objects, 2, Edit { lanes: vec![off], ..Edit::default() }).expect("a good edit");
    assert!(off.switched);
    assert_eq!(off.changes[0].changed_paths, ["enabled"]);
    let described = Lane { description: "x".to_owned(), ..lane() };
    let later = make(&off.objects, 3, Edit { lanes: vec![described], ..Edit::default() }).expect("a good edit");
    let lane = &later.objects.lanes[GRAY];
    assert_eq!(lane.enabled, Some(false), "a file that does not speak of it undid a kill switch");
    assert_eq!((lane.uid.as_str(), lane.revision), (objects.lanes[GRAY].uid.as_str(), 3));
    assert!(!later.switched);
}

#[test]
fn what_cannot_be_is_refused_by_field() {
    let objects = shop();
    let with = |lanes: Vec<Lane>| Edit { lanes, ..Edit::default() };
    let check = |edit: Edit, code: &str, field: &str| {
        assert_eq!(refusal(&objects, edit), (code.to_owned(), field.to_owned()));
    };
    check(with(vec![Lane { name: "gray".to_owned(), ..Lane::default() }]), "LANE0801", "name");
    check(with(vec![Lane { name: GRAY.replace("gray", "with_underscore"), ..Lane::default() }]), "LANE0801", "name");
    check(with(vec![lane(), lane()]), "LANE0802", "name");
    check(with(vec![Lane { tag: "other".to_owned(), ..lane() }]), "LANE0803", "tag");
    check(with(vec![Lane { name: GRAY.replace("shop", "nowhere"), ..Lane::default() }]), "LANE0804", "group");
}

#[test]
fn a_lane_that_lost_its_group_stands_in_nobodys_way() {
    let objects = shop();
    let group_goes = |cause| Edit { deletes: vec![group().name], cause, ..Edit::default() };
    assert_eq!(refusal(&objects, group_goes(Cause::Written)), ("LANE0804".to_owned(), "group".to_owned()));
    // Somebody has deleted it in the cluster: nobody can refuse that any more.
    let gone = make(&objects, 2, group_goes(Cause::Gone)).expect("it is there");
    assert_eq!((gone.findings.len(), gone.deletes.len()), (0, 1), "{:?}", gone.findings);
    let second = Lane { name: GRAY.replace("gray", "blue"), ..Lane::default() };
    assert_eq!(refusal(&gone.objects, Edit { lanes: vec![second], ..Edit::default() }).0, "LANE0804", "a new one");
    // Its own switch works, as those of others do; it can go; and the group can come again.
    let off = Lane { enabled: Some(false), ..gone.objects.lanes[GRAY].clone() };
    let elsewhere = Lane { name: "namespaces/other/laneGroups/default/lanes/gray".to_owned(), ..Lane::default() };
    let lanes = Edit { lanes: vec![off, elsewhere], ..Edit::default() };
    let goes = Edit { deletes: vec![GRAY.to_owned()], ..Edit::default() };
    for edit in [lanes, goes, Edit { groups: vec![group()], ..Edit::default() }] {
        let plan = make(&gone.objects, 3, edit).expect("a good edit");
        assert!(plan.findings.is_empty() && !plan.changes.is_empty(), "{:?}", plan.findings);
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_nothing_twice() {
    let lanes = vec![
        // Findings of both sorts in one object.
        Lane { tag: "other".to_owned(), fallback: chain(&["gray", "gray"]), ..lane() },
        Lane { name: GRAY.replace("gray", "with_underscore"), fallback: chain(&["x", "x"]), ..Lane::default() },
        Lane { name: GRAY.replace("shop", "nowhere"), ..Lane::default() },
        Lane { name: GRAY.replace("gray", "short"), expiration: Some(seconds(1)), ..Lane::default() },
        Lane { name: GRAY.replace("gray", "bad"), fallback: chain(&["x", "x"]), ..Lane::default() },
    ];
    let planned = make(&shop(), 9, Edit { lanes, ..Edit::default() }).expect("nothing is stale or missing");
    let findings = join(&planned.findings, check(&planned.objects, &Catalog::default()));
    let mut errors: Vec<(&str, &str, &str)> = findings
        .iter()
        .filter(|finding| finding.severity() == Severity::Error)
        .map(|finding| (crate::name::id(&finding.resource), finding.field.as_str(), finding.code.as_str()))
        .collect();
    errors.sort_unstable();
    assert_eq!(
        errors,
        [
            ("bad", "fallback.chain[1]", "LANE0115"),
            ("gray", "fallback.chain[1]", "LANE0115"),
            ("gray", "group", "LANE0804"),
            ("gray", "tag", "LANE0803"),
            ("short", "ttl", "LANE0118"),
            ("with_underscore", "fallback.chain[1]", "LANE0115"),
            ("with_underscore", "name", "LANE0801"),
        ]
    );
}

fn chain(tags: &[&str]) -> Option<Fallback> {
    Some(Fallback { chain: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..Fallback::default() })
}

fn seconds(seconds: i64) -> lane::Expiration {
    lane::Expiration::Ttl(prost_types::Duration { seconds, nanos: 0 })
}

#[test]
fn a_stale_etag_is_told() {
    let objects = shop();
    let stale = Lane { etag: "0".to_owned(), ..lane() };
    let outcome = make(&objects, 2, Edit { lanes: vec![stale], ..Edit::default() });
    assert!(matches!(outcome, Err(EditError::Stale { .. })));
    let current = Lane { etag: objects.lanes[GRAY].etag.clone(), dry_run: true, ..lane() };
    assert!(make(&objects, 2, Edit { lanes: vec![current], ..Edit::default() }).is_ok());
}

#[test]
fn pruning_takes_what_is_not_in_the_bundle_and_keeps_the_groups_of_its_lanes() {
    let mut objects = shop();
    let policy = ServicePolicy { name: "namespaces/default/servicePolicies/b".to_owned(), ..ServicePolicy::default() };
    let elsewhere = ServicePolicy { name: "namespaces/other/servicePolicies/b".to_owned(), ..ServicePolicy::default() };
    let edit = Edit { policies: vec![policy, elsewhere], ..Edit::default() };
    objects = make(&objects, 2, edit).expect("a good edit").objects;
    let prune = |lanes: Vec<Lane>, parent: &str| {
        let edit = Edit { lanes, prune_parent: Some(parent.to_owned()), ..Edit::default() };
        let plan = make(&objects, 3, edit).expect("a good edit");
        plan.changes
            .iter()
            .inspect(|change| assert_eq!(change.kind(), resource_change::Kind::Deleted))
            .map(|change| change.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(prune(vec![lane()], "namespaces/default"), ["namespaces/default/servicePolicies/b"]);
    assert_eq!(prune(vec![], "namespaces/default/laneGroups/shop"), ["namespaces/default/laneGroups/shop", GRAY]);
}

#[test]
fn what_is_stored_is_read_back() {
    let edit = Edit { groups: vec![group()], lanes: vec![lane()], ..Edit::default() };
    let plan = make(&Objects::default(), 1, edit).expect("a good edit");
    let back = restore(&plan.puts).expect("what was encoded decodes");
    assert_eq!((back.groups, back.lanes), (plan.objects.groups, plan.objects.lanes));
}
