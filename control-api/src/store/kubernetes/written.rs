//! What has become of an object that was written: whether the cluster kept it whole, and how it is undone. Pure.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::super::Kind;
use super::object::{ACCEPTED, CARRIED_ON, is_going, note, read};

#[cfg(test)]
mod tests;

/// What becomes of an object that we wrote when that is to be undone. Others may have written it since.
#[derive(Debug)]
pub(super) enum Undone {
    /// They have accepted something else, or this once more.
    Theirs,
    /// As it was; where people wrote on top, what they wrote stays, as a proposal to what was accepted before.
    Becomes(Box<DynamicObject>),
    /// It was not there.
    Goes,
}

/// `was` before we wrote `is`, and `live` now.
pub(super) fn undone(kind: Kind, was: Option<&DynamicObject>, is: &DynamicObject, live: &DynamicObject) -> Undone {
    let notes = |object: &DynamicObject| [ACCEPTED, CARRIED_ON].map(|key| note(object, key).map(str::to_owned));
    if live.metadata.uid != is.metadata.uid || notes(live) != notes(is) || is_going(live) {
        return Undone::Theirs;
    }
    let is_ours = read(kind, live).fingerprint == read(kind, is).fingerprint;
    if is_ours && was.is_none() {
        return Undone::Goes;
    }
    let mut object = live.clone();
    let annotations = object.metadata.annotations.get_or_insert_default();
    for key in [ACCEPTED, CARRIED_ON] {
        match was.and_then(|was| note(was, key)) {
            Some(text) => annotations.insert(key.to_owned(), text.to_owned()),
            None => annotations.remove(key),
        };
    }
    if let Some(was) = was.filter(|_| is_ours) {
        object.data = was.data.clone();
        object.metadata.labels.clone_from(&was.metadata.labels);
    }
    Undone::Becomes(Box::new(object))
}

/// Does the cluster keep all of what was sent? A definition that is older than ours takes away what it does not know. What somebody adds (an
/// admission policy) is a proposal like any other.
pub(super) fn is_kept(sent: &DynamicObject, kept: &DynamicObject) -> bool {
    let spec = |object: &DynamicObject| object.data.get("spec").cloned().unwrap_or_default();
    let labels = |object: &DynamicObject| json!(object.metadata.labels.clone().unwrap_or_default());
    is_within(&spec(sent), &spec(kept))
        && is_within(&labels(sent), &labels(kept))
        && note(sent, ACCEPTED) == note(kept, ACCEPTED)
}

fn is_within(sent: &Value, kept: &Value) -> bool {
    match (sent, kept) {
        (Value::Null, _) => true,
        (Value::Object(sent), Value::Object(kept)) => {
            sent.iter().all(|(key, value)| is_within(value, kept.get(key).unwrap_or(&Value::Null)))
        }
        (Value::Array(sent), Value::Array(kept)) => {
            sent.len() == kept.len() && sent.iter().zip(kept).all(|(sent, kept)| is_within(sent, kept))
        }
        // The API server writes 1.0 as 1.
        (Value::Number(sent), Value::Number(kept)) => sent == kept || sent.as_f64() == kept.as_f64(),
        _ => sent == kept,
    }
}
