//! From a document's value to ProtoJSON, by the descriptors of the contract: every unknown field and every wrong value is
//! named with its path, and all of them are found in one go.

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::units;

/// Fields that the control plane writes (AIP-203 OUTPUT_ONLY): read over, as the API does.
pub(super) const OUTPUT_ONLY: [&str; 9] =
    ["uid", "revision", "createTime", "updateTime", "state", "coverage", "warnings", "givenTtl", "trippedReason"];

/// Deeper than any document that makes sense; bounds the recursion.
const DEPTH_MAX: usize = 64;

pub(super) const DURATION: &str = "google.protobuf.Duration";
pub(super) const TIMESTAMP: &str = "google.protobuf.Timestamp";
pub(super) const PERCENT: &str = "laneway.routing.v1.Percent";

/// One thing that is wrong with a document.
#[derive(Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) code: &'static str,
    pub(super) field: String,
    pub(super) message: String,
    pub(super) help: String,
}

pub(super) const UNKNOWN_FIELD: &str = "LANE0002";
pub(super) const BAD_VALUE: &str = "LANE0003";

#[derive(Default)]
pub(super) struct Walk {
    pub(super) findings: Vec<Finding>,
    /// What the document may say beside the fields of its message.
    pub(super) beside: &'static [&'static str],
    depth: usize,
}

/// `a` and `b` of a path: `a.b`.
pub(super) fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key:?}]"),
    }
}

pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

impl Walk {
    pub(super) fn report(&mut self, code: &'static str, field: &str, message: String, help: impl Into<String>) {
        self.findings.push(Finding { code, field: field.to_owned(), message, help: help.into() });
    }

    pub(super) fn unknown_field(&mut self, path: &str, key: &str, allowed: &[&str]) {
        let mut help = String::new();
        if let Some(near) = units::nearest(key, allowed.iter().copied()) {
            help = format!("did you mean `{near}`? ");
        }
        help.push_str(&format!("allowed: {}", allowed.join(", ")));
        self.report(UNKNOWN_FIELD, &join(path, key), format!("unknown field `{key}`"), help);
    }

    pub(super) fn wrong_type(&mut self, path: &str, value: &Value, wanted: &str) -> Option<Value> {
        let help = match value {
            Value::Number(_) | Value::Bool(_) if wanted == "a string" => "put it in quotes".to_owned(),
            Value::Null => format!("give {wanted}, or leave the field out"),
            _ => format!("give {wanted}"),
        };
        self.report(BAD_VALUE, path, format!("{} where {wanted} belongs", type_of(value)), help);
        None
    }

    /// The fields of one message. `path` is empty for the whole document, whose OUTPUT_ONLY fields are read over.
    pub(super) fn message(&mut self, desc: &MessageDescriptor, value: Value, path: &str) -> Option<Value> {
        match desc.full_name() {
            DURATION => return self.duration(value, path),
            TIMESTAMP => return self.timestamp(value, path),
            PERCENT if !value.is_object() => return self.percent(value, path),
            _ => {}
        }
        let Value::Object(fields) = value else { return self.wrong_type(path, &value, "a map") };
        if self.depth >= DEPTH_MAX {
            self.report(BAD_VALUE, path, "nested too deeply".into(), format!("at most {DEPTH_MAX} levels"));
            return None;
        }
        self.depth += 1;
        let mut out = Map::new();
        let mut of_oneof: Vec<(String, String)> = Vec::new();
        for (key, value) in fields {
            let Some(field) = desc.get_field_by_json_name(&key).or_else(|| desc.get_field_by_name(&key)) else {
                let names: Vec<FieldDescriptor> = desc.fields().collect();
                let own = names.iter().map(FieldDescriptor::json_name);
                let allowed: Vec<&str> = match path {
                    "" => self.beside.iter().copied().chain(own.filter(|n| !OUTPUT_ONLY.contains(n))).collect(),
                    _ => own.collect(),
                };
                self.unknown_field(path, &key, &allowed);
                continue;
            };
            let name = field.json_name();
            if path.is_empty() && OUTPUT_ONLY.contains(&name) {
                continue;
            }
            let here = join(path, name);
            if out.contains_key(name) {
                self.report(BAD_VALUE, &here, format!("`{name}` is given twice"), "give it once");
            }
            if let Some(oneof) = field.containing_oneof().filter(|o| !o.is_synthetic()) {
                if let Some((_, other)) = of_oneof.iter().find(|(n, _)| n == oneof.name()) {
                    let message = format!("`{other}` and `{name}` exclude each other");
                    self.report(BAD_VALUE, &here, message, "give one of them");
                }
                of_oneof.push((oneof.name().to_owned(), name.to_owned()));
            }
            if let Some(value) = self.field(&field, value, &here) {
                out.insert(name.to_owned(), value);
            }
        }
        self.depth -= 1;
        Some(Value::Object(out))
    }

