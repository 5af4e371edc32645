//! From an object to its document: the inverse of the reader.

use laneway_proto::contract::{GROUP_DEFAULT, NAMESPACE_DEFAULT};
use laneway_proto::{admin, descriptors};
use prost::Message;
use prost_reflect::{DynamicMessage, Kind, MapKey, ReflectMessage, Value as Field};
use serde_json::{Map, Value};

use super::{units, walk};
use crate::name;

/// The document of a group. Left out: what the control plane writes, and `etag`, so that a file kept in a repository can be
/// applied again and again.
pub fn write_group(group: &admin::LaneGroup) -> Value {
    write("LaneGroup", &group.name, group)
}

/// The document of a lane; see [`write_group`].
pub fn write_lane(lane: &admin::Lane) -> Value {
    write("Lane", &lane.name, lane)
}

/// The document of a service policy; see [`write_group`].
pub fn write_policy(policy: &admin::ServicePolicy) -> Value {
    write("ServicePolicy", &policy.name, policy)
}

fn write(kind: &str, name: &str, object: &impl Message) -> Value {
    let desc = descriptors()
        .get_message_by_name(&format!("laneway.admin.v1.{kind}"))
        .expect("the kinds are messages of the contract");
    let mut dynamic = DynamicMessage::new(desc);
    dynamic.transcode_from(object).expect("a message has the form of its own descriptor");
    let mut document = Map::new();
    document.insert("kind".into(), kind.into());
    document.insert("name".into(), name::id_of(name).into());
    let namespace = name::namespace_of(name);
    if namespace != NAMESPACE_DEFAULT {
        document.insert("namespace".into(), namespace.into());
    }
    if let Some(group) = name::parent_group(name).map(name::id_of).filter(|g| *g != GROUP_DEFAULT) {
        document.insert("group".into(), group.into());
    }
    if let Value::Object(fields) = message(&dynamic) {
        let left_out = |key: &String| key == "name" || key == "etag" || walk::OUTPUT_ONLY.contains(&key.as_str());
        document.extend(fields.into_iter().filter(|(key, _)| !left_out(key)));
    }
    Value::Object(document)
}

fn message(value: &DynamicMessage) -> Value {
    let number = |name: &str| value.get_field_by_name(name);
    match value.descriptor().full_name() {
        walk::DURATION => {
            let seconds = number("seconds").and_then(|v| v.as_i64()).unwrap_or_default();
            let nanos = number("nanos").and_then(|v| v.as_i32()).unwrap_or_default();
            return units::write_duration(seconds, nanos).into();
        }
        walk::PERCENT => {
            let points = number("basis_points").and_then(|v| v.as_u32()).unwrap_or_default();
            return units::write_percent(points).into();
        }
        walk::TIMESTAMP => return serde_json::to_value(value).unwrap_or_default(),
        _ => {}
    }
    let fields = value.fields().map(|(desc, field)| {
        let kind = match desc.kind() {
            Kind::Message(entry) if desc.is_map() => entry.map_entry_value_field().kind(),
            kind => kind,
        };
        (desc.json_name().to_owned(), plain(&kind, field))
    });
    Value::Object(fields.collect())
}

fn plain(kind: &Kind, field: &Field) -> Value {
    match field {
        Field::Bool(v) => (*v).into(),
        Field::I32(v) => (*v).into(),
        Field::I64(v) => (*v).into(),
        Field::U32(v) => (*v).into(),
        Field::U64(v) => (*v).into(),
        Field::F32(v) => (*v).into(),
        Field::F64(v) => (*v).into(),
        Field::String(v) => v.as_str().into(),
        // No document has bytes.
        Field::Bytes(_) => Value::Null,
        Field::EnumNumber(number) => match kind {
            Kind::Enum(desc) => match desc.get_value(*number) {
                Some(value) if value.number() == 0 => value.name().into(),
                Some(value) => units::short_enum(&value).into(),
                None => (*number).into(),
            },
            _ => (*number).into(),
        },
        Field::Message(v) => message(v),
        Field::List(items) => items.iter().map(|item| plain(kind, item)).collect(),
        Field::Map(entries) => Value::Object(entries.iter().map(|(key, v)| (map_key(key), plain(kind, v))).collect()),
    }
}

fn map_key(key: &MapKey) -> String {
    match key {
        MapKey::String(v) => v.clone(),
        MapKey::Bool(v) => v.to_string(),
        MapKey::I32(v) => v.to_string(),
        MapKey::I64(v) => v.to_string(),
        MapKey::U32(v) => v.to_string(),
        MapKey::U64(v) => v.to_string(),
    }
}
