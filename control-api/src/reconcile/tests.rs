//! Several replicas on one store: what one commits the others have, and no race loses a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use laneway_proto::admin::{Lane, LaneGroup};
use tokio::sync::watch;

use super::{ATTEMPTS_MAX, Outcome, Reconciler, Request, WriteError, adopt};
use crate::clock::Clock;
use crate::edit::{Cause, Edit};
use crate::store::memory::{Disk, Memory};
use crate::store::sqlite::Sqlite;
use crate::store::{AuditRecord, Capability, Commit, Follow, Pending, Revision, Store, StoreError, Stored};
use crate::tests::{Folder, until};

fn lane_name(id: &str) -> String {
    format!("namespaces/default/laneGroups/default/lanes/{id}")
}

fn lane(id: &str, enabled: Option<bool>) -> Lane {
    Lane { name: lane_name(id), enabled, ..Lane::default() }
}

async fn replica(disk: &Arc<Disk>) -> Reconciler {
    on(Box::new(Memory::on(disk))).await
}

async fn on(store: Box<dyn Store>) -> Reconciler {
    Reconciler::start(store, Vec::new(), Clock::system()).await.expect("what was stored is read")
}

/// A replica that adopts and publishes until the handle is dropped.
async fn live(disk: &Arc<Disk>) -> (Reconciler, impl Drop) {
    struct Ends(Vec<tokio::task::JoinHandle<()>>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.iter().for_each(tokio::task::JoinHandle::abort);
        }
    }
    let own = replica(disk).await;
    let (keep, discovered) = watch::channel(Vec::new());
    let following = own.clone().follow();
    let running = own.clone().run(discovered);
    let both = tokio::spawn(async move {
        let _keep = keep;
        tokio::join!(following, running);
    });
    (own, Ends(vec![both]))
}

async fn write(own: &Reconciler, lanes: Vec<Lane>) -> Result<Outcome, WriteError> {
    let edit = Edit { lanes, ..Edit::default() };
    own.write(Request::default(), Box::new(move |_| Ok(edit.clone()))).await
}

#[tokio::test]
async fn what_one_replica_commits_another_has_and_publishes() {
    let disk: Arc<Disk> = Arc::default();
    let one = replica(&disk).await;
    let (two, _ends) = live(&disk).await;
    write(&one, vec![lane("gray", None), lane("blue", None)]).await.expect("a good edit");
    write(&one, vec![lane("gray", Some(false))]).await.expect("a good edit");
    let published = two.published();
    until("it is published", || published.borrow().revision == 2).await;
    assert_eq!(*two.state().objects, *one.state().objects);
    assert_eq!(two.state().objects.lanes[&lane_name("gray")].enabled, Some(false));
    // And the other way round, with what is gone.
    let gone = Edit { deletes: vec![lane_name("gray")], ..Edit::default() };
    two.write(Request::default(), Box::new(move |_| Ok(gone.clone()))).await.expect("it is there");
    let outcome = write(&one, vec![lane("green", None)]).await.expect("planned anew");
    assert_eq!(outcome.revision, 4);
    assert_eq!(one.state().objects.lanes.keys().collect::<Vec<_>>(), [&lane_name("blue"), &lane_name("green")]);
}

#[tokio::test]
async fn a_change_that_loses_the_race_is_planned_anew_on_top_of_what_won() {
    let disk: Arc<Disk> = Arc::default();
    // Neither follows: each finds out at its commit.
    let (one, two) = (replica(&disk).await, replica(&disk).await);
    write(&one, vec![lane("gray", None)]).await.expect("a good edit");
    let outcome = write(&two, vec![lane("blue", None)]).await.expect("planned anew");
    assert_eq!(outcome.revision, 2);
    assert_eq!(outcome.objects.lanes.len(), 2, "what won is not overwritten");
    // What the winner did decides: it is there by now.
    let twice = two.write(Request { expected_revision: 1, ..Request::default() }, Box::new(|_| Ok(Edit::default())));
    assert!(matches!(twice.await, Err(WriteError::Moved { found: 2, expected: 1 })));
    let group = LaneGroup { name: "namespaces/default/laneGroups/shop".to_owned(), ..LaneGroup::default() };
    let name = group.name.clone();
    let create = Box::new(move |state: &super::State| match state.objects.groups.contains_key(&group.name) {
        true => Err(WriteError::Exists { name: group.name.clone() }),
        false => Ok(Edit { groups: vec![group.clone()], ..Edit::default() }),
    });
    one.write(Request::default(), create.clone()).await.expect("it is new");
    match two.write(Request::default(), create).await {
        Err(WriteError::Exists { name: found }) => assert_eq!(found, name),
        other => panic!("{other:?}"),
    }
    assert_eq!(disk.commits().len(), 3);
}

