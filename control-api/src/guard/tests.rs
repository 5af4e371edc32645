//! Lanes that do worse are switched off once, by one replica, whatever store and election do. The time is virtual: nothing here waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use laneway_core::document::ServiceDocument;
use laneway_proto::admin::lane::State;
use laneway_proto::admin::{self, AuditEvent};
use laneway_proto::routing::Percent;
use laneway_proto::status::StatsView;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::clock::Clock;
use crate::edit::{Cause, Edit};
use crate::stats::{PACE_ALONE, PACE_WATCHED, View};
use crate::store::memory::{Disk, Memory};

const GRAY: &str = "namespaces/default/laneGroups/default/lanes/gray";
/// When these tests begin, in seconds since 1970.
const BEGIN: u64 = 1_900_000_000;

/// What was counted, by the second.
type Log = Arc<Mutex<Vec<(u64, Key, Cell)>>>;

/// A control plane on virtual time, to which the tests report.
struct World {
    disk: Arc<Disk>,
    reconciler: Reconciler,
    /// What runs: nothing, but it is told.
    _found: watch::Sender<Vec<ServiceDocument>>,
    stats: Stats,
    log: Log,
    deeds: Deeds,
}

impl World {
    async fn new() -> World {
        let begun = Instant::now();
        let clock = Clock::new(move || SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN) + begun.elapsed());
        let disk: Arc<Disk> = Arc::default();
        let reconciler = Reconciler::start(Box::new(Memory::on(&disk)), Vec::new(), clock.clone()).await;
        let reconciler = reconciler.expect("what was stored is read");
        let (found, discovered) = watch::channel(Vec::new());
        tokio::spawn(reconciler.clone().run(discovered));
        tokio::spawn(reconciler.clone().keep_audit());
        World {
            disk,
            reconciler,
            _found: found,
            stats: Stats::new(clock),
            log: Log::default(),
            deeds: Deeds::default(),
        }
    }

    fn run(&self, leader: Leader) -> JoinHandle<()> {
        let log = Arc::clone(&self.log);
        let observe: Observe = Box::new(move |selector, when| {
            let view = if selector.view() == StatsView::Servers { View::Servers } else { View::Callers };
            let log = Arc::clone(&log);
            Box::pin(async move {
                let log = log.lock().expect("nobody panicked");
                let found = log.iter().filter(|(second, key, _)| when.contains(second) && key.view == view);
                found.map(|(_, key, cell)| (key.clone(), cell.clone())).collect()
            })
        });
        let guard = Guard::new(self.reconciler.clone(), leader, self.stats.clone(), observe, self.deeds.clone());
        tokio::spawn(guard.run())
    }

    async fn write(&self, lane: Lane, cause: Cause) {
        let edit = Edit { lanes: vec![lane], cause, ..Edit::default() };
        self.reconciler.write(Request::default(), Box::new(move |_| Ok(edit.clone()))).await.expect("a good edit");
    }

    async fn apply(&self, action: GuardAction) {
        let guard = admin::Guard {
            max_error_rate_over_baseline: Some(Percent { basis_points: 200 }),
            action: action.into(),
            ..admin::Guard::default()
        };
        self.write(Lane { name: GRAY.to_owned(), guard: Some(guard), ..Lane::default() }, Cause::Written).await;
    }

    async fn enable(&self) {
        self.write(Lane { enabled: Some(true), ..self.lane() }, Cause::Enabled).await;
    }

    fn lane(&self) -> Lane {
        self.reconciler.state().objects.lanes[GRAY].clone()
    }

    fn is_on(&self) -> bool {
        self.lane().enabled.unwrap_or(true)
    }

    /// Traffic of so many seconds: 10 requests of the lane in each, of which so many fail, and 50 of baseline.
    async fn traffic(&self, seconds: u64, errors: u64) {
        for _ in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let key = |tag: &str| Key {
                view: View::Servers,
                source_service: "".into(),
                source_tag: "".into(),
                destination_service: "namespaces/default/services/a".into(),
                request_tag: tag.into(),
                endpoint_tag: tag.into(),
                lane_group: "namespaces/default/laneGroups/default".into(),
            };
            let second = self.stats.now() - 1;
            let mut log = self.log.lock().expect("nobody panicked");
            log.push((second, key("gray"), Cell { requests: 10, errors, ..Cell::default() }));
            log.push((second, key(""), Cell { requests: 50, ..Cell::default() }));
        }
    }

    /// Seconds of bad traffic until the lane is off; a day is too long.
    async fn tripped_after(&self) -> u64 {
        for seconds in 0..86_400 {
            if !self.is_on() {
                return seconds;
            }
            self.traffic(1, 10).await;
        }
        panic!("the lane is never switched off");
    }

    async fn events(&self) -> Vec<AuditEvent> {
        let mut events = self.reconciler.audit_events("", 100).await.expect("the store answers");
        events.retain(|event| event.principal == "laneway:guard");
        events
    }

    fn did(&self) -> [u64; 3] {
        self.deeds.counts().map(|(_, count)| count)
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_does_worse_is_switched_off_with_who_and_why() {
    let world = World::new().await;
    world.apply(GuardAction::Unspecified).await;
    let task = world.run(Leader::sole());
    world.traffic(300, 0).await;
    assert!(world.is_on(), "it did well");
    // Of 600 requests in a minute 12 may fail; one second of failures is 10.
    let seconds = world.tripped_after().await;
    assert!((1..=4).contains(&seconds), "after {seconds} s");
    let lane = world.lane();
    assert_eq!(lane.state(), State::Tripped);
    assert!(lane.tripped_reason.contains("error rate") && lane.tripped_reason.contains("at most 2 %"), "{lane:?}");
    world.traffic(120, 10).await;
    task.abort();

    let commits = world.disk.commits().clone();
    assert_eq!(commits.len(), 2, "once");
    let revision = &commits[1].revision;
    assert_eq!((revision.principal.as_str(), revision.method.as_str()), (PRINCIPAL, METHOD));
    assert_eq!(revision.reason, lane.tripped_reason);
    let [event] = world.events().await.try_into().expect("one event");
    assert_eq!((event.resource.as_str(), event.revision, event.status_code), (GRAY, revision.number, 0));
    assert_eq!(world.did(), [1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn whoever_enables_a_lane_again_gets_a_fresh_window() {
    let world = World::new().await;
    world.apply(GuardAction::Disable).await;
    let task = world.run(Leader::sole());
    world.traffic(60, 0).await;
    world.tripped_after().await;
    // It is mended: what was counted before is not held against it.
    world.enable().await;
    world.traffic(120, 0).await;
    assert!(world.is_on() && world.lane().tripped_reason.is_empty());
    // It was not: it goes off again when there is enough to judge by, and not before.
    world.tripped_after().await;
    world.enable().await;
    let seconds = world.tripped_after().await;
    assert!((10..=15).contains(&seconds), "100 requests are 10 s, it took {seconds} s");
    task.abort();
    assert_eq!(world.did(), [3, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_only_warns_says_so_once_in_a_window() {
    let world = World::new().await;
    world.apply(GuardAction::Warn).await;
    let task = world.run(Leader::sole());
    world.traffic(170, 10).await;
    assert!(world.is_on());
    let events = world.events().await;
    task.abort();
    assert_eq!((events.len(), world.did()), (3, [0, 3, 0]), "{events:#?}");
    let first = &events[0];
    assert!(first.status_message.starts_with("it only warns: error rate") && first.revision == 0, "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_does_it() {
    let world = World::new().await;
    world.apply(GuardAction::Disable).await;
    let (election, elected) = watch::channel(false);
    let task = world.run(Leader::follow(elected));
    world.traffic(120, 10).await;
    assert!(world.is_on());
    election.send_replace(true);
    assert!(world.tripped_after().await <= 2, "what the others counted before counts");
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_does_not_answer_is_not_waited_for_lane_by_lane() {
    const LANES: usize = 50;
    const SILENT: Duration = Duration::from_secs(3);
    let world = World::new().await;
    let guard = admin::Guard { max_p99_ratio: 2.0, ..admin::Guard::default() };
    let name = |number: usize| format!("namespaces/default/laneGroups/default/lanes/l{number}");
    let lane = |number| Lane { name: name(number), guard: Some(guard), ..Lane::default() };
    let edit = Edit { lanes: (0..LANES).map(lane).collect(), cause: Cause::Written, ..Edit::default() };
    world.reconciler.write(Request::default(), Box::new(move |_| Ok(edit.clone()))).await.expect("a good edit");
    // Until there is something to look at.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked: Arc<AtomicUsize> = Arc::default();
    let counts = Arc::clone(&asked);
    let observe: Observe = Box::new(move |_, _| {
        counts.fetch_add(1, Ordering::Relaxed);
        Box::pin(async {
            tokio::time::sleep(SILENT).await;
            Vec::new()
        })
    });
    let guard = Guard::new(world.reconciler.clone(), Leader::sole(), world.stats.clone(), observe, world.deeds.clone());
    let task = tokio::spawn(guard.run());
    tokio::time::sleep(SILENT + Duration::from_secs(1)).await;
    task.abort();
    assert_eq!(asked.load(Ordering::Relaxed), 2 * LANES, "both views of each");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_is_tried_again() {
    let world = World::new().await;
    world.apply(GuardAction::Disable).await;
    world.disk.failures.store(4, Ordering::Relaxed);
    let task = world.run(Leader::sole());
    // 12 s until there is enough to judge by, then 1, 2, 4 and 8 s.
    let seconds = world.tripped_after().await;
    task.abort();
    assert!((25..=32).contains(&seconds), "after {seconds} s");
    assert_eq!(world.did(), [1, 0, 4]);
}

#[tokio::test(start_paused = true)]
async fn sidecars_report_every_second_while_a_lane_is_guarded_whoever_leads() {
    let world = World::new().await;
    let task = world.run(Leader::follow(watch::channel(false).1));
    let mut reporter = world.stats.reporter("one");
    let mut settled = async || {
        tokio::time::sleep(Duration::from_secs(5)).await;
        reporter.pace()
    };
    assert_eq!(settled().await, PACE_ALONE);
    world.apply(GuardAction::Disable).await;
    assert_eq!(settled().await, PACE_WATCHED);
    world.write(Lane { enabled: Some(false), ..world.lane() }, Cause::Written).await;
    assert_eq!(settled().await, PACE_ALONE, "a lane that is off is not judged");
    task.abort();
}
