//! What is counted by lane, as series.

use std::collections::BTreeMap;

use laneway_core::name;
use laneway_core::snapshot::Snapshot;
use laneway_core::tag::Tag;
use laneway_core::why::{TagSource, source_label, why_label};

use super::flow::{Labels, OTHER, Spoken, TagLabel, Totals, service_label};
use super::latency::{BOUNDS_US, Latencies};
use super::page::Page;
use super::{Direction, names};

/// Series of endpoints; what is beyond is added up as `other`.
const ENDPOINT_SERIES_MAX: usize = 2_000;

/// Labels of the metrics that have few.
type Few<'t> = (Direction, TagLabel, &'t str);

#[derive(Default)]
struct Sums {
    latencies: Latencies,
    request_bytes: u64,
    response_bytes: u64,
}

pub(super) fn render(page: &mut Page, totals: &BTreeMap<Labels, Totals>, snapshot: &Snapshot) {
    let own = Own::of(snapshot);
    requests(page, totals, &own);
    few(page, totals, &own);
    sources(page, totals);
    escapes(page, totals);
    opaque(page, totals, &own);
}

/// Whose sidecar it is, in labels.
pub(super) struct Own<'s> {
    pub(super) namespace: &'s str,
    pub(super) service: String,
    pub(super) tag: TagLabel,
}

impl<'s> Own<'s> {
    pub(super) fn of(snapshot: &'s Snapshot) -> Own<'s> {
        let identity = &snapshot.identity;
        let service = service_label(&identity.service_name(), &identity.namespace);
        Own { namespace: &identity.namespace, service, tag: identity.tag.into() }
    }

    /// Labels of the metrics that have all.
    fn all<'l>(&'l self, labels: &'l Labels, peer_service: &'l str) -> [&'l str; 7] {
        let Labels { direction, peer_tag, group, lane, .. } = labels;
        let own = [direction.label(), &self.service, self.tag.as_str()];
        [own[0], own[1], own[2], peer_service, peer_tag.as_str(), name::id_of(group), lane.as_str()]
    }
}

/// Status, or `other`.
pub(super) fn code_label(code: u16) -> String {
    if code == 0 { OTHER.to_owned() } else { code.to_string() }
}

fn requests(page: &mut Page, totals: &BTreeMap<Labels, Totals>, own: &Own<'_>) {
    page.family(&names::REQUESTS);
    for (labels, total) in totals {
        let peer_service = service_label(&labels.peer_service, own.namespace);
        for (outcome, count) in added_up(&total.outcomes).into_iter().filter(|(o, _)| o.spoken != Spoken::Opaque) {
            let [direction, service, tag, peer_service, peer_tag, group, lane] = own.all(labels, &peer_service);
            let code = code_label(outcome.code);
            let (why, source) = (why_label(outcome.why), source_label(outcome.source));
            let protocol = outcome.spoken.label();
            let values = [direction, service, tag, peer_service, peer_tag, group, lane, protocol, &code, why, source];
            page.sample(&names::REQUESTS, &values, count);
        }
    }
}

/// Equal keys are one.
pub(super) fn added_up<K: Copy + Ord>(counts: &[(K, u64)]) -> BTreeMap<K, u64> {
    let mut sums = BTreeMap::new();
    for (key, count) in counts {
        *sums.entry(*key).or_default() += count;
    }
    sums
}

fn few(page: &mut Page, totals: &BTreeMap<Labels, Totals>, own: &Own<'_>) {
    let mut sums: BTreeMap<Few<'_>, Sums> = BTreeMap::new();
    for (labels, total) in totals.iter().filter(|(_, total)| total.latencies.count() > 0) {
        let sum = sums.entry((labels.direction, labels.lane, &labels.peer_service)).or_default();
        sum.latencies.merge(&total.latencies);
        sum.request_bytes += total.request_bytes;
        sum.response_bytes += total.response_bytes;
    }
    page.family(&names::DURATION);
    for ((direction, lane, peer), sum) in &sums {
        let peer = service_label(peer, own.namespace);
        let values = [direction.label(), &own.service, lane.as_str(), &peer];
        let labels: Vec<(&str, &str)> = names::DURATION.labels.iter().copied().zip(values).collect();
        let bounds = BOUNDS_US.iter().zip(sum.latencies.cumulative());
        let bounds: Vec<_> = bounds.map(|(us, below)| ((*us as f64 / 1e6).to_string(), below)).collect();
        let seconds = sum.latencies.sum_us as f64 / 1e6;
        page.histogram(names::DURATION.name, &labels, &bounds, sum.latencies.count(), seconds);
    }
    type Value = fn(&Sums) -> u64;
    let families: [(_, Value); 2] =
        [(&names::REQUEST_BYTES, |sum| sum.request_bytes), (&names::RESPONSE_BYTES, |sum| sum.response_bytes)];
    for (metric, value) in families {
        page.family(metric);
        for ((direction, lane, peer), sum) in &sums {
            let peer = service_label(peer, own.namespace);
            page.sample(metric, &[direction.label(), &own.service, lane.as_str(), &peer], value(sum));
        }
    }
}

