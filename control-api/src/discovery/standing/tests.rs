//! Of several watches of one kind the worst counts.

use std::time::{Duration, Instant};

use super::{Problems, Standing, Watched};

#[test]
fn of_several_watches_of_a_kind_the_one_that_was_not_heard_for_the_longest_counts() {
    let begun = Instant::now();
    let after = |seconds: u64| begun + Duration::from_secs(seconds);
    let standing = Standing::default();
    assert!(standing.watched(begun).is_empty());
    let [shop, test] = [(); 2].map(|()| standing.ear("pods", begun));
    let services = standing.ear("services", after(1));
    let of = |silence: u64, restarts| Watched { silence: Duration::from_secs(silence), restarts };
    assert_eq!(
        standing.watched(after(10)).into_iter().collect::<Vec<_>>(),
        [("pods", of(10, 0)), ("services", of(9, 0))]
    );
    shop.heard(after(8));
    assert_eq!(standing.watched(after(10))["pods"], of(10, 0));
    test.heard(after(9));
    assert_eq!(standing.watched(after(10))["pods"], of(2, 0));
    [&shop, &test, &test].into_iter().for_each(super::Ear::restarted);
    assert_eq!(standing.watched(after(9))["pods"], of(1, 3));
    // Who looks may have an older clock in hand than who hears.
    services.heard(after(20));
    assert_eq!(standing.watched(after(10))["services"], of(0, 0));
}

#[test]
fn problems_are_those_of_now() {
    let standing = Standing::default();
    standing.clone().find(Problems { told: vec!["a".to_owned()], untold: 2 });
    assert_eq!(standing.problems().count(), 3);
    standing.find(Problems::default());
    assert_eq!(standing.problems().count(), 0);
}
