//! The pace, and whose reports count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::*;

/// Statistics with a clock that the test moves.
fn rig() -> (Stats, Arc<AtomicU64>) {
    let seconds = Arc::new(AtomicU64::new(1_000_000));
    let read = Arc::clone(&seconds);
    let clock = Clock::new(move || -> SystemTime { UNIX_EPOCH + Duration::from_secs(read.load(Ordering::SeqCst)) });
    (Stats::new(clock), seconds)
}

#[test]
fn sidecars_report_every_second_only_while_somebody_looks() {
    let (stats, seconds) = rig();
    let mut reporter = stats.reporter("one");
    assert_eq!(reporter.pace(), PACE_ALONE);
    let first = stats.watch();
    let second = stats.watch();
    assert_eq!(reporter.pace(), PACE_WATCHED);
    drop(first);
    assert_eq!(reporter.pace(), PACE_WATCHED);
    drop(second);
    assert_eq!(reporter.pace(), PACE_ALONE);
    stats.asked();
    assert_eq!(reporter.pace(), PACE_WATCHED, "who has asked once is likely to ask again");
    seconds.fetch_add(ASKED_SECONDS, Ordering::SeqCst);
    stats.sweep();
    assert_eq!(reporter.pace(), PACE_ALONE);
}

#[tokio::test]
async fn of_two_streams_of_one_node_the_newer_one_counts() {
    let (stats, _) = rig();
    let older = stats.reporter("one");
    let told = older.replaced();
    let newer = stats.reporter("one");
    told.notified().await;
    drop(older);
    assert!(lock(&stats.0.reporters).of_node.contains_key("one"), "the older one took only itself away");
    drop(newer);
    assert!(lock(&stats.0.reporters).of_node.is_empty());
}

#[test]
fn a_flood_of_slices_is_refused() {
    let (stats, seconds) = rig();
    let mut reporter = stats.reporter("one");
    let end_time = Some(prost_types::Timestamp { seconds: 1_000_000, nanos: 0 });
    let ten = vec![Slice { end_time, ..Slice::default() }; 10];
    let identity = Identity::default();
    assert!(reporter.report(&ten, &identity).is_ok() && reporter.report(&ten, &identity).is_ok());
    assert!(matches!(reporter.report(&ten, &identity), Err(Unread::TooMany)));
    seconds.fetch_add(100, Ordering::SeqCst);
    assert!(reporter.report(&ten, &identity).is_ok(), "time has passed");
}
