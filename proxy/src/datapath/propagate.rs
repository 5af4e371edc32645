//! Writes the tag of a request into its carriers, and takes every other trace of a tag out: exactly one value leaves.
//!
//! Pure work on a header map. Which carriers, and their names, is the group's choice; the names are made once for a snapshot.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use laneway_core::snapshot::Group;
use laneway_core::tag::RequestTag;
use laneway_proto::contract;
use laneway_proto::routing::{NewTrace, TagCarrier};

const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// W3C Baggage section 3.3.2: what a propagator must at least carry, and so all that we may count on.
const BAGGAGE_BYTES_MAX: usize = 8192;
const BAGGAGE_MEMBERS_MAX: usize = 64;
/// W3C Trace Context section 3.3.1.1: members of tracestate.
const TRACESTATE_MEMBERS_MAX: usize = 32;

/// The group's header names, ready for a header map.
pub(crate) struct Names {
    pub(crate) revision: u64,
    tag: HeaderName,
    aliases: Vec<HeaderName>,
    correlate: Vec<HeaderName>,
    writes_header: bool,
    writes_baggage: bool,
    writes_tracestate: bool,
    new_trace: NewTrace,
}

impl Names {
    pub(crate) fn new(revision: u64, group: &Group) -> Names {
        let name = |text: &str| HeaderName::try_from(text).ok();
        let writes = |carrier: TagCarrier| group.carriers.contains(&carrier);
        Names {
            revision,
            tag: name(&group.tag_header).unwrap_or(HeaderName::from_static(contract::TAG_HEADER)),
            aliases: group.aliases.iter().filter_map(|alias| name(alias)).collect(),
            correlate: group.correlate_headers.iter().filter_map(|header| name(header)).collect(),
            writes_header: writes(TagCarrier::Header),
            writes_baggage: writes(TagCarrier::Baggage),
            writes_tracestate: writes(TagCarrier::Tracestate),
            new_trace: group.new_trace,
        }
    }

    /// A lane or trace header: no `Connection` token removes it.
    pub(crate) fn is_kept(&self, name: &HeaderName) -> bool {
        *name == self.tag
            || *name == BAGGAGE
            || *name == TRACESTATE
            || *name == TRACEPARENT
            || self.aliases.contains(name)
            || self.correlate.contains(name)
    }
}

/// Writes `tag` as the only tag of the request; `None` removes what there is.
pub(crate) fn write(headers: &mut HeaderMap, names: &Names, tag: RequestTag) {
    let value = tag.wire();
    write_header(headers, names, value);
    if names.writes_baggage || headers.contains_key(BAGGAGE) {
        let value = value.filter(|_| names.writes_baggage);
        write_member(headers, &BAGGAGE, names.tag.as_str(), value, Place::Last);
    }
    if names.writes_tracestate || headers.contains_key(TRACESTATE) {
        let value = value.filter(|_| names.writes_tracestate && headers.contains_key(TRACEPARENT));
        write_member(headers, &TRACESTATE, contract::TRACESTATE_MEMBER, value, Place::First);
    }
}

/// Gives a request that has a lane and no trace id of any known kind a `traceparent`, so that an instrumented application
/// carries on one that we can recognise. `random` is 24 fresh bytes.
pub(crate) fn start_trace(headers: &mut HeaderMap, names: &Names, tag: RequestTag, random: impl FnOnce() -> [u64; 3]) {
    let flags = match names.new_trace {
        NewTrace::Sampled | NewTrace::Unspecified => "01",
        NewTrace::Unsampled => "00",
        NewTrace::Never => return,
    };
    if tag == RequestTag::None
        || headers.contains_key(TRACEPARENT)
        || names.correlate.iter().any(|name| headers.contains_key(name))
    {
        return;
    }
    let [high, low, parent] = random();
    // An id of zeros is invalid (W3C Trace Context section 3.2.2.3).
    let text = format!("00-{high:016x}{:016x}-{:016x}-{flags}", low.max(1), parent.max(1));
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(TRACEPARENT, value);
    }
}

fn write_header(headers: &mut HeaderMap, names: &Names, value: Option<&str>) {
    for alias in &names.aliases {
        headers.remove(alias);
    }
    let value = value.filter(|_| names.writes_header);
    let mut lines = headers.get_all(&names.tag).iter();
    let first = lines.next();
    let is_right = match (first, value) {
        (None, None) => true,
        (Some(line), Some(value)) => lines.next().is_none() && line.as_bytes() == value.as_bytes(),
        _ => false,
    };
    if is_right {
        return;
    }
    match value.and_then(|value| HeaderValue::from_str(value).ok()) {
        Some(value) => {
            headers.insert(names.tag.clone(), value);
        }
        None => {
            headers.remove(&names.tag);
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    First,
    Last,
}

/// Makes `key=value` the only member of that key in a list header, and keeps the others as they are.
fn write_member(headers: &mut HeaderMap, header: &HeaderName, key: &str, value: Option<&str>, place: Place) {
    let mut others: Vec<&str> = Vec::new();
    let mut ours = 0;
    let mut is_right = false;
    for line in headers.get_all(header) {
        // A line that is not text is not ours to judge; it is left to the application only if nothing must be written.
        for member in line.to_str().unwrap_or("").split(',').map(str::trim).filter(|member| !member.is_empty()) {
            let (name, rest) = member.split_once('=').unwrap_or((member, ""));
            if name.trim_end() == key {
                ours += 1;
                is_right = value == Some(rest);
            } else {
                others.push(member);
            }
        }
    }
    if (ours == 0 && value.is_none()) || (ours == 1 && is_right) {
        return;
    }
    let mut list = String::new();
    let own = value.map(|value| format!("{key}={value}"));
    let room = match place {
        Place::First => TRACESTATE_MEMBERS_MAX,
        Place::Last => BAGGAGE_MEMBERS_MAX,
    } - usize::from(own.is_some());
    // The newest members stand first in tracestate, so the oldest go; in baggage the last that came go.
    others.truncate(room);
    let push = |list: &mut String, member: &str| {
        if list.len() + member.len() < BAGGAGE_BYTES_MAX {
            if !list.is_empty() {
                list.push(',');
            }
            list.push_str(member);
        }
    };
    let budget = own.as_ref().map_or(0, |own| own.len() + 1);
    if let (Place::First, Some(own)) = (place, &own) {
        push(&mut list, own);
    }
    for member in others {
        if list.len() + member.len() + budget < BAGGAGE_BYTES_MAX {
            push(&mut list, member);
        }
    }
    if let (Place::Last, Some(own)) = (place, &own) {
        push(&mut list, own);
    }
    match HeaderValue::try_from(list) {
        Ok(list) if !list.is_empty() => {
            headers.insert(header.clone(), list);
        }
        _ => {
            headers.remove(header);
        }
    }
}

#[cfg(test)]
mod tests;