fn sources(page: &mut Page, totals: &BTreeMap<Labels, Totals>) {
    let mut sums: BTreeMap<(Direction, TagSource), u64> = BTreeMap::new();
    for (labels, total) in totals {
        for (outcome, count) in total.outcomes.iter().filter(|(outcome, _)| outcome.spoken != Spoken::Opaque) {
            *sums.entry((labels.direction, outcome.source)).or_default() += count;
        }
    }
    page.family(&names::TAG_SOURCE);
    for ((direction, source), count) in sums {
        page.sample(&names::TAG_SOURCE, &[direction.label(), source_label(source)], count);
    }
}

/// `ambiguous`: several lanes were in flight.
fn escapes(page: &mut Page, totals: &BTreeMap<Labels, Totals>) {
    let all: Vec<(Option<Tag>, u64)> = totals.values().flat_map(|total| total.escapes.iter().copied()).collect();
    page.family(&names::ESCAPES);
    for (lane, count) in added_up(&all) {
        page.sample(&names::ESCAPES, &[lane.as_ref().map_or("ambiguous", Tag::as_str)], count);
    }
}

fn opaque(page: &mut Page, totals: &BTreeMap<Labels, Totals>, own: &Own<'_>) {
    let opened = |total: &Totals| added_up(&total.outcomes).into_iter().filter(|(o, _)| o.spoken == Spoken::Opaque);
    let flows: Vec<_> = totals
        .iter()
        .filter(|(_, total)| opened(total).next().is_some())
        .map(|(labels, total)| (labels, service_label(&labels.peer_service, own.namespace), total))
        .collect();
    page.family(&names::OPAQUE_OPENED);
    for (labels, peer, total) in &flows {
        for (outcome, count) in opened(total) {
            let values = [own.all(labels, peer).as_slice(), &[why_label(outcome.why)]].concat();
            page.sample(&names::OPAQUE_OPENED, &values, count);
        }
    }
    type Value = fn(&Totals) -> u64;
    let families: [(_, Value); 3] = [
        (&names::OPAQUE_CLOSED, |total| total.opaque_closed),
        (&names::OPAQUE_RECEIVED, |total| total.opaque_received_bytes),
        (&names::OPAQUE_SENT, |total| total.opaque_sent_bytes),
    ];
    for (metric, value) in families {
        page.family(metric);
        for (labels, peer, total) in &flows {
            page.sample(metric, &own.all(labels, peer), value(total));
        }
    }
}

pub(super) fn render_endpoints(page: &mut Page, snapshot: &Snapshot) {
    let namespace = &snapshot.identity.namespace;
    let mut counts: BTreeMap<(String, TagLabel, &str), u64> = BTreeMap::new();
    for service in snapshot.services() {
        for endpoint in service.endpoint_views() {
            let key = (service_label(&service.name, namespace), TagLabel::from(endpoint.tag), endpoint.state);
            *counts.entry(key).or_default() += 1;
        }
    }
    page.family(&names::ENDPOINTS);
    let mut others: BTreeMap<&str, u64> = BTreeMap::new();
    for (index, ((service, tag, state), count)) in counts.into_iter().enumerate() {
        match index < ENDPOINT_SERIES_MAX {
            true => page.sample(&names::ENDPOINTS, &[&service, tag.as_str(), state], count),
            false => *others.entry(state).or_default() += count,
        }
    }
    for (state, count) in others {
        page.sample(&names::ENDPOINTS, &[OTHER, OTHER, state], count);
    }
}
