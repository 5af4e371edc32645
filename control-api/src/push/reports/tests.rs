//! How long whoever reports is listened to.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use laneway_proto::discovery::NodeMetadata;
use laneway_proto::telemetry::ReportLaneStatsRequest;
use tokio::sync::{Notify, mpsc};

use super::{PACES_QUEUED_MAX, Reports};
use crate::clock::Clock;
use crate::drain;
use crate::fleet::{Fleet, Member};
use crate::push::door::Visitor;
use crate::push::door::tests::{Server, visitor};
use crate::push::node::Node;
use crate::push::opening::tests::streaming;
use crate::push::session::Session;
use crate::push::{Line, age};
use crate::stats::Stats;

const NODE: &str = "sidecar~10.0.0.1~cart-1.shop~";

fn line() -> Arc<dyn Member> {
    let identity =
        laneway_core::snapshot::Identity { namespace: "shop".to_owned(), service: "cart".to_owned(), tag: None };
    Arc::new(Line {
        session: Mutex::new(Session::new(identity.clone())),
        pod: None,
        node: Node { id: NODE.to_owned(), identity, metadata: NodeMetadata::default() },
        remote: String::new(),
        replica: String::new(),
        since: SystemTime::now(),
        seen_revision: AtomicI64::new(-1),
        replaced: Notify::new(),
    })
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_statistics_lives_no_longer_than_any_discovery_stream() {
    let fleet = Fleet::new();
    let _seat = fleet.join(NODE.to_owned(), line()).expect("the place is free");
    let (_trigger, draining) = drain::channel();
    let (paces, mut told) = mpsc::channel(PACES_QUEUED_MAX);
    let first = ReportLaneStatsRequest { node_id: NODE.to_owned(), ..ReportLaneStatsRequest::default() };
    let reports = Reports { stats: Stats::new(Clock::system()), fleet, draining };
    let conversation = reports.conversation(streaming(&[first]), paces, Visitor::anybody().await, Instant::now());
    let begun = tokio::time::Instant::now();
    let talking = tokio::spawn(conversation.run());
    let day = Duration::from_secs(24 * 3600);
    let pace = tokio::time::timeout(day, told.recv()).await.expect("it is told its pace");
    assert!(matches!(pace, Some(Ok(_))), "{pace:?}");
    // Its end is no error: it may come again.
    let end = tokio::time::timeout(day, told.recv()).await.expect("it ends by itself");
    assert!(end.is_none(), "{end:?}");
    talking.await.expect("no panic");
    let lived = begun.elapsed();
    assert!(
        lived > age::LONGEST - Duration::from_secs(1) && lived <= age::LONGEST + Duration::from_secs(60),
        "{lived:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn while_nobody_can_say_who_it_is_a_stream_stays_and_when_somebody_can_it_ends() {
    let fleet = Fleet::new();
    let _seat = fleet.join(NODE.to_owned(), line()).expect("the place is free");
    let (_trigger, draining) = drain::channel();
    let (paces, mut told) = mpsc::channel(PACES_QUEUED_MAX);
    let first = ReportLaneStatsRequest { node_id: NODE.to_owned(), ..ReportLaneStatsRequest::default() };
    let reports = Reports { stats: Stats::new(Clock::system()), fleet, draining };
    let server = Arc::new(Server::default());
    let conversation =
        reports.conversation(streaming(&[first]), paces, visitor(&server).await, tokio::time::Instant::now().into());
    let mut talking = tokio::spawn(conversation.run());
    let pace = told.recv().await;
    assert!(matches!(pace, Some(Ok(_))), "{pace:?}");
    server.is_away.store(true, Ordering::Relaxed);
    let hours = age::LONGEST + Duration::from_secs(3 * 3600);
    assert!(tokio::time::timeout(hours, &mut talking).await.is_err(), "it stays");
    let asked = server.reviews.load(Ordering::Relaxed);
    assert!((170..=190).contains(&asked), "once a minute, not {asked} times");
    server.is_away.store(false, Ordering::Relaxed);
    tokio::time::timeout(Duration::from_secs(120), talking).await.expect("it ends").expect("no panic");
    assert!(told.recv().await.is_none(), "by no error: it may come again");
}
