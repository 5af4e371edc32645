//! What a sidecar reports, read and checked: from a message to what the rings keep. Pure.

use std::sync::Arc;

use laneway_core::snapshot::Identity;
use laneway_core::tag::Tag;
use laneway_proto::routing::Why;
use laneway_proto::telemetry::lane_stat::Direction;
use laneway_proto::telemetry::{LaneStat, Slice};

use super::ring::{BUCKETS_MAX, Cell, Key, SERIES_MAX, SOURCES, View};

/// Slices of one report: a sidecar holds no more back.
const SLICES_MAX: usize = 64;
/// Longest resource name.
const NAME_BYTES_MAX: usize = 1024;
/// How far a sidecar's clock may be off before its slices are dated by when they came, seconds.
const CLOCK_AHEAD_MAX: u64 = 2;
const CLOCK_BEHIND_MAX: u64 = 70;

/// Why a report is refused: the sidecar does not keep to the contract.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{0} slices in one report; at most {SLICES_MAX}")]
    Slices(usize),
    #[error("{0} rows in one slice; at most {SERIES_MAX}")]
    Rows(usize),
    #[error("{field}: {value:?} is no {what}")]
    Text { field: &'static str, value: String, what: &'static str },
    #[error("latency_index and latency_count are not pairs of ascending buckets below {BUCKETS_MAX}")]
    Latency,
    #[error("slices are not in order, or have no end")]
    Order,
}

/// What one second added to one series.
pub(super) struct Entry {
    pub second: u64,
    pub key: Key,
    pub cell: Cell,
}

/// Reads the slices of one report of the sidecar that is `node`. Of what it saw as server it is not kept who called: most callers tell
/// of that themselves, and of the others nothing is known.
pub(super) fn read(slices: &[Slice], node: &Identity, now: u64) -> Result<Vec<Entry>, Refused> {
    if slices.len() > SLICES_MAX {
        return Err(Refused::Slices(slices.len()));
    }
    let ends = slices.iter().map(|slice| slice.end_time.as_ref().and_then(|end| u64::try_from(end.seconds).ok()));
    let ends: Vec<u64> = ends.collect::<Option<_>>().ok_or(Refused::Order)?;
    if !ends.is_sorted() {
        return Err(Refused::Order);
    }
    let newest = ends.last().copied().unwrap_or(now);
    let is_right = newest <= now + CLOCK_AHEAD_MAX && ends.first().is_none_or(|end| end + CLOCK_BEHIND_MAX >= now);
    let nobody: Arc<str> = Arc::from("");
    let own_service: Arc<str> = node.service_name().into();
    let own_tag: Arc<str> = node.tag.map_or_else(|| Arc::from(""), |tag| tag.as_str().into());
    let mut entries = Vec::new();
    for (slice, end) in slices.iter().zip(ends) {
        if slice.stats.len() > SERIES_MAX {
            return Err(Refused::Rows(slice.stats.len()));
        }
        let end = if is_right { end.min(now) } else { now - (newest - end).min(now) };
        for stat in &slice.stats {
            let peer_service = name("peer_service", &stat.peer_service)?;
            let peer_tag = tag("peer_tag", &stat.peer_tag)?;
            let (request_tag, lane_group) =
                (tag("request_tag", &stat.request_tag)?, name("lane_group", &stat.lane_group)?);
            let (own_service, own_tag) = (Arc::clone(&own_service), Arc::clone(&own_tag));
            let key = match stat.direction() {
                Direction::Outbound => Key {
                    view: View::Callers,
                    source_service: own_service,
                    source_tag: own_tag,
                    destination_service: peer_service,
                    request_tag,
                    endpoint_tag: peer_tag,
                    lane_group,
                },
                Direction::Inbound => Key {
                    view: View::Servers,
                    source_service: Arc::clone(&nobody),
                    source_tag: Arc::clone(&nobody),
                    destination_service: own_service,
                    request_tag,
                    endpoint_tag: own_tag,
                    lane_group,
                },
                // Of a sidecar that is newer than we are.
                Direction::Unspecified => continue,
            };
            entries.push(Entry { second: end.saturating_sub(1), key, cell: cell(stat)? });
        }
    }
    Ok(entries)
}

fn name(field: &'static str, value: &str) -> Result<Arc<str>, Refused> {
    let is_plain = value.len() <= NAME_BYTES_MAX && value.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain { Ok(value.into()) } else { Err(refuse(field, value, "name")) }
}

fn tag(field: &'static str, value: &str) -> Result<Arc<str>, Refused> {
    let is_tag = value.is_empty() || Tag::parse(value.as_bytes()).is_ok();
    if is_tag { Ok(value.into()) } else { Err(refuse(field, value, "tag")) }
}

fn refuse(field: &'static str, value: &str, what: &'static str) -> Refused {
    Refused::Text { field, value: value.chars().take(80).collect(), what }
}

fn cell(stat: &LaneStat) -> Result<Cell, Refused> {
    let mut cell = Cell {
        requests: stat.requests,
        errors: stat.errors,
        escapes: stat.escapes.values().fold(0, |sum, count| sum.saturating_add(*count)),
        ambiguous: stat.ambiguous,
        ..Cell::default()
    };
    for by_why in &stat.by_why {
        if matches!(by_why.why(), Why::FallbackAbsent | Why::FallbackUnhealthy | Why::Any) {
            cell.fallbacks = cell.fallbacks.saturating_add(by_why.requests);
        }
    }
    for by_source in &stat.by_source {
        let index = usize::try_from(by_source.source).unwrap_or(usize::MAX);
        if let Some(sum) = cell.by_source.get_mut(index) {
            *sum = sum.saturating_add(by_source.requests);
        }
    }
    const { assert!(SOURCES == 8) };
    let is_ascending = stat.latency_index.is_sorted_by(|a, b| a < b);
    let is_whole = stat.latency_index.len() == stat.latency_count.len();
    if !is_whole || !is_ascending || stat.latency_index.last().is_some_and(|last| *last >= BUCKETS_MAX) {
        return Err(Refused::Latency);
    }
    cell.latency = stat.latency_index.iter().copied().zip(stat.latency_count.iter().copied()).collect();
    Ok(cell)
}

#[cfg(test)]
mod tests;
