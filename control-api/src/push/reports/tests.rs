//! How long whoever reports is listened to.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant, SystemTime};

use laneway_proto::discovery::NodeMetadata;
use laneway_proto::telemetry::ReportLaneStatsRequest;
use tokio::sync::{Notify, mpsc};

use super::{Conversation, PACES_QUEUED_MAX};
use crate::clock::Clock;
use crate::drain;
use crate::fleet::{Fleet, Member};
use crate::push::door::Visitor;
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
    let conversation = Conversation {
        reports: streaming(&[first]),
        paces,
        stats: Stats::new(Clock::system()),
        fleet,
        draining,
        visitor: Visitor::anybody().await,
        old_at: Instant::now() + age::LONGEST,
    };
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
