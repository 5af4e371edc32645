//! What every store must do: one set of tests, run for each driver.
//!
//! A driver that cannot do something says so by [`Store::lacks`]; then the test of that holds it to its word instead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{
    AUDIT_RECORDS_MAX, AuditRecord, Capability, Change, Commit, Follow, HISTORY_BOUND, HistoryBound, Kind, Record,
    Revision, Store, StoreError, can,
};

/// Longest wait for what must come.
const WAIT: Duration = Duration::from_secs(60);

/// Where a store keeps its data: opened again and again, by several at a time if it can.
pub(super) trait Place {
    async fn open_bounded(&self, bound: HistoryBound, audit_records_max: usize) -> Arc<dyn Store>;

    /// Lets go of whatever the driver itself remembers of its past.
    async fn compact(&self) {}

    async fn open(&self) -> Arc<dyn Store> {
        self.open_bounded(HISTORY_BOUND, AUDIT_RECORDS_MAX).await
    }
}

/// Makes a test of each of these for a driver; with the attributes before it, in brackets.
macro_rules! suite {
    (@one [$($attribute:tt)*] $place:expr, $test:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $($attribute)*
        async fn $test() {
            let Some(place) = ($place)(stringify!($test)) else { return };
            $crate::store::conformance::$test(&place).await;
        }
    };
    ([$($attribute:tt)*] $place:expr) => {
        $crate::store::conformance::suite!(@ [$($attribute)*] $place;
            what_was_committed_is_there_for_whoever_opens_it
            of_commits_of_one_number_exactly_one_is_done
            a_commit_is_seen_whole_or_not_at_all
            a_commit_of_any_size_is_one_revision
            who_follows_sees_every_commit_in_order
            who_resumes_misses_nothing_also_when_the_past_is_gone
            two_replicas_share_it_or_the_second_is_refused
            the_history_is_in_order_and_without_a_gap
            the_oldest_of_the_history_goes_and_no_object_with_it
            the_audit_trail_is_read_backwards_bounded_and_as_whole_as_the_commits_it_came_with
        );
    };
    ($place:expr) => {
        $crate::store::conformance::suite!([] $place);
    };
    (@ $attributes:tt $place:expr; $($test:ident)*) => {
        $($crate::store::conformance::suite!(@one $attributes $place, $test);)*
    };
}
pub(super) use suite;

pub(super) fn record(name: &str, body: &[u8]) -> Record {
    Record { name: name.to_owned(), kind: Kind::Lane, body: body.to_vec() }
}

pub(super) fn commit(number: i64, puts: Vec<Record>, deletes: &[&str]) -> Commit {
    let deletes = deletes.iter().map(|name| (*name).to_owned()).collect();
    Commit { revision: revision(number, "[]"), puts, deletes, audit: Vec::new() }
}

pub(super) fn revision(number: i64, changes: &str) -> Revision {
    Revision {
        number,
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_900_000_000_123),
        principal: "anonymous".to_owned(),
        reason: "because".to_owned(),
        method: "test".to_owned(),
        rollback_revision: number / 2,
        changes: changes.to_owned(),
    }
}

/// Numbers of all that is held, newest first.
async fn held(store: &dyn Store) -> Vec<i64> {
    let (mut numbers, mut before) = (Vec::new(), i64::MAX);
    loop {
        let some = store.revisions(before, 7).await.expect("reads");
        let Some(last) = some.last() else { return numbers };
        before = last.number;
        numbers.extend(some.into_iter().map(|revision| revision.number));
    }
}

/// What a reader of commits knows.
#[derive(Debug, Default, PartialEq)]
struct Model {
    revision: i64,
    objects: BTreeMap<String, Vec<u8>>,
}

impl Model {
    async fn of(store: &dyn Store) -> Model {
        let stored = store.load().await.expect("loads");
        let names: Vec<&String> = stored.records.iter().map(|record| &record.name).collect();
        assert!(names.is_sorted(), "{names:?}");
        let objects = stored.records.iter().map(|record| (record.name.clone(), record.body.clone())).collect();
        Model { revision: stored.revision, objects }
    }

