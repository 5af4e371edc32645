use std::sync::Arc;

use super::{FLOOR, Traffic, Traffics, WINDOW};

const FIFTH: u32 = 2_000;

fn granted(traffic: &Traffic, wanted: u64) -> u64 {
    (0..wanted).map(|_| u64::from(traffic.try_again(FIFTH))).sum()
}

#[test]
fn a_fifth_of_what_was_asked_may_be_tried_again() {
    let traffic = Traffic::default();
    for _ in 0..1_000 {
        traffic.asked();
    }
    assert_eq!(granted(&traffic, 1_000), 200);
    assert_eq!(granted(&traffic, 1), 0);
}

#[test]
fn a_service_that_is_seldom_called_may_be_tried_again_at_all() {
    let traffic = Traffic::default();
    traffic.asked();
    assert_eq!(granted(&traffic, 100), FLOOR);
}

#[test]
fn what_is_older_than_the_window_counts_no_more() {
    let traffic = Traffic::default();
    for _ in 0..1_000 {
        traffic.asked();
    }
    assert_eq!(granted(&traffic, 150), 150);
    for second in 1..WINDOW {
        assert!(traffic.tick(), "second {second}");
    }
    assert_eq!(granted(&traffic, 1_000), 50, "the last second in which it is still in the window");
    assert!(!traffic.tick());
    assert_eq!(granted(&traffic, 1_000), 0, "the retries are in the window, the requests are not");
    for _ in 0..WINDOW {
        traffic.tick();
    }
    assert_eq!(granted(&traffic, 1_000), FLOOR);
}

#[test]
fn services_that_nobody_calls_are_forgotten() {
    let traffics = Traffics::default();
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    traffics.of(&a).asked();
    let held = traffics.of(&b);
    traffics.tick();
    assert_eq!(traffics.0.borrow().len(), 2);
    for _ in 0..WINDOW {
        traffics.tick();
    }
    assert_eq!(traffics.0.borrow().keys().cloned().collect::<Vec<_>>(), [b], "held by a connection");
    drop(held);
}
