//! When a lane ends, whatever way it was said, and what happens at that time.

use std::time::{Duration, SystemTime};

use laneway_core::compile::Objects;
use laneway_proto::admin::Lane;
use laneway_proto::admin::lane::{Expiration, State};
use prost_types::Timestamp;

use super::{expire_time, next, overdue};
use crate::edit::{Cause, Edit, EditError, Plan, Stamp, plan};

const GRAY: &str = "namespaces/default/laneGroups/default/lanes/gray";
const HOUR: u64 = 3600;

/// A control plane at hour 0, and its clock.
struct World {
    objects: Objects,
    seconds: u64,
    revision: i64,
}

impl World {
    fn new() -> World {
        World { objects: Objects::default(), seconds: 0, revision: 0 }
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.seconds)
    }

    fn edit(&mut self, edit: Edit) -> Result<Plan, EditError> {
        let stamp = Stamp { revision: self.revision + 1, time: self.now() };
        let plan = plan(&self.objects, edit, stamp, &mut || "uid".to_owned())?;
        if plan.findings.is_empty() {
            self.revision += 1;
            self.objects = plan.objects.clone();
        }
        Ok(plan)
    }

    /// Applies a lane; the hour at which it ends.
    fn apply(&mut self, enabled: Option<bool>, expiration: Option<Expiration>) -> Option<u64> {
        let plan = self.edit(written(enabled, expiration)).expect("a good edit");
        assert_eq!(plan.findings, []);
        self.end()
    }

    /// Applies a lane that is refused: code and field of the finding.
    fn refusal(&mut self, enabled: Option<bool>, expiration: Option<Expiration>) -> (String, String) {
        match self.edit(written(enabled, expiration)) {
            Ok(Plan { findings, .. }) if findings.len() == 1 => {
                assert!(!findings[0].help.is_empty());
                (findings[0].code.clone(), findings[0].field.clone())
            }
            other => panic!("{other:?}"),
        }
    }

    /// As EnableLane does.
    fn enable(&mut self, expiration: Option<Expiration>) -> Option<u64> {
        let lane = self.lane().clone();
        let lane = Lane { enabled: Some(true), expiration: expiration.or(lane.expiration), ..lane };
        self.edit(Edit { lanes: vec![lane], cause: Cause::Enabled, ..Edit::default() }).expect("a good edit");
        self.end()
    }

    fn expire(&mut self) -> Plan {
        let edit = overdue(&self.objects, self.now(), usize::MAX);
        self.edit(edit).expect("a lane can always end")
    }

    fn lane(&self) -> &Lane {
        &self.objects.lanes[GRAY]
    }

    fn end(&self) -> Option<u64> {
        let end = expire_time(self.lane())?;
        assert_eq!((end.nanos, end.seconds % HOUR as i64), (0, 0), "whole hours in these tests");
        Some(end.seconds.unsigned_abs() / HOUR)
    }
}

fn written(enabled: Option<bool>, expiration: Option<Expiration>) -> Edit {
    let lane = Lane { name: GRAY.to_owned(), enabled, expiration, ..Lane::default() };
    Edit { lanes: vec![lane], ..Edit::default() }
}

fn ttl(hours: u64) -> Option<Expiration> {
    Some(Expiration::Ttl(prost_types::Duration { seconds: (hours * HOUR) as i64, nanos: 0 }))
}

fn at(hour: u64) -> Option<Expiration> {
    Some(Expiration::ExpireTime(Timestamp { seconds: (hour * HOUR) as i64, nanos: 0 }))
}

#[test]
fn the_same_again_extends_nothing_and_another_ttl_counts_from_now() {
    let mut world = World::new();
    assert_eq!(world.apply(None, ttl(48)), Some(48));
    world.seconds = 40 * HOUR;
    let again = world.edit(written(None, ttl(48))).expect("a good edit");
    assert!(again.changes.is_empty());
    assert_eq!(world.end(), Some(48));
    assert_eq!(world.apply(None, ttl(1)), Some(41));
    assert_eq!(world.apply(None, ttl(48)), Some(88));
    assert_eq!(world.apply(None, None), None, "a file without a ttl has none");
    assert_eq!(world.lane().given_ttl, None);
    assert_eq!(next(&world.objects), None);
    // An old lane that is given one has all of it before it.
    assert_eq!(world.apply(None, ttl(2)), Some(42));
}

#[test]
fn what_was_read_can_be_applied_again_without_losing_the_ttl() {
    let mut world = World::new();
    world.apply(None, ttl(48));
    world.seconds = HOUR;
    let again = world.edit(written(Some(true), at(48))).expect("a good edit");
    assert!(again.changes.is_empty());
    world.apply(Some(false), at(48));
    assert!(world.lane().given_ttl.is_some());
    assert_eq!(world.apply(None, at(50)), Some(50));
    assert!(world.lane().given_ttl.is_none());
}