    /// Reads on until that revision, at each step checking that nothing is left out.
    async fn follow(&mut self, following: &mut Box<dyn Follow>, until: i64) {
        while self.revision < until {
            let next = tokio::time::timeout(WAIT, following.next()).await.expect("a change comes in time");
            match next.expect("the store is there") {
                Change::Commit { revision, puts, deletes } => {
                    assert_eq!(revision, self.revision + 1, "commits are told in order");
                    for name in &deletes {
                        self.objects.remove(name);
                    }
                    self.objects.extend(puts.into_iter().map(|record| (record.name, record.body)));
                    self.revision = revision;
                }
                Change::Whole(stored) => {
                    assert!(stored.revision > self.revision, "nothing is told twice");
                    let objects = stored.records.into_iter().map(|record| (record.name, record.body));
                    *self = Model { revision: stored.revision, objects: objects.collect() };
                }
            }
        }
    }
}

pub(super) async fn what_was_committed_is_there_for_whoever_opens_it(place: &impl Place) {
    {
        let store = place.open().await;
        assert_eq!(Model::of(&*store).await, Model::default());
        let puts = vec![record("b", b"1"), record("a", b"2")];
        assert_eq!(store.commit(commit(1, puts, &[])).await.expect("commits"), 1);
        assert_eq!(store.commit(commit(2, vec![record("a", b"3")], &["b"])).await.expect("commits"), 2);
    }
    let store = place.open().await;
    let stored = store.load().await.expect("loads");
    assert_eq!((stored.revision, stored.records), (2, vec![record("a", b"3")]));
    assert_eq!(store.commit(commit(3, Vec::new(), &["a"])).await.expect("commits"), 3);
    assert!(Model::of(&*store).await.objects.is_empty());
}

pub(super) async fn of_commits_of_one_number_exactly_one_is_done(place: &impl Place) {
    let store = place.open().await;
    store.commit(commit(1, vec![record("first", b"")], &[])).await.expect("commits");
    for wrong in [1, 3, 99] {
        match store.commit(commit(wrong, vec![record("wrong", b"")], &["first"])).await {
            Err(StoreError::Moved { found: 1, expected }) => assert_eq!(expected, wrong - 1),
            other => panic!("{other:?}"),
        }
    }
    let handles = if can(&*store, Capability::Replicas) {
        vec![Arc::clone(&store), place.open().await, place.open().await]
    } else {
        vec![Arc::clone(&store), Arc::clone(&store), Arc::clone(&store)]
    };
    for number in 2..12 {
        let racers = handles.iter().enumerate().map(|(own, store)| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let puts = vec![record("winner", &[own as u8]), record(&format!("w{number}"), &[own as u8])];
                store.commit(commit(number, puts, &[])).await.map(|_| own as u8)
            })
        });
        let mut winners = Vec::new();
        for racer in racers.collect::<Vec<_>>() {
            match racer.await.expect("the racer does not panic") {
                Ok(own) => winners.push(own),
                Err(StoreError::Moved { found, .. }) => assert_eq!(found, number),
                Err(other) => panic!("{other}"),
            }
        }
        let found = Model::of(&*store).await;
        assert_eq!(winners.len(), 1, "revision {number}");
        assert_eq!((found.revision, &found.objects["winner"]), (number, &winners));
        assert_eq!(found.objects[&format!("w{number}")], winners);
    }
    assert!(!Model::of(&*store).await.objects.contains_key("wrong"));
}

