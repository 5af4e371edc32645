//! What a watcher hears while nothing happens, and how it ends. The time is virtual: nothing here waits.

use std::sync::Arc;
use std::time::Duration;

use laneway_proto::admin::WatchRequest;
use laneway_proto::admin::watch_event::Kind;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tonic::Code;

use super::{Events, HEARTBEAT, WatchEvent, watch};
use crate::access::{Door, Rules};
use crate::api::Api;
use crate::api::Given;
use crate::clock::Clock;
use crate::credentials::Credentials;
use crate::drain::{self, Trigger};
use crate::fleet::Fleet;
use crate::guard::Deeds;
use crate::leader::Leader;
use crate::reconcile::Reconciler;
use crate::replicas::Replicas;
use crate::stats::Stats;
use crate::store::memory::{Disk, Memory};

async fn watched() -> (Events<WatchEvent>, Trigger) {
    let store = Memory::on(&Arc::<Disk>::default());
    let reconciler = Reconciler::start(Box::new(store), Vec::new(), Clock::system()).await.expect("an empty store");
    let (trigger, draining) = drain::channel();
    let replicas = Replicas::alone("test".to_owned());
    let api = Api::new(Given {
        webhook: crate::webhook::Counts::default(),
        discovery: crate::discovery::standing::Standing::default(),
        tag_of: Arc::new(|_, _, _| crate::discovery::PodTag::Unknown),
        reconciler,
        fleet: Fleet::new(),
        leader: Leader::sole(),
        replicas,
        credentials: Credentials::default(),
        stats: Stats::new(Clock::system()),
        deeds: Deeds::default(),
        doors: ["discovery", "api"].map(|port| Door::new(port, Rules::default())),
        draining,
        writes_per_second: 200,
    });
    (watch(&api, WatchRequest::default()).await.expect("it is watched").into_inner(), trigger)
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_heartbeats_and_the_drain_ends_it() {
    let (mut events, trigger) = watched().await;
    let first = events.next().await.expect("it goes on").expect("it goes on");
    assert_eq!(first.kind(), Kind::Synced);
    let begun = Instant::now();
    for number in 1..=3 {
        let event = events.next().await.expect("it goes on").expect("it goes on");
        assert_eq!(event.kind(), Kind::Heartbeat);
        assert_eq!(begun.elapsed().as_secs(), (HEARTBEAT * number).as_secs());
    }
    trigger.start();
    let end = events.next().await.expect("a word").expect_err("it ends");
    assert_eq!(end.code(), Code::Unavailable);
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_reads_nothing_is_ended_and_told_so() {
    let (mut events, _trigger) = watched().await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let mut count = 0;
    let end = loop {
        match events.next().await.expect("a word") {
            Ok(_) => count += 1,
            Err(end) => break end,
        }
    };
    assert_eq!((end.code(), count), (Code::Aborted, 16), "{end}");
    assert!(events.next().await.is_none());
}
