//! Does a lane do worse than its baseline? Pure: what was counted goes in, a verdict comes out.
//!
//! ```text
//!   (Key, Cell)... --by service--> the view that saw more of the lane --enough?--> both sides --limits--> Verdict
//! ```
//! Each service counts as often as the lane calls it, on both sides: baseline is what the lane's requests would have met there.
//! Otherwise a lane would do worse for nothing but calling slow services more often. What cannot be compared is left out on
//! both sides, and nothing is said of too few requests.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use laneway_proto::admin::Guard;
use laneway_proto::contract::{GUARD_REQUESTS_DEFAULT, GUARD_WINDOW_DEFAULT_S};

use super::ring::{Cell, Key, View, middle_ms};

#[cfg(test)]
mod tests;

/// Until every sidecar has a change, and what was on its way has ended.
const CHANGE_SECONDS: u64 = 2;
/// A lane that answers so soon is not slow, whatever its baseline does, milliseconds.
const P99_FLOOR_MS: f64 = 5.0;
/// Rates are sums of fractions: a millionth of a percent is none.
const SLACK: f64 = 1e-8;

/// What a guard asks for, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub window_seconds: u64,
    pub requests_min: u64,
    pub error_rate_over_baseline: Option<f64>,
    pub p99_ratio: Option<f64>,
}

/// How one side did at the services that can be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Side {
    /// At all of them: one that goes through three counts three times.
    pub requests: u64,
    pub error_rate: f64,
    pub p99_ms: f64,
}

/// The lane, and what its requests would have met at baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sides {
    pub lane: Side,
    pub baseline: Side,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Too few requests, of the lane or of its baseline.
    Unknown,
    Well(Sides),
    Worse(Sides, Worse),
}

/// In what a lane does worse: one of them at least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worse {
    sides: Sides,
    /// The limits that were passed.
    error_rate_max: Option<f64>,
    p99_ratio_max: Option<f64>,
}

impl From<&Guard> for Limits {
    fn from(guard: &Guard) -> Limits {
        let or = |value: u32, default: u32| u64::from(if value == 0 { default } else { value });
        let window = guard.window.and_then(|window| u64::try_from(window.seconds).ok());
        let error_rate = guard.max_error_rate_over_baseline.map(|rate| f64::from(rate.basis_points) / 1e4);
        Limits {
            window_seconds: window.unwrap_or(u64::from(GUARD_WINDOW_DEFAULT_S)),
            requests_min: or(guard.min_requests, GUARD_REQUESTS_DEFAULT),
            error_rate_over_baseline: error_rate,
            p99_ratio: Some(guard.max_p99_ratio).filter(|ratio| *ratio > 0.0),
        }
    }
}

impl Limits {
    /// The seconds that count: so many up to now, and none from before the lane was changed. So whoever enables a lane again, or
    /// says something else of it, is not judged by what was.
    pub fn period(&self, changed: u64, now: u64) -> Range<u64> {
        let start = now.saturating_sub(self.window_seconds).max(changed.saturating_add(CHANGE_SECONDS));
        start.min(now)..now
    }

    /// Judges the lane with this tag by what was counted of its group.
    pub fn judge<'c>(&self, tag: &str, counted: impl IntoIterator<Item = (&'c Key, &'c Cell)>) -> Verdict {
        let Some(sides) = sides(tag, counted, self.requests_min) else { return Verdict::Unknown };
        let above = sides.lane.error_rate - sides.baseline.error_rate;
        let is_slow = |max: &f64| {
            sides.lane.p99_ms > P99_FLOOR_MS
                && sides.baseline.p99_ms > 0.0
                && sides.lane.p99_ms > max * sides.baseline.p99_ms
        };
        let worse = Worse {
            sides,
            error_rate_max: self.error_rate_over_baseline.filter(|max| above > max + SLACK),
            p99_ratio_max: self.p99_ratio.filter(is_slow),
        };
        match worse {
            Worse { error_rate_max: None, p99_ratio_max: None, .. } => Verdict::Well(sides),
            worse => Verdict::Worse(sides, worse),
        }
    }
}

/// What one view has of one service.
#[derive(Default)]
struct Both {
    lane: Cell,
    baseline: Cell,
}

