//! What the answers of several replicas come to.

use laneway_proto::status::{ConfigState, Proxy, Rollout};
use prost_types::Timestamp;

use super::{Heard, Peers, merged_proxies, merged_rollout};
use crate::credentials::Credentials;
use crate::replicas::{Replica, Replicas};

fn proxy(name: &str, replica: &str, since: i64, state: ConfigState) -> Proxy {
    Proxy {
        name: format!("proxies/{name}"),
        control_plane: replica.to_owned(),
        connect_time: Some(Timestamp { seconds: since, nanos: 0 }),
        state: state.into(),
        ..Proxy::default()
    }
}

#[test]
fn a_sidecar_that_moved_is_shown_once_where_it_is_now() {
    use ConfigState::{Disconnected, Error, Synced};
    let own = vec![proxy("a", "one", 9, Disconnected), proxy("c", "one", 5, Synced)];
    let two = vec![proxy("a", "two", 7, Error), proxy("b", "two", 1, Synced), proxy("c", "two", 4, Synced)];
    let three = vec![proxy("c", "three", 6, Disconnected)];
    let all = merged_proxies(own, vec![two, three]);
    let shown: Vec<_> = all.iter().map(|found| (found.name.as_str(), found.control_plane.as_str())).collect();
    // Of two that say it is connected the later one; the other has not noticed yet.
    assert_eq!(shown, [("proxies/a", "two"), ("proxies/b", "two"), ("proxies/c", "one")]);
}

#[tokio::test]
async fn a_replica_that_does_not_answer_is_named() {
    let replica = |name: &str, api: String| Replica { name: name.to_owned(), api };
    // Nobody listens there any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let others = vec![replica("two", format!("http://{port}")), replica("three", "no url".to_owned())];
    let (_tell, known) = tokio::sync::watch::channel(others);
    let peers = Peers::new(Replicas::follow(replica("one", String::new()), known), Credentials::default());
    let heard = peers.proxies().await;
    assert_eq!((heard.answers.len(), heard.unreachable), (0, vec!["three".to_owned(), "two".to_owned()]));
    assert!(
        Peers::new(Replicas::alone("one".to_owned()), Credentials::default()).proxies().await.unreachable.is_empty()
    );
}

#[test]
fn a_rollout_is_counted_over_all_replicas_and_done_when_it_is_everywhere() {
    let part = |acked: u32, pending: u32| Rollout {
        target_count: acked + pending,
        acked_count: acked,
        pending_count: pending,
        pending_proxies: (0..pending).map(|at| format!("proxies/{at}")).collect(),
        done: pending == 0,
        ..Rollout::default()
    };
    let heard = |answers| Heard { answers, unreachable: vec!["four".to_owned()] };
    let all = merged_rollout(part(5, 0), heard(vec![part(3, 2), part(0, 40)]));
    assert_eq!((all.target_count, all.acked_count, all.pending_count, all.done), (50, 8, 42, false));
    assert_eq!((all.pending_proxies.len(), all.unreachable.as_slice()), (20, ["four".to_owned()].as_slice()));
    let all = merged_rollout(part(5, 0), heard(vec![part(3, 0)]));
    assert!(all.done, "whoever does not answer is named, and not waited for");
}
