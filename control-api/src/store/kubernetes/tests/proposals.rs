//! What people write beside the API.

use kube::api::{DeleteParams, PostParams};
use laneway_proto::admin::Lane;
use prost::Message;
use serde_json::json;

use super::super::journal::Entry;
use super::super::object::{self, Proposal, Standing};
use super::super::watch::Key;
use super::super::{BOUND, BY_KUBECTL, Kubernetes, in_force};
use super::{Namespaced, WAIT, commit, lane, patched, sorted};
use crate::store::{HistoryBound, Kind, Record, Store, StoreError, Stored};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn what_people_change_is_a_proposal_and_what_was_accepted_stays() {
    let place = Namespaced::new("proposal");
    let (store, other) = (place.store(BOUND).await, place.store(BOUND).await);
    let name = place.lane_name("gray");
    store.commit(commit(1, vec![lane(&name, true)], Vec::new())).await.expect("commits");
    let api = place.lanes(&store);
    let object = patched(&api, "gray", json!({"spec": {"priority": 7}})).await;
    let read = object::read(Kind::Lane, &object);
    assert!(matches!(read.standing, Standing::Proposed(_)), "{read:?}");
    assert_eq!((read.name.as_str(), read.revision), (name.as_str(), 1));
    assert_eq!(object::author(&object).as_deref(), Some("kubectl-edit"));
    // Also for a process that never knew anything else.
    for store in [&store, &other] {
        let stored = store.load().await.expect("loads");
        assert_eq!((stored.revision, stored.records), (1, vec![lane(&name, true)]));
    }
    // A kill switch is held up by nothing, and undoes nothing that they wrote.
    other.commit(commit(2, vec![lane(&name, false)], Vec::new())).await.expect("commits");
    let object = api.get("gray").await.expect("it is there");
    assert_eq!((&object.data["spec"]["enabled"], &object.data["spec"]["priority"]), (&json!(false), &json!(7)));
    assert!(matches!(object::read(Kind::Lane, &object).standing, Standing::Proposed(_)));
    // Accepted: the spec stays as they wrote it.
    let mut accepted = Lane::decode(lane(&name, false).body.as_slice()).expect("it is one");
    accepted.priority = 7;
    let accepted = Record { body: accepted.encode_to_vec(), ..lane(&name, false) };
    store.commit(commit(3, vec![accepted.clone()], Vec::new())).await.expect("commits");
    let object = api.get("gray").await.expect("it is there");
    assert!(matches!(object::read(Kind::Lane, &object).standing, Standing::Accepted(own) if own == accepted));
    // A spec that does not say whether it is switched on says so once somebody has switched it.
    let object = patched(&api, "gray", json!({"spec": {"enabled": null}})).await;
    assert!(matches!(object::read(Kind::Lane, &object).standing, Standing::Accepted(_)), "nothing has changed");
    let mut switched = Lane::decode(accepted.body.as_slice()).expect("it is one");
    switched.enabled = Some(true);
    let switched = Record { body: switched.encode_to_vec(), ..accepted };
    store.commit(commit(4, vec![switched], Vec::new())).await.expect("commits");
    let object = api.get("gray").await.expect("it is there");
    assert_eq!(object.data["spec"]["enabled"], json!(true));
}

fn key(place: &Namespaced, id: &str) -> Key {
    (Kind::Lane, object::Place { namespace: place.namespace.clone(), name: id.to_owned() })
}

/// As the leader does.
async fn report(store: &Kubernetes, place: &Namespaced, id: &str, record: &Record, revision: i64) {
    let status = json!({ "revision": revision, in_force::FIELD: in_force::text(record) });
    store.report(&key(place, id), &status).await.expect("reports");
}