/// `None`: not enough to compare.
fn sides<'c>(tag: &str, counted: impl IntoIterator<Item = (&'c Key, &'c Cell)>, requests_min: u64) -> Option<Sides> {
    let mut services: BTreeMap<&str, [Both; 2]> = BTreeMap::new();
    for (key, cell) in counted {
        // What is not known to be a service (`other`, unknown addresses) is not one on both sides.
        if !key.destination_service.contains('/') {
            continue;
        }
        let [callers, servers] = services.entry(&key.destination_service).or_default();
        let both = match key.view {
            View::Callers => callers,
            View::Servers => servers,
        };
        match &*key.request_tag {
            "" => both.baseline.add(cell),
            own if own == tag => both.lane.add(cell),
            _ => {}
        }
    }
    // Where callers have no sidecar, at the entry, only the service itself has seen them.
    let fuller = |[callers, servers]: [Both; 2]| match servers.lane.requests > callers.lane.requests {
        true => servers,
        false => callers,
    };
    let compared = services.into_values().map(fuller).filter(|both| both.baseline.requests >= requests_min.max(1));
    let (mut lane, mut baseline) = (Weighed::default(), Weighed::default());
    let mut requests = Sides::default();
    // Of the lane, not of its calls: a request that goes through three services is one. Whoever saw most of them is nearest.
    let mut requests_of_lane = 0;
    for both in compared {
        requests_of_lane = requests_of_lane.max(both.lane.requests);
        let weight = both.lane.requests as f64 / both.baseline.requests as f64;
        lane.add(&both.lane, 1.0);
        baseline.add(&both.baseline, weight);
        requests.lane.requests = requests.lane.requests.saturating_add(both.lane.requests);
        requests.baseline.requests = requests.baseline.requests.saturating_add(both.baseline.requests);
    }
    let is_enough = requests_of_lane >= requests_min.max(1);
    is_enough
        .then(|| Sides { lane: lane.side(requests.lane.requests), baseline: baseline.side(requests.baseline.requests) })
}

/// Sums of cells, each with a weight.
#[derive(Default)]
struct Weighed {
    requests: f64,
    errors: f64,
    latency: BTreeMap<u32, f64>,
}

impl Weighed {
    fn add(&mut self, cell: &Cell, weight: f64) {
        self.requests += cell.requests as f64 * weight;
        // A request is one error at most, whatever a sidecar says.
        self.errors += cell.errors.min(cell.requests) as f64 * weight;
        for (bucket, count) in &cell.latency {
            *self.latency.entry(*bucket).or_default() += *count as f64 * weight;
        }
    }

    fn side(&self, requests: u64) -> Side {
        let error_rate = if self.requests > 0.0 { self.errors / self.requests } else { 0.0 };
        Side { requests, error_rate, p99_ms: self.quantile_ms(0.99) }
    }

    /// 0 without requests.
    fn quantile_ms(&self, share: f64) -> f64 {
        let wanted = share * self.latency.values().sum::<f64>() * (1.0 - SLACK);
        let mut seen = 0.0;
        let bucket = self.latency.iter().find(|(_, count)| {
            seen += **count;
            **count > 0.0 && seen >= wanted
        });
        bucket.map_or(0.0, |(bucket, _)| middle_ms(*bucket))
    }
}

/// For people, and at most about 200 bytes: "error rate 31.20 % of 250 requests, baseline 0.10 % of 5210, at most 2 % above".
impl fmt::Display for Worse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sides { lane, baseline } = self.sides;
        let percent = |rate: f64| rate * 100.0;
        if let Some(max) = self.error_rate_max {
            let (own, other) = (percent(lane.error_rate), percent(baseline.error_rate));
            let (count, others) = (lane.requests, baseline.requests);
            write!(f, "error rate {own:.2} % of {count} requests, baseline {other:.2} % of {others}")?;
            write!(f, ", at most {} % above", percent(max))?;
        }
        if let Some(max) = self.p99_ratio_max {
            let between = if self.error_rate_max.is_some() { "; " } else { "" };
            write!(f, "{between}p99 {:.1} ms, baseline {:.1} ms, at most {max} times", lane.p99_ms, baseline.p99_ms)?;
        }
        Ok(())
    }
}
