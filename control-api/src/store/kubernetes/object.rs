//! A stored object as an object of the cluster, and back. Pure.
//!
//! ```text
//!   metadata.name, .labels, spec     what people write, as a document says it: kubectl and lanectl change the same fields
//!   annotation laneway.io/accepted   what only the control plane knows of it, and the hash of the whole as it was accepted
//! ```
//! Whoever changes the one without the other has *proposed* something: the hash no longer fits. What was accepted last stays in force
//! until the proposal is; then only the annotation is written, and the spec stays as people wrote it.

use kube::api::DynamicObject;
use laneway_core::document::{self, Document, ID_ANNOTATION};
use laneway_proto::admin::lane::Expiration;
use laneway_proto::admin::{Diagnostic, Lane, LaneGroup, ServicePolicy};
use laneway_proto::contract::GROUP_DEFAULT;
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::super::{Kind, Record};
use crate::crd;
use crate::json::{self, OUTPUT_ONLY};
use crate::name;

#[cfg(test)]
mod tests;

/// What was accepted; see the module.
pub(super) const ACCEPTED: &str = "laneway.io/accepted";
/// Annotation: when another replica did what somebody had begun.
pub(super) const CARRIED_ON: &str = "laneway.io/carried-on";
/// Longest name of an object in a cluster.
const NAME_BYTES_MAX: usize = 253;
/// Where a spec need not say it, and what was settled holds.
const SETTLED: [&str; 3] = ["tag", "service", "enabled"];

/// Of the annotation.
#[derive(Serialize, Deserialize)]
struct Accepted {
    revision: i64,
    /// Of the record, as a number of base 16.
    hash: String,
    /// ProtoJSON of the fields that the spec does not have.
    kept: Map<String, Value>,
}

/// What an object of the cluster is to us.
#[derive(Debug)]
pub struct Read {
    /// Resource name; of what cannot be read as far as it can be told.
    pub name: String,
    pub kind: Kind,
    /// Revision of what was accepted last. 0: nothing was.
    pub revision: i64,
    /// Of all that people write of it.
    pub fingerprint: u64,
    pub standing: Standing,
}

/// Is it what was accepted?
#[derive(Debug)]
pub enum Standing {
    Accepted(Record),
    /// Somebody else wrote it since.
    Proposed(Box<Proposal>),
}

/// What somebody wrote beside the API.
#[derive(Debug)]
pub enum Proposal {
    LaneGroup(LaneGroup),
    Lane(Lane),
    ServicePolicy(ServicePolicy),
    /// It is no document, and why.
    Unreadable(Vec<Diagnostic>),
}

/// Where a record is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub namespace: String,
    pub name: String,
}

pub fn names_of(kind: Kind) -> crd::Names {
    match kind {
        Kind::LaneGroup => crd::LANE_GROUP,
        Kind::Lane => crd::LANE,
        Kind::ServicePolicy => crd::SERVICE_POLICY,
    }
}

/// Where an object of that resource name may be: where we put it first. None: it is no name of ours.
pub fn places(kind: Kind, resource: &str) -> Vec<Place> {
    let place = |namespace: &str, name: String| Place { namespace: namespace.to_owned(), name };
    match kind {
        Kind::LaneGroup => name::parse_group(resource).map(|(own, id)| vec![place(own, id.to_owned())]),
        Kind::Lane => name::parse_lane(resource).map(|(own, group, id)| match group {
            GROUP_DEFAULT => vec![place(own, id.to_owned()), place(own, format!("{group}.{id}"))],
            // People may leave the group out of the name.
            group => vec![place(own, format!("{group}.{id}")), place(own, id.to_owned())],
        }),
        Kind::ServicePolicy => name::parse_policy(resource).map(|(own, id)| vec![place(own, policy_name(id))]),
    }
    .unwrap_or_default()
}

/// How many places come before that of an object.
pub(super) fn rank(kind: Kind, resource: &str, object: &DynamicObject) -> usize {
    let meta = &object.metadata;
    let is_it =
        |place: &Place| Some(&place.namespace) == meta.namespace.as_ref() && Some(&place.name) == meta.name.as_ref();
    places(kind, resource).iter().position(is_it).unwrap_or(usize::MAX)
}

/// Ids of services have letters that names in a cluster have not.
fn policy_name(id: &str) -> String {
    if is_name(id) { id.to_owned() } else { format!("policy-{:016x}", xxh3_64(id.as_bytes())) }
}

fn is_name(id: &str) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        is_edge(bytes.first())
            && is_edge(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
    };
    id.len() <= NAME_BYTES_MAX && id.split('.').all(is_label)
}

