//! Drains with paused time.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::channel;

const MIN: Duration = Duration::from_secs(5);
const MAX: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn accepting_goes_on_for_min_and_the_drain_ends_with_the_last_watch() {
    let start = Instant::now();
    let (trigger, watch) = channel();
    assert!(!watch.is_draining());
    let (mut acceptor, mut connection) = (watch.clone(), watch);
    let acceptor = tokio::spawn(async move {
        acceptor.started().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert!(acceptor.is_draining());
        acceptor.closing().await;
        start.elapsed()
    });
    tokio::spawn(async move {
        connection.started().await;
        tokio::time::sleep(Duration::from_secs(7)).await;
    });
    assert!(trigger.drain(MIN, MAX).await, "nothing was cut");
    assert_eq!(start.elapsed(), Duration::from_secs(7));
    assert_eq!(acceptor.await.expect("the acceptor ended"), MIN);
}

#[tokio::test(start_paused = true)]
async fn what_still_runs_is_not_waited_for_beyond_max() {
    let start = Instant::now();
    let (trigger, watch) = channel();
    assert!(!trigger.drain(MIN, MAX).await);
    assert_eq!(start.elapsed(), MAX);
    drop(watch);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_trigger_is_no_drain() {
    let (trigger, mut watch) = channel();
    drop(trigger);
    assert!(timeout(MAX, watch.started()).await.is_err());
    assert!(!watch.is_draining());
}
