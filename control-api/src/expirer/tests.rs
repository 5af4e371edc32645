//! Lanes end on time, whatever the store, the clock and the election do. The time is virtual: nothing here waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use laneway_proto::admin::Lane;
use laneway_proto::admin::lane::{Expiration, State};
use prost_types::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Expirer, LOOK_EVERY};
use crate::clock::Clock;
use crate::edit::Edit;
use crate::leader::Leader;
use crate::reconcile::{Reconciler, Request};
use crate::store::Commit;
use crate::store::memory::{Disk, Memory};

const GRAY: &str = "namespaces/default/laneGroups/default/lanes/gray";
/// When these tests begin, in seconds since 1970.
const BEGIN: i64 = 1_900_000_000;

/// A control plane on virtual time, whose wall clock can be set.
struct World {
    disk: Arc<Disk>,
    reconciler: Reconciler,
    /// Seconds that the wall clock is wrong by.
    jump: Arc<AtomicI64>,
    begun: Instant,
}

impl World {
    async fn new() -> World {
        World::on(Arc::default()).await
    }

    async fn on(disk: Arc<Disk>) -> World {
        let (jump, begun) = (Arc::new(AtomicI64::new(0)), Instant::now());
        let own = Arc::clone(&jump);
        let clock = Clock::new(move || {
            let seconds = BEGIN + own.load(Ordering::Relaxed);
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs()) + begun.elapsed()
        });
        let reconciler = Reconciler::start(Box::new(Memory::on(&disk)), Vec::new(), clock).await;
        World { disk, reconciler: reconciler.expect("what was stored is read"), jump, begun }
    }

    /// Applies a lane that ends so many seconds after the beginning.
    async fn apply(&self, name: &str, seconds: i64) {
        let end = Timestamp { seconds: BEGIN + seconds, nanos: 0 };
        let expiration = Some(Expiration::ExpireTime(end));
        let lane = Lane { name: name.to_owned(), expiration, ..Lane::default() };
        let edit = Edit { lanes: vec![lane], ..Edit::default() };
        self.reconciler.write(Request::default(), Box::new(move |_| Ok(edit.clone()))).await.expect("a good edit");
    }

    fn run(&self, leader: Leader) -> tokio::task::JoinHandle<()> {
        tokio::spawn(Expirer::new(self.reconciler.clone(), leader).run())
    }

    fn state(&self, name: &str) -> State {
        self.reconciler.state().objects.lanes[name].state()
    }

    /// Waits for a lane to expire: how long that took since the beginning. Panics after a day.
    async fn expired(&self, name: &str) -> Duration {
        while self.state(name) != State::Expired {
            assert!(self.begun.elapsed() < Duration::from_secs(86_400), "{name} never ends");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.begun.elapsed()
    }

    fn commits(&self) -> Vec<Commit> {
        self.disk.commits().clone()
    }
}

/// On time, or as much later as is said.
fn assert_after(elapsed: Duration, seconds: u64, late_max: Duration) {
    let due = Duration::from_secs(seconds);
    let slack = Duration::from_millis(50);
    assert!(elapsed >= due && elapsed <= due + late_max + slack, "{elapsed:?}, due at {due:?}");
}

#[tokio::test(start_paused = true)]
async fn lanes_end_on_time_with_a_revision_that_says_who_and_why() {
    let world = World::new().await;
    let blue = GRAY.replace("gray", "blue");
    world.apply(GRAY, 90).await;
    world.apply(&blue, 3000).await;
    let task = world.run(Leader::sole());
    assert_after(world.expired(GRAY).await, 90, Duration::ZERO);
    assert_eq!(world.reconciler.state().objects.lanes[&blue].enabled, Some(true));
    assert_after(world.expired(&blue).await, 3000, Duration::ZERO);
    task.abort();

    let commits = world.commits();
    assert_eq!(commits.len(), 4);
    let last = &commits[2].revision;
    assert_eq!((last.principal.as_str(), last.number), ("laneway:expiry", 3));
    assert!(last.method.ends_with("/DisableLane") && last.reason.contains("ttl"), "{last:?}");
    assert!(last.changes.contains(GRAY) && last.changes.contains("\"enabled\""), "{}", last.changes);
}

