//! How the lanes do: what `stats` keeps, as series, as a graph, and for as long as somebody watches. Each replica knows what its own
//! sidecars saw, and percentiles of several cannot be added: the others are not asked, and named as unreachable.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;
use std::time::Duration;

use laneway_core::name::namespace_of;
use laneway_core::snapshot::EndpointState;
use laneway_proto::contract::BASELINE;
use laneway_proto::routing::TagSource;
use laneway_proto::status::lane_point::SourceCount;
use laneway_proto::status::topology::{Edge, Vertex};
use laneway_proto::status::{
    GetTopologyRequest, LanePoint, LaneSeries, QueryLaneStatsRequest, QueryLaneStatsResponse, StatsSelector, Topology,
    WatchLaneStatsRequest,
};
use tonic::Status;

use super::stream::{End, Events, Outlet};
use super::{Answer, Api, errors};
use crate::stats::{COARSE_SECONDS, Cell, FINE_SECONDS, Key, STEP_SECONDS, Stats};

#[cfg(test)]
mod tests;

const WINDOW_DEFAULT: u64 = 60;
const POINTS_MAX: u64 = 360;
/// A watcher sees a second this long after its end: sidecars have reported it by then.
const SETTLED_SECONDS: u64 = 2;
/// How often a watch looks whether a step has ended.
const TICK: Duration = Duration::from_millis(500);

pub(super) async fn query(api: &Api, request: QueryLaneStatsRequest) -> Result<QueryLaneStatsResponse, Status> {
    let window = seconds("window", request.window, WINDOW_DEFAULT, 1..COARSE_SECONDS + 1)?;
    let step = step_of(request.step, window)?;
    api.stats.asked();
    let now = api.stats.now();
    let mut found = answer(&api.stats, &request.selector.unwrap_or_default(), now.saturating_sub(window)..now, step);
    found.unreachable = api.peers.others();
    Ok(found)
}

/// What each step brought, as it ends.
pub(super) fn watch(api: &Api, request: WatchLaneStatsRequest) -> Answer<Events<QueryLaneStatsResponse>> {
    let step = seconds("step", request.step, 1, 1..FINE_SECONDS + 1)?;
    let selector = request.selector.unwrap_or_default();
    let api_of_task = api.clone();
    api.stream(move |mut outlet| async move {
        let end = match follow(&api_of_task, &selector, step, &mut outlet).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        (outlet, end)
    })
}

async fn follow(
    api: &Api,
    selector: &StatsSelector,
    step: u64,
    outlet: &mut Outlet<QueryLaneStatsResponse>,
) -> Result<Infallible, End> {
    let _watching = api.stats.watch();
    let mut start = api.stats.now().saturating_sub(SETTLED_SECONDS);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        outlet.until(ticks.tick()).await?;
        // Whole steps, none twice and none left out, whenever the tick comes.
        let settled = api.stats.now().saturating_sub(SETTLED_SECONDS);
        let end = start + settled.saturating_sub(start) / step * step;
        if end == start {
            continue;
        }
        let mut found = answer(&api.stats, selector, start..end, step);
        start = end;
        found.unreachable = api.peers.others();
        outlet.send(found).await?;
    }
}

/// Who calls whom.
pub(super) async fn topology(api: &Api, request: GetTopologyRequest) -> Result<Topology, Status> {
    let window = seconds("window", request.window, WINDOW_DEFAULT, 1..COARSE_SECONDS + 1)?;
    api.stats.asked();
    let now = api.stats.now();
    let selector = request.selector.unwrap_or_default();
    let when = now.saturating_sub(window)..now;
    let mut edges: BTreeMap<([String; 2], [String; 2], String), Cell> = BTreeMap::new();
    api.stats.read(|rings| {
        for (key, points) in rings.read(&when, window, now, |key| is_selected(&selector, key)) {
            let source = [key.source_service.to_string(), key.source_tag.to_string()];
            let target = [key.destination_service.to_string(), key.endpoint_tag.to_string()];
            let edge = edges.entry((source, target, key.request_tag.to_string())).or_default();
            points.iter().for_each(|(_, cell)| edge.add(cell));
        }
    });
    let ready = ready_endpoints(api);
    let mut topology = Topology { unreachable: api.peers.others(), ..Topology::default() };
    let mut places: BTreeMap<[String; 2], u32> = BTreeMap::new();
    let mut place = |vertex: &[String; 2], vertices: &mut Vec<Vertex>| {
        *places.entry(vertex.clone()).or_insert_with(|| {
            let [service, tag] = vertex.clone();
            let ready_endpoints = ready.get(vertex).copied().unwrap_or(0);
            vertices.push(Vertex { service, tag, ready_endpoints });
            u32::try_from(vertices.len() - 1).unwrap_or(u32::MAX)
        })
    };
    for ((source, target, request_tag), total) in &edges {
        let (source, target) = (place(source, &mut topology.vertices), place(target, &mut topology.vertices));
        let total = Some(point(when.start, total));
        topology.edges.push(Edge { source, target, request_tag: request_tag.clone(), total });
    }
    Ok(topology)
}

