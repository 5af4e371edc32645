//! When what is pushed.

use std::time::{Duration, Instant};

use super::{Debounce, Pace};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn a_burst_waits_for_quiet_but_not_for_ever_and_a_switch_not_at_all() {
    let start = Instant::now();
    let mut debounce = Debounce::default();
    assert_eq!(debounce.due(), None);
    debounce.note(Pace::Rules, start);
    assert_eq!(debounce.due(), Some(start + ms(10)));
    for step in 1..20 {
        debounce.note(Pace::Rules, start + ms(step * 9));
    }
    assert_eq!(debounce.due(), Some(start + ms(100)));
    debounce.note(Pace::Endpoints, start);
    assert!(!debounce.take_if_due(start + ms(99)));
    debounce.note(Pace::Switch, start + ms(50));
    assert_eq!(debounce.due(), Some(start + ms(50)));
    assert!(debounce.take_if_due(start + ms(50)));
    assert_eq!(debounce.due(), None, "everything went with the switch");
    debounce.note(Pace::Endpoints, start);
    assert_eq!(debounce.due(), Some(start + ms(100)));
}
