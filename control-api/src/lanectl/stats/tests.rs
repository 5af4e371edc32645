//! Sums of series.

use std::time::Duration;

use laneway_proto::status::{LanePoint, LaneSeries};

use super::Sums;

fn series(points: &[(u64, u64, f64)]) -> LaneSeries {
    let point = |(requests, errors, p99_ms): &(u64, u64, f64)| LanePoint {
        requests: *requests,
        errors: *errors,
        p99_ms: *p99_ms,
        ..LanePoint::default()
    };
    LaneSeries { points: points.iter().map(point).collect(), ..LaneSeries::default() }
}

#[test]
fn series_are_added_and_percentiles_are_the_largest() {
    let mut sums = Sums::default();
    sums.add(&series(&[(100, 1, 12.4), (50, 0, 3.0)]));
    sums.add(&series(&[(150, 0, 1500.0)]));
    assert_eq!((sums.requests, sums.errors), (300, 1));
    let cells = sums.cells(Duration::from_secs(60));
    assert_eq!(cells, ["5.0", "99.66 %", "0.00 ms", "0.00 ms", "1.50 s", "0", "0"]);
}

#[test]
fn one_error_in_very_many_is_not_rounded_away() {
    let mut sums = Sums::default();
    sums.add(&series(&[(1_000_000, 1, 1.0)]));
    assert_eq!(sums.cells(Duration::from_secs(1))[1], "99.99 %");
}

#[test]
fn nothing_is_no_success() {
    assert_eq!(Sums::default().cells(Duration::from_secs(60)), ["0.0", "-", "-", "-", "-", "0", "0"]);
}
