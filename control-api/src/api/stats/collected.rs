//! What this replica counted and what the others did, added: counts and histograms, never percentiles, which cannot be.

use std::collections::BTreeMap;
use std::ops::Range;

use laneway_proto::status::{LanePoint, LaneSeries, QueryLaneStatsRequest, QueryLaneStatsResponse, StatsSelector};
use prost_types::{Duration, Timestamp};

use super::{Api, is_selected, point};
use crate::stats::{Cell, SOURCES};

/// Source service and tag, destination, tag of the request, tag of the instance.
pub(super) type Name = [String; 5];

#[derive(Debug, Default)]
pub(super) struct Collected {
    /// By the second at which a step begins.
    pub(super) series: BTreeMap<Name, BTreeMap<u64, Cell>>,
    /// Replicas whose sidecars are not in it.
    pub(super) unreachable: Vec<String>,
}

/// Of this replica alone.
pub(super) fn own(api: &Api, selector: &StatsSelector, when: &Range<u64>, step: u64) -> Collected {
    let now = api.stats.now();
    let mut all = Collected::default();
    api.stats.read(|rings| {
        for (key, points) in rings.read(when, step, now, |key| is_selected(selector, key)) {
            let name =
                [&key.source_service, &key.source_tag, &key.destination_service, &key.request_tag, &key.endpoint_tag];
            let steps = all.series.entry(name.map(|part| part.to_string())).or_default();
            points.iter().for_each(|(start, cell)| steps.entry(*start).or_default().add(cell));
        }
    });
    all
}

/// Of all replicas, each asked for the same seconds.
pub(super) async fn everywhere(api: &Api, selector: &StatsSelector, when: &Range<u64>, step: u64) -> Collected {
    if api.peers.others().is_empty() {
        return own(api, selector, when, step);
    }
    let of_others = api.peers.stats(QueryLaneStatsRequest {
        selector: Some(selector.clone()),
        window: Some(seconds(when.end - when.start)),
        step: Some(seconds(step)),
        end_time: Some(moment(when.end)),
        local_only: true,
    });
    // Read before the others are waited for: what is asked for may be too old afterwards.
    let mut all = own(api, selector, when, step);
    let heard = of_others.await;
    all.unreachable = heard.unreachable;
    heard.answers.into_iter().flat_map(|answer| answer.series).for_each(|series| all.add(series));
    all
}

impl Collected {
    /// What another replica says.
    fn add(&mut self, series: LaneSeries) {
        let LaneSeries { source_service, source_tag, destination_service, request_tag, endpoint_tag, points } = series;
        let name = [source_service, source_tag, destination_service, request_tag, endpoint_tag];
        let steps = self.series.entry(name).or_default();
        for point in points {
            let start = point.start_time.and_then(|time| u64::try_from(time.seconds).ok()).unwrap_or_default();
            steps.entry(start).or_default().add(&cell(&point));
        }
    }

    /// `with_latency`: for another replica, which adds it to its own.
    pub(super) fn answer(self, end: u64, with_latency: bool) -> QueryLaneStatsResponse {
        let series = self.series.into_iter().map(|(name, steps)| {
            let [source_service, source_tag, destination_service, request_tag, endpoint_tag] = name;
            let points = steps.iter().map(|(start, cell)| {
                let (index, count) = match with_latency {
                    true => cell.latency.iter().map(|(index, count)| (*index, *count)).unzip(),
                    false => (Vec::new(), Vec::new()),
                };
                LanePoint { latency_index: index, latency_count: count, ..point(*start, cell) }
            });
            let points = points.collect();
            LaneSeries { source_service, source_tag, destination_service, request_tag, endpoint_tag, points }
        });
        QueryLaneStatsResponse { series: series.collect(), end_time: Some(moment(end)), unreachable: self.unreachable }
    }
}

/// The cell that a point was made of.
fn cell(point: &LanePoint) -> Cell {
    let mut cell = Cell {
        requests: point.requests,
        errors: point.errors,
        fallbacks: point.fallbacks,
        escapes: point.escapes,
        ambiguous: point.ambiguous,
        by_source: [0; SOURCES],
        latency: point.latency_index.iter().copied().zip(point.latency_count.iter().copied()).collect(),
    };
    for counted in &point.by_source {
        let place = usize::try_from(counted.source).ok().and_then(|at| cell.by_source.get_mut(at));
        // A newer replica may know more sources.
        if let Some(place) = place {
            *place = counted.requests;
        }
    }
    cell
}

fn seconds(count: u64) -> Duration {
    Duration { seconds: i64::try_from(count).unwrap_or(i64::MAX), nanos: 0 }
}

fn moment(second: u64) -> Timestamp {
    Timestamp { seconds: i64::try_from(second).unwrap_or(i64::MAX), nanos: 0 }
}

#[cfg(test)]
mod tests {
    use laneway_proto::routing::TagSource;

    use super::{Cell, Collected};

    fn cell(requests: u64, bucket: u32) -> Cell {
        let mut cell = Cell { requests, errors: 1, fallbacks: 2, escapes: 3, ambiguous: 4, ..Cell::default() };
        cell.by_source[TagSource::Carried as usize] = requests;
        cell.latency = [(bucket, requests)].into();
        cell
    }

    fn collected(cells: &[(u64, Cell)]) -> Collected {
        let name = ["a", "", "b", "gray", "gray"].map(str::to_owned);
        Collected { series: [(name, cells.iter().cloned().collect())].into(), ..Collected::default() }
    }

    #[test]
    fn what_another_replica_counted_is_added_step_by_step_and_percentiles_are_of_the_sum() {
        let mut all = collected(&[(10, cell(99, 80)), (20, cell(5, 80))]);
        let other = collected(&[(10, cell(1, 160)), (30, cell(7, 80))]).answer(40, true);
        other.series.into_iter().for_each(|series| all.add(series));
        let answer = all.answer(40, false);
        let [series] = answer.series.as_slice() else { panic!("one series: {answer:?}") };
        let told: Vec<(i64, u64)> =
            series.points.iter().map(|p| (p.start_time.unwrap_or_default().seconds, p.requests)).collect();
        assert_eq!(told, [(10, 100), (20, 5), (30, 7)]);
        let first = &series.points[0];
        assert_eq!((first.errors, first.fallbacks, first.escapes, first.ambiguous), (2, 4, 6, 8));
        assert_eq!(first.by_source[0].requests, 100);
        // 99 took a millisecond, one of another replica took a second.
        assert!(first.p50_ms < 1.2 && first.p99_ms < 1.2, "{first:?}");
        assert!(first.latency_index.is_empty(), "it is for replicas");
        let mut slow = collected(&[(10, cell(50, 80))]);
        slow.add(collected(&[(10, cell(50, 160))]).answer(40, true).series.remove(0));
        assert!(slow.answer(40, false).series[0].points[0].p95_ms > 1000.0);
    }
}
