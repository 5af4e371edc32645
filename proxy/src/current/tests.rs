//! Publisher and readers over threads' views; demand with paused time.

use std::time::Duration;

use laneway_core::decode::Resources;
use laneway_core::snapshot::{Identity, Snapshot};
use tokio::time::{Instant, timeout};

use super::demand::KEYS_MAX;
use super::{Demand, channel, demand};
use crate::timer::Timer;

const SECOND: Duration = Duration::from_secs(1);

fn snapshot(revision: u64) -> Snapshot {
    Resources::default().snapshot(&Identity::default(), revision)
}

#[tokio::test(start_paused = true)]
async fn a_revision_is_settled_when_every_worker_has_seen_it() {
    let (publisher, mut readers) = channel(2, snapshot(0));
    publisher.publish(snapshot(1));
    assert_eq!(readers[0].load().revision, 1, "it is in force at once");
    timeout(SECOND, readers[0].changed()).await.expect("told");
    readers[0].seen(1);
    assert!(timeout(SECOND, publisher.settled(1)).await.is_err(), "one worker is behind");
    let (settled, ()) = tokio::join!(timeout(SECOND, publisher.settled(1)), async { readers[1].seen(1) });
    settled.expect("both have seen it");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_has_ended_is_not_waited_for() {
    let (publisher, mut readers) = channel(2, snapshot(0));
    publisher.publish(snapshot(1));
    let (ended, stays) = (readers.remove(0), readers.remove(0));
    let clone = ended.clone();
    drop(ended);
    stays.seen(1);
    assert!(timeout(SECOND, publisher.settled(1)).await.is_err(), "a clone of its reader is left");
    drop(clone);
    timeout(SECOND, publisher.settled(1)).await.expect("it is gone");
}

#[tokio::test(start_paused = true)]
async fn without_a_publisher_the_last_snapshot_stays() {
    let (publisher, mut readers) = channel(1, snapshot(7));
    drop(publisher);
    assert!(timeout(SECOND, readers[0].changed()).await.is_err());
    assert_eq!(readers[0].load().revision, 7);
}

#[tokio::test(start_paused = true)]
async fn many_ask_once_and_all_wake_when_it_is_answered() {
    let timer = Timer::current();
    let (demand, mut demands) = demand();
    let start = Instant::now();
    let both = async {
        tokio::join!(demand.ensure(&timer, "ip/10.0.0.1", SECOND), demand.ensure(&timer, "ip/10.0.0.1", SECOND))
    };
    let control = async {
        let key = demands.next().await.expect("asked");
        assert!(timeout(SECOND / 2, demands.next()).await.is_err(), "asked once");
        demands.answered([key]);
    };
    tokio::join!(both, control);
    assert_eq!(start.elapsed(), SECOND / 2);
    demand.ensure(&timer, "ip/10.0.0.1", SECOND).await;
    assert_eq!(start.elapsed(), SECOND / 2, "known: at once");
}

#[tokio::test(start_paused = true)]
async fn only_the_first_request_waits_for_a_control_plane_that_is_away() {
    let timer = Timer::current();
    let (demand, demands) = demand();
    let start = Instant::now();
    demand.ensure(&timer, "host/example.org", SECOND).await;
    assert_eq!(start.elapsed(), SECOND);
    demand.ensure(&timer, "host/example.org", SECOND).await;
    assert_eq!(start.elapsed(), SECOND);
    Demand::none().ensure(&timer, "host/example.org", SECOND).await;
    assert_eq!(start.elapsed(), SECOND, "static mode asks nobody");

    let idle = demands.idle(Duration::ZERO);
    assert_eq!(idle.len(), 1);
    assert!(demands.idle(Duration::from_secs(600)).is_empty(), "just used");
    demands.forget(&idle);
    demand.ensure(&timer, "host/example.org", SECOND).await;
    assert_eq!(start.elapsed(), 2 * SECOND, "forgotten: asked again");
}

#[tokio::test(start_paused = true)]
async fn keys_are_bounded() {
    let timer = Timer::current();
    let (demand, mut demands) = demand();
    for index in 0..KEYS_MAX {
        let key = format!("ip/10.0.{}.{}", index / 256, index % 256);
        tokio::join!(demand.ensure(&timer, &key, SECOND), async {
            let key = demands.next().await.expect("asked");
            demands.answered([key]);
        });
    }
    let start = Instant::now();
    demand.ensure(&timer, "ip/10.9.9.9", SECOND).await;
    assert_eq!(start.elapsed(), Duration::ZERO, "no room: passed through at once");
    assert!(timeout(SECOND, demands.next()).await.is_err());
}
