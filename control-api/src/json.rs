//! ProtoJSON of admin objects, and which fields of two of them differ. Pure.

use laneway_proto::descriptors;
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::Value;

#[cfg(test)]
mod tests;

/// What the server writes and nobody may: not part of what was changed.
pub const OUTPUT_ONLY: [&str; 10] = [
    "uid",
    "etag",
    "revision",
    "createTime",
    "updateTime",
    "state",
    "coverage",
    "warnings",
    "givenTtl",
    "trippedReason",
];

/// ProtoJSON of a message; `name` is its full name, "laneway.admin.v1.Lane".
pub fn of(message: &impl prost::Message, name: &str) -> Value {
    let descriptor = descriptors().get_message_by_name(name).expect("the messages are in the contract");
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .expect("a message that was encoded by its type decodes by its descriptor");
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())
        .expect("messages of the contract have a JSON form")
}

/// The message of a ProtoJSON text; a field that `name` does not have is refused.
pub fn read<M: prost::Message + Default>(text: &[u8], name: &str) -> Result<M, String> {
    let descriptor = descriptors().get_message_by_name(name).expect("the messages are in the contract");
    let mut reader = serde_json::Deserializer::from_slice(text);
    let dynamic = DynamicMessage::deserialize(descriptor, &mut reader).map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    dynamic.transcode_to().map_err(|error| error.to_string())
}

/// What [`of_input`] wrote.
pub fn read_input<M: prost::Message + Default>(text: &str, kind: &str) -> Result<M, String> {
    read(text.as_bytes(), &format!("laneway.admin.v1.{kind}"))
}

/// An object of a kind of `laneway.admin.v1` without what only the server writes.
pub fn of_input(message: &impl prost::Message, kind: &str) -> Value {
    let mut value = of(message, &format!("laneway.admin.v1.{kind}"));
    if let Value::Object(fields) = &mut value {
        fields.retain(|field, _| !OUTPUT_ONLY.contains(&field.as_str()));
    }
    value
}

/// Paths of the fields that differ, in order: "entry.rules[0].percent".
pub fn differences(before: &Value, after: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    collect(before, after, String::new(), &mut paths);
    paths
}

fn collect(before: &Value, after: &Value, path: String, paths: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let mut fields: Vec<&String> = before.keys().chain(after.keys()).collect();
            fields.sort();
            fields.dedup();
            for field in fields {
                let inner = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
                let (old, new) = (before.get(field), after.get(field));
                collect(old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null), inner, paths);
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (position, (old, new)) in before.iter().zip(after).enumerate() {
                collect(old, new, format!("{path}[{position}]"), paths);
            }
        }
        _ if before == after => {}
        _ => paths.push(path),
    }
}
