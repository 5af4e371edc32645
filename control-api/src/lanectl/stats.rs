//! Statistics of lanes, summed up for people. Pure; the numbers are the control plane's.

use std::time::Duration;

use laneway_proto::contract::BASELINE;
use laneway_proto::status::{LanePoint, LaneSeries};

#[cfg(test)]
mod tests;

/// Several series as one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sums {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) fallbacks: u64,
    pub(super) escapes: u64,
    /// The largest of the series. Percentiles cannot be added; that of all requests together lies not above it.
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
}

impl Sums {
    pub(super) fn add(&mut self, series: &LaneSeries) {
        series.points.iter().for_each(|point| self.add_point(point));
    }

    fn add_point(&mut self, point: &LanePoint) {
        self.requests = self.requests.saturating_add(point.requests);
        self.errors = self.errors.saturating_add(point.errors);
        self.fallbacks = self.fallbacks.saturating_add(point.fallbacks);
        self.escapes = self.escapes.saturating_add(point.escapes);
        self.p50_ms = self.p50_ms.max(point.p50_ms);
        self.p95_ms = self.p95_ms.max(point.p95_ms);
        self.p99_ms = self.p99_ms.max(point.p99_ms);
    }

    /// Cells of [`HEAD`].
    pub(super) fn cells(&self, over: Duration) -> Vec<String> {
        let milliseconds = |value: f64| if self.requests == 0 { "-".to_owned() } else { time(value) };
        vec![
            rate(self.requests, over),
            self.success(),
            milliseconds(self.p50_ms),
            milliseconds(self.p95_ms),
            milliseconds(self.p99_ms),
            self.fallbacks.to_string(),
            self.escapes.to_string(),
        ]
    }

    /// `99.98 %`, never rounded up to all.
    fn success(&self) -> String {
        if self.requests == 0 {
            return "-".to_owned();
        }
        let good = self.requests.saturating_sub(self.errors);
        let hundredths = u128::from(good) * 10_000 / u128::from(self.requests);
        format!("{}.{:02} %", hundredths / 100, hundredths % 100)
    }
}

/// Heads of [`Sums::cells`].
pub(super) const HEAD: [&str; 7] = ["REQUESTS/S", "SUCCESS", "P50", "P95", "P99", "FALLBACKS", "ESCAPES"];

/// What people call the tag of a request that has none.
pub(super) fn tag(written: &str) -> &str {
    if written.is_empty() { BASELINE } else { written }
}

fn rate(requests: u64, over: Duration) -> String {
    let seconds = over.as_secs_f64();
    if seconds <= 0.0 {
        return "-".to_owned();
    }
    #[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let rate = requests as f64 / seconds;
    format!("{rate:.1}")
}

/// `0.42 ms`, `12 ms`, `1.50 s`
fn time(milliseconds: f64) -> String {
    match milliseconds {
        value if value < 10.0 => format!("{value:.2} ms"),
        value if value < 1000.0 => format!("{value:.0} ms"),
        value => format!("{:.2} s", value / 1000.0),
    }
}