/// Reads an object of the cluster.
pub fn read(kind: Kind, object: &DynamicObject) -> Read {
    let annotations = object.metadata.annotations.as_ref();
    let accepted = annotations.and_then(|own| own.get(ACCEPTED)).and_then(|text| serde_json::from_str(text).ok());
    let accepted: Option<Accepted> = accepted;
    let revision = accepted.as_ref().map_or(0, |accepted| accepted.revision);
    let written = as_document(kind, object);
    let fingerprint = xxh3_64(written.to_string().as_bytes());
    let found = document::read_value(written);
    let (name, standing) = match (found.document, accepted) {
        (None, _) => {
            let name = found.partial.map(|partial| partial.name()).unwrap_or_default();
            (name, Standing::Proposed(Box::new(Proposal::Unreadable(found.findings))))
        }
        (Some(document), accepted) => {
            let name = document.name();
            let record = accepted.and_then(|accepted| assembled(kind, &document, &accepted));
            match record {
                Some(record) => (name, Standing::Accepted(record)),
                None => (name, Standing::Proposed(Box::new(Proposal::of(document, found.findings)))),
            }
        }
    };
    let name = if name.is_empty() { guessed_name(kind, object) } else { name };
    Read { name, kind, revision, fingerprint, standing }
}

impl Proposal {
    fn of(document: Document, findings: Vec<Diagnostic>) -> Proposal {
        if !findings.is_empty() {
            return Proposal::Unreadable(findings);
        }
        match document {
            Document::LaneGroup(group) => Proposal::LaneGroup(group),
            Document::Lane(lane) => Proposal::Lane(lane),
            Document::ServicePolicy(policy) => Proposal::ServicePolicy(policy),
            Document::Service(_) | Document::Proxy(_) => Proposal::Unreadable(findings),
        }
    }
}

/// The parts of an object that people write.
fn as_document(kind: Kind, object: &DynamicObject) -> Value {
    let meta = &object.metadata;
    let mut metadata = json!({"name": meta.name, "namespace": meta.namespace});
    if let Some(labels) = &meta.labels {
        metadata["labels"] = json!(labels);
    }
    if let Some(id) = meta.annotations.as_ref().and_then(|own| own.get(ID_ANNOTATION)) {
        metadata["annotations"] = json!({ ID_ANNOTATION: id });
    }
    let spec = object.data.get("spec").cloned().unwrap_or_else(|| json!({}));
    let version = format!("{}/{}", crd::GROUP, crd::VERSION);
    json!({"apiVersion": version, "kind": kind.as_str(), "metadata": metadata, "spec": spec})
}

/// The name of what is no document, as far as its name in the cluster says.
fn guessed_name(kind: Kind, object: &DynamicObject) -> String {
    let meta = &object.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let id = meta.name.as_deref().unwrap_or_default();
    match kind {
        Kind::LaneGroup => laneway_core::name::group(namespace, id),
        Kind::Lane => {
            let written = object.data.pointer("/spec/group").and_then(Value::as_str).unwrap_or(GROUP_DEFAULT);
            let (group, id) = id.split_once('.').unwrap_or((written, id));
            laneway_core::name::lane(namespace, group, id)
        }
        Kind::ServicePolicy => laneway_core::name::policy(namespace, id),
    }
}

/// The record that a document is with what is kept of it; none where that is not what was accepted.
fn assembled(kind: Kind, document: &Document, accepted: &Accepted) -> Option<Record> {
    let full = format!("laneway.admin.v1.{}", kind.as_str());
    let fields = match document {
        Document::LaneGroup(group) => json::of(group, &full),
        Document::Lane(lane) => json::of(lane, &full),
        Document::ServicePolicy(policy) => json::of(policy, &full),
        Document::Service(_) | Document::Proxy(_) => return None,
    };
    let Value::Object(mut fields) = fields else { return None };
    let kept = &accepted.kept;
    // A ttl that was counted once is not counted again.
    if fields.contains_key("ttl") && fields.get("ttl") == kept.get("givenTtl") {
        fields.remove("ttl");
        fields.extend(kept.get("expireTime").map(|time| ("expireTime".to_owned(), time.clone())));
    }
    for (field, value) in kept {
        if OUTPUT_ONLY.contains(&field.as_str()) || (SETTLED.contains(&field.as_str()) && !fields.contains_key(field)) {
            fields.insert(field.clone(), value.clone());
        }
    }
    let text = Value::Object(fields).to_string();
    let body = match kind {
        Kind::LaneGroup => json::read::<LaneGroup>(text.as_bytes(), &full).ok()?.encode_to_vec(),
        Kind::Lane => json::read::<Lane>(text.as_bytes(), &full).ok()?.encode_to_vec(),
        Kind::ServicePolicy => json::read::<ServicePolicy>(text.as_bytes(), &full).ok()?.encode_to_vec(),
    };
    (hash(&body) == accepted.hash).then(|| Record { name: document.name(), kind, body })
}

