use std::time::{Duration, Instant};

use super::{LEAVE_IT, LEAVE_IT_MAX, Patience};

const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn what_nobody_acts_on_is_left_alone_for_a_while_and_longer_while_others_commit() {
    let begun = Instant::now();
    let mut patience = Patience::new(begun);
    patience.saw(7, begun);
    assert!(!patience.is_over(begun, begun + LEAVE_IT - MOMENT));
    assert!(patience.is_over(begun, begun + LEAVE_IT));
    assert!(!patience.is_over(begun + MOMENT, begun + LEAVE_IT), "what came later");
    // The one that leads is at it.
    let at = begun + LEAVE_IT * 2;
    patience.saw(7, at - MOMENT);
    assert!(patience.is_over(begun, at), "the same revision again is no news");
    patience.saw(8, at);
    assert!(!patience.is_over(begun, at + MOMENT));
    assert!(patience.is_over(begun, at + LEAVE_IT), "and has stopped");
    // Though it commits for ever, something else perhaps.
    patience.saw(9, begun + LEAVE_IT_MAX);
    assert!(patience.is_over(begun, begun + LEAVE_IT_MAX));
}
