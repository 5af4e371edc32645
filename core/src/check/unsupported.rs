//! LANE0900: what the contract has and this release does not do. Refused, never ignored.

use laneway_proto::admin;
use laneway_proto::routing::{Attribute, Condition, TagCarrier, condition, sticky_key};

use super::Report;

pub(super) const CODE: &str = "LANE0900";

/// What a group says that this release does not do.
pub fn unsupported_group(group: &admin::LaneGroup) -> Vec<admin::Diagnostic> {
    let mut report = Report::new(&group.name);
    group_parts(&mut report, group);
    report.diagnostics
}

pub(super) fn group_parts(report: &mut Report, group: &admin::LaneGroup) {
    if let Some(tag) = &group.tag {
        for (at, carrier) in tag.carriers.iter().enumerate() {
            if *carrier == TagCarrier::Mse as i32 {
                report.unsupported(&format!("tag.carriers[{at}]"), "header, baggage or tracestate");
            }
        }
    }
}

/// What a lane says that this release does not do.
pub fn unsupported_lane(lane: &admin::Lane) -> Vec<admin::Diagnostic> {
    let mut report = Report::new(&lane.name);
    lane_parts(&mut report, lane);
    report.diagnostics
}

pub(super) fn lane_parts(report: &mut Report, lane: &admin::Lane) {
    let leave_out = "leave it out";
    if lane.limits.is_some() {
        report.unsupported("limits", leave_out);
    }
    if lane.messages.is_some() {
        report.unsupported("messages", leave_out);
    }
    for (at, rule) in lane.entry.iter().flat_map(|e| &e.rules).enumerate() {
        let path = format!("entry.rules[{at}]");
        if let Some(condition) = &rule.r#match {
            unsupported_condition(report, condition, &format!("{path}.match"), 0);
        }
        unsupported_sticky(report, rule.sticky.as_ref(), &path);
    }
}

/// What a service policy says that this release does not do.
pub fn unsupported_policy(policy: &admin::ServicePolicy) -> Vec<admin::Diagnostic> {
    let mut report = Report::new(&policy.name);
    policy_parts(&mut report, policy);
    report.diagnostics
}

pub(super) fn policy_parts(report: &mut Report, policy: &admin::ServicePolicy) {
    if policy.routes.is_some() {
        report.unsupported("routes", "leave it out");
    }
    for (at, rule) in policy.rules.iter().enumerate() {
        let path = format!("rules[{at}]");
        if let Some(condition) = &rule.r#match {
            unsupported_condition(report, condition, &format!("{path}.match"), 0);
        }
        unsupported_sticky(report, rule.sticky.as_ref(), &path);
    }
}

const SOURCES: &str = "header, cookie, query, jwtClaim or attribute";
const ATTRIBUTES: &str = "path, method, host, grpcMethod, sourceService, sourceNamespace, sourceTag or sourceIp";

fn unsupported_attribute(attribute: i32) -> bool {
    matches!(Attribute::try_from(attribute), Ok(Attribute::DubboService | Attribute::DubboMethod | Attribute::Topic))
}

fn unsupported_condition(report: &mut Report, condition: &Condition, path: &str, depth: usize) {
    use condition::Source;
    // The shape, its depth among it, is the checker's question.
    if depth > laneway_proto::contract::CONDITION_DEPTH_MAX {
        return;
    }
    match &condition.source {
        Some(Source::Attachment(_)) => report.unsupported(&format!("{path}.attachment"), SOURCES),
        Some(Source::Property(_)) => report.unsupported(&format!("{path}.property"), SOURCES),
        Some(Source::Body(_)) => report.unsupported(&format!("{path}.body"), SOURCES),
        Some(Source::DubboArgument(_)) => report.unsupported(&format!("{path}.dubboArgument"), SOURCES),
        Some(Source::Attribute(a)) if unsupported_attribute(*a) => {
            report.unsupported(&format!("{path}.attribute"), ATTRIBUTES);
        }
        _ => {}
    }
    for (name, list) in [("all", &condition.all), ("any", &condition.any)] {
        for (at, inner) in list.iter().enumerate() {
            unsupported_condition(report, inner, &format!("{path}.{name}[{at}]"), depth + 1);
        }
    }
    if let Some(inner) = &condition.not {
        unsupported_condition(report, inner, &format!("{path}.not"), depth + 1);
    }
}

fn unsupported_sticky(report: &mut Report, sticky: Option<&laneway_proto::routing::Sticky>, path: &str) {
    use sticky_key::Source;
    for (at, key) in sticky.iter().flat_map(|s| &s.by).enumerate() {
        let path = format!("{path}.sticky.by[{at}]");
        match &key.source {
            Some(Source::Attachment(_)) => report.unsupported(&format!("{path}.attachment"), SOURCES),
            Some(Source::Property(_)) => report.unsupported(&format!("{path}.property"), SOURCES),
            Some(Source::Attribute(a)) if unsupported_attribute(*a) => {
                report.unsupported(&format!("{path}.attribute"), ATTRIBUTES);
            }
            _ => {}
        }
    }
}
