//! From the objects that are there and what somebody asks for, to the objects that would be there. Pure: the time and the
//! source of new uids come in, nothing is stored, and nothing but names, etags, immutable fields and the end of a lane is
//! judged; whether the whole makes sense is `core::check`'s business.

pub mod expiry;
pub mod rollback;
pub mod trip;

use std::collections::BTreeSet;
use std::time::SystemTime;

use laneway_core::check;
use laneway_core::compile::Objects;
use laneway_proto::admin::{Diagnostic, Lane, LaneGroup, ResourceChange, ServicePolicy, diagnostic, resource_change};
use laneway_proto::contract::GROUP_DEFAULT;
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use crate::store::{Kind, Record};
use crate::{json, name};

#[cfg(test)]
mod tests;

/// Findings of this module; those of `core::check` have other numbers.
const CODE_NAME: &str = "LANE0801";
const CODE_TWICE: &str = "LANE0802";
const CODE_IMMUTABLE: &str = "LANE0803";
const CODE_NO_GROUP: &str = "LANE0804";
const CODE_OVER: &str = "LANE0806";
const CODE_RESTORED_OFF: &str = "LANE0808";

/// What somebody asks for. Puts replace whole objects.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    pub groups: Vec<LaneGroup>,
    pub lanes: Vec<Lane>,
    pub policies: Vec<ServicePolicy>,
    /// Names; each must be there.
    pub deletes: Vec<String>,
    /// Deletes what lies under this name and is not among the puts.
    pub prune_parent: Option<String>,
    pub cause: Cause,
}

/// Why objects are written, or deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// Somebody wants them so.
    #[default]
    Written,
    /// Lanes are switched on: a ttl counts from now, also where they are on already.
    Enabled,
    /// The time of lanes is over. They are remembered as expired.
    Expired,
    /// Their guards switch lanes off. They are remembered as tripped.
    Tripped,
    /// What is deleted is gone already, whatever that leaves behind.
    Gone,
}

/// When, and as which revision.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    pub revision: i64,
    pub time: SystemTime,
}

/// When and why.
#[derive(Clone, Copy, Debug)]
struct Occasion {
    stamp: Stamp,
    cause: Cause,
}

/// The outcome, not yet checked and not yet stored.
#[derive(Debug)]
pub struct Plan {
    pub objects: Objects,
    /// In order of names. Empty: there is nothing to do.
    pub changes: Vec<ResourceChange>,
    pub puts: Vec<Record>,
    pub deletes: Vec<String>,
    /// A lane was switched on or off: pushed without waiting for more.
    pub switched: bool,
    /// Each an error: with one the plan is good for being checked, so that all that is wrong is told at once, and for
    /// nothing else.
    pub findings: Vec<Diagnostic>,
}

/// Why there is no outcome.
#[derive(Debug, PartialEq)]
pub enum EditError {
    /// The object has moved on from the etag that was given.
    Stale {
        name: String,
    },
    Missing {
        name: String,
    },
}

/// Works out an edit. `uid` gives a new unique id each time it is called.
pub fn plan(current: &Objects, edit: Edit, stamp: Stamp, uid: &mut dyn FnMut() -> String) -> Result<Plan, EditError> {
    let mut plan = Plan {
        objects: current.clone(),
        changes: Vec::new(),
        puts: Vec::new(),
        deletes: Vec::new(),
        switched: false,
        findings: Vec::new(),
    };
    let mut findings = Vec::new();
    let occasion = Occasion { stamp, cause: edit.cause };
    let mut named = BTreeSet::new();
    let mut once = |name: &str, findings: &mut Vec<Diagnostic>| {
        if !named.insert(name.to_owned()) {
            findings.push(finding(CODE_TWICE, name, "name", "the object is there twice", "Leave one of the two"));
        }
    };

    for group in edit.groups {
        once(&group.name, &mut findings);
        put(&mut plan, group, occasion, uid, &mut findings)?;
    }
    for lane in edit.lanes {
        once(&lane.name, &mut findings);
        put(&mut plan, lane, occasion, uid, &mut findings)?;
    }
    for policy in edit.policies {
        once(&policy.name, &mut findings);
        put(&mut plan, policy, occasion, uid, &mut findings)?;
    }
    for name in &edit.deletes {
        if !delete(&mut plan, name) {
            return Err(EditError::Missing { name: name.clone() });
        }
    }
    if let Some(parent) = &edit.prune_parent {
        let own = &plan.objects;
        let names = own.groups.keys().chain(own.lanes.keys()).chain(own.policies.keys());
        let stale: Vec<String> =
            names.filter(|name| name::is_under(name, parent) && !named.contains(*name)).cloned().collect();
        for name in stale {
            // A group stays while lanes of the bundle are in it, though the bundle does not speak of it.
            let kept = plan.objects.lanes.keys().any(|lane| named.contains(lane) && name::is_under(lane, &name));
            if !kept {
                delete(&mut plan, &name);
            }
        }
    }
    if edit.cause != Cause::Gone {
        findings.extend(plan.objects.lanes.keys().filter_map(|lane| groupless(lane, current, &plan.objects)));
    }
    plan.changes.sort_by(|left, right| left.name.cmp(&right.name));
    plan.findings = findings;
    Ok(plan)
}

