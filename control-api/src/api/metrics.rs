//! `GET /metrics` on the API port: what this replica has and does, in the text format of Prometheus. Looked up when somebody asks; who
//! may ask is the door's question, as for every call. What the traffic does is told by the sidecars (docs/metrics.md).

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use laneway_core::name::namespace_of;
use laneway_core::snapshot::EndpointState;
use laneway_proto::admin::lane;
use laneway_proto::status::{ConfigState, Proxy};
use prost_types::Timestamp;

use super::{Api, read};
use crate::access::Door;
use crate::discovery::standing::Watched;
use crate::name;

#[cfg(test)]
mod tests;

/// Who has not answered, or was sent nothing, for so long is behind; `lanectl check` has it so too.
const BEHIND_AFTER: Duration = Duration::from_secs(10);
/// Lanes that have a row of their own; the others are in the counts of no row.
const LANES_MAX: usize = 1_000;
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One metric; docs/metrics.md has a row for each.
struct Metric {
    name: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $name:literal $kind:ident [$($label:literal),*] $help:literal;)*) => {
        $(static $constant: Metric =
            Metric { name: $name, kind: stringify!($kind), labels: &[$($label),*], help: $help };)*

        #[cfg(test)]
        static ALL: &[&Metric] = &[$(&$constant),*];
    };
}

metrics! {
    BUILD = "laneway_control_build_info" gauge ["version", "replica", "store"]
        "1: version of this program, and who it is";
    LEADER = "laneway_control_leader" gauge []
        "1 on the replica that ends lanes and judges them";
    REPLICAS = "laneway_control_replicas" gauge []
        "Replicas that this one knows of, itself among them";
    REVISION = "laneway_control_revision" gauge ["stage"]
        "Newest revision that is stored, and that sidecars are sent";
    EDITIONS = "laneway_control_editions_total" counter []
        "Configurations that sidecars were to have, since the start";
    CHANGES = "laneway_control_changes_total" counter ["outcome"]
        "Changes that were asked for here, by what came of them";
    DENIED = "laneway_control_authentication_failures_total" counter ["port"]
        "Calls and streams that were not let in, by port";
    NOT_YET = "laneway_control_not_let_in_yet_total" counter ["port", "reason"]
        "Calls and streams that were told to come again, because nobody could say who they are";
    SIDECARS = "laneway_control_sidecars" gauge ["state"]
        "Sidecars of this replica, by how much of their configuration they have";
    BEHIND = "laneway_control_sidecars_behind" gauge ["state"]
        "Sidecars of this replica that are late with their configuration, or refused something";
    LANES = "laneway_control_lane_info" gauge ["namespace", "group", "lane", "tag", "state"]
        "1 for each lane, with its state";
    SERVICES = "laneway_control_services" gauge []
        "Services that discovery tells of";
    ENDPOINTS = "laneway_control_endpoints" gauge ["state"]
        "Endpoints that discovery tells of";
    DISCOVERY_SILENCE = "laneway_control_discovery_silence_seconds" gauge ["kind"]
        "For how long the API server was not heard, by what is watched there";
    DISCOVERY_RESTARTS = "laneway_control_discovery_watch_restarts_total" counter ["kind"]
        "Watches that died and were started again, by what they watch";
    DISCOVERY_PROBLEMS = "laneway_control_discovery_problems" gauge []
        "Pods and Services of the cluster that may not be what was meant";
    SERIES = "laneway_control_stats_series" gauge []
        "Series of statistics that are kept";
    GUARD = "laneway_control_guard_actions_total" counter ["action"]
        "What guards of lanes did on this replica";
    WEBHOOK = "laneway_control_webhook_requests_total" counter ["result"]
        "What the webhook was asked here, by what came of it";
    CPU = "process_cpu_seconds_total" counter []
        "User and system time of this process";
    RESIDENT = "process_resident_memory_bytes" gauge []
        "Resident memory of this process";
    OPEN_FDS = "process_open_fds" gauge []
        "Open file descriptors of this process";
    START_TIME = "process_start_time_seconds" gauge []
        "When this process started, since the Unix epoch";
}

