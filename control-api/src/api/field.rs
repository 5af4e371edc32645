//! Fields of messages by path, as filters, orders and masks name them: `node.tag`, `labels.team`, `changes.name`. Pure.

use std::cmp::Ordering;

use laneway_proto::descriptors;
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use serde::{Deserialize, Serialize};

/// The way to a field from a message.
#[derive(Clone, Debug)]
pub(super) struct Path {
    steps: Vec<Step>,
    pub(super) end: End,
}

#[derive(Clone, Debug)]
enum Step {
    Field(FieldDescriptor),
    /// Of a map whose keys are text.
    Key(String),
}

/// What stands at the end of a path.
#[derive(Clone, Debug)]
pub(super) enum End {
    Text,
    Integer,
    Float,
    Bool,
    Enum(prost_reflect::EnumDescriptor),
    Timestamp,
    Duration,
    /// A message, a map or bytes: there is no comparing it.
    Whole,
}

/// A value that can be compared with others of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Scalar {
    /// Not set.
    None,
    Bool(bool),
    Integer(i64),
    /// Its bits, so that it survives a page token to the last of them.
    Float(u64),
    Text(String),
    /// Seconds and nanoseconds, of a moment or a length of time.
    Time(i64, i32),
}

/// Descriptor of a message of the contract, "laneway.admin.v1.Lane".
pub(super) fn message(name: &str) -> MessageDescriptor {
    descriptors().get_message_by_name(name).expect("the messages are in the contract")
}

/// A message as its fields can be looked up.
pub(super) fn dynamic(descriptor: &MessageDescriptor, message: &impl Message) -> DynamicMessage {
    DynamicMessage::decode(descriptor.clone(), message.encode_to_vec().as_slice())
        .expect("a message that was encoded by its type decodes by its descriptor")
}

/// A field by its name in the contract or in JSON.
pub(super) fn named(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))
}

/// The names of a message's fields, for people.
pub(super) fn names(message: &MessageDescriptor) -> String {
    message.fields().map(|field| field.name().to_owned()).collect::<Vec<_>>().join(", ")
}

/// Cuts a path at its dots; a segment may be in quotes or backticks. The rest: what stands behind it.
pub(super) fn segments(text: &str) -> Result<(Vec<String>, &str), String> {
    let (mut found, mut rest) = (Vec::new(), text);
    loop {
        let quote = rest.chars().next().filter(|first| "\"`".contains(*first) && !found.is_empty());
        if let Some(quote) = quote {
            let (inner, after) = rest[1..].split_once(quote).ok_or("a quote is not closed")?;
            found.push(inner.to_owned());
            rest = after;
        } else {
            let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
            let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
            if end == 0 {
                return if found.is_empty() { Ok((found, rest)) } else { Err("a path does not end with a dot".into()) };
            }
            found.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None => return Ok((found, rest)),
        }
    }
}

impl Path {
    pub(super) fn find(message: &MessageDescriptor, segments: &[String]) -> Result<Path, String> {
        let (mut steps, mut inside) = (Vec::new(), Some(message.clone()));
        let mut end = End::Whole;
        let mut rest = segments.iter();
        while let Some(segment) = rest.next() {
            let Some(message) = inside.take() else {
                return Err(format!("{:?} has no fields", segments[..segments.len() - rest.len() - 1].join(".")));
            };
            let field = named(&message, segment)
                .ok_or_else(|| format!("there is no field {segment:?}; there are {}", names(&message)))?;
            steps.push(Step::Field(field.clone()));
            let mut kind = field.kind();
            if field.is_map() {
                let entry = kind.as_message().cloned().ok_or("a map has no entries")?;
                let is_text = entry.map_entry_key_field().kind() == Kind::String;
                let Some(key) = rest.next().filter(|_| is_text) else { break };
                steps.push(Step::Key(key.clone()));
                kind = entry.map_entry_value_field().kind();
            }
            end = End::of(&kind);
            inside = kind.as_message().filter(|_| matches!(end, End::Whole)).cloned();
        }
        if steps.is_empty() {
            return Err("a field has a name".to_owned());
        }
        Ok(Path { steps, end })
    }

    /// True when there is one value at most: nothing on the way is repeated.
    pub(super) fn is_single(&self) -> bool {
        self.steps.iter().all(|step| match step {
            Step::Field(field) => !field.is_list(),
            Step::Key(_) => true,
        })
    }