#[tokio::test(start_paused = true)]
async fn lanes_that_end_together_end_one_by_one_where_the_store_takes_no_more() {
    let world = World::new().await;
    let names: Vec<String> = (0..3).map(|at| GRAY.replace("gray", &format!("gray{at}"))).collect();
    for name in &names {
        world.apply(name, 90).await;
    }
    // Of one of them, with what was there before or not.
    let largest = world.commits().iter().map(|own| own.revision.bytes() + own.puts[0].body.len()).max();
    world.disk.room_bytes.store(largest.expect("there are three"), Ordering::Relaxed);
    let task = world.run(Leader::sole());
    for name in &names {
        assert_after(world.expired(name).await, 90, Duration::ZERO);
    }
    task.abort();
    assert_eq!(world.commits().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_is_given_more_time_lives_on() {
    let world = World::new().await;
    world.apply(GRAY, 90).await;
    let task = world.run(Leader::sole());
    tokio::time::sleep(Duration::from_secs(80)).await;
    world.apply(GRAY, 500).await;
    assert_after(world.expired(GRAY).await, 500, Duration::ZERO);
    task.abort();
    assert_eq!(world.commits().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_is_noticed() {
    let world = World::new().await;
    world.apply(GRAY, 36_000).await;
    let task = world.run(Leader::sole());
    tokio::time::sleep(Duration::from_secs(10)).await;
    // Back: it ends later. Forward: it ends at the next look.
    world.jump.store(-3600, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(36_000)).await;
    assert_eq!(world.state(GRAY), State::Unspecified);
    world.jump.store(0, Ordering::Relaxed);
    assert_after(world.expired(GRAY).await, 36_010, LOOK_EVERY);
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn what_ended_while_nobody_looked_ends_at_the_start() {
    let disk: Arc<Disk> = Arc::default();
    World::on(Arc::clone(&disk)).await.apply(GRAY, 60).await;
    let world = World::on(Arc::clone(&disk)).await;
    world.jump.store(1000, Ordering::Relaxed);
    let (_found, discovered) = watch::channel(Vec::new());
    let reconciling = tokio::spawn(world.reconciler.clone().run(discovered));
    Expirer::new(world.reconciler.clone(), Leader::sole()).catch_up().await;
    assert_eq!(world.state(GRAY), State::Expired);
    assert_eq!(world.reconciler.published().borrow().revision, 2, "sidecars would be sent what was");
    reconciling.abort();
    // And is remembered.
    assert_eq!(World::on(disk).await.state(GRAY), State::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_is_tried_again_at_growing_distances() {
    let world = World::new().await;
    world.apply(GRAY, 60).await;
    world.disk.failures.store(5, Ordering::Relaxed);
    let task = world.run(Leader::sole());
    // 100 ms, doubled each time: 3.1 s after five failures.
    let elapsed = world.expired(GRAY).await;
    assert!(elapsed >= Duration::from_millis(63_100), "{elapsed:?}: no back-off");
    assert_after(elapsed, 63, Duration::from_millis(150));
    // For very long: never further apart than the longest sleep.
    world.apply(&GRAY.replace("gray", "blue"), 100).await;
    world.disk.failures.store(40, Ordering::Relaxed);
    let elapsed = world.expired(&GRAY.replace("gray", "blue")).await;
    assert_after(elapsed, 100, LOOK_EVERY * 40);
    assert!(elapsed > LOOK_EVERY * 30, "{elapsed:?}: no back-off");
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn whoever_loses_a_race_for_the_store_tries_again_at_once() {
    let world = World::new().await;
    world.apply(GRAY, 60).await;
    world.disk.conflicts.store(1, Ordering::Relaxed);
    let task = world.run(Leader::sole());
    assert_after(world.expired(GRAY).await, 60, Duration::from_millis(100));
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_does_it() {
    let world = World::new().await;
    world.apply(GRAY, 60).await;
    let (election, elected) = watch::channel(false);
    let task = world.run(Leader::follow(elected));
    tokio::time::sleep(Duration::from_secs(500)).await;
    assert_eq!(world.state(GRAY), State::Unspecified);
    election.send_replace(true);
    assert_after(world.expired(GRAY).await, 500, Duration::from_millis(10));
    task.abort();
}