pub(super) async fn answer(api: Api) -> Response<Body> {
    let mut response = Response::new(Body::from(page(&api)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(FORMAT));
    response
}

fn page(api: &Api) -> String {
    let mut page = Page::default();
    let state = api.reconciler.state();
    page.family(&BUILD, [(vec![env!("CARGO_PKG_VERSION"), api.peers.own(), api.reconciler.store_name()], 1)]);
    page.single(&LEADER, u8::from(api.leader.leads()));
    page.single(&REPLICAS, api.peers.others().len() + 1);
    let (published, edition) = {
        let published = api.reconciler.published();
        let published = published.borrow();
        (published.revision, published.edition)
    };
    page.family(&REVISION, [(vec!["stored"], state.revision), (vec!["published"], published)]);
    page.single(&EDITIONS, edition);
    page.family(&CHANGES, api.reconciler.counts().map(|(outcome, count)| (vec![outcome], count)));
    page.family(&DENIED, api.doors.each_ref().map(|door| (vec![door.port()], door.denied())));
    let not_yet =
        |door: &Door| door.not_yet().map(|(reason, count)| (vec![door.port(), reason], count)).collect::<Vec<_>>();
    page.family(&NOT_YET, api.doors.iter().flat_map(not_yet));
    let (reported, now) = (api.fleet.report(false), SystemTime::now());
    let mut sidecars: BTreeMap<&str, u64> = BTreeMap::new();
    for proxy in reported.values() {
        *sidecars.entry(proxy.state().as_str_name().trim_start_matches("CONFIG_STATE_")).or_default() += 1;
    }
    let lower: Vec<(String, u64)> = sidecars.into_iter().map(|(state, count)| (state.to_lowercase(), count)).collect();
    page.family(&SIDECARS, lower.iter().map(|(state, count)| (vec![state.as_str()], *count)));
    page.family(&BEHIND, behind(reported.values(), now).map(|(state, count)| (vec![state], count)));
    let lanes = state.objects.lanes.values().take(LANES_MAX).map(|lane| {
        let group = laneway_core::name::parent_group(&lane.name).unwrap_or_default();
        let labels = vec![namespace_of(&lane.name), name::id(group), name::id(&lane.name), &lane.tag, lane_state(lane)];
        (labels, 1)
    });
    page.family(&LANES, lanes);
    page.single(&SERVICES, state.catalog.services.len());
    let mut endpoints: BTreeMap<&str, u64> = BTreeMap::new();
    for endpoint in state.catalog.services.values().flat_map(|service| &service.endpoints) {
        *endpoints.entry(endpoint_state(endpoint.state)).or_default() += 1;
    }
    page.family(&ENDPOINTS, endpoints.into_iter().map(|(state, count)| (vec![state], count)));
    let watched = api.discovery.watched(Instant::now());
    let of_each = |value: fn(&Watched) -> u64| watched.iter().map(move |(kind, watched)| (vec![*kind], value(watched)));
    page.family(&DISCOVERY_SILENCE, of_each(|watched| watched.silence.as_secs()));
    page.family(&DISCOVERY_RESTARTS, of_each(|watched| watched.restarts));
    page.single(&DISCOVERY_PROBLEMS, api.discovery.problems().count());
    page.single(&SERIES, api.stats.read(|rings| rings.series_count()));
    page.family(&GUARD, api.deeds.counts().map(|(action, count)| (vec![action], count)));
    page.family(&WEBHOOK, api.webhook.counts().map(|(result, count)| (vec![result], count)));
    process(&mut page);
    let started = api.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    page.single(&START_TIME, started.as_secs_f64());
    page.0
}

/// By what they are: something is in flight at any moment where instances come and go, so only what lasts says something.
fn behind<'p>(proxies: impl Iterator<Item = &'p Proxy>, now: SystemTime) -> [(&'static str, u64); 3] {
    let is_long = |since: Option<Timestamp>| {
        let since = since.and_then(|time| SystemTime::try_from(time).ok());
        since.is_none_or(|since| now.duration_since(since).unwrap_or_default() >= BEHIND_AFTER)
    };
    let [mut stale, mut not_sent, mut error] = [0; 3];
    for proxy in proxies {
        match proxy.state() {
            ConfigState::Error => error += 1,
            ConfigState::Stale => {
                let mut silent = proxy.types.iter().filter(|status| status.state() == ConfigState::Stale);
                stale += u64::from(silent.any(|status| is_long(status.last_sent_time)));
            }
            ConfigState::NotSent => not_sent += u64::from(is_long(proxy.connect_time)),
            ConfigState::Synced | ConfigState::Disconnected | ConfigState::Unspecified => {}
        }
    }
    [("stale", stale), ("not_sent", not_sent), ("error", error)]
}

fn lane_state(lane: &laneway_proto::admin::Lane) -> &'static str {
    match read::current_state(lane) {
        lane::State::Enabled | lane::State::Unspecified => "enabled",
        lane::State::DryRun => "dry_run",
        lane::State::Disabled => "disabled",
        lane::State::Expired => "expired",
        lane::State::Tripped => "tripped",
    }
}

fn endpoint_state(state: EndpointState) -> &'static str {
    match state {
        EndpointState::Ready => "ready",
        EndpointState::Unhealthy => "unhealthy",
        EndpointState::Warming => "warming",
        EndpointState::Draining => "draining",
    }
}

/// As the kernel has it. What cannot be read is left out: a page without it is better than none.
fn process(page: &mut Page) {
    /// Of a second, in every ABI of Linux (USER_HZ).
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program stands in brackets and may hold anything. Fields by proc_pid_stat(5); the first behind it is 3.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        page.single(&CPU, (user + system) as f64 / TICKS);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    if let Some(kib) = resident.and_then(|kib| kib.trim().parse::<u64>().ok()) {
        page.single(&RESIDENT, kib * 1024);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the folder that is being read.
        page.single(&OPEN_FDS, open.count().saturating_sub(1));
    }
}

/// The text, family by family.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family<'v>(&mut self, metric: &Metric, samples: impl IntoIterator<Item = (Vec<&'v str>, impl Display)>) {
        let Metric { name, kind, labels, help } = metric;
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}.\n# TYPE {name} {kind}");
        for (values, value) in samples {
            debug_assert_eq!(labels.len(), values.len(), "labels of {name}");
            self.0.push_str(name);
            for (at, (label, value)) in labels.iter().zip(values).enumerate() {
                let before = if at == 0 { '{' } else { ',' };
                let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let _ = write!(self.0, "{before}{label}=\"{escaped}\"");
            }
            let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
        }
    }

    fn single(&mut self, metric: &Metric, value: impl Display) {
        self.family(metric, [(Vec::new(), value)]);
    }
}
