//! Who has a seat.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use laneway_core::snapshot::Identity;
use laneway_proto::status::Proxy;

use super::{Fleet, Holding, Member};

/// A stream of a pod, which counts how often it was told to go.
struct Stream {
    pod: Option<&'static str>,
    replaced: AtomicUsize,
}

impl Stream {
    fn of(pod: Option<&'static str>) -> Arc<Stream> {
        Arc::new(Stream { pod, replaced: AtomicUsize::new(0) })
    }

    fn replaced_times(&self) -> usize {
        self.replaced.load(Ordering::Relaxed)
    }
}

impl Member for Stream {
    fn identity(&self) -> Identity {
        Identity { namespace: "shop".to_owned(), service: "cart".to_owned(), tag: None }
    }

    fn pod(&self) -> Option<&str> {
        self.pod
    }

    fn seen_revision(&self) -> i64 {
        0
    }

    fn holding(&self, _type_url: &str, _name: &str) -> Holding {
        Holding::default()
    }

    fn report(&self, _full: bool) -> Proxy {
        Proxy::default()
    }

    fn replaced(&self) {
        self.replaced.fetch_add(1, Ordering::Relaxed);
    }
}

fn nodes(fleet: &Fleet) -> Vec<String> {
    fleet.connected().into_iter().map(|(node, _)| node).collect()
}

#[test]
fn two_node_ids_of_one_pod_are_one_seat() {
    let fleet = Fleet::new();
    let join = |node: &str, stream: &Arc<Stream>| {
        fleet.join(node.to_owned(), Arc::clone(stream) as Arc<dyn Member>).expect("it is of the same service")
    };
    let [first, second, other] = [Some("uid-1"), Some("uid-1"), Some("uid-2")].map(Stream::of);
    let first_seat = join("sidecar~10.0.0.1~cart-1.shop~", &first);
    let other_seat = join("sidecar~10.0.0.2~cart-2.shop~", &other);
    let second_seat = join("sidecar~10.0.0.1~cart-1.shop~again", &second);
    assert_eq!(nodes(&fleet), ["sidecar~10.0.0.1~cart-1.shop~again", "sidecar~10.0.0.2~cart-2.shop~"]);
    assert_eq!([&first, &second, &other].map(|stream| stream.replaced_times()), [1, 0, 0]);
    // The one that was replaced takes nothing with it.
    drop(first_seat);
    assert_eq!(fleet.connected_count(), 2);
    let third = Stream::of(Some("uid-1"));
    let third_seat = join("sidecar~10.0.0.1~cart-1.shop~", &third);
    drop(second_seat);
    assert_eq!((second.replaced_times(), nodes(&fleet).len()), (1, 2));
    drop((third_seat, other_seat));
    assert_eq!(fleet.connected_count(), 0);
    assert!(fleet.members().pods.is_empty());
}

#[test]
fn a_node_id_that_another_pod_has_now_and_nodes_of_no_pod_are_as_they_were() {
    let fleet = Fleet::new();
    let join = |node: &str, stream: &Arc<Stream>| {
        fleet.join(node.to_owned(), Arc::clone(stream) as Arc<dyn Member>).expect("it is of the same service")
    };
    let [old, new] = [Some("uid-1"), Some("uid-2")].map(Stream::of);
    let old_seat = join("node", &old);
    let new_seat = join("node", &new);
    assert_eq!((old.replaced_times(), fleet.connected_count(), fleet.members().pods.len()), (1, 1, 1));
    drop((old_seat, new_seat));
    let plain = [Stream::of(None), Stream::of(None)];
    let _seats = [join("one", &plain[0]), join("two", &plain[1])];
    assert_eq!((fleet.connected_count(), fleet.members().pods.len()), (2, 0));
}
