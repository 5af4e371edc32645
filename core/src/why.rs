//! The words for why a request went where it went: labels of metrics, logs, Explain and `x-laneway-path`.

pub use laneway_proto::routing::{TagSource, Why};

/// Lower case without the prefix: `fallback_absent`.
pub fn why_label(why: Why) -> &'static str {
    match why {
        Why::Unspecified => "unspecified",
        Why::Hit => "hit",
        Why::Baseline => "baseline",
        Why::Policy => "policy",
        Why::FallbackAbsent => "fallback_absent",
        Why::FallbackUnhealthy => "fallback_unhealthy",
        Why::LaneOff => "lane_off",
        Why::Any => "any",
        Why::Dialled => "dialled",
        Why::Passthrough => "passthrough",
        Why::StrictReject => "strict_reject",
        Why::NoEndpoint => "no_endpoint",
        Why::AmbiguousReject => "ambiguous_reject",
        Why::Limited => "limited",
    }
}

/// Lower case without the prefix: `carried`.
pub fn source_label(source: TagSource) -> &'static str {
    match source {
        TagSource::Unspecified => "unspecified",
        TagSource::Carried => "carried",
        TagSource::Rule => "rule",
        TagSource::Correlated => "correlated",
        TagSource::Kernel => "kernel",
        TagSource::Inferred => "inferred",
        TagSource::Pod => "pod",
        TagSource::None => "none",
    }
}