/// The finding of a lane whose group is not there, by this edit. One that was so before stands in nobody's way, its own switch least of all.
fn groupless(lane: &str, before: &Objects, after: &Objects) -> Option<Diagnostic> {
    let (namespace, id, _) = name::parse_lane(lane).filter(|(_, id, _)| *id != GROUP_DEFAULT)?;
    let group = laneway_core::name::group(namespace, id);
    let is_missed = |objects: &Objects| objects.lanes.contains_key(lane) && !objects.groups.contains_key(&group);
    if !is_missed(after) || is_missed(before) {
        return None;
    }
    let message = format!("the group {id:?} is not there");
    let help = "Apply the LaneGroup too, or leave `group` out for the default group";
    Some(finding(CODE_NO_GROUP, lane, "group", &message, help))
}

/// The findings of a plan, and those that `core::check` has of it and that say something new.
pub fn join(planned: &[Diagnostic], checked: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let is_told = |finding: &Diagnostic| {
        planned.iter().filter(|told| told.resource == finding.resource).any(|told| {
            // A bad name makes a bad group and a bad tag.
            told.field == finding.field
                || (told.code == CODE_NAME && ["group", "tag"].contains(&finding.field.as_str()))
        })
    };
    let new = checked.into_iter().filter(|finding| !is_told(finding));
    planned.iter().cloned().chain(new).collect()
}

/// What the three kinds have in common.
trait Object: Message + Clone + Default + PartialEq {
    const KIND: Kind;
    /// Shape of the name, for people.
    const SHAPE: &'static str;
    fn name(&self) -> &str;
    fn is_named_well(name: &str) -> bool;
    fn of(objects: &Objects, name: &str) -> Option<Self>;
    fn keep(self, objects: &mut Objects);
    /// Fills in what depends on what was there before, and finds what may not be.
    fn settle(&mut self, before: Option<&Self>, occasion: Occasion, findings: &mut Vec<Diagnostic>);
    fn is_switched(&self, before: Option<&Self>) -> bool;
    fn output(&mut self) -> Output<'_>;
}

/// What only the server writes.
struct Output<'a> {
    uid: &'a mut String,
    etag: &'a mut String,
    revision: &'a mut i64,
    create_time: &'a mut Option<prost_types::Timestamp>,
    update_time: &'a mut Option<prost_types::Timestamp>,
}

macro_rules! output {
    ($object:expr) => {
        Output {
            uid: &mut $object.uid,
            etag: &mut $object.etag,
            revision: &mut $object.revision,
            create_time: &mut $object.create_time,
            update_time: &mut $object.update_time,
        }
    };
}

impl Object for LaneGroup {
    const KIND: Kind = Kind::LaneGroup;
    const SHAPE: &'static str = "namespaces/{namespace}/laneGroups/{group}";
    fn name(&self) -> &str {
        &self.name
    }
    fn is_named_well(name: &str) -> bool {
        name::parse_group(name).is_some()
    }
    fn of(objects: &Objects, name: &str) -> Option<Self> {
        objects.groups.get(name).cloned()
    }
    fn keep(self, objects: &mut Objects) {
        objects.groups.insert(self.name.clone(), self);
    }
    fn settle(&mut self, _before: Option<&Self>, _occasion: Occasion, _findings: &mut Vec<Diagnostic>) {}
    fn is_switched(&self, _before: Option<&Self>) -> bool {
        false
    }
    fn output(&mut self) -> Output<'_> {
        output!(self)
    }
}

