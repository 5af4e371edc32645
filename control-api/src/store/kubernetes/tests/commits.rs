//! Commits that are refused, slow, or left half done.

use super::super::BOUND;
use super::super::journal::Entry;
use super::super::rewrite::{Hand, Theirs};
use super::super::settle::SILENT_MAX;
use super::{Namespaced, WAIT, commit, lane};
use crate::store::{Change, Store, StoreError, Stored};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn a_commit_that_is_refused_half_way_is_put_back() {
    let place = Namespaced::new("put back");
    let store = place.store(BOUND).await;
    let (one, two) = (place.lane_name("one"), place.lane_name("two"));
    store.commit(commit(1, vec![lane(&one, true)], Vec::new())).await.expect("commits");
    // It passes the rehearsal of each, and then there is no room: the API server is asked by us as the store asks it.
    let rewrites =
        store.rewrites(&[lane(&one, false), lane(&two, true)], &[], 2, Theirs::Awaited).await.expect("plans");
    let entry = Entry::of(&commit(2, vec![lane(&one, false), lane(&two, true)], Vec::new()));
    let mut claim = store.shared.journal.claim(&entry, 1).await.expect("claims");
    let mut done = Vec::new();
    for rewrite in &rewrites {
        done.push((rewrite, store.apply(rewrite, Hand::Claimed(&mut claim)).await.expect("writes")));
    }
    store.put_back(claim, done).await.expect("puts back");
    let stored = store.load().await.expect("loads");
    assert_eq!((stored.revision, stored.records), (1, vec![lane(&one, true)]));
    assert!(place.lanes(&store).get_opt("two").await.expect("asks").is_none());
    // The number is free again.
    store.commit(commit(2, vec![lane(&one, false)], Vec::new())).await.expect("commits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn a_commit_whose_writer_died_is_carried_on_by_the_next_who_loads() {
    let place = Namespaced::new("left behind");
    let (writer, next) = (place.store(BOUND).await, place.store(BOUND).await);
    let (one, two) = (place.lane_name("one"), place.lane_name("two"));
    let whole = commit(1, vec![lane(&one, true), lane(&two, true)], Vec::new());
    let rewrites = writer.rewrites(&whole.puts, &[], 1, Theirs::Awaited).await.expect("plans");
    let mut claim = writer.shared.journal.claim(&Entry::of(&whole), 1).await.expect("claims");
    writer.apply(&rewrites[0], Hand::Claimed(&mut claim)).await.expect("writes the first, and dies");
    // Nobody takes the half of it for the whole, nor the number.
    let refused = next.commit(commit(1, vec![lane(&one, false)], Vec::new())).await;
    assert!(matches!(refused, Err(StoreError::Moved { .. })), "{refused:?}");
    let stored = next.load().await.expect("loads");
    assert_eq!((stored.revision, stored.records), (1, vec![lane(&one, true), lane(&two, true)]));
    next.commit(commit(2, Vec::new(), vec![one])).await.expect("commits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn a_writer_that_was_too_slow_does_not_write_over_what_was_committed_since() {
    let place = Namespaced::new("too slow");
    let (slow, other) = (place.store(BOUND).await, place.store(BOUND).await);
    let one = place.lane_name("one");
    other.commit(commit(1, vec![lane(&one, true)], Vec::new())).await.expect("commits");
    slow.load().await.expect("loads");
    let late = slow.rewrites(&[lane(&one, false)], &[], 2, Theirs::Awaited).await.expect("plans");
    for (number, enabled) in [(2, false), (3, true)] {
        other.commit(commit(number, vec![lane(&one, enabled)], Vec::new())).await.expect("commits");
    }
    let refused = slow.apply(&late[0], Hand::Noting).await;
    assert!(matches!(refused, Err(StoreError::Moved { found: 3, .. })), "{refused:?}");
    let stored = place.store(BOUND).await.load().await.expect("loads");
    assert_eq!((stored.revision, stored.records), (3, vec![lane(&one, true)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn what_the_api_server_would_refuse_changes_nothing() {
    let place = Namespaced::new("rehearsal");
    let store = place.store(BOUND).await;
    let good = lane(&place.lane_name("good"), true);
    let nowhere = lane("namespaces/is-not-there/laneGroups/default/lanes/bad", true);
    let refused = store.commit(commit(1, vec![good, nowhere], Vec::new())).await;
    assert!(matches!(refused, Err(StoreError::Failed { .. })), "{refused:?}");
    assert_eq!(store.load().await.expect("loads"), Stored::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn a_commit_whose_writer_died_reaches_who_follows_though_nobody_loads() {
    let place = Namespaced::new("left to followers");
    let (writer, next) = (place.store(BOUND).await, place.store(BOUND).await);
    let whole = commit(1, vec![lane(&place.lane_name("one"), true), lane(&place.lane_name("two"), true)], Vec::new());
    let mut followers = [writer.follow(0), next.follow(0)];
    writer.shared.journal.claim(&Entry::of(&whole), 1).await.expect("claims, and dies");
    for follower in &mut followers {
        let change = tokio::time::timeout(WAIT, follower.next()).await.expect("in time").expect("follows");
        assert!(matches!(&change, Change::Commit { revision: 1, puts, .. } if *puts == whole.puts), "{change:?}");
    }
    assert!(place.lanes(&next).get_opt("two").await.expect("asks").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn who_carries_a_commit_on_says_what_the_api_server_did_not_take() {
    let place = Namespaced::new("refused later");
    let store = place.store(BOUND).await;
    let good = lane(&place.lane_name("good"), true);
    let nowhere = lane("namespaces/is-not-there/laneGroups/default/lanes/bad", true);
    let whole = commit(1, vec![good.clone(), nowhere.clone()], Vec::new());
    store.shared.journal.claim(&Entry::of(&whole), 1).await.expect("claims, and dies");
    let change = tokio::time::timeout(WAIT, store.follow(0).next()).await.expect("in time").expect("follows");
    assert!(matches!(&change, Change::Commit { puts, .. } if *puts == [good.clone()]), "{change:?}");
    let stored = store.load().await.expect("loads");
    assert_eq!((stored.revision, stored.records), (1, vec![good]));
    let reason = store.revisions(2, 1).await.expect("reads")[0].reason.clone();
    assert!(reason.contains(&format!("{} was left as it was: ", nowhere.name)), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn who_is_slow_and_alive_is_waited_for() {
    let place = Namespaced::new("slow and alive");
    let (writer, other) = (place.store(BOUND).await, place.store(BOUND).await);
    let whole = commit(1, vec![lane(&place.lane_name("one"), true)], Vec::new());
    let mut claim = writer.shared.journal.claim(&Entry::of(&whole), 1).await.expect("claims");
    let loading = tokio::spawn(async move { other.load().await });
    // Longer than somebody of whom nothing is heard has.
    for _ in 0..14 {
        tokio::time::sleep(SILENT_MAX / 10).await;
        claim.keep().await.expect("it is held");
    }
    assert!(!loading.is_finished());
    claim.give_back().await.expect("it is ours to give back");
    assert_eq!(loading.await.expect("no panic").expect("loads"), Stored::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn who_was_taken_over_writes_deletes_and_gives_back_nothing() {
    let place = Namespaced::new("taken over");
    let (slow, other) = (place.store(BOUND).await, place.store(BOUND).await);
    let (one, two) = (place.lane_name("one"), place.lane_name("two"));
    other.commit(commit(1, vec![lane(&one, true)], Vec::new())).await.expect("commits");
    slow.load().await.expect("loads");
    let half = commit(2, vec![lane(&two, true)], vec![one.clone()]);
    let late = slow.rewrites(&half.puts, &half.deletes, 2, Theirs::Awaited).await.expect("plans");
    let mut claim = slow.shared.journal.claim(&Entry::of(&half), 1).await.expect("claims, and stops");
    // Others do all of it, and then the opposite.
    assert_eq!(other.load().await.expect("loads").records, [lane(&two, true)]);
    other.commit(commit(3, vec![lane(&one, false)], vec![two.clone()])).await.expect("commits");
    for rewrite in &late {
        let refused = slow.apply(rewrite, Hand::Claimed(&mut claim)).await;
        assert!(matches!(refused, Err(StoreError::Doubtful(_))), "{refused:?}");
    }
    assert!(matches!(claim.hold().await, Err(StoreError::Doubtful(_))));
    let put_back = slow.put_back(claim, Vec::new()).await;
    assert!(matches!(put_back, Err(StoreError::Doubtful(_))), "{put_back:?}");
    assert!(slow.shared.journal.has(2).await.expect("asks"));
    let expected = Stored { revision: 3, records: vec![lane(&one, false)] };
    assert_eq!(other.load().await.expect("loads"), expected);
}