    fn field(&mut self, field: &FieldDescriptor, value: Value, path: &str) -> Option<Value> {
        if field.is_map() {
            let Value::Object(entries) = value else { return self.wrong_type(path, &value, "a map") };
            let Kind::Message(entry) = field.kind() else { return None };
            let kind = entry.map_entry_value_field().kind();
            let mut out = Map::new();
            for (key, value) in entries {
                if let Some(value) = self.single(&kind, value, &join(path, &key)) {
                    out.insert(key, value);
                }
            }
            return Some(Value::Object(out));
        }
        if field.is_list() {
            let Value::Array(items) = value else { return self.wrong_type(path, &value, "a list") };
            let items = items.into_iter().enumerate();
            let kind = field.kind();
            return Some(items.filter_map(|(at, item)| self.single(&kind, item, &format!("{path}[{at}]"))).collect());
        }
        self.single(&field.kind(), value, path)
    }

    fn single(&mut self, kind: &Kind, value: Value, path: &str) -> Option<Value> {
        match kind {
            Kind::Message(desc) => self.message(desc, value, path),
            Kind::Enum(desc) => self.enumeration(desc, value, path),
            Kind::String => match value {
                Value::String(_) => Some(value),
                other => self.wrong_type(path, &other, "a string"),
            },
            Kind::Bool => match value {
                Value::Bool(_) => Some(value),
                other => self.wrong_type(path, &other, "true or false"),
            },
            Kind::Double | Kind::Float => match value {
                Value::Number(_) => Some(value),
                other => self.wrong_type(path, &other, "a number"),
            },
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => self.integer(value, path, i32::MIN.into(), i32::MAX.into()),
            Kind::Uint32 | Kind::Fixed32 => self.integer(value, path, 0, u32::MAX.into()),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => self.integer(value, path, i64::MIN.into(), i64::MAX.into()),
            Kind::Uint64 | Kind::Fixed64 => self.integer(value, path, 0, u64::MAX.into()),
            Kind::Bytes => match value {
                Value::String(_) => Some(value),
                other => self.wrong_type(path, &other, "a string in base64"),
            },
        }
    }

    pub(super) fn integer(&mut self, value: Value, path: &str, min: i128, max: i128) -> Option<Value> {
        let number = match &value {
            Value::Number(n) => n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from)),
            // ProtoJSON writes 64 bits as a string.
            Value::String(s) => s.parse().ok(),
            _ => None,
        };
        match number {
            Some(n) if (min..=max).contains(&n) => {
                i64::try_from(n).map(Value::from).or_else(|_| u64::try_from(n).map(Value::from)).ok()
            }
            Some(n) => {
                self.report(BAD_VALUE, path, format!("{n} is out of range"), format!("from {min} to {max}"));
                None
            }
            None => self.wrong_type(path, &value, "a whole number"),
        }
    }

    pub(super) fn enumeration(&mut self, desc: &EnumDescriptor, value: Value, path: &str) -> Option<Value> {
        let Value::String(text) = &value else {
            let help = format!("one of: {}", units::enum_words(desc).join(", "));
            self.report(BAD_VALUE, path, format!("{} where a word belongs", type_of(&value)), help);
            return None;
        };
        if let Some(found) = units::parse_enum(desc, text) {
            return Some(Value::from(found.name()));
        }
        let allowed = units::enum_words(desc);
        let near = units::nearest(text, allowed.iter().map(String::as_str));
        let mut help = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        help.push_str(&format!("one of: {}", allowed.join(", ")));
        self.report(BAD_VALUE, path, format!("unknown value `{text}`"), help);
        None
    }

    fn duration(&mut self, value: Value, path: &str) -> Option<Value> {
        let Value::String(text) = &value else {
            return self.wrong_type(path, &value, "a duration such as `48h`, `500ms`");
        };
        match units::parse_duration(text) {
            Some((seconds, nanos)) => Some(Value::from(units::proto_duration(seconds, nanos))),
            None => {
                let message = format!("`{text}` is no duration");
                self.report(BAD_VALUE, path, message, "a number and a unit of h, m, s, ms, us, ns: `48h`, `500ms`");
                None
            }
        }
    }

    fn timestamp(&mut self, value: Value, path: &str) -> Option<Value> {
        let Value::String(text) = &value else {
            return self.wrong_type(path, &value, "a time such as \"2030-01-01T00:00:00Z\"");
        };
        match text.parse::<prost_types::Timestamp>() {
            Ok(time) => Some(Value::from(time.to_string())),
            Err(_) => {
                self.report(BAD_VALUE, path, format!("`{text}` is no time"), "a time such as 2030-01-01T00:00:00Z");
                None
            }
        }
    }

    fn percent(&mut self, value: Value, path: &str) -> Option<Value> {
        let help = "a percentage with at most two decimals: `2%`, `0.01%`";
        let Value::String(text) = &value else { return self.wrong_type(path, &value, "a percentage such as `2%`") };
        match units::parse_percent(text) {
            Some(points) => Some(serde_json::json!({ "basisPoints": points })),
            None => {
                self.report(BAD_VALUE, path, format!("`{text}` is no percentage"), help);
                None
            }
        }
    }
}
