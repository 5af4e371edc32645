//! What is kept of the statistics: for each series five minutes by the second and an hour by ten seconds. Pure, and bounded.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Series; what is beyond is one more for each view, in which every name is `other`.
pub const SERIES_MAX: usize = 2_000;
/// By the second, seconds.
pub const FINE_SECONDS: u64 = 300;
/// A window of [`FINE_SECONDS`] is read a little later than it was asked for, by replicas whose clocks differ; so much longer are they kept.
const LATE_SECONDS: u64 = 10;
const FINE_KEPT_SECONDS: u64 = FINE_SECONDS + LATE_SECONDS;
/// By [`STEP_SECONDS`], seconds.
pub const COARSE_SECONDS: u64 = 3_600;
pub const STEP_SECONDS: u64 = 10;
/// Buckets of the latency histogram: 8 for each power of two, up to two minutes and far beyond.
pub(super) const BUCKETS_MAX: u32 = 512;
/// Of `TagSource`.
pub const SOURCES: usize = 8;

const OTHER: &str = "other";

/// Who counted. One call between two sidecars is in both views: they are never added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// Those who called.
    Callers,
    /// Those who were called, by whomever; callers from outside the mesh are here alone. Without source.
    Servers,
}

/// One kind of traffic. Services and the group are resource names; tags are empty for baseline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub view: View,
    pub source_service: Arc<str>,
    pub source_tag: Arc<str>,
    pub destination_service: Arc<str>,
    pub request_tag: Arc<str>,
    pub endpoint_tag: Arc<str>,
    pub lane_group: Arc<str>,
}

/// Sums over some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    pub requests: u64,
    pub errors: u64,
    pub fallbacks: u64,
    pub escapes: u64,
    pub ambiguous: u64,
    pub by_source: [u64; SOURCES],
    /// Bucket i counts 2^(i/8) <= microseconds < 2^((i+1)/8).
    pub latency: BTreeMap<u32, u64>,
}

/// Of one replica.
#[derive(Default)]
pub struct Rings {
    series: BTreeMap<Key, Track>,
}

/// Time, in seconds since the Unix epoch, and what came in it; in order, without what is empty.
type Cells = VecDeque<(u64, Cell)>;

#[derive(Default)]
struct Track {
    fine: Cells,
    coarse: Cells,
}

impl Key {
    fn other(view: View) -> Key {
        let other: Arc<str> = Arc::from(OTHER);
        Key {
            view,
            source_service: Arc::clone(&other),
            source_tag: Arc::clone(&other),
            destination_service: Arc::clone(&other),
            request_tag: Arc::clone(&other),
            endpoint_tag: Arc::clone(&other),
            lane_group: other,
        }
    }
}

impl Cell {
    pub fn add(&mut self, other: &Cell) {
        let pairs = [
            (&mut self.requests, other.requests),
            (&mut self.errors, other.errors),
            (&mut self.fallbacks, other.fallbacks),
            (&mut self.escapes, other.escapes),
            (&mut self.ambiguous, other.ambiguous),
        ];
        for (sum, count) in pairs.into_iter().chain(self.by_source.iter_mut().zip(other.by_source)) {
            *sum = sum.saturating_add(count);
        }
        for (bucket, count) in &other.latency {
            let sum = self.latency.entry(*bucket).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    /// Milliseconds that this share of the requests did not take longer than, to a twentieth; 0 without requests.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let total: u64 = self.latency.values().fold(0, |sum, count| sum.saturating_add(*count));
        let wanted = (share * total as f64).ceil().max(1.0);
        let mut seen = 0_u64;
        for (bucket, count) in &self.latency {
            seen = seen.saturating_add(*count);
            if seen as f64 >= wanted {
                return middle_ms(*bucket);
            }
        }
        0.0
    }
}

/// The middle of a bucket, on its own scale.
pub(super) fn middle_ms(bucket: u32) -> f64 {
    ((f64::from(bucket) + 0.5) / 8.0).exp2() / 1e3
}

impl Rings {
    /// Adds what came in one second. What is older than is kept, or lies in the future, is left out.
    pub fn add(&mut self, key: Key, second: u64, cell: &Cell, now: u64) {
        if second > now || second + COARSE_SECONDS <= now {
            return;
        }
        let has_room = self.series.len() < SERIES_MAX || self.series.contains_key(&key);
        let key = if has_room { key } else { Key::other(key.view) };
        let track = self.series.entry(key).or_default();
        if second + FINE_KEPT_SECONDS > now {
            add_at(&mut track.fine, second, cell);
        }
        add_at(&mut track.coarse, second - second % STEP_SECONDS, cell);
    }

    pub fn series_count(&self) -> usize {
        self.series.len()
    }

    /// Forgets what is too old.
    pub fn sweep(&mut self, now: u64) {
        self.series.retain(|_, track| {
            while track.fine.front().is_some_and(|(second, _)| second + FINE_KEPT_SECONDS <= now) {
                track.fine.pop_front();
            }
            while track.coarse.front().is_some_and(|(second, _)| second + COARSE_SECONDS <= now) {
                track.coarse.pop_front();
            }
            !track.coarse.is_empty()
        });
    }

    /// What was kept of `when`, in steps of `step` seconds from its start; steps without anything are left out. Seconds where all
    /// of `when` is kept by the second, else tens of seconds, of which those count that begin in a step.
    pub fn read(
        &self,
        when: &Range<u64>,
        step: u64,
        now: u64,
        wanted: impl Fn(&Key) -> bool,
    ) -> Vec<(&Key, Vec<(u64, Cell)>)> {
        let is_fine = when.start + FINE_KEPT_SECONDS > now;
        let mut found = Vec::new();
        for (key, track) in self.series.iter().filter(|(key, _)| wanted(key)) {
            let cells = if is_fine { &track.fine } else { &track.coarse };
            let mut points: Vec<(u64, Cell)> = Vec::new();
            for (second, cell) in cells.iter().filter(|(second, _)| when.contains(second)) {
                let start = when.start + (second - when.start) / step * step;
                match points.last_mut() {
                    Some((last, sum)) if *last == start => sum.add(cell),
                    _ => points.push((start, cell.clone())),
                }
            }
            if !points.is_empty() {
                found.push((key, points));
            }
        }
        found
    }
}

fn add_at(cells: &mut Cells, at: u64, cell: &Cell) {
    // Nearly always the last or behind it.
    let index = cells.partition_point(|(second, _)| *second < at);
    match cells.get_mut(index) {
        Some((second, sum)) if *second == at => sum.add(cell),
        _ => cells.insert(index, (at, cell.clone())),
    }
}

#[cfg(test)]
mod tests;
