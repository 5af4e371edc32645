//! The grammar of single values: tags, header names, references, shares, times.

use laneway_proto::admin;
use laneway_proto::admin::lane::Expiration;
use laneway_proto::contract::{
    BASELINE, BASIS_POINTS, CHAIN_MAX, GUARD_WINDOW_MAX_S, GUARD_WINDOW_MIN_S, TTL_MAX, TTL_MIN,
};
use laneway_proto::routing::Percent;
use prost_types::{Duration, Timestamp};

use super::{Report, code};
use crate::document::{ID_HELP, underscore};
use crate::duration;
use crate::name;
use crate::tag::Tag;

const SERVICE_HELP: &str = "a service's id (A-Z a-z 0-9 . _ : @ -), or namespaces/{namespace}/services/{service}";

impl Report {
    /// A tag of instances; `baseline` is none.
    pub(super) fn tag(&mut self, field: &str, tag: &str) {
        if let Err(error) = Tag::parse(tag.as_bytes()) {
            self.error(code::TAG, field, format!("`{tag}` is no tag: {error}{}", underscore(tag)), ID_HELP);
        }
    }

    pub(super) fn percent(&mut self, field: &str, percent: Option<&Percent>) {
        if let Some(points) = percent.map(|p| p.basis_points).filter(|p| *p > BASIS_POINTS) {
            let message = format!("{}.{:02} % is more than the whole", points / 100, points % 100);
            self.error(code::PERCENT, field, message, "0% to 100%");
        }
    }

    pub(super) fn timeout(&mut self, field: &str, duration: Option<&Duration>) {
        const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
        self.time(field, duration, std::time::Duration::from_millis(1)..=DAY, "1ms to 24h");
    }

    pub(super) fn time(
        &mut self,
        field: &str,
        duration: Option<&Duration>,
        range: std::ops::RangeInclusive<std::time::Duration>,
        help: &str,
    ) {
        let Some(duration) = duration else { return };
        if !duration::read(*duration).is_some_and(|time| range.contains(&time)) {
            self.error(code::DURATION, field, "the time is out of range".into(), help);
        }
    }

    /// When a lane ends: after a ttl, or at a moment.
    pub(super) fn expiration(&mut self, lane: &admin::Lane) {
        match &lane.expiration {
            Some(Expiration::Ttl(ttl)) if !is_ttl(ttl) => {
                self.error(code::DURATION, "ttl", "the time is out of range".into(), "1m to 8760h (1 year)");
            }
            Some(Expiration::ExpireTime(at)) if !is_moment(at) => {
                let help = "a time such as 2030-01-01T00:00:00Z";
                self.error(code::DURATION, "expireTime", "there is no such time".into(), help);
            }
            Some(Expiration::Ttl(_) | Expiration::ExpireTime(_)) | None => {}
        }
    }

    /// What a lane is watched for.
    pub(super) fn guard(&mut self, guard: Option<&admin::Guard>) {
        let Some(guard) = guard else { return };
        let seconds = i64::from(GUARD_WINDOW_MIN_S)..=i64::from(GUARD_WINDOW_MAX_S);
        if guard.window.as_ref().is_some_and(|window| window.nanos != 0 || !seconds.contains(&window.seconds)) {
            let help = "10s to 1h, whole seconds";
            self.error(code::DURATION, "guard.window", "the time is out of range".into(), help);
        }
        self.percent("guard.maxErrorRateOverBaseline", guard.max_error_rate_over_baseline.as_ref());
        let ratio = guard.max_p99_ratio;
        if ratio != 0.0 && !(ratio > 1.0 && ratio.is_finite()) {
            let message = format!("{ratio} is no ratio that a lane could be above and do worse");
            self.error(code::GUARD, "guard.maxP99Ratio", message, "above 1, such as 1.5; 0 or left out: not looked at");
        }
        if guard.max_error_rate_over_baseline.is_none() && ratio == 0.0 {
            let help = "maxErrorRateOverBaseline, maxP99Ratio, or both";
            self.error(code::GUARD, "guard", "the guard looks at nothing".into(), help);
        }
        self.known::<admin::GuardAction>("guard.action", guard.action);
    }

    /// A reference to one service, as a resource name.
    pub(super) fn service(&mut self, field: &str, namespace: &str, reference: &str) -> Option<String> {
        let name = name::service_reference(namespace, reference);
        if name.ends_with("/services/*") {
            let message = "`*` does not belong here: every service would be meant".to_owned();
            self.error(code::REFERENCE, field, message, "name the services one by one");
            return None;
        }
        if !name::is_name(&name, &["services"]) {
            self.error(code::REFERENCE, field, format!("`{reference}` cannot be a service"), SERVICE_HELP);
            return None;
        }
        Some(name)
    }

    /// A member of a group: a service or `*`.
    pub(super) fn member(&mut self, field: &str, namespace: &str, reference: &str) -> Option<String> {
        let name = name::service_reference(namespace, reference);
        if name::is_name(&name, &["services"]) {
            return Some(name);
        }
        let message = format!("`{reference}` cannot be a service");
        self.error(code::REFERENCE, field, message, "a service's id, its resource name, or *");
        None
    }

