//! What becomes of a lane that is switched off by its guard, and of the reason.

use std::time::{Duration, SystemTime};

use laneway_proto::admin::lane::State;

use super::*;
use crate::edit::{Stamp, plan};

const GRAY: &str = "namespaces/default/laneGroups/default/lanes/gray";

/// Objects that are changed edit by edit.
#[derive(Default)]
struct World {
    objects: Objects,
    revision: i64,
}

impl World {
    fn edit(&mut self, edit: Edit) -> usize {
        self.revision += 1;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let stamp = Stamp { revision: self.revision, time };
        let plan = plan(&self.objects, edit, stamp, &mut || "uid".to_owned()).expect("a good edit");
        assert_eq!(plan.findings, []);
        self.objects = plan.objects;
        plan.changes.len()
    }

    fn apply(&mut self, lane: Lane) -> usize {
        self.edit(Edit { lanes: vec![Lane { name: GRAY.to_owned(), ..lane }], ..Edit::default() })
    }

    fn trip(&mut self) -> usize {
        let etag = self.lane().etag.clone();
        self.edit(trip(&self.objects, GRAY, &etag, "it failed"))
    }

    fn lane(&self) -> &Lane {
        &self.objects.lanes[GRAY]
    }

    fn seen(&self) -> (bool, State, &str) {
        let lane = self.lane();
        (lane.enabled.unwrap_or(true), lane.state(), &lane.tripped_reason)
    }
}

#[test]
fn a_tripped_lane_says_why_until_somebody_enables_it() {
    let mut world = World::default();
    world.apply(Lane::default());
    assert_eq!(world.trip(), 1);
    assert_eq!(world.seen(), (false, State::Tripped, "it failed"));
    assert_eq!(world.trip(), 0, "it is off");
    // A document that says nothing of it, or something else, does not bring it back.
    world.apply(Lane { priority: 7, tripped_reason: "forged".to_owned(), ..Lane::default() });
    assert_eq!(world.seen(), (false, State::Tripped, "it failed"));
    let lane = Lane { enabled: Some(true), ..world.lane().clone() };
    world.edit(Edit { lanes: vec![lane], cause: Cause::Enabled, ..Edit::default() });
    assert_eq!(world.seen(), (true, State::Unspecified, ""));
    world.apply(Lane { enabled: Some(false), ..Lane::default() });
    assert_eq!(world.seen(), (false, State::Unspecified, ""), "by hand");
}

#[test]
fn nobody_writes_the_reason() {
    let mut world = World::default();
    let forged = Lane { state: State::Tripped.into(), tripped_reason: "forged".to_owned(), ..Lane::default() };
    world.apply(forged.clone());
    assert_eq!(world.seen(), (true, State::Unspecified, ""));
    world.apply(Lane { enabled: Some(false), ..forged });
    assert_eq!(world.seen(), (false, State::Unspecified, ""));
}

#[test]
fn a_lane_that_was_changed_meanwhile_is_left_alone() {
    let mut world = World::default();
    world.apply(Lane::default());
    let judged = world.lane().etag.clone();
    world.apply(Lane { priority: 7, ..Lane::default() });
    assert_eq!(world.edit(trip(&world.objects, GRAY, &judged, "it failed")), 0);
    assert_eq!(world.seen(), (true, State::Unspecified, ""));
    assert_eq!(world.edit(trip(&world.objects, "namespaces/default/laneGroups/default/lanes/blue", "", "x")), 0);
}
