//! The status of an object of the cluster. Pure.
//!
//! | condition | true where |
//! | --- | --- |
//! | `Accepted` | what the spec says is in force |
//! | `Programmed` | every sidecar that it concerns has acknowledged what is in force |
//! | `Covered` (lanes) | at least one service of the group has an instance of the lane that is ready |

use std::time::SystemTime;

use laneway_proto::admin::lane::Expiration;
use laneway_proto::admin::{Diagnostic, Lane, ServiceCoverage, ServicePolicy, lane};
use laneway_proto::status::Rollout;
use serde_json::{Map, Value, json};

use crate::store::kubernetes::in_force;

#[cfg(test)]
mod tests;

/// Of a message; the rest is counted.
const FINDINGS_MAX: usize = 8;
const NAMES_MAX: usize = 8;
/// Fields that say how many.
const COUNTED: [&str; 2] = ["acked", "covered"];
const ACCEPTED: &str = "Accepted";

/// What is known of an object.
pub(super) struct Reported<'a> {
    /// Of the spec that was judged.
    pub(super) generation: i64,
    /// Why the spec is not in force.
    pub(super) refused: Option<&'a [Diagnostic]>,
    /// Of what is in force; 0: nothing is.
    pub(super) revision: i64,
    /// The same as text.
    pub(super) in_force: Option<String>,
    /// As it is in force.
    pub(super) lane: Option<&'a Lane>,
    pub(super) policy: Option<&'a ServicePolicy>,
    pub(super) rollout: Option<&'a Rollout>,
    pub(super) coverage: &'a [ServiceCoverage],
}

/// One condition.
struct Condition {
    kind: &'static str,
    is_true: bool,
    reason: String,
    message: String,
}

/// What is to be said, given what was said before: equal where there is nothing new.
pub(super) fn status(reported: &Reported<'_>, before: &Value, now: SystemTime) -> Value {
    let mut conditions = vec![accepted(reported)];
    conditions.extend(reported.rollout.map(programmed));
    conditions.extend(reported.lane.map(|_| covered(reported.coverage)));
    let conditions: Vec<Value> =
        conditions.into_iter().map(|condition| written(condition, reported.generation, before, now)).collect();
    let mut status = Map::new();
    status.insert("observedGeneration".to_owned(), reported.generation.into());
    status.insert("conditions".to_owned(), conditions.into());
    if reported.revision > 0 {
        status.insert("revision".to_owned(), reported.revision.into());
    }
    if let Some(text) = &reported.in_force {
        status.insert(in_force::FIELD.to_owned(), text.as_str().into());
    }
    if let Some(rollout) = reported.rollout {
        status.insert("acked".to_owned(), format!("{}/{}", rollout.acked_count, rollout.target_count).into());
    }
    if let Some(policy) = reported.policy {
        status.insert("enabled".to_owned(), policy.enabled.unwrap_or(true).into());
    }
    if let Some(lane) = reported.lane {
        status.insert("enabled".to_owned(), lane.enabled.unwrap_or(true).into());
        status.insert("tag".to_owned(), lane.tag.clone().into());
        status.insert("state".to_owned(), state(lane).into());
        let (covered, total) = counts(reported.coverage);
        status.insert("covered".to_owned(), format!("{covered}/{total}").into());
        if let Some(Expiration::ExpireTime(time)) = &lane.expiration {
            status.insert("expireTime".to_owned(), time.to_string().into());
        }
    }
    // A merge leaves alone what is not spoken of: what is no longer so is taken away by name.
    for field in before.as_object().into_iter().flat_map(Map::keys) {
        status.entry(field.clone()).or_insert(Value::Null);
    }
    Value::Object(status)
}

/// Do the two differ in what is counted alone? No condition turns then.
pub(super) fn is_recount(status: &Value, before: &Value) -> bool {
    let uncounted = |status: &Value| {
        let mut status = status.clone();
        if let Some(fields) = status.as_object_mut() {
            // A merge names what it takes away.
            fields.retain(|field, value| !COUNTED.contains(&field.as_str()) && !value.is_null());
        }
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            if condition["type"] != ACCEPTED {
                condition["message"] = Value::Null;
            }
        }
        status
    };
    uncounted(status) == uncounted(before)
}

