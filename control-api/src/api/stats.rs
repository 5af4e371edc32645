//! How the lanes do: what `stats` keeps, as series, as a graph, and for as long as somebody watches. Each replica knows what its own
//! sidecars saw; the others are asked for theirs, and who does not answer is named as unreachable. Guards ask here too.

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
    GetTopologyRequest, LanePoint, QueryLaneStatsRequest, QueryLaneStatsResponse, StatsSelector, StatsView, Topology,
    WatchLaneStatsRequest,
};
use tonic::Status;

use super::stream::{End, Events, Outlet};
use super::{Answer, Api, errors};
use crate::stats::observe::Observe;
use crate::stats::{COARSE_SECONDS, Cell, FINE_SECONDS, Key, STEP_SECONDS, View};

mod collected;

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
    let end = match request.end_time {
        Some(end) => end_of(&end, now)?,
        None => now,
    };
    let (selector, when) = (request.selector.unwrap_or_default(), end.saturating_sub(window)..end);
    if request.local_only {
        return Ok(collected::own(api, &selector, &when, step).answer(end, true));
    }
    Ok(collected::everywhere(api, &selector, &when, step).await.answer(end, false))
}

/// Clocks of replicas differ by a little.
const AHEAD_MAX: u64 = 60;

fn end_of(end: &prost_types::Timestamp, now: u64) -> Result<u64, Status> {
    let second = u64::try_from(end.seconds).ok().filter(|second| end.nanos == 0 && *second <= now + AHEAD_MAX);
    second.ok_or_else(|| errors::bad_field("end_time", "is a whole second that is not in the future"))
}

impl Api {
    /// What was counted in some seconds on all replicas, for whoever judges lanes by it.
    pub fn observe(&self) -> Observe {
        let api = self.clone();
        Box::new(move |selector, when| {
            let api = api.clone();
            Box::pin(async move {
                let step = when.end.saturating_sub(when.start).max(1);
                // A replica that does not answer is one whose sidecars tell nothing now: judged is what is known.
                let found = collected::everywhere(&api, &selector, &when, step).await;
                let of = |name: &str| -> std::sync::Arc<str> { name.into() };
                let keyed = found.series.into_iter().flat_map(|(name, steps)| {
                    let [source_service, source_tag, destination_service, request_tag, endpoint_tag] = &name;
                    let key = Key {
                        view: view_of(&selector),
                        source_service: of(source_service),
                        source_tag: of(source_tag),
                        destination_service: of(destination_service),
                        request_tag: of(request_tag),
                        endpoint_tag: of(endpoint_tag),
                        lane_group: of(&selector.lane_group),
                    };
                    steps.into_values().map(move |cell| (key.clone(), cell))
                });
                keyed.collect()
            })
        })
    }
}

fn view_of(selector: &StatsSelector) -> View {
    match selector.view() {
        StatsView::Unspecified | StatsView::Callers => View::Callers,
        StatsView::Servers => View::Servers,
    }
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
        let found = outlet.until(collected::everywhere(api, selector, &(start..end), step)).await?;
        start = end;
        outlet.send(found.answer(end, false)).await?;
    }
}

/// Who calls whom.
pub(super) async fn topology(api: &Api, request: GetTopologyRequest) -> Result<Topology, Status> {
    let window = seconds("window", request.window, WINDOW_DEFAULT, 1..COARSE_SECONDS + 1)?;
    api.stats.asked();
    let now = api.stats.now();
    let selector = request.selector.unwrap_or_default();
    let when = now.saturating_sub(window)..now;
    let found = collected::everywhere(api, &selector, &when, window).await;
    let mut edges: BTreeMap<([String; 2], [String; 2], String), Cell> = BTreeMap::new();
    for ([source_service, source_tag, destination_service, request_tag, endpoint_tag], steps) in found.series {
        let ends = ([source_service, source_tag], [destination_service, endpoint_tag]);
        let edge = edges.entry((ends.0, ends.1, request_tag)).or_default();
        steps.values().for_each(|cell| edge.add(cell));
    }
    let ready = ready_endpoints(api);
    let mut topology = Topology { unreachable: found.unreachable, ..Topology::default() };
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
        ..LanePoint::default()
    }
}

/// All that are given must hold.
fn is_selected(selector: &StatsSelector, key: &Key) -> bool {
    let StatsSelector { namespace, lane_group, tags, service, view: _ } = selector;
    let ends = [&*key.source_service, &*key.destination_service];
    let tag = if key.request_tag.is_empty() { BASELINE } else { &key.request_tag };
    key.view == view_of(selector)
        && (namespace.is_empty() || ends.iter().any(|service| is_in(service, namespace)))
        && (lane_group.is_empty() || *key.lane_group == **lane_group)
        && (tags.is_empty() || tags.iter().any(|wanted| wanted == tag))
        && (service.is_empty() || ends.contains(&service.as_str()))
}

/// What has no name, or none of a service, is in no namespace: who called is not known of what the called one counted.
fn is_in(service: &str, namespace: &str) -> bool {
    service.contains('/') && namespace_of(service) == namespace
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
