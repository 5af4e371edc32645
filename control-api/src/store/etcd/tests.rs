//! The conformance suite on a real etcd; and what is etcd's own: killed servers, killed writers, lost answers, leases.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use prost::Message;
use tokio::sync::oneshot;

use self::server::EtcdServer;
use super::access::Access;
use super::session::Session;
use super::{Address, Etcd, SWEEP_EVERY, kept, keys, put, wire};
use crate::credentials::Credentials;
use crate::replicas::Replica;
use crate::store::conformance::{Place, commit, record, revision, suite};
use crate::store::{AUDIT_RECORDS_MAX, Change, Commit, HISTORY_BOUND, HistoryBound, Store, StoreError};

#[path = "../../../tests/control/etcd.rs"]
mod server;

const PREFIX: &str = "/laneway";

/// A server of its own, and what it wants to be shown.
struct Cluster(EtcdServer, Access);

impl Cluster {
    fn start(test: &str) -> Option<Cluster> {
        EtcdServer::start(test).map(|server| Cluster(server, Access::default()))
    }

    fn start_secured(test: &str) -> Option<Cluster> {
        EtcdServer::start_secured(test).map(|server| {
            let file = |name: &str| server.folder().join(name);
            let credentials = Credentials {
                ca: Some(file("ca.pem")),
                identity: Some((file("client.pem"), file("client.key"))),
                ..Credentials::default()
            };
            let access = Access { is_tls: true, credentials, user_file: Some(file("user")) };
            Cluster(server, access)
        })
    }

    fn open(&self, bound: HistoryBound) -> Etcd {
        self.open_with(bound, AUDIT_RECORDS_MAX)
    }

    fn open_with(&self, bound: HistoryBound, audit_records_max: usize) -> Etcd {
        let address = Address { endpoints: vec![self.0.address()], prefix: PREFIX.to_owned(), access: self.1.clone() };
        Etcd::bounded(&address, bound, audit_records_max).expect("a good address")
    }
}

impl Place for Cluster {
    async fn open_bounded(&self, bound: HistoryBound, audit_records_max: usize) -> Arc<dyn Store> {
        Arc::new(self.open_with(bound, audit_records_max))
    }

    async fn compact(&self) {
        let store = self.open(HISTORY_BOUND);
        let (_, at) = store.read_head().await.expect("reads");
        store.shared.client.compact(at).await.expect("compacts");
    }
}

suite!(Cluster::start);

/// The same of one that asks who calls.
mod secured {
    use super::Cluster;
    use crate::store::conformance::suite;

    suite!(Cluster::start_secured);
}

#[tokio::test]
async fn a_token_that_etcd_forgot_is_asked_for_anew_and_a_wrong_password_is_said() {
    let Some(mut cluster) = Cluster::start_secured("a_token_that_etcd_forgot_is_asked_for_anew") else { return };
    let store = cluster.open(HISTORY_BOUND);
    store.commit(commit(1, vec![record("a", b"1")], &[])).await.expect("its user may write");
    // It keeps its simple tokens in memory.
    cluster.0.kill();
    cluster.0.restart();
    let begun = Instant::now();
    // The connection broke too, and that is another thing.
    while let Err(failure) = store.load().await {
        assert!(matches!(failure, StoreError::Away(_)) && begun.elapsed() < Duration::from_secs(60), "{failure:?}");
    }
    store.commit(commit(2, vec![record("a", b"2")], &[])).await.expect("with another token");

    let user_file = cluster.0.folder().join("user");
    std::fs::write(&user_file, "laneway:wrong\n").expect("the folder is ours");
    let refused = cluster.open(HISTORY_BOUND).load().await.expect_err("who is that");
    let words = format!("{:#}", anyhow::Error::from(refused));
    assert!(words.contains("authentication failed") && !words.contains("wrong"), "{words}");
    store.load().await.expect("whoever has a token goes on");
    // Nobody at all is told so too, and a stranger has no connection.
    cluster.1.user_file = None;
    let refused = cluster.open(HISTORY_BOUND).load().await.expect_err("somebody must be shown");
    let words = format!("{:#}", anyhow::Error::from(refused));
    // As it takes the name in the client's certificate, which is no user's.
    assert!(words.contains("permission denied") || words.contains("user name"), "{words}");
    cluster.1.credentials.identity = None;
    assert!(matches!(cluster.open(HISTORY_BOUND).load().await, Err(StoreError::Away(_))));
}