#[tokio::test]
async fn a_change_that_expected_a_revision_is_refused_when_it_loses_the_race() {
    let disk: Arc<Disk> = Arc::default();
    let (one, two) = (replica(&disk).await, replica(&disk).await);
    write(&one, vec![lane("gray", None)]).await.expect("a good edit");
    write(&two, vec![lane("blue", None)]).await.expect("planned anew");
    // Replica 1 still believes that 1 is the last.
    let request = Request { expected_revision: 1, ..Request::default() };
    let edit = Edit { lanes: vec![lane("green", None)], ..Edit::default() };
    let refused = one.write(request, Box::new(move |_| Ok(edit.clone()))).await;
    assert!(matches!(refused, Err(WriteError::Moved { found: 2, expected: 1 })), "{refused:?}");
    assert_eq!(disk.commits().len(), 2);
}

#[tokio::test]
async fn a_race_that_is_lost_for_ever_ends_with_nothing_changed() {
    let disk: Arc<Disk> = Arc::default();
    let one = replica(&disk).await;
    disk.conflicts.store(ATTEMPTS_MAX + 5, Ordering::Relaxed);
    let outrun = write(&one, vec![lane("gray", None)]).await;
    assert!(matches!(outrun, Err(WriteError::Outrun(ATTEMPTS_MAX))), "{outrun:?}");
    assert_eq!(disk.conflicts.load(Ordering::Relaxed), 5);
    assert_eq!(disk.commits().len(), 0);
    write(&one, vec![lane("gray", None)]).await.expect("now it wins");
}

#[tokio::test]
async fn what_could_be_stored_can_be_changed_switched_off_and_deleted_though_the_history_has_no_room_for_it() {
    let disk: Arc<Disk> = Arc::default();
    let own = replica(&disk).await;
    let large = Lane { description: "x".repeat(1000), ..lane("large", None) };
    write(&own, vec![large]).await.expect("a good edit");
    let size = {
        let first = &disk.commits()[0];
        first.revision.bytes() + first.puts[0].body.len()
    };
    disk.room_bytes.store(size + 500, Ordering::Relaxed);
    let off = lane("large", Some(false));
    let edit = Edit { lanes: vec![Lane { description: "y".repeat(1000), ..off.clone() }], ..Edit::default() };
    own.write(Request::default(), Box::new(move |_| Ok(edit.clone()))).await.expect("it cannot be done in parts");
    let two = vec![Lane { description: "z".repeat(1000), ..off.clone() }, lane("other", None)];
    let refused = write(&own, two.clone()).await;
    assert!(matches!(refused, Err(WriteError::Store(StoreError::TooLarge(_)))), "{refused:?}");
    let edit = Edit { lanes: two, ..Edit::default() };
    let urgent = Request { is_urgent: true, ..Request::default() };
    own.write(urgent, Box::new(move |_| Ok(edit.clone()))).await.expect("what is urgent is held up by nothing");
    let goes = Edit { deletes: vec![off.name], ..Edit::default() };
    disk.room_bytes.store(500, Ordering::Relaxed);
    own.write(Request::default(), Box::new(move |_| Ok(goes.clone()))).await.expect("it can go");

    // Who changed what is told of each, and what is not held is not taken for what was not there.
    let revisions = own.revisions(9, 9).await.expect("they are held");
    let told: Vec<_> = revisions.iter().rev().flat_map(|own| &own.changes).collect();
    let is_brief: Vec<bool> = told.iter().map(|change| super::history::is_brief(change)).collect();
    assert_eq!(is_brief, [false, true, true, false, true], "{told:?}");
    assert_eq!(told[1].changed_paths, ["description", "enabled"]);
    assert_eq!(own.state().objects.lanes.keys().collect::<Vec<_>>(), [&lane_name("other")]);
}

#[tokio::test]
async fn a_lane_whose_group_is_gone_is_switched_and_changed_as_any_other() {
    let own = replica(&Arc::default()).await;
    let group = LaneGroup { name: "namespaces/default/laneGroups/shop".to_owned(), ..LaneGroup::default() };
    let of_group = Lane { name: laneway_core::name::lane("default", "shop", "gray"), ..lane("gray", None) };
    let both = Edit { groups: vec![group.clone()], lanes: vec![of_group.clone()], ..Edit::default() };
    own.write(Request::default(), Box::new(move |_| Ok(both.clone()))).await.expect("a good edit");
    let gone = Edit { deletes: vec![group.name], cause: Cause::Gone, ..Edit::default() };
    let urgent = Request { is_urgent: true, ..Request::default() };
    own.write(urgent, Box::new(move |_| Ok(gone.clone()))).await.expect("it is gone already");
    let off = Lane { enabled: Some(false), description: "off for now".to_owned(), ..of_group.clone() };
    write(&own, vec![off]).await.expect("nobody has to have its group back for that");
    // A new one wants it.
    let new = Lane { name: laneway_core::name::lane("default", "shop", "blue"), ..lane("blue", None) };
    assert!(matches!(write(&own, vec![new]).await, Err(WriteError::Refused(_))));
}

