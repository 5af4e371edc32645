//! The lane group as it comes over the wire.

use laneway_proto::contract::{PASS_HEADERS_MAX, TAG_HEADER};
use laneway_proto::discovery;
use laneway_proto::routing::{Ambiguous, BaselineMode, Infer, NewTrace, PathHeader, StampPodTag, TagCarrier, TagTrust};

use crate::condition::{Refusal, is_header_name};
use crate::facts::NameSet;
use crate::lane;
use crate::snapshot::Group;
use crate::tag::Tag;
use crate::trace::IdHeaders;

pub(super) fn compile(name: &str, from: &discovery::LaneGroup, refusals: &mut Vec<Refusal>) -> Option<Group> {
    let before = refusals.len();
    let headers = |field: &str, names: &[String], refusals: &mut Vec<Refusal>| {
        for (index, name) in names.iter().enumerate() {
            if !is_header_name(name) || name.bytes().any(|b| b.is_ascii_uppercase()) {
                let message = format!("{name:?} is no header name in lower case");
                refusals.push(Refusal::new(&format!("{field}[{index}]"), "INVALID_NAME", message));
            }
        }
    };
    headers("tag_header", std::slice::from_ref(&from.tag_header), refusals);
    headers("tag_aliases", &from.tag_aliases, refusals);
    headers("pass_headers", &from.pass_headers, refusals);
    headers("correlate_headers", &from.correlate_headers, refusals);
    for (index, name) in from.pass_headers.iter().enumerate() {
        // One value leaves, and it is not what a request came with.
        if *name == from.tag_header || from.tag_aliases.contains(name) || name == "baggage" || name == "tracestate" {
            let message = format!("{name:?} carries the tag");
            refusals.push(Refusal::new(&format!("pass_headers[{index}]"), "INVALID_NAME", message));
        }
    }
    if from.pass_headers.len() > PASS_HEADERS_MAX {
        let message = format!("at most {PASS_HEADERS_MAX} pass headers, not {}", from.pass_headers.len());
        refusals.push(Refusal::new("pass_headers", "TOO_LARGE", message));
    }
    let mut carriers = Vec::with_capacity(from.tag_carriers.len());
    for (index, value) in from.tag_carriers.iter().enumerate() {
        match TagCarrier::try_from(*value) {
            Ok(carrier @ (TagCarrier::Header | TagCarrier::Baggage | TagCarrier::Tracestate)) => carriers.push(carrier),
            Ok(TagCarrier::Mse | TagCarrier::Unspecified) | Err(_) => {
                let message = format!("unknown carrier {value}");
                refusals.push(Refusal::new(&format!("tag_carriers[{index}]"), "UNKNOWN_ENUM", message));
            }
        }
    }
    if from.tag_carriers.is_empty() {
        refusals.push(Refusal::new("tag_carriers", "MISSING_FIELD", "one carrier at least"));
    }
    let baseline_tag = match from.baseline_tag.as_str() {
        "" => None,
        tag => Tag::parse(tag.as_bytes())
            .map_err(|error| refusals.push(Refusal::new("baseline_tag", "INVALID_TAG", error.to_string())))
            .ok(),
    };
    let trust = known("tag_trust", from.tag_trust, TagTrust::Unspecified, refusals);
    let stamp_pod_tag = known("stamp_pod_tag", from.stamp_pod_tag, StampPodTag::Unspecified, refusals);
    let baseline_mode = known("baseline_mode", from.baseline_mode, BaselineMode::Unspecified, refusals);
    let new_trace = known("new_trace", from.new_trace, NewTrace::Unspecified, refusals);
    let path_header = known("path_header", from.path_header, PathHeader::Unspecified, refusals);
    let infer = known("infer", from.infer, Infer::Unspecified, refusals);
    let ambiguous = known("ambiguous", from.ambiguous, Ambiguous::Unspecified, refusals);
    let fallback = lane::compile_fallback(from.fallback.as_ref(), "fallback", refusals);
    if fallback.as_ref().is_some_and(|fallback| fallback.chain.is_empty()) {
        refusals.push(Refusal::new("fallback.chain", "MISSING_FIELD", "that of a group is never empty"));
    }
    if refusals.len() > before {
        return None;
    }
    let group = Group {
        name: name.to_owned(),
        tag_header: if from.tag_header.is_empty() { TAG_HEADER.to_owned() } else { from.tag_header.clone() },
        aliases: from.tag_aliases.clone(),
        carriers,
        trust: trust?,
        baseline_tag,
        pass_headers: from.pass_headers.clone(),
        ids: IdHeaders::new(&from.correlate_headers),
        infer: infer?,
        ambiguous: ambiguous?,
        new_trace: new_trace?,
        path_header: path_header?,
        stamp_pod_tag: stamp_pod_tag?,
        baseline_mode: baseline_mode?,
        fallback: fallback?,
        services: from.services.iter().cloned().collect(),
        excluded_services: from.excluded_services.iter().cloned().collect(),
        carrier_names: NameSet::default(),
        pass_names: NameSet::default(),
    };
    Some(group.finish())
}

fn known<E>(field: &str, value: i32, unspecified: E, refusals: &mut Vec<Refusal>) -> Option<E>
where
    E: TryFrom<i32> + PartialEq,
{
    match E::try_from(value) {
        Ok(known) if known != unspecified => Some(known),
        _ => {
            refusals.push(Refusal::new(field, "UNKNOWN_ENUM", format!("unknown value {value}")));
            None
        }
    }
}