fn accepted(reported: &Reported<'_>) -> Condition {
    let Some(findings) = reported.refused else {
        let message = format!("in force since revision {}", reported.revision);
        return Condition { kind: ACCEPTED, is_true: true, reason: "Accepted".to_owned(), message };
    };
    let told = findings.iter().take(FINDINGS_MAX).map(|finding| {
        let field = if finding.field.is_empty() { String::new() } else { format!("{}: ", finding.field) };
        let help = if finding.help.is_empty() { String::new() } else { format!(" ({})", finding.help) };
        format!("{field}{}{help}", finding.message)
    });
    let mut message = told.collect::<Vec<_>>().join("; ");
    if findings.len() > FINDINGS_MAX {
        message.push_str(&format!("; and {} more", findings.len() - FINDINGS_MAX));
    }
    if reported.revision > 0 {
        message.push_str(&format!(". What was accepted with revision {} stays in force", reported.revision));
    }
    let code = findings.iter().map(|finding| finding.code.as_str()).find(|code| !code.is_empty());
    Condition { kind: ACCEPTED, is_true: false, reason: code.unwrap_or("Refused").to_owned(), message }
}

fn programmed(rollout: &Rollout) -> Condition {
    let Rollout { target_count, acked_count, nacked_count, pending_count, .. } = rollout;
    let (is_true, reason) = match (target_count, nacked_count, pending_count) {
        (0, _, _) => (true, "NoSidecars"),
        (_, 0, 0) => (true, "Acknowledged"),
        (_, 0, _) => (false, "Pending"),
        _ => (false, "Refused"),
    };
    let mut message = match target_count {
        0 => "no sidecar that is connected is concerned".to_owned(),
        _ => format!("{acked_count} of {target_count} sidecars have it"),
    };
    if *nacked_count > 0 {
        let names: Vec<&str> = rollout.nacked_proxies.iter().take(NAMES_MAX).map(String::as_str).collect();
        message.push_str(&format!(", {nacked_count} refused it: {}", names.join(", ")));
    }
    Condition { kind: "Programmed", is_true, reason: reason.to_owned(), message }
}

/// Services that have a ready instance of the lane, of all.
fn counts(coverage: &[ServiceCoverage]) -> (usize, usize) {
    (coverage.iter().filter(|service| service.ready_endpoints > 0).count(), coverage.len())
}

fn covered(coverage: &[ServiceCoverage]) -> Condition {
    let (covered, total) = counts(coverage);
    let falling: Vec<&str> = coverage
        .iter()
        .filter(|service| service.ready_endpoints == 0)
        .map(|service| laneway_core::name::id_of(&service.service))
        .collect();
    let mut message = format!("{covered} of {total} services have an instance of the lane that is ready");
    if !falling.is_empty() {
        let more = falling.len().saturating_sub(NAMES_MAX);
        let names = falling[..falling.len() - more].join(", ");
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        message.push_str(&format!("; not {names}{rest}"));
    }
    let reason = if covered > 0 { "InstancesReady" } else { "NoInstances" };
    Condition { kind: "Covered", is_true: covered > 0, reason: reason.to_owned(), message }
}

fn state(lane: &Lane) -> &'static str {
    match (lane.enabled, lane.state(), lane.dry_run) {
        (Some(false), lane::State::Expired, _) => "expired",
        (Some(false), lane::State::Tripped, _) => "tripped",
        (Some(false), _, _) => "disabled",
        (_, _, true) => "dryRun",
        _ => "enabled",
    }
}

/// With the time since when its status is what it is.
fn written(condition: Condition, generation: i64, before: &Value, now: SystemTime) -> Value {
    let Condition { kind, is_true, reason, message } = condition;
    let status = if is_true { "True" } else { "False" };
    let old = before["conditions"].as_array().into_iter().flatten().find(|old| old["type"] == kind);
    let since = old.filter(|old| old["status"] == status).and_then(|old| old["lastTransitionTime"].as_str());
    let since = since.map_or_else(|| seconds(now), str::to_owned);
    json!({
        "type": kind, "status": status, "observedGeneration": generation, "lastTransitionTime": since,
        "reason": reason, "message": message,
    })
}

/// As the API server writes times.
fn seconds(time: SystemTime) -> String {
    prost_types::Timestamp { nanos: 0, ..prost_types::Timestamp::from(time) }.to_string()
}