/// Objects that are all of one generation, whoever looks whenever.
pub(super) async fn a_commit_is_seen_whole_or_not_at_all(place: &impl Place) {
    let store = place.open().await;
    if !can(&*store, Capability::AtomicCommits) {
        // Who follows sees each whole all the same; the driver's own tests show what becomes of one that fails.
        assert!(store.lacks().iter().any(|(lacking, why)| *lacking == Capability::AtomicCommits && !why.is_empty()));
        return;
    }
    let reader = if can(&*store, Capability::Replicas) { place.open().await } else { Arc::clone(&store) };
    let writer = tokio::spawn(async move {
        for number in 1..=20_i64 {
            // Some fit into one transaction of any store, some do not.
            let count = if number % 5 == 0 { 300 } else { 12 };
            let puts = (0..count).map(|at| record(&format!("o{at:03}"), &number.to_be_bytes())).collect();
            let gone: Vec<String> = (count..300).map(|at| format!("o{at:03}")).collect();
            let deletes = if number % 5 == 1 && number > 1 { gone } else { Vec::new() };
            let commit = Commit { revision: revision(number, "[]"), puts, deletes, audit: Vec::new() };
            store.commit(commit).await.expect("commits");
        }
    });
    let (mut following, mut model) = (reader.follow(0), Model::default());
    while model.revision < 20 {
        let next = model.revision + 1;
        model.follow(&mut following, next).await;
        for found in [&model, &Model::of(&*reader).await] {
            let newest = found.revision.to_be_bytes();
            let current = found.objects.values().filter(|body| body.as_slice() == newest).count();
            let expected = if found.revision % 5 == 0 { 300 } else { 12 };
            assert!(found.revision == 0 || current == expected, "revision {}: {current} of it", found.revision);
            let total = if found.revision == 0 { 0 } else { expected };
            assert_eq!(found.objects.len(), total, "revision {}", found.revision);
        }
    }
    writer.await.expect("the writer does not panic");
}

pub(super) async fn a_commit_of_any_size_is_one_revision(place: &impl Place) {
    let store = place.open().await;
    store.commit(commit(1, vec![record("small", b"1"), record("gone", b"1")], &[])).await.expect("commits");
    let body = vec![7; 32 << 10];
    let changes = "c".repeat(3 << 20);
    if !can(&*store, Capability::AnySize) {
        // Then it says so, and nothing of it is done.
        let too_large = Commit { revision: revision(2, &changes), ..commit(2, vec![record("a", b"1")], &["gone"]) };
        let refused = store.commit(too_large).await;
        assert!(matches!(refused, Err(StoreError::TooLarge(_))), "{refused:?}");
        let found = Model::of(&*store).await;
        assert_eq!((found.revision, found.objects.len()), (1, 2));
        return;
    }
    for number in 2..=3 {
        let puts = (0..300).map(|at| record(&format!("o{at:03}"), &body)).collect();
        let deletes = if number == 2 { vec!["gone".to_owned()] } else { Vec::new() };
        let commit = Commit { revision: revision(number, &changes), puts, deletes, audit: Vec::new() };
        assert_eq!(store.commit(commit).await.expect("commits"), number);
    }
    store.commit(commit(4, vec![record("o000", b"small again")], &["o001"])).await.expect("commits");
    let found = Model::of(&*store).await;
    assert_eq!((found.revision, found.objects.len()), (4, 300));
    assert_eq!(found.objects["o000"], b"small again");
    assert!(!found.objects.contains_key("gone") && !found.objects.contains_key("o001"));
    assert!(found.objects["o299"] == body);
    if can(&*store, Capability::History) {
        assert_eq!(held(&*store).await, [4, 3, 2, 1]);
        let large = store.revisions(3, 1).await.expect("reads").pop().expect("it is held");
        assert_eq!((large.number, large.changes.len()), (2, changes.len()));
    }
}

pub(super) async fn who_follows_sees_every_commit_in_order(place: &impl Place) {
    let store = place.open().await;
    let reader = if can(&*store, Capability::Replicas) { place.open().await } else { Arc::clone(&store) };
    let (mut following, mut model) = (reader.follow(0), Model::default());
    for number in 1..=30_i64 {
        let puts = vec![record(&format!("o{}", number % 7), &number.to_be_bytes())];
        let deletes = [format!("o{}", (number + 3) % 7)];
        store
            .commit(Commit { revision: revision(number, "[]"), puts, deletes: deletes.to_vec(), audit: Vec::new() })
            .await
            .expect("commits");
        if number % 4 == 0 {
            model.follow(&mut following, number).await;
            assert_eq!(model, Model::of(&*store).await);
        }
    }
    model.follow(&mut following, 30).await;
    assert_eq!(model, Model::of(&*store).await);
    // And then waits.
    let more = tokio::time::timeout(Duration::from_millis(50), following.next()).await;
    assert!(more.is_err(), "{more:?}");
}