fn hash(body: &[u8]) -> String {
    format!("{:016x}", xxh3_64(body))
}

/// What an object has of a record: the fields of its spec, its labels, and what is kept beside.
struct Parts {
    spec: Map<String, Value>,
    labels: Value,
    accepted: Accepted,
}

fn parts(record: &Record, revision: i64) -> Result<Parts, prost::DecodeError> {
    let body = record.body.as_slice();
    let full = format!("laneway.admin.v1.{}", record.kind.as_str());
    let (written, fields) = match record.kind {
        Kind::LaneGroup => {
            let group = LaneGroup::decode(body)?;
            (document::write_group(&group), json::of(&group, &full))
        }
        Kind::Lane => {
            let lane = Lane::decode(body)?;
            let mut given = lane.clone();
            given.expiration = lane.given_ttl.map(Expiration::Ttl).or(lane.expiration);
            (document::write_lane(&given), json::of(&lane, &full))
        }
        Kind::ServicePolicy => {
            let policy = ServicePolicy::decode(body)?;
            (document::write_policy(&policy), json::of(&policy, &full))
        }
    };
    let Value::Object(mut spec) = written else { return Ok(Parts::nothing(record, revision)) };
    for key in ["kind", "name", "namespace"] {
        spec.remove(key);
    }
    let labels = spec.remove("labels").unwrap_or_else(|| json!({}));
    let is_kept = |field: &str| {
        OUTPUT_ONLY.contains(&field) || SETTLED.contains(&field) || (field == "expireTime" && spec.contains_key("ttl"))
    };
    let fields = match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let kept = fields.into_iter().filter(|(field, _)| is_kept(field)).collect();
    Ok(Parts { accepted: Accepted { revision, hash: hash(body), kept }, spec, labels })
}

impl Parts {
    fn nothing(record: &Record, revision: i64) -> Parts {
        let accepted = Accepted { revision, hash: hash(&record.body), kept: Map::new() };
        Parts { spec: Map::new(), labels: json!({}), accepted }
    }
}

/// What becomes of a field that somebody else is changing too, and nobody has judged that yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Theirs {
    /// They are judged first.
    Awaited,
    /// It stays as they wrote it: a proposal, on top of what is in force.
    Kept,
}

/// Why a record is not written over what is there.
#[derive(Debug)]
pub(super) enum NotMerged {
    /// Somebody else is changing the same field, and nobody has judged that yet.
    Contested,
    Unreadable(prost::DecodeError),
}

/// The object that a record becomes at a place: what is there, with the fields changed that differ from `old`, which is what was accepted
/// before. Other fields stay as people wrote them, proposals too.
pub(super) fn merged(
    place: &Place,
    live: Option<&DynamicObject>,
    old: Option<&Record>,
    new: &Record,
    revision: i64,
    theirs: Theirs,
) -> Result<DynamicObject, NotMerged> {
    let wanted = parts(new, revision).map_err(NotMerged::Unreadable)?;
    let names = names_of(new.kind);
    let resource = super::resource(names);
    let Some(live) = live else {
        let mut object = DynamicObject::new(&place.name, &resource).within(&place.namespace);
        object.data = json!({"spec": wanted.spec});
        set_labels(&mut object, &wanted.labels);
        annotate(&mut object, new, &wanted.accepted);
        return Ok(object);
    };
    let mut object = live.clone();
    annotate(&mut object, new, &wanted.accepted);
    let standing = read(new.kind, live).standing;
    let is_proposed = matches!(standing, Standing::Proposed(_));
    // What people wrote is accepted: it stays as they wrote it.
    if is_proposed && matches!(read(new.kind, &object).standing, Standing::Accepted(_)) {
        return Ok(object);
    }
    let before = match standing {
        Standing::Accepted(record) => Some(record),
        Standing::Proposed(_) => old.cloned(),
    };
    let before = before.map(|record| parts(&record, revision)).transpose().map_err(NotMerged::Unreadable)?;
    let (was, labels_were) = before.map_or_else(|| (Map::new(), json!({})), |parts| (parts.spec, parts.labels));
    let is_judged = !is_proposed || is_refused(live);
    let mut spec = live.data.get("spec").and_then(Value::as_object).cloned().unwrap_or_default();
    change(&mut spec, &was, &wanted.spec, is_judged, theirs)?;
    if let Value::Object(data) = &mut object.data {
        data.insert("spec".to_owned(), Value::Object(spec));
    }
    let none = Map::new();
    let mut labels = json!(live.metadata.labels).as_object().cloned().unwrap_or_default();
    let (were, are) = (labels_were.as_object().unwrap_or(&none), wanted.labels.as_object().unwrap_or(&none));
    change(&mut labels, were, are, is_judged, theirs)?;
    set_labels(&mut object, &Value::Object(labels));
    if is_proposed || matches!(read(new.kind, &object).standing, Standing::Accepted(_)) {
        return Ok(object);
    }
    // What was there said the same in other words than ours, and both together say something else.
    object.data = json!({"spec": wanted.spec});
    set_labels(&mut object, &wanted.labels);
    Ok(object)
}