impl Object for Lane {
    const KIND: Kind = Kind::Lane;
    const SHAPE: &'static str = "namespaces/{namespace}/laneGroups/{group}/lanes/{lane}";
    fn name(&self) -> &str {
        &self.name
    }
    fn is_named_well(name: &str) -> bool {
        name::parse_lane(name).is_some()
    }
    fn of(objects: &Objects, name: &str) -> Option<Self> {
        objects.lanes.get(name).cloned()
    }
    fn keep(self, objects: &mut Objects) {
        objects.lanes.insert(self.name.clone(), self);
    }
    fn settle(&mut self, before: Option<&Self>, occasion: Occasion, findings: &mut Vec<Diagnostic>) {
        if self.tag.is_empty() {
            self.tag = before.map_or_else(|| name::id(&self.name).to_owned(), |before| before.tag.clone());
        }
        // A file that does not speak of it never undoes a kill switch.
        self.enabled = self.enabled.or(before.and_then(|before| before.enabled)).or(Some(true));
        (self.coverage, self.warnings) = (Vec::new(), Vec::new());
        if before.is_some_and(|before| before.tag != self.tag) {
            findings.push(immutable(&self.name, "tag"));
        }
        let wrong = check::expiration(self);
        if wrong.is_empty() {
            findings.extend(expiry::settle(self, before, occasion));
        }
        trip::settle(self, before, occasion.cause);
        findings.extend(wrong);
    }
    fn is_switched(&self, before: Option<&Self>) -> bool {
        before.is_some_and(|before| before.enabled != self.enabled)
    }
    fn output(&mut self) -> Output<'_> {
        output!(self)
    }
}

impl Object for ServicePolicy {
    const KIND: Kind = Kind::ServicePolicy;
    const SHAPE: &'static str = "namespaces/{namespace}/servicePolicies/{policy}";
    fn name(&self) -> &str {
        &self.name
    }
    fn is_named_well(name: &str) -> bool {
        name::parse_policy(name).is_some()
    }
    fn of(objects: &Objects, name: &str) -> Option<Self> {
        objects.policies.get(name).cloned()
    }
    fn keep(self, objects: &mut Objects) {
        objects.policies.insert(self.name.clone(), self);
    }
    fn settle(&mut self, before: Option<&Self>, _occasion: Occasion, findings: &mut Vec<Diagnostic>) {
        if self.service.is_empty() {
            self.service = before.map_or_else(|| name::id(&self.name).to_owned(), |before| before.service.clone());
        }
        self.enabled = self.enabled.or(before.and_then(|before| before.enabled)).or(Some(true));
        if before.is_some_and(|before| before.service != self.service) {
            findings.push(immutable(&self.name, "service"));
        }
    }
    fn is_switched(&self, before: Option<&Self>) -> bool {
        before.is_some_and(|before| before.enabled != self.enabled)
    }
    fn output(&mut self) -> Output<'_> {
        output!(self)
    }
}

