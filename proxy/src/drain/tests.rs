//! Drains with paused time.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Phase, channel};

const MIN: Duration = Duration::from_secs(5);
const MAX: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn accepting_goes_on_for_min_and_the_drain_ends_with_the_last_watch() {
    let start = Instant::now();
    let (trigger, watch) = channel();
    let (mut acceptor, mut connection) = (watch.clone(), watch);
    let acceptor = tokio::spawn(async move {
        assert_eq!(acceptor.reached(Phase::Draining).await, Phase::Draining);
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(acceptor.reached(Phase::Replaced).await, Phase::Closing, "nobody replaces it");
        start.elapsed()
    });
    tokio::spawn(async move {
        connection.reached(Phase::Draining).await;
        tokio::time::sleep(Duration::from_secs(7)).await;
    });
    assert!(trigger.drain(Phase::Draining, MIN, MAX).await, "nothing was cut");
    assert_eq!(start.elapsed(), Duration::from_secs(7));
    assert_eq!(acceptor.await.expect("the acceptor ended"), MIN);
}

#[tokio::test(start_paused = true)]
async fn who_is_replaced_takes_nothing_new_and_keeps_what_rests_for_min() {
    let start = Instant::now();
    let (trigger, mut watch) = channel();
    let worker = tokio::spawn(async move {
        let first = watch.reached(Phase::Draining).await;
        let replaced = (watch.reached(Phase::Replaced).await, start.elapsed());
        watch.reached(Phase::Closing).await;
        (first, replaced, start.elapsed())
    });
    assert!(trigger.drain(Phase::Replaced, MIN, MAX).await);
    let told = (Phase::Replaced, (Phase::Replaced, Duration::ZERO), MIN);
    assert_eq!(worker.await.expect("the worker ended"), told);
    assert_eq!(start.elapsed(), MIN, "as soon as nothing is left");
}

#[tokio::test(start_paused = true)]
async fn what_was_announced_runs_on_and_owes_the_rest_of_min_alone() {
    for (before, owed) in [(Duration::from_secs(2), Duration::from_secs(3)), (MAX * 2, Duration::ZERO)] {
        let (mut trigger, mut watch) = channel();
        let worker = tokio::spawn(async move {
            assert_eq!(watch.reached(Phase::Announced).await, Phase::Announced);
            let announced = Instant::now();
            watch.reached(Phase::Draining).await;
            let drained = announced.elapsed();
            watch.reached(Phase::Closing).await;
            (drained, announced.elapsed() - drained)
        });
        trigger.announce();
        tokio::time::sleep(before).await;
        assert!(trigger.drain(Phase::Draining, MIN, MAX).await);
        assert_eq!(worker.await.expect("the worker ended"), (before, owed));
    }
}

#[tokio::test(start_paused = true)]
async fn what_still_runs_is_not_waited_for_beyond_max() {
    let start = Instant::now();
    let (trigger, watch) = channel();
    assert!(!trigger.drain(Phase::Draining, MIN, MAX).await);
    assert_eq!(start.elapsed(), MAX);
    drop(watch);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_trigger_is_no_drain() {
    let (trigger, mut watch) = channel();
    drop(trigger);
    assert!(timeout(MAX, watch.reached(Phase::Draining)).await.is_err());
}