pub(super) async fn who_resumes_misses_nothing_also_when_the_past_is_gone(place: &impl Place) {
    let store = place.open().await;
    let mut model = Model::default();
    for number in 1..=6 {
        store.commit(commit(number, vec![record(&format!("o{number}"), b"1")], &[])).await.expect("commits");
        if number == 2 {
            model.follow(&mut store.follow(0), 2).await;
        }
    }
    // From where it was, the past still there.
    let mut resumed = Model { revision: 2, objects: std::mem::take(&mut model.objects) };
    let mut following = store.follow(2);
    resumed.follow(&mut following, 6).await;
    assert_eq!(resumed, Model::of(&*store).await);
    // And when it is not; for one that reads on, and for one that comes.
    store.commit(commit(7, vec![record("o7", b"1")], &["o1"])).await.expect("commits");
    place.compact().await;
    store.commit(commit(8, vec![record("o8", b"1")], &["o2"])).await.expect("commits");
    resumed.follow(&mut following, 8).await;
    let mut late = Model { revision: 1, objects: BTreeMap::from([("o1".to_owned(), b"1".to_vec())]) };
    late.follow(&mut store.follow(1), 8).await;
    for found in [resumed, late] {
        assert_eq!(found, Model::of(&*store).await);
    }
}

pub(super) async fn two_replicas_share_it_or_the_second_is_refused(place: &impl Place) {
    let one = place.open().await;
    if !can(&*one, Capability::Replicas) {
        // Each driver's own tests show that it is.
        assert!(one.lacks().iter().any(|(lacking, why)| *lacking == Capability::Replicas && !why.is_empty()));
        return;
    }
    let two = place.open().await;
    let (mut following, mut model) = (two.follow(0), Model::default());
    one.commit(commit(1, vec![record("a", b"1")], &[])).await.expect("commits");
    two.commit(commit(2, vec![record("b", b"2")], &["a"])).await.expect("commits");
    one.commit(commit(3, vec![record("c", b"3")], &[])).await.expect("commits");
    model.follow(&mut following, 3).await;
    assert_eq!(model, Model::of(&*one).await);
    assert_eq!(held(&*one).await, held(&*two).await);
}

pub(super) async fn the_history_is_in_order_and_without_a_gap(place: &impl Place) {
    {
        let store = place.open().await;
        if !can(&*store, Capability::History) {
            return;
        }
        assert_eq!(held(&*store).await, [0_i64; 0]);
        for number in 1..=70 {
            store.commit(commit(number, vec![record("a", b"1")], &[])).await.expect("commits");
        }
    }
    let store = place.open().await;
    assert_eq!(held(&*store).await, (1..=70).rev().collect::<Vec<_>>());
    let some = store.revisions(4, 2).await.expect("reads");
    assert_eq!(some, [revision(3, "[]"), revision(2, "[]")]);
    assert_eq!(store.revisions(1, 9).await.expect("reads"), []);
    // Large ones come a few at a time, and none is left out.
    let (last, bytes) = if can(&*store, Capability::AnySize) { (73, 3 << 20) } else { (80, 900 << 10) };
    for number in 71..=last {
        let commit = Commit {
            revision: revision(number, &"x".repeat(bytes)),
            puts: Vec::new(),
            deletes: Vec::new(),
            audit: Vec::new(),
        };
        store.commit(commit).await.expect("commits");
    }
    let first = store.revisions(i64::MAX, 9).await.expect("reads");
    let bytes: usize = first.iter().map(Revision::bytes).sum();
    assert!((1..=8).contains(&first.len()) && bytes < 8 << 20, "{} of them, {bytes} bytes", first.len());
    assert_eq!(held(&*store).await, (1..=last).rev().collect::<Vec<_>>());
}