/// By service and tag.
fn ready_endpoints(api: &Api) -> BTreeMap<[String; 2], u32> {
    let mut ready: BTreeMap<[String; 2], u32> = BTreeMap::new();
    for (name, service) in &api.reconciler.state().catalog.services {
        for endpoint in &service.endpoints {
            if matches!(endpoint.state, EndpointState::Ready | EndpointState::Warming) {
                let tag = endpoint.tag.as_ref().map_or("", |tag| tag.as_str()).to_owned();
                *ready.entry([name.clone(), tag]).or_default() += 1;
            }
        }
    }
    ready
}

fn answer(stats: &Stats, selector: &StatsSelector, when: Range<u64>, step: u64) -> QueryLaneStatsResponse {
    let now = stats.now();
    let series = stats.read(|rings| {
        let found = rings.read(&when, step, now, |key| is_selected(selector, key));
        found.into_iter().map(|(key, points)| series(key, &points)).collect()
    });
    let end_time = prost_types::Timestamp { seconds: i64::try_from(when.end).unwrap_or(i64::MAX), nanos: 0 };
    QueryLaneStatsResponse { series, end_time: Some(end_time), unreachable: Vec::new() }
}

fn series(key: &Key, points: &[(u64, Cell)]) -> LaneSeries {
    LaneSeries {
        source_service: key.source_service.to_string(),
        source_tag: key.source_tag.to_string(),
        destination_service: key.destination_service.to_string(),
        request_tag: key.request_tag.to_string(),
        endpoint_tag: key.endpoint_tag.to_string(),
        points: points.iter().map(|(start, cell)| point(*start, cell)).collect(),
    }
}

fn point(start: u64, cell: &Cell) -> LanePoint {
    let by_source = cell.by_source.iter().zip(0..).filter(|(requests, _)| **requests > 0);
    LanePoint {
        start_time: Some(prost_types::Timestamp { seconds: i64::try_from(start).unwrap_or(i64::MAX), nanos: 0 }),
        requests: cell.requests,
        errors: cell.errors,
        fallbacks: cell.fallbacks,
        escapes: cell.escapes,
        ambiguous: cell.ambiguous,
        by_source: by_source
            .filter(|(_, source)| TagSource::try_from(*source).is_ok())
            .map(|(requests, source)| SourceCount { source, requests: *requests })
            .collect(),
        p50_ms: cell.quantile_ms(0.5),
        p95_ms: cell.quantile_ms(0.95),
        p99_ms: cell.quantile_ms(0.99),
    }
}

/// All that are given must hold.
fn is_selected(selector: &StatsSelector, key: &Key) -> bool {
    let StatsSelector { namespace, lane_group, tags, service } = selector;
    let ends = [&*key.source_service, &*key.destination_service];
    let tag = if key.request_tag.is_empty() { BASELINE } else { &key.request_tag };
    (namespace.is_empty() || ends.iter().any(|service| namespace_of(service) == namespace))
        && (lane_group.is_empty() || *key.lane_group == **lane_group)
        && (tags.is_empty() || tags.iter().any(|wanted| wanted == tag))
        && (service.is_empty() || ends.contains(&service.as_str()))
}

/// Whole seconds in a range; unset is `default`.
fn seconds(
    field: &str,
    value: Option<prost_types::Duration>,
    default: u64,
    allowed: Range<u64>,
) -> Result<u64, Status> {
    let Some(value) = value else { return Ok(default) };
    let whole = u64::try_from(value.seconds).ok().filter(|seconds| value.nanos == 0 && allowed.contains(seconds));
    whole.ok_or_else(|| {
        errors::bad_field(field, format!("is whole seconds, from {} to {}", allowed.start, allowed.end - 1))
    })
}

/// Unset: the whole window is one step.
fn step_of(step: Option<prost_types::Duration>, window: u64) -> Result<u64, Status> {
    let step = seconds("step", step, window, 1..COARSE_SECONDS + 1)?;
    if window > FINE_SECONDS && step < STEP_SECONDS {
        return Err(errors::bad_field(
            "step",
            format!("is {STEP_SECONDS} s or more for a window above {FINE_SECONDS} s"),
        ));
    }
    if window.div_ceil(step) > POINTS_MAX {
        return Err(errors::bad_field("step", format!("makes more than {POINTS_MAX} points of the window")));
    }
    Ok(step)
}
