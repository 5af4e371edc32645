//! A queue that nobody empties.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use laneway_core::tag::RequestTag;
use laneway_core::why::{TagSource, Why};

use super::{BATCH, Counts, Queues, SPANS_MAX, Span};
use crate::journal::context::SpanIds;
use crate::journal::{Ended, Head, Seen};

fn span(number: u64) -> Span {
    Span {
        ids: SpanIds::root(1, number),
        seen: Seen {
            is_inbound: true,
            head: Head::of("GET", "b", "/"),
            tag: RequestTag::None,
            endpoint_tag: None,
            source: TagSource::None,
            why: Why::Hit,
            service: Arc::from("b"),
            upstream: None,
            trace: Some(1),
        },
        at: UNIX_EPOCH,
        ended: Ended { status: 200, response_bytes: 0, took: Duration::ZERO, flag: None },
    }
}

#[tokio::test]
async fn a_queue_that_nobody_empties_keeps_its_bound_and_counts_the_rest() {
    let queues = Queues::new(2);
    for number in 0..SPANS_MAX as u64 + 10 {
        queues.worker(0).push(span(number + 1));
    }
    queues.worker(1).push(span(7));
    assert_eq!(queues.counts(), Counts { taken: SPANS_MAX as u64 + 1, dropped: 10, exported: 0, failed: 0 });
    // Many wait, so the exporter was woken.
    queues.many.notified().await;
    assert_eq!(queues.take().len(), SPANS_MAX + 1);
    assert!(queues.take().is_empty());
    for number in 0..BATCH as u64 - 1 {
        queues.worker(0).push(span(number + 1));
    }
    let woken = tokio::time::timeout(Duration::from_millis(1), queues.many.notified()).await;
    assert!(woken.is_err(), "a few may wait for their time");
}