fn put<T: Object>(
    plan: &mut Plan,
    mut object: T,
    occasion: Occasion,
    uid: &mut dyn FnMut() -> String,
    findings: &mut Vec<Diagnostic>,
) -> Result<(), EditError> {
    let name = object.name().to_owned();
    if !T::is_named_well(&name) {
        let message = format!("{name:?} is no name of a {}", T::KIND.as_str());
        let help = format!(
            "It is {}; ids of namespaces, groups and lanes hold a-z, 0-9 and '-', at most 63, and are not `baseline`",
            T::SHAPE
        );
        findings.push(finding(CODE_NAME, &name, "name", &message, &help));
        refuse(plan, name, object);
        return Ok(());
    }
    let before = T::of(&plan.objects, &name);
    let etag = std::mem::take(object.output().etag);
    let etag_before = before.clone().map(|mut before| std::mem::take(before.output().etag)).unwrap_or_default();
    if !etag.is_empty() && etag != etag_before {
        return Err(EditError::Stale { name });
    }
    let found = findings.len();
    object.settle(before.as_ref(), occasion, findings);
    if findings.len() > found {
        refuse(plan, name, object);
        return Ok(());
    }
    let kind = T::KIND.as_str();
    let after_json = json::of_input(&object, kind);
    let before_json = before.as_ref().map(|before| json::of_input(before, kind));
    if before_json.as_ref() == Some(&after_json) {
        return Ok(());
    }
    plan.switched |= object.is_switched(before.as_ref());
    let stamp = occasion.stamp;
    {
        let output = object.output();
        match before.clone() {
            Some(mut before) => {
                let old = before.output();
                *output.uid = std::mem::take(old.uid);
                *output.create_time = old.create_time.take();
            }
            None => {
                *output.uid = uid();
                *output.create_time = Some(prost_types::Timestamp::from(stamp.time));
            }
        }
        *output.revision = stamp.revision;
        *output.update_time = Some(prost_types::Timestamp::from(stamp.time));
        let seed = format!("{}@{}", output.uid, stamp.revision);
        *output.etag = format!("{:016x}", xxh3_64(seed.as_bytes()));
    }
    plan.changes.push(ResourceChange {
        name: name.clone(),
        kind: if before.is_some() { resource_change::Kind::Updated } else { resource_change::Kind::Created }.into(),
        changed_paths: before_json.as_ref().map(|before| json::differences(before, &after_json)).unwrap_or_default(),
        before_json: before_json.map(|json| json.to_string()).unwrap_or_default(),
        after_json: after_json.to_string(),
    });
    plan.puts.push(Record { name, kind: T::KIND, body: object.encode_to_vec() });
    object.keep(&mut plan.objects);
    Ok(())
}

/// An object with findings: there to be checked, and marked as touched.
fn refuse<T: Object>(plan: &mut Plan, name: String, object: T) {
    plan.changes.push(ResourceChange { name, ..ResourceChange::default() });
    object.keep(&mut plan.objects);
}

/// True when it was there.
fn delete(plan: &mut Plan, name: &str) -> bool {
    let before = if let Some(group) = plan.objects.groups.remove(name) {
        json::of_input(&group, Kind::LaneGroup.as_str())
    } else if let Some(lane) = plan.objects.lanes.remove(name) {
        json::of_input(&lane, Kind::Lane.as_str())
    } else if let Some(policy) = plan.objects.policies.remove(name) {
        json::of_input(&policy, Kind::ServicePolicy.as_str())
    } else {
        return false;
    };
    plan.changes.push(ResourceChange {
        name: name.to_owned(),
        kind: resource_change::Kind::Deleted.into(),
        before_json: before.to_string(),
        ..ResourceChange::default()
    });
    plan.deletes.push(name.to_owned());
    true
}

fn immutable(resource: &str, field: &str) -> Diagnostic {
    let message = format!("{field} of an object that is there cannot be changed");
    let help = "Delete the object and create it again, or make one of another name";
    finding(CODE_IMMUTABLE, resource, field, &message, help)
}

fn finding(code: &str, resource: &str, field: &str, message: &str, help: &str) -> Diagnostic {
    Diagnostic {
        severity: diagnostic::Severity::Error.into(),
        code: code.to_owned(),
        resource: resource.to_owned(),
        field: field.to_owned(),
        message: message.to_owned(),
        help: help.to_owned(),
    }
}

/// Reads back what was stored.
pub fn restore(records: &[Record]) -> Result<Objects, prost::DecodeError> {
    let mut objects = Objects::default();
    restore_into(&mut objects, records)?;
    Ok(objects)
}

/// The same, over what is there.
pub fn restore_into(objects: &mut Objects, records: &[Record]) -> Result<(), prost::DecodeError> {
    for record in records {
        let body = record.body.as_slice();
        match record.kind {
            Kind::LaneGroup => LaneGroup::decode(body)?.keep(objects),
            Kind::Lane => Lane::decode(body)?.keep(objects),
            Kind::ServicePolicy => ServicePolicy::decode(body)?.keep(objects),
        }
    }
    Ok(())
}