/// Makes the fields `wanted` that differ from what was. One that somebody else changes too is theirs until that is judged.
fn change(
    there: &mut Map<String, Value>,
    was: &Map<String, Value>,
    wanted: &Map<String, Value>,
    is_judged: bool,
    theirs: Theirs,
) -> Result<(), NotMerged> {
    for key in was.keys().chain(wanted.keys()).filter(|key| was.get(*key) != wanted.get(*key)) {
        let now = there.get(key);
        let is_theirs = now.is_some() && now != was.get(key) && now != wanted.get(key);
        match theirs {
            Theirs::Awaited if is_theirs && !is_judged => return Err(NotMerged::Contested),
            Theirs::Kept if is_theirs && !is_judged => continue,
            Theirs::Awaited | Theirs::Kept => {}
        }
        match wanted.get(key) {
            Some(value) => there.insert(key.clone(), value.clone()),
            None => there.remove(key),
        };
    }
    Ok(())
}

fn set_labels(object: &mut DynamicObject, labels: &Value) {
    object.metadata.labels = serde_json::from_value(labels.clone()).unwrap_or_default();
}

fn annotate(object: &mut DynamicObject, record: &Record, accepted: &Accepted) {
    let text = serde_json::to_string(accepted).unwrap_or_default();
    let annotations = object.metadata.annotations.get_or_insert_default();
    annotations.insert(ACCEPTED.to_owned(), text);
    let id = name::id(&record.name);
    if record.kind == Kind::ServicePolicy && !is_name(id) {
        annotations.insert(ID_ANNOTATION.to_owned(), id.to_owned());
    }
}

/// Has somebody judged the spec as it is, and refused it?
pub(super) fn is_refused(object: &DynamicObject) -> bool {
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        condition["type"] == "Accepted"
            && condition["status"] == "False"
            && condition["observedGeneration"].as_i64() == object.metadata.generation
    })
}

/// Is it being deleted? It is there as long as something holds it, and counts as gone.
pub(super) fn is_going(object: &DynamicObject) -> bool {
    object.metadata.deletion_timestamp.is_some()
}

/// What an object says where nobody has accepted it: one that people made out of a copy has our note of then.
pub(super) fn as_proposal(kind: Kind, object: &DynamicObject) -> Option<Proposal> {
    let mut object = object.clone();
    object.metadata.annotations.get_or_insert_default().remove(ACCEPTED);
    match read(kind, &object).standing {
        Standing::Accepted(_) => None,
        Standing::Proposed(proposal) => Some(*proposal),
    }
}

/// What is there says exactly this record: with our note on it, and nothing else of it changed, it is what was accepted. Nothing: it says
/// something else.
pub(super) fn noted(live: &DynamicObject, record: &Record, revision: i64) -> Option<DynamicObject> {
    let mut object = live.clone();
    annotate(&mut object, record, &parts(record, revision).ok()?.accepted);
    matches!(read(record.kind, &object).standing, Standing::Accepted(own) if own == *record).then_some(object)
}

pub(super) fn note<'o>(object: &'o DynamicObject, key: &str) -> Option<&'o str> {
    object.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Who wrote an object last beside us, as the API server has it.
pub fn author(object: &DynamicObject) -> Option<String> {
    let fields = object.metadata.managed_fields.as_ref()?;
    let others = fields
        .iter()
        .filter(|own| own.manager.as_deref() != Some(crate::kubernetes::FIELD_MANAGER) && own.subresource.is_none());
    others.max_by_key(|own| own.time.as_ref().map(|time| time.0)).and_then(|own| own.manager.clone())
}