/// Waits until it is so. Leases take seconds, and the machine may be busy with other tests.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All keys that begin so.
async fn keys_under(store: &Etcd, prefix: &str) -> Vec<String> {
    let prefix = format!("{PREFIX}/{prefix}").into_bytes();
    let range = wire::RangeRequest {
        range_end: keys::behind(&prefix),
        key: prefix,
        keys_only: true,
        ..wire::RangeRequest::default()
    };
    let found = store.shared.client.range(range).await.expect("reads");
    found.kvs.into_iter().map(|own| String::from_utf8(own.key).expect("ours are text")).collect()
}

fn bundle(number: i64, writer: usize) -> Commit {
    // Every third does not fit into one transaction.
    let count = if number % 3 == 0 { 130 } else { 3 };
    let puts = (0..count).map(|at| record(&format!("w{writer}n{number:04}o{at:03}"), &[0; 16])).collect();
    Commit { revision: revision(number, "[]"), puts, deletes: Vec::new(), audit: Vec::new() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_killed_at_any_write_loses_nothing_acknowledged_and_keeps_no_half() {
    let Some(mut cluster) = Cluster::start("etcd_killed_at_any_write") else { return };
    let mut acknowledged = BTreeMap::new();
    for round in 0..6 {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let (store, stop, count) = (cluster.open(HISTORY_BOUND), Arc::clone(&stop), Arc::clone(&count));
                tokio::spawn(async move {
                    let mut done = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let Ok(stored) = store.load().await else { continue };
                        let number = stored.revision + 1;
                        match store.commit(bundle(number, writer)).await {
                            Ok(number) => {
                                done.push((number, writer));
                                count.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(StoreError::Moved { .. } | StoreError::Away(_) | StoreError::Doubtful(_)) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                    done
                })
            })
            .collect();
        // Another moment each time.
        until("something is written", || count.load(Ordering::Relaxed) > 2).await;
        tokio::time::sleep(Duration::from_millis(7 * round)).await;
        cluster.0.kill();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            acknowledged.extend(writer.await.expect("the writer does not panic"));
        }
        cluster.0.restart();
        let store = cluster.open(HISTORY_BOUND);
        let stored = store.load().await.expect("loads");
        let mut found = BTreeMap::<String, usize>::new();
        for record in &stored.records {
            let (bundle, _) = record.name.split_once('o').expect("its name was made here");
            *found.entry(bundle.to_owned()).or_default() += 1;
        }
        for (number, writer) in &acknowledged {
            assert!(found.contains_key(&format!("w{writer}n{number:04}")), "round {round}: {number} is lost");
        }
        for (bundle, count) in &found {
            let number: i64 = bundle[3..].parse().expect("its name was made here");
            assert_eq!(*count, if number % 3 == 0 { 130 } else { 3 }, "round {round}: part of {bundle}");
        }
        assert_eq!(found.len(), usize::try_from(stored.revision).expect("it counts up"), "one bundle a revision");
        assert!(stored.revision >= acknowledged.keys().max().copied().unwrap_or_default());
    }
}

#[tokio::test]
async fn while_etcd_is_away_nothing_is_committed_and_afterwards_all_goes_on() {
    let Some(mut cluster) = Cluster::start("while_etcd_is_away") else { return };
    let store = cluster.open(HISTORY_BOUND);
    store.commit(commit(1, vec![record("a", b"1")], &[])).await.expect("commits");
    let mut following = store.follow(0);
    assert!(matches!(following.next().await, Ok(Change::Whole(stored)) if stored.revision == 1));
    cluster.0.kill();
    // Known not to have been sent: no doubt.
    match store.commit(commit(2, vec![record("a", b"2")], &[])).await {
        Err(StoreError::Away(why)) => assert!(why.contains(&cluster.0.address()), "{why}"),
        // The connection was still being taken down.
        Err(StoreError::Doubtful(_)) => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(store.commit(commit(2, Vec::new(), &[])).await, Err(StoreError::Away(_))));
    assert!(matches!(store.load().await, Err(StoreError::Away(_))));
    assert!(following.next().await.is_err());
    cluster.0.restart();
    store.commit(commit(2, vec![record("b", b"2")], &[])).await.expect("commits");
    let begun = Instant::now();
    let revision = loop {
        match following.next().await {
            Ok(Change::Commit { revision, .. }) => break revision,
            Ok(Change::Whole(stored)) => break stored.revision,
            Err(_) => assert!(begun.elapsed() < Duration::from_secs(30), "it is not followed again"),
        }
    };
    assert_eq!(revision, 2);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_known_by_its_id_and_never_done_twice() {
    let Some(cluster) = Cluster::start("a_commit_whose_answer_is_lost") else { return };
    let store = cluster.open(HISTORY_BOUND);
    let id = keys::commit_id(1);
    let prepared = store.prepare(&kept::Head::default(), &commit(1, vec![record("a", b"1")], &[]), &id).await;
    let (request, _) = store.transaction(&kept::Head::default(), prepared.expect("there is nothing to stage"));
    store.shared.client.txn(request.clone()).await.expect("it is done, and nobody hears of it");
    let again = store.decide(request).await.expect("etcd answers");
    assert!(!again.succeeded);
    super::outcome(&again, 1, &id).expect("it is ours");
    // The same number of somebody else is not.
    assert!(matches!(super::outcome(&again, 1, &keys::commit_id(1)), Err(StoreError::Moved { found: 1, .. })));
    assert_eq!(store.load().await.expect("loads").revision, 1);
}

#[tokio::test]
async fn what_a_killed_writer_had_staged_is_never_seen_and_swept_up() {
    let Some(cluster) = Cluster::start("what_a_killed_writer_had_staged") else { return };
    let store = cluster.open(HISTORY_BOUND);
    store.commit(commit(1, vec![record("a", b"1")], &[])).await.expect("commits");
    let mut following = store.follow(0);
    assert!(matches!(following.next().await, Ok(Change::Whole(stored)) if stored.revision == 1));
    let head = store.read_head().await.expect("reads").0;
    let puts = (0..400).map(|at| record(&format!("o{at}"), b"1")).collect();
    let large =
        Commit { revision: revision(2, &"x".repeat(1 << 20)), puts, deletes: vec!["a".to_owned()], audit: Vec::new() };
    let prepared = store.prepare(&head, &large, &keys::commit_id(2)).await.expect("it is staged");
    assert!(prepared.is_staged);
    // The writer dies here.
    assert_eq!(store.load().await.expect("loads").records, [record("a", b"1")]);
    assert_eq!(keys_under(&store, "parts/").await.len(), 2);
    assert_eq!(keys_under(&store, "state/objects/").await.len(), 401);
    for number in 2..=SWEEP_EVERY {
        store.commit(commit(number, vec![record("b", &number.to_be_bytes())], &[])).await.expect("commits");
    }
    assert_eq!(keys_under(&store, "parts/").await, [""; 0]);
    assert_eq!(keys_under(&store, "state/objects/").await.len(), 2);
    for number in 2..=SWEEP_EVERY {
        match following.next().await.expect("it is there") {
            Change::Commit { revision, puts, .. } => assert_eq!((revision, puts.len()), (number, 1)),
            Change::Whole(stored) => panic!("{} objects", stored.records.len()),
        }
    }
}

#[tokio::test]
async fn what_is_no_longer_held_is_gone_from_etcd() {
    let Some(cluster) = Cluster::start("what_is_no_longer_held") else { return };
    let store = cluster.open(HistoryBound { revisions: 1000, bytes: 20_000 });
    for number in 1..=2 * SWEEP_EVERY {
        let changes = "x".repeat(1000);
        let commit =
            Commit { revision: revision(number, &changes), puts: Vec::new(), deletes: Vec::new(), audit: Vec::new() };
        store.commit(commit).await.expect("commits");
    }
    let left = keys_under(&store, "history/").await.len();
    assert!((10..20).contains(&left), "{left} revisions");
    // By count at every commit.
    let store = cluster.open(HistoryBound { revisions: 5, bytes: 1 << 20 });
    let number = 2 * SWEEP_EVERY + 1;
    store.commit(commit(number, Vec::new(), &[])).await.expect("commits");
    assert_eq!(keys_under(&store, "history/").await.len(), 5);
}

#[tokio::test]
async fn the_state_of_a_newer_version_and_an_object_too_large_are_refused() {
    let Some(cluster) = Cluster::start("the_state_of_a_newer_version") else { return };
    let store = cluster.open(HISTORY_BOUND);
    match store.commit(commit(1, vec![record("huge", &vec![0; 2 << 20])], &[])).await {
        Err(StoreError::TooLarge(why)) => assert!(why.contains("huge"), "{why}"),
        other => panic!("{other:?}"),
    }
    let head = kept::Head { format: 99, revision: 7, ..kept::Head::default() };
    let success = vec![put(store.shared.keys.head(), &head)];
    store.shared.client.txn(wire::TxnRequest { success, ..wire::TxnRequest::default() }).await.expect("it is written");
    for refused in [store.load().await.map(drop), store.commit(commit(8, Vec::new(), &[])).await.map(drop)] {
        match refused {
            Err(StoreError::Unusable(why)) => assert!(why.contains("newer version"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    let found =
        store.shared.client.range(wire::RangeRequest { key: store.shared.keys.head(), ..Default::default() }).await;
    assert_eq!(found.expect("reads").kvs[0].value, head.encode_to_vec(), "it was left alone");
}

fn replica(name: &str) -> Replica {
    Replica { name: name.to_owned(), api: format!("http://{name}:15411") }
}

#[tokio::test]
async fn one_replica_leads_and_all_know_each_other() {
    let Some(mut cluster) = Cluster::start("one_replica_leads") else { return };
    let mut seats = Vec::new();
    for name in ["one", "two", "three"] {
        let joined = Session::join(cluster.open(HISTORY_BOUND), replica(name)).await.expect("etcd is there");
        let (session, leader, replicas) = joined;
        let (end, ended) = oneshot::channel();
        seats.push((tokio::spawn(session.run(ended)), end, leader, replicas));
    }
    let leading =
        |seats: &[(_, _, crate::leader::Leader, _)]| seats.iter().filter(|(_, _, own, _)| own.leads()).count();
    assert_eq!(leading(&seats), 1);
    assert!(seats[0].2.leads());
    until("each knows two others", || seats.iter().all(|(_, _, _, known)| known.others().len() == 2)).await;
    assert_eq!(seats[2].3.others(), [replica("one"), replica("two")]);

    // One that ends gives its seat back at once; one that is killed, when its lease is over.
    let (task, end, ..) = seats.remove(0);
    end.send(()).expect("it runs");
    task.await.expect("it does not panic");
    until("another leads", || leading(&seats) == 1).await;
    let (killed, ..) = seats.remove(usize::from(!seats[0].2.leads()));
    killed.abort();
    until("the last one leads", || leading(&seats) == 1).await;
    until("it is alone", || seats[0].3.others().is_empty()).await;

    // Without etcd nobody leads, for another could.
    cluster.0.kill();
    until("nobody leads", || leading(&seats) == 0).await;
    cluster.0.restart();
    until("it leads again", || leading(&seats) == 1).await;
}