#[test]
fn enabling_counts_a_ttl_anew_and_leaves_a_moment_alone() {
    let mut world = World::new();
    assert_eq!(world.apply(Some(false), ttl(48)), Some(48));
    world.seconds = 10 * HOUR;
    assert_eq!(world.apply(Some(true), ttl(48)), Some(58), "by a file");
    world.seconds = 11 * HOUR;
    assert_eq!(world.enable(ttl(48)), Some(59), "though it is enabled, and the ttl the same");
    assert_eq!(world.enable(at(70)), Some(70));
    world.apply(Some(false), at(70));
    assert_eq!(world.enable(None), Some(70));
}

#[test]
fn a_lane_whose_time_is_over_is_disabled_and_remembered_as_expired() {
    let mut world = World::new();
    world.apply(None, ttl(48));
    assert_eq!(next(&world.objects), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(48 * HOUR)));
    world.seconds = 48 * HOUR - 1;
    assert!(overdue(&world.objects, world.now(), usize::MAX).lanes.is_empty());
    world.seconds += 1;
    let plan = world.expire();
    assert!(plan.switched && plan.changes[0].changed_paths == ["enabled"], "{:?}", plan.changes);
    assert_eq!((world.lane().enabled, world.lane().state()), (Some(false), State::Expired));
    assert!(next(&world.objects).is_none() && overdue(&world.objects, world.now(), usize::MAX).lanes.is_empty());

    // It stays so, whatever a file says but `enabled: true`; another ttl waits for that.
    let again = world.edit(written(None, ttl(48))).expect("a good edit");
    assert!(again.changes.is_empty());
    world.apply(None, ttl(72));
    assert_eq!((world.lane().enabled, world.lane().state()), (Some(false), State::Expired));
    world.seconds = 100 * HOUR;
    assert_eq!(world.apply(Some(true), ttl(72)), Some(172));
    assert_eq!(world.lane().state(), State::Unspecified);
    // By hand is not expired.
    world.apply(Some(false), ttl(72));
    assert_eq!(world.lane().state(), State::Unspecified);
}

#[test]
fn a_time_that_is_over_is_refused_for_a_lane_that_would_run() {
    let mut world = World::new();
    world.seconds = 10 * HOUR;
    let over = |field: &str| ("LANE0806".to_owned(), field.to_owned());
    assert_eq!(world.refusal(None, at(10)), over("expireTime"));
    assert_eq!(world.apply(Some(false), at(9)), Some(9));
    assert_eq!(world.refusal(Some(true), at(9)), over("expireTime"));
    assert_eq!(world.apply(Some(true), at(11)), Some(11));
    assert_eq!(world.refusal(None, at(8)), over("expireTime"));
    // Over, and not disabled yet: that is no reason to refuse something else.
    world.seconds = 12 * HOUR;
    let described =
        Edit { lanes: vec![Lane { description: "x".to_owned(), ..world.lane().clone() }], ..Edit::default() };
    assert_eq!(world.edit(described).expect("a good edit").changes[0].changed_paths, ["description"]);
}

#[test]
fn a_ttl_out_of_range_is_refused_before_it_is_counted() {
    let mut world = World::new();
    let refused = ("LANE0118".to_owned(), "ttl".to_owned());
    for (seconds, nanos) in [(59, 999_999_999), (-1, 0), (365 * 86_400, 1), (i64::MAX, i32::MAX), (i64::MIN, 0)] {
        let ttl = Some(Expiration::Ttl(prost_types::Duration { seconds, nanos }));
        assert_eq!(world.refusal(None, ttl), refused, "{seconds} s {nanos} ns");
    }
    let never = Some(Expiration::ExpireTime(Timestamp { seconds: i64::MAX, nanos: -1 }));
    assert_eq!(world.refusal(None, never), ("LANE0118".to_owned(), "expireTime".to_owned()));
    assert_eq!(world.apply(None, ttl(365 * 24)), Some(365 * 24));
}

#[test]
fn nobody_gets_less_than_was_said() {
    let mut world = World::new();
    let at = |nanos: u64| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
    for (now, nanos, end) in [(0, 0, 60), (1, 0, 61), (999_999_999, 1, 61), (999_999_999, 2, 62)] {
        world.objects = Objects::default();
        let ttl = Expiration::Ttl(prost_types::Duration { seconds: 60, nanos });
        let stamp = Stamp { revision: 1, time: at(now) };
        let plan = plan(&world.objects, written(None, Some(ttl)), stamp, &mut String::new).expect("a good edit");
        let found = expire_time(&plan.objects.lanes[GRAY]).expect("it ends");
        assert_eq!((found.seconds, found.nanos), (end, 0), "{now} + 60 s {nanos} ns");
    }
}
