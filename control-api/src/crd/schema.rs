//! From a message of the contract to the structural schema of its document. Pure.
//!
//! A schema has no references, and conditions hold conditions: they are written out [`CONDITION_LEVELS`] deep, and what is deeper is
//! taken as it is; the control plane reads it with the same care.

use std::collections::BTreeMap;

use laneway_core::document::enum_words;
use laneway_proto::contract::TAG_BYTES_MAX;
use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::rules;
use crate::json::OUTPUT_ONLY;

/// Each level is three times as large as the one above.
const CONDITION_LEVELS: usize = 3;
/// Rules of CEL are estimated by the number of items in all lists around them, and the estimate is bounded.
pub(super) const CONDITION_LEVELS_RULED: usize = 2;

const CONDITION: &str = "laneway.routing.v1.Condition";
const COMMENTS: &str = include_str!(concat!(env!("OUT_DIR"), "/comments.tsv"));

/// Of a lane and a policy, what the control plane would refuse as not supported yet (LANE0900): the API server does already.
const NOT_YET: [&str; 3] =
    ["laneway.admin.v1.Lane.limits", "laneway.admin.v1.Lane.messages", "laneway.admin.v1.ServicePolicy.routes"];

/// Of people: `48h`, `1h30m`, `1.5s`; of programs: `172800s`.
const DURATION_PATTERN: &str = r"^([0-9]+(\.[0-9]+)?(h|m|s|ms|us|ns))+$";
const PERCENT_PATTERN: &str = r"^(100(\.0{1,2})?|[0-9]{1,2}(\.[0-9]{1,2})?) ?%$";

pub(super) struct Schema {
    /// By full name of a message or field.
    comments: BTreeMap<&'static str, &'static str>,
}

impl Schema {
    pub(super) fn new() -> Schema {
        Schema { comments: COMMENTS.lines().filter_map(|line| line.split_once('\t')).collect() }
    }

    pub(super) fn comment(&self, full_name: &str) -> &'static str {
        self.comments.get(full_name).copied().unwrap_or_default()
    }

    /// Of a kind: its fields but those that `metadata` and `status` have.
    pub(super) fn spec(&self, desc: &MessageDescriptor) -> Value {
        let own = |field: &FieldDescriptor| {
            let name = field.json_name();
            let is_beside = name == "name" || name == "labels" || OUTPUT_ONLY.contains(&name);
            !is_beside && !NOT_YET.contains(&field.full_name())
        };
        let mut spec = self.object(desc, 0, own);
        if let (true, Some(Value::Object(properties))) = (desc.name() == "Lane", spec.get_mut("properties")) {
            let description = "Id of the lane's group. Unset: default, which is always there. Cannot be changed.";
            let mut group = json!({"type": "string", "description": description});
            rules::bound(&mut group, "laneway.admin.v1.Lane.group");
            properties.insert("group".to_owned(), group);
        }
        spec
    }

    fn object(&self, desc: &MessageDescriptor, level: usize, is_part: impl Fn(&FieldDescriptor) -> bool) -> Value {
        let fields = desc.fields().filter(is_part);
        let properties: Map<String, Value> =
            fields.map(|field| (field.json_name().to_owned(), self.field(&field, level))).collect();
        let mut object = json!({"type": "object", "properties": properties});
        let rules = rules::of_message(desc, level);
        if !rules.is_empty() {
            object["x-kubernetes-validations"] = rules.into();
        }
        object
    }

    fn field(&self, field: &FieldDescriptor, level: usize) -> Value {
        let kind = field.kind();
        let mut value = match &kind {
            Kind::Message(entry) if field.is_map() => {
                let inner = entry.map_entry_value_field();
                json!({"type": "object", "additionalProperties": self.single(&inner.kind(), level)})
            }
            kind if field.is_list() => json!({"type": "array", "items": self.single(kind, level)}),
            kind => self.single(kind, level),
        };
        let comment = self.comment(field.full_name());
        // Once is enough of what stands there again and again.
        if !comment.is_empty() && (level == 0 || field.parent_message().full_name() != CONDITION) {
            value["description"] = comment.into();
        }
        rules::bound(&mut value, field.full_name());
        value
    }

    fn single(&self, kind: &Kind, level: usize) -> Value {
        match kind {
            Kind::Message(desc) => self.message(desc, level),
            Kind::Enum(desc) => words(desc),
            Kind::String | Kind::Bytes => json!({"type": "string"}),
            Kind::Bool => json!({"type": "boolean"}),
            Kind::Double | Kind::Float => json!({"type": "number"}),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer", "format": "int32"}),
            Kind::Uint32 | Kind::Fixed32 => {
                json!({"type": "integer", "format": "int64", "minimum": 0, "maximum": u32::MAX})
            }
            // ProtoJSON writes 64 bits as a text.
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({
                "x-kubernetes-int-or-string": true,
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "pattern": "^-?[0-9]{1,19}$",
            }),
            Kind::Uint64 | Kind::Fixed64 => json!({
                "x-kubernetes-int-or-string": true,
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "pattern": "^[0-9]{1,20}$",
            }),
        }
    }

    fn message(&self, desc: &MessageDescriptor, level: usize) -> Value {
        match desc.full_name() {
            "google.protobuf.Duration" => json!({"type": "string", "maxLength": 64, "pattern": DURATION_PATTERN}),
            "google.protobuf.Timestamp" => json!({"type": "string", "format": "date-time"}),
            "laneway.routing.v1.Percent" => json!({"type": "string", "maxLength": 8, "pattern": PERCENT_PATTERN}),
            CONDITION if level == CONDITION_LEVELS => {
                json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
            }
            CONDITION => self.object(desc, level + 1, |_| true),
            _ => self.object(desc, level, |_| true),
        }
    }
}

/// The short words, and the long ones that programs write.
fn words(desc: &EnumDescriptor) -> Value {
    let long = desc.values().filter(|value| value.number() != 0).map(|value| value.name().to_owned());
    let words: Vec<String> = enum_words(desc).into_iter().chain(long).collect();
    json!({"type": "string", "enum": words})
}

/// What a tag, and an id of ours, looks like.
pub(super) fn id() -> [(&'static str, Value); 3] {
    let pattern = format!("^[a-z0-9]([a-z0-9-]{{0,{}}}[a-z0-9])?$", TAG_BYTES_MAX - 2);
    [("pattern", pattern.into()), ("minLength", 1.into()), ("maxLength", TAG_BYTES_MAX.into())]
}
