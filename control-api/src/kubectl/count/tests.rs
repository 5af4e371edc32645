use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use laneway_proto::status::Rollout;
use tokio::sync::Semaphore;

use super::{COUNT_AGAIN, COUNTED_MAX, Counts, Wanted};
use crate::store::Kind;
use crate::store::kubernetes::object::Place;

fn wanted(at: usize, revision: i64) -> Wanted {
    let name = format!("lane-{at:03}");
    Wanted { key: (Kind::Lane, Place { namespace: "shop".to_owned(), name: name.clone() }), name, revision }
}

/// Counts whose answers wait for places.
fn counts(places: &Arc<Semaphore>) -> (Counts, Arc<AtomicUsize>) {
    let (places, asked) = (Arc::clone(places), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let counts = Counts::new(Box::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        let places = Arc::clone(&places);
        Box::pin(async move {
            places.acquire().await.expect("it stays open").forget();
            Some(Rollout { done: true, ..Rollout::default() })
        })
    }));
    (counts, asked)
}

/// Looks until that many are known.
async fn until(counts: &mut Counts, all: &[Wanted], known: usize, now: Instant) {
    let known_of = |counts: &Counts| all.iter().filter(|own| counts.of(&own.key, own.revision).is_some()).count();
    tokio::time::timeout(Duration::from_secs(60), async {
        while known_of(counts) < known {
            counts.look(all.to_vec(), now);
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("in time");
}

#[tokio::test]
async fn every_object_has_its_turn_and_no_more_are_asked_for_at_a_time() {
    let places = Arc::new(Semaphore::new(0));
    let (mut counts, asked) = counts(&places);
    let (all, now): (Vec<Wanted>, _) = ((0..COUNTED_MAX * 2 + 20).map(|at| wanted(at, 1)).collect(), Instant::now());
    for _ in 0..3 {
        counts.look(all.clone(), now);
    }
    // Nobody answers, and nobody waits for that.
    assert_eq!(asked.load(Ordering::Relaxed), COUNTED_MAX);
    assert!(counts.of(&all[0].key, 1).is_none());
    places.add_permits(all.len());
    until(&mut counts, &all, all.len(), now).await;
    assert_eq!(asked.load(Ordering::Relaxed), all.len());
    // All at one time again: those that were not asked for in one look are the first of the next.
    let later = Instant::now() + COUNT_AGAIN;
    places.add_permits(all.len());
    for _ in 0..all.len() {
        counts.look(all.clone(), later);
        tokio::task::yield_now().await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), all.len() * 2, "each once more");
}

#[tokio::test]
async fn what_was_counted_of_one_revision_is_not_said_of_the_next() {
    let places = Arc::new(Semaphore::new(1));
    let (mut counts, _) = counts(&places);
    let (first, second, now) = (wanted(1, 1), wanted(1, 2), Instant::now());
    until(&mut counts, std::slice::from_ref(&first), 1, now).await;
    counts.look(vec![second.clone()], now);
    assert!(counts.of(&second.key, 2).is_none(), "it is being counted");
    places.add_permits(1);
    until(&mut counts, &[second], 1, now).await;
}