    /// The same, and one key further: `m:key`.
    pub(super) fn further(&self, message: &MessageDescriptor, segment: &str) -> Result<Path, String> {
        let mut segments: Vec<String> = self.steps.iter().map(Step::segment).collect();
        segments.push(segment.to_owned());
        Path::find(message, &segments)
    }

    /// Each value that stands there.
    pub(super) fn each(&self, message: &DynamicMessage, see: &mut dyn FnMut(&Value)) {
        walk(message, &self.steps, see);
    }

    /// The one value, of a path that is single.
    pub(super) fn scalar(&self, message: &DynamicMessage) -> Scalar {
        let mut found = Scalar::None;
        self.each(message, &mut |value| found = self.end.scalar(value));
        found
    }
}

impl Step {
    fn segment(&self) -> String {
        match self {
            Step::Field(field) => field.name().to_owned(),
            Step::Key(key) => key.clone(),
        }
    }
}

impl End {
    fn of(kind: &Kind) -> End {
        match kind {
            Kind::String => End::Text,
            Kind::Bool => End::Bool,
            Kind::Double | Kind::Float => End::Float,
            Kind::Enum(values) => End::Enum(values.clone()),
            Kind::Message(message) => match message.full_name() {
                "google.protobuf.Timestamp" => End::Timestamp,
                "google.protobuf.Duration" => End::Duration,
                _ => End::Whole,
            },
            Kind::Bytes => End::Whole,
            _ => End::Integer,
        }
    }

    pub(super) fn scalar(&self, value: &Value) -> Scalar {
        match value {
            Value::Bool(value) => Scalar::Bool(*value),
            Value::I32(value) | Value::EnumNumber(value) => Scalar::Integer((*value).into()),
            Value::U32(value) => Scalar::Integer((*value).into()),
            Value::I64(value) => Scalar::Integer(*value),
            Value::U64(value) => Scalar::Integer(i64::try_from(*value).unwrap_or(i64::MAX)),
            Value::F32(value) => Scalar::Float(f64::from(*value).to_bits()),
            Value::F64(value) => Scalar::Float(value.to_bits()),
            Value::String(value) => Scalar::Text(value.clone()),
            Value::Message(time) if matches!(self, End::Timestamp | End::Duration) => {
                let part = |name| time.get_field_by_name(name);
                let seconds = part("seconds").and_then(|value| value.as_i64()).unwrap_or_default();
                Scalar::Time(seconds, part("nanos").and_then(|value| value.as_i32()).unwrap_or_default())
            }
            _ => Scalar::None,
        }
    }
}

impl Ord for Scalar {
    fn cmp(&self, other: &Scalar) -> Ordering {
        match (self, other) {
            (Scalar::Bool(own), Scalar::Bool(other)) => own.cmp(other),
            (Scalar::Integer(own), Scalar::Integer(other)) => own.cmp(other),
            (Scalar::Float(own), Scalar::Float(other)) => f64::from_bits(*own).total_cmp(&f64::from_bits(*other)),
            (Scalar::Text(own), Scalar::Text(other)) => own.cmp(other),
            (Scalar::Time(seconds, nanos), Scalar::Time(other, other_nanos)) => {
                (seconds, nanos).cmp(&(other, other_nanos))
            }
            // What is not set comes first; two kinds meet nowhere else.
            (own, other) => (*own != Scalar::None).cmp(&(*other != Scalar::None)),
        }
    }
}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Scalar) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn walk(message: &DynamicMessage, steps: &[Step], see: &mut dyn FnMut(&Value)) {
    let [Step::Field(field), rest @ ..] = steps else { return };
    if field.supports_presence() && !message.has_field(field) {
        return;
    }
    let value = message.get_field(field);
    match value.as_ref() {
        Value::List(values) => values.iter().for_each(|value| go_on(value, rest, see)),
        Value::Map(entries) => match rest {
            [Step::Key(key), rest @ ..] => {
                if let Some(value) = entries.get(&MapKey::String(key.clone())) {
                    go_on(value, rest, see);
                }
            }
            _ if entries.is_empty() => {}
            _ => see(value.as_ref()),
        },
        value => go_on(value, rest, see),
    }
}

fn go_on(value: &Value, rest: &[Step], see: &mut dyn FnMut(&Value)) {
    match value {
        _ if rest.is_empty() => see(value),
        Value::Message(inner) => walk(inner, rest, see),
        _ => {}
    }
}
