//! What is told follows the number of streams, and of replicas.

use std::sync::Arc;
use std::time::Duration;

use laneway_core::back_off::Spread;
use laneway_core::compile::compile;
use laneway_core::snapshot::Identity;
use laneway_proto::contract::{TYPE_LANE_GROUP, TYPE_RECONNECT};
use laneway_proto::status::Proxy;
use tokio::sync::watch;

use super::{Offer, SMALLER_AFTER, Told, channel, count};
use crate::fleet::{Fleet, Holding, Member, Seat};
use crate::push::session::Source as _;
use crate::replicas::{Replica, Replicas};

/// Of a clock that stands still while something happens.
const WAIT: Duration = Duration::from_secs(600);

/// A stream of which only the place counts.
struct Place;

impl Member for Place {
    fn identity(&self) -> Identity {
        Identity { namespace: "default".to_owned(), service: "a".to_owned(), tag: None }
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

    fn replaced(&self) {}
}

fn seats(fleet: &Fleet, count: usize) -> Vec<Seat> {
    let join = |number| fleet.join(format!("sidecar~{number}"), Arc::new(Place)).expect("nobody else has this id");
    (0..count).map(join).collect()
}

async fn until_told(told: &Told, streams: usize) {
    let expected = Spread::of(streams).to_resource();
    let mut told = told.subscribe();
    let heard = tokio::time::timeout(WAIT, told.wait_for(|wire| **wire == expected)).await;
    heard.expect("it is told in time").expect("it is told for ever");
}

#[tokio::test(start_paused = true)]
async fn what_is_told_grows_with_the_fleet_and_the_replicas_and_shrinks_after_a_minute() {
    let (fleet, told) = (Fleet::new(), channel());
    let (known, others) = watch::channel(Vec::new());
    let replica = |name: &str| Replica { name: name.to_owned(), api: String::new() };
    let replicas = Replicas::follow(replica("one"), others);
    let counting = tokio::spawn(count(fleet.clone(), replicas, told.clone()));
    until_told(&told, 0).await;
    let many = seats(&fleet, 200);
    until_told(&told, 200).await;
    known.send_replace(vec![replica("two"), replica("three")]);
    until_told(&told, 600).await;
    // The store no longer tells: its last word holds.
    drop(known);
    drop(many);
    tokio::time::sleep(SMALLER_AFTER - Duration::from_secs(1)).await;
    assert_eq!(**told.borrow(), Spread::of(600).to_resource(), "they may all come back");
    until_told(&told, 0).await;
    let _few = seats(&fleet, 100);
    until_told(&told, 300).await;
    counting.abort();
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_stays_as_it_is_is_told_nothing_more() {
    let (fleet, told) = (Fleet::new(), channel());
    let counting = tokio::spawn(count(fleet.clone(), Replicas::alone("one".to_owned()), told.clone()));
    let _some = seats(&fleet, 100);
    until_told(&told, 100).await;
    let mut later = told.subscribe();
    later.mark_unchanged();
    // A few come and go, and all of them answer.
    for _ in 0..10 {
        drop(fleet.join("sidecar~one-more".to_owned(), Arc::new(Place)).expect("nobody has this id"));
        fleet.tell();
        tokio::task::yield_now().await;
    }
    // Whoever counts has seen all of it once it has told of the next.
    let _many = (0..400).map(|number| fleet.join(format!("other~{number}"), Arc::new(Place))).collect::<Vec<_>>();
    tokio::time::timeout(WAIT, later.changed()).await.expect("it is told in time").expect("it is told for ever");
    assert_eq!(**later.borrow(), Spread::of(500).to_resource(), "and of nothing in between");
    counting.abort();
}

#[test]
fn it_stands_beside_the_configuration() {
    let compiled = compile(&Default::default(), &Default::default());
    let offer = Offer { compiled: &compiled, reconnect: Arc::new(Spread::of(1_000).to_resource()) };
    let names =
        |kind| offer.subscribed(kind, &Place.identity()).iter().map(|wire| wire.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(TYPE_RECONNECT), ["self"]);
    assert_eq!(names(TYPE_LANE_GROUP), [laneway_core::name::group("default", "default")]);
}
