//! From path, query and body of a request to the message that its method takes. Pure.

use axum::http::HeaderMap;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};
use serde::de::IntoDeserializer;
use tonic::Status;

use super::super::{errors, field};
use super::route::{Body, Route, percent_decoded};

#[cfg(test)]
mod tests;

/// With it a browser says where its stream was cut off.
const LAST_EVENT_ID: &str = "last-event-id";
const RESUME: &str = "resume_revision";

/// The message; refused with all query parameters that are bad.
pub(super) fn message(
    route: &Route,
    value: Option<(&'static str, String)>,
    query: &str,
    body: &[u8],
) -> Result<DynamicMessage, Status> {
    let mut message = from_body(route, body)?;
    if let Some((path, value)) = value {
        let names: Vec<&str> = path.split('.').collect();
        give_name(&mut message, path, &names, value)?;
    }
    let mut problems = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let [name, value] = [name, value].map(|part| percent_decoded(&part.replace('+', " ")));
        let Some(name) = name else {
            problems.push(("query".to_owned(), format!("{pair:?} is not percent-encoded UTF-8")));
            continue;
        };
        let given = match value {
            Some(value) => parameter(route, &mut message, &name, &value),
            None => Err("is not percent-encoded UTF-8".to_owned()),
        };
        problems.extend(given.err().map(|problem| (name, problem)));
    }
    if problems.is_empty() { Ok(message) } else { Err(errors::bad_fields(problems)) }
}

/// Goes on where a stream was cut off, unless the address says where.
pub(super) fn resume(message: &mut DynamicMessage, headers: &HeaderMap) {
    let Some(field) = message.descriptor().get_field_by_name(RESUME) else { return };
    let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.parse::<i64>().ok());
    if let Some(last) = last.filter(|last| *last > 0 && !message.has_field(&field)) {
        message.set_field(&field, Value::I64(last));
    }
}

pub(super) fn is_resumable(route: &Route) -> bool {
    route.input.get_field_by_name(RESUME).is_some()
}

fn from_body(route: &Route, body: &[u8]) -> Result<DynamicMessage, Status> {
    let empty = DynamicMessage::new(route.input.clone());
    match route.body {
        _ if body.is_empty() => Ok(empty),
        Body::None => Err(errors::bad_field("body", "is not read by this method; it takes query parameters")),
        Body::Whole => parsed(route.input.clone(), body),
        Body::Field(name) => {
            let mut message = empty;
            let field = route.input.get_field_by_name(name).expect("the table names fields of the contract");
            let kind = field.kind().as_message().cloned().expect("a body is a message");
            message.set_field(&field, Value::Message(parsed(kind, body)?));
            Ok(message)
        }
    }
}

/// Of ProtoJSON; an unknown field is refused by name.
fn parsed(kind: MessageDescriptor, body: &[u8]) -> Result<DynamicMessage, Status> {
    let name = kind.full_name().to_owned();
    let refused = |problem: serde_json::Error| errors::bad_field("body", format!("is no {name} as JSON: {problem}"));
    let mut reader = serde_json::Deserializer::from_slice(body);
    let message = DynamicMessage::deserialize(kind, &mut reader).map_err(refused)?;
    reader.end().map_err(refused)?;
    Ok(message)
}

/// The address says it; the body may say the same.
fn give_name(message: &mut DynamicMessage, path: &str, names: &[&str], value: String) -> Result<(), Status> {
    let [name, rest @ ..] = names else { return Ok(()) };
    let field = message.descriptor().get_field_by_name(name).expect("the table names fields of the contract");
    if let Value::Message(inner) = message.get_field_mut(&field) {
        return give_name(inner, path, rest, value);
    }
    let given = message.get_field(&field);
    let given = given.as_str().unwrap_or_default();
    if !given.is_empty() && given != value {
        return Err(errors::bad_field(path, format!("is {value} in the address, {given} in the body")));
    }
    message.set_field(&field, Value::String(value));
    Ok(())
}

/// A query parameter: a field of the message, in JSON's name or the contract's, or one within it.
fn parameter(route: &Route, message: &mut DynamicMessage, name: &str, text: &str) -> Result<(), String> {
    let names: Vec<&str> = name.split('.').collect();
    let first = field::named(&route.input, names[0]);
    let is_in_body = match (route.body, &first) {
        (Body::Whole, Some(_)) => true,
        (Body::Field(body), Some(field)) => field.name() == body,
        _ => false,
    };
    if is_in_body {
        return Err("stands in the body, not in the query".to_owned());
    }
    give(message, &names, text)
}

fn give(message: &mut DynamicMessage, names: &[&str], text: &str) -> Result<(), String> {
    let descriptor = message.descriptor();
    let field = names.first().and_then(|name| field::named(&descriptor, name)).ok_or_else(|| {
        let known: Vec<String> = descriptor.fields().map(|field| field.json_name().to_owned()).collect();
        match known.as_slice() {
            [] => "is no parameter; there are none".to_owned(),
            known => format!("is no parameter; there are {}", known.join(", ")),
        }
    })?;
    if names.len() > 1 {
        return match message.get_field_mut(&field) {
            Value::Message(inner) => give(inner, &names[1..], text),
            _ => Err(format!("{} has no fields", field.json_name())),
        };
    }
    if field.is_map() {
        return Err("is a map, which a query cannot give".to_owned());
    }
    if field.is_list() {
        let value = parsed_value(&field, text)?;
        if let Value::List(values) = message.get_field_mut(&field) {
            values.push(value);
        }
        return Ok(());
    }
    if message.has_field(&field) {
        return Err("is given twice".to_owned());
    }
    let value = parsed_value(&field, text)?;
    message.set_field(&field, value);
    Ok(())
}

fn parsed_value(field: &FieldDescriptor, text: &str) -> Result<Value, String> {
    fn number<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, String> {
        text.parse().map_err(|_| format!("is {what}, not {text:?}"))
    }
    match field.kind() {
        Kind::String => Ok(Value::String(text.to_owned())),
        Kind::Bool => number(text, "true or false").map(Value::Bool),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => number(text, "a whole number").map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => number(text, "a whole number").map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => number(text, "a whole number from 0").map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => number(text, "a whole number from 0").map(Value::U64),
        Kind::Double => number(text, "a number").map(Value::F64),
        Kind::Float => number(text, "a number").map(Value::F32),
        Kind::Enum(values) => {
            values.get_value_by_name(text).map(|found| Value::EnumNumber(found.number())).ok_or_else(|| {
                let names: Vec<String> = values.values().map(|value| value.name().to_owned()).collect();
                format!("is one of {}, not {text:?}", names.join(", "))
            })
        }
        // Times, durations and masks are text in JSON.
        Kind::Message(kind) if kind.full_name().starts_with("google.protobuf.") => {
            let text: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
            let read = DynamicMessage::deserialize(kind, text);
            read.map(Value::Message).map_err(|problem| problem.to_string())
        }
        Kind::Message(_) | Kind::Bytes => Err("has fields: give them one by one, as name.field".to_owned()),
    }
}
