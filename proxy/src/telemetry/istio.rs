//! The same counts under the names of Istio's standard metrics, a lane's tag as version: Kiali and stock dashboards show lanes as
//! versions. Made from what is counted anyway, when somebody asks.

use std::collections::BTreeMap;

use laneway_core::name;
use laneway_core::snapshot::Snapshot;
use laneway_core::why::Why;

use super::Direction;
use super::flow::{Labels, Outcome, Spoken, Totals, service_label};
use super::lanes::{Own, added_up, code_label};
use super::latency::{BOUNDS_US, Latencies};
use super::page::Page;

/// Name and value of each label.
type Series = Vec<(&'static str, String)>;

pub(super) fn render(page: &mut Page, totals: &BTreeMap<Labels, Totals>, snapshot: &Snapshot) {
    let own = Own::of(snapshot);
    let mut requests: BTreeMap<Series, u64> = BTreeMap::new();
    let mut edges: BTreeMap<Series, Edge> = BTreeMap::new();
    for (labels, total) in totals {
        let ends = ends(labels, &own);
        for (outcome, count) in added_up(&total.outcomes) {
            if outcome.spoken == Spoken::Opaque {
                edges.entry(ends.clone()).or_default().opened += count;
                continue;
            }
            let series = ends.iter().cloned().chain(answered(&outcome)).collect();
            *requests.entry(series).or_default() += count;
        }
        let edge = edges.entry(ends).or_default();
        edge.latencies.merge(&total.latencies);
        edge.request_bytes += total.request_bytes;
        edge.response_bytes += total.response_bytes;
        edge.closed += total.opaque_closed;
        edge.received += total.opaque_received_bytes;
        edge.sent += total.opaque_sent_bytes;
    }
    page.head("istio_requests_total", "counter", "Requests, as Istio counts them");
    for (series, count) in &requests {
        page.line("istio_requests_total", pairs(series), count);
    }
    render_edges(page, &edges);
}

/// What is counted for a pair of workloads.
#[derive(Default)]
struct Edge {
    latencies: Latencies,
    request_bytes: u64,
    response_bytes: u64,
    opened: u64,
    closed: u64,
    received: u64,
    sent: u64,
}

fn render_edges(page: &mut Page, edges: &BTreeMap<Series, Edge>) {
    type Sum = fn(&Edge) -> (Vec<(String, u64)>, f64);
    let milliseconds: Sum = |edge| {
        let bounds = BOUNDS_US.iter().zip(edge.latencies.cumulative());
        let bounds = bounds.map(|(us, below)| ((*us as f64 / 1e3).to_string(), below)).collect();
        (bounds, edge.latencies.sum_us as f64 / 1e3)
    };
    // Of bytes no distribution is kept: one bucket, and the sum.
    let histograms: [(&str, &str, Sum); 3] = [
        ("istio_request_duration_milliseconds", "How long requests took", milliseconds),
        ("istio_request_bytes", "Bytes of request bodies", |edge| (Vec::new(), edge.request_bytes as f64)),
        ("istio_response_bytes", "Bytes of answers' bodies", |edge| (Vec::new(), edge.response_bytes as f64)),
    ];
    for (name, help, sum) in histograms {
        page.head(name, "histogram", help);
        for (series, edge) in edges.iter().filter(|(_, edge)| edge.latencies.count() > 0) {
            let labels: Vec<(&str, &str)> = pairs(series).collect();
            let (bounds, sum) = sum(edge);
            page.histogram(name, &labels, &bounds, edge.latencies.count(), sum);
        }
    }
    type Value = fn(&Edge) -> u64;
    let counters: [(&str, &str, Value); 4] = [
        ("istio_tcp_connections_opened_total", "Connections that are not read, opened", |edge| edge.opened),
        ("istio_tcp_connections_closed_total", "The same, closed", |edge| edge.closed),
        ("istio_tcp_received_bytes_total", "Bytes received over them", |edge| edge.received),
        ("istio_tcp_sent_bytes_total", "Bytes sent over them", |edge| edge.sent),
    ];
    for (name, help, value) in counters {
        page.head(name, "counter", help);
        for (series, edge) in edges.iter().filter(|(_, edge)| edge.opened > 0) {
            page.line(name, pairs(series), value(edge));
        }
    }
}

fn pairs(series: &Series) -> impl Iterator<Item = (&str, &str)> {
    series.iter().map(|(name, value)| (*name, value.as_str()))
}

/// Who reports, and both ends.
fn ends(labels: &Labels, own: &Own<'_>) -> Series {
    let peer = service_label(&labels.peer_service, own.namespace);
    let peer_id = match labels.peer_service.is_empty() {
        true => peer,
        false => name::id_of(&labels.peer_service).to_owned(),
    };
    let peer_namespace = match labels.peer_service.is_empty() {
        true => "unknown",
        false => name::namespace_of(&labels.peer_service),
    };
    let peer = (peer_id, labels.peer_tag.as_str(), peer_namespace);
    let own = (own.service.clone(), own.tag.as_str(), own.namespace);
    let (reporter, source, destination) = match labels.direction {
        Direction::Inbound => ("destination", peer, own),
        Direction::Outbound => ("source", own, peer),
    };
    let (service, version, namespace) = source;
    let mut series = vec![
        ("reporter", reporter.to_owned()),
        ("source_workload", workload(&service, version)),
        ("source_canonical_service", service.clone()),
        ("source_canonical_revision", version.to_owned()),
        ("source_app", service),
        ("source_version", version.to_owned()),
        ("source_workload_namespace", namespace.to_owned()),
    ];
    let (service, version, namespace) = destination;
    series.extend([
        ("destination_workload", workload(&service, version)),
        ("destination_canonical_service", service.clone()),
        ("destination_canonical_revision", version.to_owned()),
        ("destination_app", service.clone()),
        ("destination_version", version.to_owned()),
        ("destination_workload_namespace", namespace.to_owned()),
        ("destination_service", format!("{service}.{namespace}.svc.cluster.local")),
        ("destination_service_namespace", namespace.to_owned()),
        ("destination_service_name", service),
    ]);
    series
}

/// One for each version of a service: what a Deployment is there.
fn workload(service: &str, version: &str) -> String {
    match version {
        "baseline" | "unknown" => service.to_owned(),
        tag => format!("{service}-{tag}"),
    }
}

fn answered(outcome: &Outcome) -> [(&'static str, String); 4] {
    let is_grpc = outcome.spoken == Spoken::Grpc;
    let has_grpc_code = is_grpc && outcome.code < 100;
    let flags = match (outcome.why, outcome.code) {
        (Why::StrictReject | Why::NoEndpoint, _) => "UH",
        (_, 499) => "DC",
        _ => "-",
    };
    let status = if has_grpc_code { "200".to_owned() } else { code_label(outcome.code) };
    [
        ("request_protocol", if is_grpc { "grpc" } else { "http" }.to_owned()),
        ("response_code", status),
        ("grpc_response_status", if has_grpc_code { outcome.code.to_string() } else { String::new() }),
        ("response_flags", flags.to_owned()),
    ]
}