fn stamped(name: &str, enabled: bool, revision: i64) -> Record {
    let mut own = Lane::decode(lane(name, enabled).body.as_slice()).expect("it is one");
    own.revision = revision;
    Record { body: own.encode_to_vec(), ..lane(name, enabled) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn what_was_accepted_outlives_the_history_and_our_note_on_the_object() {
    let place = Namespaced::new("outlives");
    let bound = HistoryBound { revisions: 2, ..BOUND };
    let store = place.store(bound).await;
    let (old, other) = (place.lane_name("old"), place.lane_name("other"));
    let accepted = stamped(&old, true, 1);
    store.commit(commit(1, vec![accepted.clone()], Vec::new())).await.expect("commits");
    report(&store, &place, "old", &accepted, 1).await;
    for number in 2..=16 {
        store
            .commit(commit(number, vec![stamped(&other, number % 2 == 0, number)], Vec::new()))
            .await
            .expect("commits");
    }
    assert!(store.shared.journal.head(1).await.expect("asks").is_none(), "its Revision is no longer held");
    let api = place.lanes(&store);
    // An edit; and then a file that people kept, in place of all.
    patched(&api, "old", json!({"spec": {"priority": -1}})).await;
    let found = place.store(bound).await.load().await.expect("loads");
    assert!(found.records.contains(&accepted), "{found:?}");
    let mut object = api.get("old").await.expect("it is there");
    object.metadata.annotations = None;
    api.replace("old", &PostParams::default(), &object).await.expect("replaces");
    let found = place.store(bound).await.load().await.expect("loads");
    assert!(found.records.contains(&accepted), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn a_copy_of_what_was_accepted_once_is_not_what_is_in_force() {
    let place = Namespaced::new("copy");
    let store = place.store(BOUND).await;
    let name = place.lane_name("gray");
    store.commit(commit(1, vec![stamped(&name, true, 1)], Vec::new())).await.expect("commits");
    let api = place.lanes(&store);
    let copy = api.get("gray").await.expect("it is there");
    let switched = stamped(&name, false, 2);
    store.commit(commit(2, vec![switched.clone()], Vec::new())).await.expect("commits");
    report(&store, &place, "gray", &switched, 2).await;
    assert!(
        store.copied(&key(&place, "gray"), Some(&switched), 2).await.expect("asks").is_none(),
        "it is what is in force"
    );
    let mut old = copy.clone();
    old.metadata.resource_version = api.get("gray").await.expect("it is there").metadata.resource_version;
    api.replace("gray", &PostParams::default(), &old).await.expect("replaces");
    let found = place.store(BOUND).await.load().await.expect("loads");
    assert_eq!((found.revision, found.records), (2, vec![switched.clone()]));
    let proposed = store.copied(&key(&place, "gray"), Some(&switched), 2).await.expect("asks").expect("it is another");
    assert!(matches!(&proposed, Proposal::Lane(own) if own.enabled == Some(true)), "{proposed:?}");
    // Deleted and written back.
    store.commit(commit(3, Vec::new(), vec![name.clone()])).await.expect("commits");
    assert!(store.copied(&key(&place, "gray"), None, 3).await.expect("asks").is_none(), "it is gone");
    old.metadata.resource_version = None;
    old.metadata.uid = None;
    api.create(&PostParams::default(), &old).await.expect("creates");
    assert!(store.copied(&key(&place, "gray"), None, 3).await.expect("asks").is_some());
    // Nor for who starts now, before anybody judged it.
    assert_eq!(place.store(BOUND).await.load().await.expect("loads").records, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn a_note_that_somebody_wrote_along_with_something_else_accepts_nothing() {
    let place = Namespaced::new("forged");
    let store = place.store(BOUND).await;
    let name = place.lane_name("gray");
    let accepted = stamped(&name, true, 1);
    store.commit(commit(1, vec![accepted.clone()], Vec::new())).await.expect("commits");
    report(&store, &place, "gray", &accepted, 1).await;
    let api = place.lanes(&store);
    let live = api.get("gray").await.expect("it is there");
    let forged = stamped(&name, false, 1);
    let object = object::merged(&key(&place, "gray").1, Some(&live), None, &forged, 1, object::Theirs::Awaited);
    let object =
        api.replace("gray", &PostParams::default(), &object.expect("it is an object")).await.expect("replaces");
    assert!(matches!(object::read(Kind::Lane, &object).standing, Standing::Accepted(own) if own == forged));
    let proposed = store.copied(&key(&place, "gray"), Some(&accepted), 1).await.expect("asks").expect("it is another");
    assert!(matches!(&proposed, Proposal::Lane(own) if own.enabled == Some(false)), "{proposed:?}");
    assert_eq!(place.store(BOUND).await.load().await.expect("loads").records, [accepted]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn a_copy_of_long_ago_asks_for_what_is_held_and_not_for_each_number_since() {
    let place = Namespaced::new("long ago");
    let store = place.store(BOUND).await;
    let (old, other) = (stamped(&place.lane_name("old"), true, 1), place.lane_name("other"));
    store.commit(commit(1, vec![old.clone()], Vec::new())).await.expect("commits");
    // As if all of these had been let go: asking for each would take years.
    store.shared.journal.api.delete("000000000001", &DeleteParams::default()).await.expect("it is there");
    let far = 100_000_000_000;
    let newest = stamped(&other, true, far);
    store.commit(commit(far, vec![newest.clone()], Vec::new())).await.expect("commits");
    for store in [&store, &place.store(BOUND).await] {
        let stored = tokio::time::timeout(WAIT, store.load()).await.expect("in time").expect("loads");
        assert_eq!(stored, Stored { revision: far, records: sorted(vec![old.clone(), newest.clone()]) });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn what_was_put_back_in_time_is_not_written_over_by_what_it_said_between() {
    let place = Namespaced::new("in time");
    let store = place.store(BOUND).await;
    let name = place.lane_name("gray");
    store.commit(commit(1, vec![lane(&name, true)], Vec::new())).await.expect("commits");
    let api = place.lanes(&store);
    let mut twenty = Lane::decode(lane(&name, true).body.as_slice()).expect("it is one");
    twenty.priority = 20;
    let mut noted = commit(2, vec![Record { body: twenty.encode_to_vec(), ..lane(&name, true) }], Vec::new());
    noted.revision.method = BY_KUBECTL.to_owned();
    // 20 by the watch, and none again by now; or with another word.
    for description in ["as it was", "as it is"] {
        patched(&api, "gray", json!({"spec": {"description": description}})).await;
        let refused = store.commit(noted.clone()).await;
        assert!(matches!(refused, Err(StoreError::Moved { found: 1, expected: 1 })), "{refused:?}");
        let object = api.get("gray").await.expect("it is there");
        assert_eq!(object.data["spec"].get("priority"), None);
        assert_eq!(object.data["spec"]["description"], description);
    }
    // Nor by who carries it on.
    store.shared.journal.claim(&Entry::of(&noted), 1).await.expect("claims, and dies");
    assert_eq!(store.load().await.expect("loads").records, [lane(&name, true)]);
    assert_eq!(api.get("gray").await.expect("it is there").data["spec"].get("priority"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn what_is_being_deleted_is_gone_and_nothing_is_written_on_it() {
    let place = Namespaced::new("going");
    let store = place.store(BOUND).await;
    let name = place.lane_name("gray");
    store.commit(commit(1, vec![lane(&name, true)], Vec::new())).await.expect("commits");
    let api = place.lanes(&store);
    patched(&api, "gray", json!({"metadata": {"finalizers": ["example.com/held"]}})).await;
    store.commit(commit(2, Vec::new(), vec![name.clone()])).await.expect("commits");
    assert!(store.is_gone(Kind::Lane, &name).await.expect("asks"));
    assert_eq!(place.store(BOUND).await.load().await.expect("loads").records, []);
    let refused = store.commit(commit(3, vec![lane(&name, true)], Vec::new())).await;
    assert!(matches!(&refused, Err(StoreError::Unusable(why)) if why.contains("finalizers")), "{refused:?}");
    patched(&api, "gray", json!({"metadata": {"finalizers": null}})).await;
    store.commit(commit(3, vec![lane(&name, true)], Vec::new())).await.expect("commits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn what_was_deleted_and_written_anew_meanwhile_is_not_deleted_with_what_was_there_before() {
    let place = Namespaced::new("anew");
    let store = place.store(BOUND).await;
    let name = place.lane_name("gray");
    store.commit(commit(1, vec![lane(&name, true)], Vec::new())).await.expect("commits");
    let api = place.lanes(&store);
    let mut anew = api.get("gray").await.expect("it is there");
    api.delete("gray", &DeleteParams::default()).await.expect("deletes");
    assert!(store.is_gone(Kind::Lane, &name).await.expect("asks"));
    (anew.metadata.resource_version, anew.metadata.uid) = (None, None);
    api.create(&PostParams::default(), &anew).await.expect("creates");
    let mut noted = commit(2, Vec::new(), vec![name.clone()]);
    noted.revision.method = BY_KUBECTL.to_owned();
    let refused = store.commit(noted.clone()).await;
    assert!(matches!(refused, Err(StoreError::Moved { found: 1, expected: 1 })), "{refused:?}");
    // Nor by who carries it on.
    store.shared.journal.claim(&Entry::of(&noted), 1).await.expect("claims, and dies");
    assert_eq!(store.load().await.expect("loads").records, [lane(&name, true)]);
    assert!(api.get_opt("gray").await.expect("asks").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn what_was_deleted_meanwhile_is_not_made_again_by_what_it_said_before() {
    let place = Namespaced::new("gone again");
    let store = place.store(BOUND).await;
    let name = place.lane_name("gray");
    let mut noted = commit(1, vec![lane(&name, true)], Vec::new());
    noted.revision.method = BY_KUBECTL.to_owned();
    let refused = store.commit(noted.clone()).await;
    assert!(matches!(refused, Err(StoreError::Moved { found: 0, expected: 0 })), "{refused:?}");
    assert!(matches!(store.reaffirm(&lane(&name, true), 1).await, Err(StoreError::Moved { .. })));
    // Nor by who carries it on.
    store.shared.journal.claim(&Entry::of(&noted), 1).await.expect("claims, and dies");
    assert_eq!(store.load().await.expect("loads"), Stored { revision: 1, records: Vec::new() });
    assert!(place.lanes(&store).get_opt("gray").await.expect("asks").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn of_two_objects_that_are_one_of_ours_the_first_counts_and_a_note_from_elsewhere_does_not() {
    let place = Namespaced::new("twins");
    let store = place.store(BOUND).await;
    let name = laneway_core::name::lane(&place.namespace, "shop", "gray");
    let other = place.lane_name("other");
    store
        .commit(commit(1, vec![stamped(&name, true, 1), stamped(&other, true, 1)], Vec::new()))
        .await
        .expect("commits");
    let api = place.lanes(&store);
    let mut twin = api.get("shop.gray").await.expect("it is there");
    let newest = vec![stamped(&name, false, 2), stamped(&other, true, 1)];
    store.commit(commit(2, newest[..1].to_vec(), Vec::new())).await.expect("commits");
    twin.metadata.name = Some("gray".to_owned());
    (twin.metadata.resource_version, twin.metadata.uid) = (None, None);
    api.create(&PostParams::default(), &twin).await.expect("creates");
    // Of a revision that this cluster has of something else, and of one that it has not reached.
    for (id, revision) in [("two", 2), ("far", 900)] {
        let record = stamped(&place.lane_name(id), true, revision);
        let made = object::merged(&key(&place, id).1, None, None, &record, revision, object::Theirs::Awaited);
        api.create(&PostParams::default(), &made.expect("it is an object")).await.expect("creates");
        assert!(store.copied(&key(&place, id), None, 2).await.expect("asks").is_some(), "{id} is a proposal");
    }
    for store in [&store, &place.store(BOUND).await] {
        assert_eq!(store.load().await.expect("loads"), Stored { revision: 2, records: sorted(newest.clone()) });
    }
}
