//! What the status of an object says is in force: held there too, for what people write takes the place of everything else that is known
//! of what was accepted before. Pure.

use kube::api::DynamicObject;
use laneway_proto::admin::{Lane, LaneGroup, ServicePolicy};
use prost::Message;
use serde_json::Value;

use super::super::{Kind, Record};
use crate::json;

/// Of the status.
pub const FIELD: &str = "inForce";
/// Longest text: an object has twice what is larger, and etcd takes 1.5 MiB. What was accepted of it is in its Revision alone.
const TEXT_BYTES_MAX: usize = 256 << 10;

/// How a status says it: ProtoJSON. Nothing: it is too large, or cannot be read.
pub fn text(record: &Record) -> Option<String> {
    let body = record.body.as_slice();
    let full = full_name(record.kind);
    let value = match record.kind {
        Kind::LaneGroup => json::of(&LaneGroup::decode(body).ok()?, &full),
        Kind::Lane => json::of(&Lane::decode(body).ok()?, &full),
        Kind::ServicePolicy => json::of(&ServicePolicy::decode(body).ok()?, &full),
    };
    Some(value.to_string()).filter(|text| text.len() <= TEXT_BYTES_MAX)
}

/// The text in a status that speaks of that revision already: most looks find nothing new.
pub fn held(status: &Value, revision: i64) -> Option<String> {
    let text = status[FIELD].as_str().filter(|_| revision > 0 && status["revision"] == revision);
    text.map(str::to_owned)
}

/// The record that the status of an object holds, and with which revision it came.
pub(super) fn read(kind: Kind, object: &DynamicObject) -> Option<(i64, Record)> {
    let text = object.data.get("status")?.get(FIELD).and_then(Value::as_str)?.as_bytes();
    let full = full_name(kind);
    let (name, body) = match kind {
        Kind::LaneGroup => json::read::<LaneGroup>(text, &full).map(|own| (own.name.clone(), own.encode_to_vec())),
        Kind::Lane => json::read::<Lane>(text, &full).map(|own| (own.name.clone(), own.encode_to_vec())),
        Kind::ServicePolicy => {
            json::read::<ServicePolicy>(text, &full).map(|own| (own.name.clone(), own.encode_to_vec()))
        }
    }
    .ok()?;
    let record = Record { name, kind, body };
    Some((revision_of(&record), record))
}

/// What is in force came with that revision, by the status. 0: it does not say.
pub(super) fn reported_revision(object: &DynamicObject) -> i64 {
    object.data.pointer("/status/revision").and_then(Value::as_i64).unwrap_or(0)
}

/// With which revision a record came. 0: it cannot be read.
pub(super) fn revision_of(record: &Record) -> i64 {
    let body = record.body.as_slice();
    match record.kind {
        Kind::LaneGroup => LaneGroup::decode(body).map(|own| own.revision),
        Kind::Lane => Lane::decode(body).map(|own| own.revision),
        Kind::ServicePolicy => ServicePolicy::decode(body).map(|own| own.revision),
    }
    .unwrap_or(0)
}

fn full_name(kind: Kind) -> String {
    format!("laneway.admin.v1.{}", kind.as_str())
}
