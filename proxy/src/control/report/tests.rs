//! When a report is due, and what waits for it.

use super::*;

fn told(outbox: &mut Outbox, seconds: i64) {
    let interval = prost_types::Duration { seconds, nanos: 0 };
    outbox.told(&ReportLaneStatsResponse { reporting_interval: Some(interval), max_series: 100 });
}

fn slice(seconds: i64) -> Slice {
    Slice { end_time: Some(prost_types::Timestamp { seconds, nanos: 0 }), ..Slice::default() }
}

#[test]
fn nothing_is_kept_before_the_pace_is_known_and_after_it_is_zero() {
    let mut outbox = Outbox::default();
    outbox.push(slice(1), 0);
    assert!(outbox.due(Instant::now()).is_none());
    told(&mut outbox, 1);
    outbox.push(slice(2), 0);
    told(&mut outbox, 0);
    told(&mut outbox, 1);
    assert!(outbox.due(Instant::now()).is_none(), "what was held when it was told to stop is gone");
}

#[test]
fn slices_of_ten_seconds_go_together_and_a_faster_pace_holds_at_once() {
    let mut outbox = Outbox::default();
    told(&mut outbox, 10);
    let start = Instant::now();
    let mut reports = Vec::new();
    let mut tick = |outbox: &mut Outbox, second: u32| {
        outbox.push(slice(second.into()), 1);
        if let Some(report) = outbox.due(start + SLICE * second) {
            reports.push((second, report.slices.len(), report.dropped_series));
        }
    };
    (0..25).for_each(|second| tick(&mut outbox, second));
    told(&mut outbox, 1);
    (25..28).for_each(|second| tick(&mut outbox, second));
    assert_eq!(reports, [(0, 1, 1), (10, 10, 10), (20, 10, 10), (25, 5, 5), (26, 1, 1), (27, 1, 1)]);
}

#[test]
fn what_waits_is_bounded_and_the_newest_stays() {
    let mut outbox = Outbox::default();
    told(&mut outbox, 60);
    let start = Instant::now();
    outbox.push(slice(0), 0);
    outbox.due(start).expect("the first goes at once");
    (1..=200).for_each(|second| outbox.push(slice(second), 0));
    let report = outbox.due(start + PACE_MAX).expect("it is time");
    assert_eq!(report.slices.len(), SLICES_MAX);
    assert_eq!(report.slices.last(), Some(&slice(200)));
    assert!(outbox.due(start + 2 * PACE_MAX).is_none(), "there is nothing to tell");
}