    /// A header that the mesh writes, in lower case: legal, and nobody else's.
    pub(super) fn header(&mut self, field: &str, written: &str) -> String {
        let header = written.to_ascii_lowercase();
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if header.starts_with(':') {
            let message = format!("`{written}` is a pseudo-header");
            self.error(code::HEADER, field, message, "an HTTP field name, such as x-mse-tag");
        } else if header.is_empty() || header.len() > 256 || !header.bytes().all(token) {
            let message = format!("`{written}` is no HTTP field name");
            self.error(code::HEADER, field, message, "letters, digits and ! # $ % & ' * + - . ^ _ ` | ~");
        } else if let Some(why) = owned(&header) {
            let message = format!("`{written}` cannot be used: {why}");
            self.error(code::HEADER, field, message, "a header of your own, such as x-mse-tag or x-user-id");
        }
        header
    }

    pub(super) fn known<E: TryFrom<i32>>(&mut self, field: &str, value: i32) {
        if E::try_from(value).is_err() {
            self.error(code::ENUM, field, format!("unknown value {value}"), "a value of the contract");
        }
    }

    pub(super) fn about(&mut self, description: &str, labels: usize) {
        if description.len() > 1024 {
            let message = format!("a description of {} bytes", description.len());
            self.error(code::TOO_MANY, "description", message, "at most 1 KiB");
        }
        if labels > 64 {
            self.error(code::TOO_MANY, "labels", format!("{labels} labels"), "at most 64");
        }
    }

    /// `own`: the tag that falls back, where there is one. `baseline_tag`: what else means baseline.
    pub(super) fn fallback(&mut self, path: &str, fallback: Option<&admin::Fallback>, own: &str, baseline_tag: &str) {
        let Some(fallback) = fallback else { return };
        let at = |field: &str| format!("{path}.{field}");
        self.known::<admin::FallbackMode>(&at("mode"), fallback.mode);
        self.known::<admin::NoBaseline>(&at("noBaseline"), fallback.no_baseline);
        self.percent(&at("minHealthyPercent"), fallback.min_healthy_percent.as_ref());
        if fallback.mode() == admin::FallbackMode::Strict {
            if !fallback.chain.is_empty() {
                let message = "a strict lane has no chain".to_owned();
                self.error(code::CHAIN, &at("chain"), message, "leave the chain out, or write `mode: permissive`");
            }
            if fallback.no_baseline() == admin::NoBaseline::Any {
                let message = "a strict lane takes no other instance".to_owned();
                self.error(code::CHAIN, &at("noBaseline"), message, "leave it out, or write `mode: permissive`");
            }
            return;
        }
        if fallback.chain.len() > CHAIN_MAX {
            let message = format!("a chain of {} tags", fallback.chain.len());
            self.error(code::CHAIN, &at("chain"), message, "at most 8");
        }
        let is_baseline = |tag: &str| tag == BASELINE || (!tag.is_empty() && tag == baseline_tag);
        for (position, tag) in fallback.chain.iter().enumerate() {
            let field = format!("{path}.chain[{position}]");
            if !is_baseline(tag) {
                self.tag(&field, tag);
            }
            let before = &fallback.chain[..position];
            if before.iter().any(|b| b == tag || (is_baseline(b) && is_baseline(tag))) {
                self.error(code::CHAIN, &field, format!("`{tag}` stands twice in the chain"), "each tag once");
            } else if before.last().is_some_and(|b| is_baseline(b)) {
                let message = format!("`{tag}` comes after baseline");
                self.error(code::CHAIN, &field, message, "baseline, where it is wanted, comes last");
            }
            if tag == own && !own.is_empty() {
                let message = format!("`{tag}` is the lane's own tag");
                self.error(code::CHAIN, &field, message, "the own tag is always tried first: leave it out");
            }
        }
    }
}

fn is_ttl(ttl: &Duration) -> bool {
    let nanos = i128::from(ttl.seconds) * 1_000_000_000 + i128::from(ttl.nanos);
    u128::try_from(nanos).is_ok_and(|nanos| (TTL_MIN.as_nanos()..=TTL_MAX.as_nanos()).contains(&nanos))
}

/// Within the bounds of google.protobuf.Timestamp: the years 1 to 9999.
fn is_moment(at: &Timestamp) -> bool {
    (-62_135_596_800..=253_402_300_799).contains(&at.seconds) && (0..1_000_000_000).contains(&at.nanos)
}

/// Whose header this is, if it is not the user's.
fn owned(header: &str) -> Option<&'static str> {
    match header {
        "connection" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade" | "http2-settings" => {
            Some("it belongs to one connection (hop-by-hop)")
        }
        "host" | "content-length" | "expect" | "content-type" | "content-encoding" => Some("HTTP itself needs it"),
        "baggage" | "tracestate" | "traceparent" => Some("it belongs to tracing, and carries more than the tag"),
        "authorization" | "cookie" | "set-cookie" => Some("it is a credential"),
        _ if header.starts_with("proxy-") => Some("it belongs to one connection (hop-by-hop)"),
        _ if header.starts_with("x-laneway-") => Some("it is the sidecar's own"),
        _ => None,
    }
}
