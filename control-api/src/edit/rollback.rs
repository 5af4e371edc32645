//! Back to how objects were. Pure.
//!
//! Rules come back, switches do not: whether something is enabled, and when a lane ends, stays as it is now, so that a
//! rollback never undoes a kill switch; what is not there now comes back disabled. Only who asks for the state too gets
//! that, and a lane whose time is over stays off even so.

use std::collections::BTreeMap;
use std::time::SystemTime;

use laneway_core::compile::Objects;
use laneway_proto::admin::{Diagnostic, Lane, LaneGroup, ServicePolicy, diagnostic};

use super::{CODE_RESTORED_OFF, Edit, expiry, finding};
use crate::{json, name};

#[cfg(test)]
mod tests;

/// What is to be restored.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// By resource name: ProtoJSON of the object as it was, empty where it was not there. What is not named stays.
    pub objects: BTreeMap<String, String>,
    /// Whether it was enabled, and when it was to end, too.
    pub with_state: bool,
}

/// The edit that restores it, and what has to be said about that.
pub fn edit(current: &Objects, past: &Past, now: SystemTime) -> Result<(Edit, Vec<Diagnostic>), String> {
    let (mut edit, mut notes) = (Edit::default(), Vec::new());
    for (name, was) in &past.objects {
        let is_there = current.groups.contains_key(name)
            || current.lanes.contains_key(name)
            || current.policies.contains_key(name);
        if was.is_empty() {
            if is_there {
                edit.deletes.push(name.clone());
            }
        } else if name::parse_lane(name).is_some() {
            let was: Lane = read(name, was, "Lane")?;
            edit.lanes.push(lane(was, current.lanes.get(name), past.with_state, now, &mut notes));
        } else if name::parse_policy(name).is_some() {
            let was: ServicePolicy = read(name, was, "ServicePolicy")?;
            edit.policies.push(policy(was, current.policies.get(name), past.with_state, &mut notes));
        } else {
            edit.groups.push(read::<LaneGroup>(name, was, "LaneGroup")?);
        }
    }
    Ok((edit, notes))
}

/// The objects as they were: what is named becomes what it was, or goes.
pub fn restore(objects: &mut Objects, past: &BTreeMap<String, String>) -> Result<(), String> {
    for (name, was) in past {
        objects.groups.remove(name);
        objects.lanes.remove(name);
        objects.policies.remove(name);
        if was.is_empty() {
            continue;
        }
        if name::parse_lane(name).is_some() {
            objects.lanes.insert(name.clone(), read(name, was, "Lane")?);
        } else if name::parse_policy(name).is_some() {
            objects.policies.insert(name.clone(), read(name, was, "ServicePolicy")?);
        } else {
            objects.groups.insert(name.clone(), read(name, was, "LaneGroup")?);
        }
    }
    Ok(())
}

fn lane(was: Lane, current: Option<&Lane>, with_state: bool, now: SystemTime, notes: &mut Vec<Diagnostic>) -> Lane {
    let is_on = was.enabled.unwrap_or(true);
    match current {
        Some(current) if !with_state => Lane { enabled: current.enabled, expiration: current.expiration, ..was },
        None if !with_state => {
            if is_on {
                let help = format!("To switch it on: lanectl lane enable {}", name::id(&was.name));
                notes.push(note(&was.name, "the lane is there again, and disabled", &help));
            }
            Lane { enabled: Some(false), ..was }
        }
        _ => match expiry::expire_time(&was).filter(|end| is_on && expiry::is_over(end, now)) {
            Some(end) => {
                let message = format!("the time of the lane was over at {end}: it is disabled");
                let help = format!("To switch it on: lanectl lane enable {} --ttl 48h", name::id(&was.name));
                notes.push(note(&was.name, &message, &help));
                Lane { enabled: Some(false), ..was }
            }
            None => was,
        },
    }
}

fn policy(
    was: ServicePolicy,
    current: Option<&ServicePolicy>,
    with_state: bool,
    notes: &mut Vec<Diagnostic>,
) -> ServicePolicy {
    if with_state {
        return was;
    }
    if current.is_none() && was.enabled.unwrap_or(true) && !was.rules.is_empty() {
        let help = "To switch its rules on: apply it with enabled: true, or restore --with-state";
        notes.push(note(&was.name, "the policy is there again, and its rules are disabled", help));
    }
    ServicePolicy { enabled: current.map_or(Some(false), |current| current.enabled), ..was }
}

fn note(resource: &str, message: &str, help: &str) -> Diagnostic {
    let severity = diagnostic::Severity::Warning.into();
    Diagnostic { severity, ..finding(CODE_RESTORED_OFF, resource, "enabled", message, help) }
}

fn read<M: prost::Message + Default>(name: &str, was: &str, kind: &str) -> Result<M, String> {
    json::read_input(was, kind).map_err(|problem| format!("{name} as it was cannot be read: {problem}"))
}