#[tokio::test]
async fn a_store_that_was_set_back_is_said_and_nothing_is_committed() {
    let disk: Arc<Disk> = Arc::default();
    let ahead = replica(&disk).await;
    write(&ahead, vec![lane("gray", None)]).await.expect("a good edit");
    write(&ahead, vec![lane("blue", None)]).await.expect("another");
    disk.commits().truncate(1);
    match write(&ahead, vec![lane("green", None)]).await {
        Err(WriteError::Store(StoreError::Unusable(why))) => assert!(why.contains("Restart"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(disk.commits().len(), 1);
}

/// Does not take `gray` before `judged`: as the cluster's store, where somebody else is changing the same object.
struct Contested(Memory, AtomicBool);

impl Store for Contested {
    fn commit(&self, commit: Commit) -> Pending<'_, i64> {
        let writes = |id: &str| commit.puts.iter().any(|record| record.name == lane_name(id));
        if writes("gray") && !self.1.load(Ordering::Relaxed) {
            let expected = commit.revision.number - 1;
            return Box::pin(async move { Err(StoreError::Moved { found: expected, expected }) });
        }
        self.1.fetch_or(writes("judged"), Ordering::Relaxed);
        self.0.commit(commit)
    }

    fn load(&self) -> Pending<'_, Stored> {
        self.0.load()
    }

    fn revisions(&self, before: i64, count_max: usize) -> Pending<'_, Vec<Revision>> {
        self.0.revisions(before, count_max)
    }

    fn follow(&self, after: i64) -> Box<dyn Follow> {
        self.0.follow(after)
    }

    fn lacks(&self) -> &'static [(Capability, &'static str)] {
        self.0.lacks()
    }

    fn append_audit(&self, records: Vec<AuditRecord>) -> Pending<'_, ()> {
        self.0.append_audit(records)
    }

    fn audit(&self, before: String, count_max: usize) -> Pending<'_, Vec<AuditRecord>> {
        self.0.audit(before, count_max)
    }

    fn name(&self) -> &'static str {
        "store.contested"
    }
}

#[tokio::test]
async fn a_change_that_waits_for_another_lets_it_through() {
    let own = on(Box::new(Contested(Memory::on(&Arc::default()), AtomicBool::new(false)))).await;
    let (gray, judged) = tokio::join!(write(&own, vec![lane("gray", None)]), write(&own, vec![lane("judged", None)]));
    assert_eq!(judged.expect("nothing is in its way").revision, 1);
    assert_eq!(gray.expect("it is planned anew").revision, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_that_write_at_once_lose_nothing_and_agree() {
    let disk: Arc<Disk> = Arc::default();
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(live(&disk).await);
    }
    let writers = replicas.iter().enumerate().map(|(number, (own, _))| {
        let own = own.clone();
        tokio::spawn(async move {
            for round in 0..15 {
                let two = vec![lane(&format!("w{number}r{round}a"), None), lane(&format!("w{number}r{round}b"), None)];
                // A machine with much to do lets one lose every attempt; a client asks again then.
                loop {
                    match write(&own, two.clone()).await {
                        Err(WriteError::Outrun(_)) => tokio::task::yield_now().await,
                        done => break drop(done.expect("the race is won in the end")),
                    }
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("the writer does not panic");
    }
    for (own, _) in &replicas {
        until("it has all", || own.state().revision == 45).await;
        assert_eq!(own.state().objects.lanes.len(), 90);
        assert_eq!(*own.state().objects, *replicas[0].0.state().objects);
    }
}

#[tokio::test]
async fn a_store_of_one_process_is_not_followed() {
    let folder = Folder::new();
    let own = on(Box::new(Sqlite::open(&folder.path("control.db")).expect("a new database"))).await;
    // Ends, and does not wait for commits that nobody else can make.
    own.follow().await;
}

#[test]
fn what_is_switched_elsewhere_is_as_urgent_here() {
    let check = |before: &[&Lane], after: &[&Lane], expected: bool| {
        let objects = |lanes: &[&Lane]| {
            let mut objects = laneway_core::compile::Objects::default();
            objects.lanes.extend(lanes.iter().map(|lane| (lane.name.clone(), Lane::clone(lane))));
            objects
        };
        assert_eq!(adopt::is_switched(&objects(before), &objects(after)), expected, "{before:?} {after:?}");
    };
    let (on, off, other) = (lane("gray", Some(true)), lane("gray", Some(false)), lane("blue", Some(true)));
    check(&[], &[&on], false);
    check(&[&on], &[&on, &other], false);
    check(&[&on], &[], false);
    check(&[&on], &[&off], true);
    check(&[&off], &[&on], true);
    // DisableLane of a tag without a lane.
    check(&[], &[&off], true);
}
