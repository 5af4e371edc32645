use super::super::BOUND;
use super::super::tests::{Namespaced, WAIT, commit, lane};
use super::Following;
use crate::store::{Change, Follow, Store};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn what_another_replica_commits_is_heard_of_though_the_watch_is_deaf() {
    let place = Namespaced::new("deaf");
    let (store, other) = (place.store(BOUND).await, place.store(BOUND).await);
    let mut following = Following::new(store, 0);
    // As over a connection that is no more, and nobody has said so.
    following.events = Some(Box::pin(tokio_stream::pending()));
    for number in 1..=2 {
        let puts = vec![lane(&place.lane_name("gray"), number == 1)];
        other.commit(commit(number, puts.clone(), Vec::new())).await.expect("commits");
        let change = tokio::time::timeout(WAIT, following.next()).await.expect("it asks").expect("follows");
        let Change::Commit { revision, puts: told, deletes } = change else { panic!("{change:?}") };
        assert_eq!((revision, told, deletes), (number, puts, Vec::new()));
    }
}