pub(super) async fn the_oldest_of_the_history_goes_and_no_object_with_it(place: &impl Place) {
    let bound = HistoryBound { revisions: 3, bytes: 4000 };
    {
        let store = place.open_bounded(bound, AUDIT_RECORDS_MAX).await;
        if !can(&*store, Capability::History) {
            return;
        }
        for number in 1..=5 {
            let puts = vec![record(&format!("lane{number}"), b"1")];
            store.commit(commit(number, puts, &[])).await.expect("commits");
        }
        assert_eq!(held(&*store).await, [5, 4, 3]);
        let add = async |number, bytes| {
            let revision = revision(number, &"x".repeat(bytes));
            store
                .commit(Commit { revision, puts: Vec::new(), deletes: Vec::new(), audit: Vec::new() })
                .await
                .expect("commits");
        };
        // By size: what fits beside it stays, and one that fits nowhere is held alone.
        add(6, 3400).await;
        assert_eq!(held(&*store).await, [6, 5, 4]);
        add(7, 400).await;
        assert_eq!(held(&*store).await, [7, 6]);
        add(8, 9000).await;
        assert_eq!(held(&*store).await, [8]);
        add(9, 10).await;
        assert_eq!(held(&*store).await, [9]);
        // What is not done takes nothing with it.
        assert!(store.commit(commit(99, Vec::new(), &[])).await.is_err());
        assert_eq!(held(&*store).await, [9]);
    }
    // The count goes on where it was.
    let store = place.open_bounded(bound, AUDIT_RECORDS_MAX).await;
    for number in 10..=12 {
        store.commit(commit(number, Vec::new(), &[])).await.expect("commits");
    }
    assert_eq!(held(&*store).await, [12, 11, 10]);
    let found = Model::of(&*store).await;
    assert_eq!((found.revision, found.objects.len()), (12, 5));
}

pub(super) fn call(id: &str) -> AuditRecord {
    AuditRecord { id: id.to_owned(), body: id.as_bytes().to_vec() }
}

/// Ids of all calls that are held, newest first.
pub(super) async fn calls(store: &dyn Store) -> Vec<String> {
    let records = store.audit(String::new(), usize::MAX).await.expect("reads");
    assert!(records.iter().all(|record| record.body == record.id.as_bytes()), "{records:?}");
    records.into_iter().map(|record| record.id).collect()
}

pub(super) async fn the_audit_trail_is_read_backwards_bounded_and_as_whole_as_the_commits_it_came_with(
    place: &impl Place,
) {
    {
        let store = place.open_bounded(HISTORY_BOUND, 4).await;
        if !can(&*store, Capability::Audit) {
            assert!(store.lacks().iter().any(|(lacking, why)| *lacking == Capability::Audit && !why.is_empty()));
            return;
        }
        assert_eq!(calls(&*store).await, [""; 0]);
        store.append_audit(vec![call("b"), call("a")]).await.expect("appends");
        let commit = Commit { audit: vec![call("c")], ..commit(1, Vec::new(), &[]) };
        store.commit(commit.clone()).await.expect("commits");
        assert_eq!(calls(&*store).await, ["c", "b", "a"]);
        // A commit that is not done says nothing in the trail either.
        let stale = Commit { audit: vec![call("x")], ..commit };
        assert!(store.commit(stale).await.is_err());
        assert_eq!(calls(&*store).await, ["c", "b", "a"]);
        // What was appended with an unknown outcome is appended once more, and is there once.
        store.append_audit(vec![call("b"), call("d")]).await.expect("appends");
        assert_eq!(calls(&*store).await, ["d", "c", "b", "a"]);
        store.append_audit(vec![call("e"), call("f")]).await.expect("appends");
        assert_eq!(calls(&*store).await, ["f", "e", "d", "c"]);
        let page = store.audit("f".to_owned(), 2).await.expect("reads");
        assert_eq!(page, [call("e"), call("d")]);
        assert_eq!(store.audit("c".to_owned(), 2).await.expect("reads"), []);
    }
    // The count goes on where it was.
    let store = place.open_bounded(HISTORY_BOUND, 4).await;
    store.append_audit(vec![call("g")]).await.expect("appends");
    assert_eq!(calls(&*store).await, ["g", "f", "e", "d"]);
    // More than one request of any store takes.
    let many: Vec<AuditRecord> = (0..300).map(|at| call(&format!("h{at:03}"))).collect();
    store.append_audit(many).await.expect("appends");
    assert_eq!(calls(&*store).await, ["h299", "h298", "h297", "h296"]);
}
