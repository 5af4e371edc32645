//! Update masks (AIP-134, AIP-161): what of an object is to become as it is given, while the rest stays. Pure.
//!
//! What a path names is taken as a whole: a list is replaced, never appended to, so that the same update twice is one; a map
//! may be entered by key (`labels.team`), a list may not. Without a mask every field that is given is meant, with `*` all.
//! What only the server writes is left out of account wherever it is named, so that what was read can be sent back.

use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value};
use prost_types::FieldMask;
use tonic::Status;

use super::{errors, field};
use crate::json::OUTPUT_ONLY;

#[cfg(test)]
mod tests;

/// Paths of one mask.
const PATHS_MAX: usize = 256;

/// What is to be taken over.
#[derive(Debug)]
pub(super) enum Mask {
    /// The object as a whole.
    Everything,
    /// The fields that are set.
    Given,
    Paths(Vec<Vec<String>>),
}

impl Mask {
    /// Of an object of `laneway.admin.v1`. Refused with all paths that lead nowhere.
    pub(super) fn parse(mask: Option<&FieldMask>, kind: &str) -> Result<Mask, Status> {
        let Some(mask) = mask.filter(|mask| !mask.paths.is_empty()) else { return Ok(Mask::Given) };
        if mask.paths.len() > PATHS_MAX {
            return Err(errors::bad_field("update_mask", format!("has more than {PATHS_MAX} paths")));
        }
        if mask.paths.iter().any(|path| path == "*") {
            return match mask.paths.as_slice() {
                [_] => Ok(Mask::Everything),
                _ => Err(errors::bad_field("update_mask", "`*` stands alone: it means everything")),
            };
        }
        let message = of_kind(kind);
        let (mut paths, mut problems) = (Vec::new(), Vec::new());
        for path in &mask.paths {
            match read(path, &message) {
                Ok(segments) => paths.push(segments),
                Err(problem) => problems.push(("update_mask".to_owned(), format!("{path:?}: {problem}"))),
            }
        }
        if problems.is_empty() { Ok(Mask::Paths(paths)) } else { Err(errors::bad_fields(problems)) }
    }

    /// The object as it is to be. Its name and etag are those that are given.
    pub(super) fn applied<M: Message + Default + Clone>(&self, current: &M, given: &M, kind: &str) -> M {
        let message = of_kind(kind);
        let from = field::dynamic(&message, given);
        let mut onto = field::dynamic(&message, current);
        match self {
            Mask::Everything => return given.clone(),
            Mask::Given => {
                for (field, value) in from.fields().filter(|(field, _)| !is_output_only(field)) {
                    onto.set_field(&field, value.clone());
                }
            }
            Mask::Paths(paths) => {
                let own = paths
                    .iter()
                    .filter(|path| field::named(&message, &path[0]).is_some_and(|field| !is_output_only(&field)));
                let own: Vec<&[String]> = own.map(Vec::as_slice).collect();
                // First what goes: of fields of which only one can be, the one that is given stays.
                own.iter().for_each(|path| take(&mut onto, &from, path, Take::Absent));
                own.iter().for_each(|path| take(&mut onto, &from, path, Take::Present));
            }
        }
        for identity in ["name", "etag"] {
            let field = field::named(&message, identity).expect("every object has a name and an etag");
            onto.set_field(&field, from.get_field(&field).into_owned());
        }
        onto.transcode_to().expect("a message of the type that it came from")
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Take {
    Present,
    Absent,
}

fn of_kind(kind: &str) -> MessageDescriptor {
    field::message(&format!("laneway.admin.v1.{kind}"))
}

fn is_output_only(field: &FieldDescriptor) -> bool {
    OUTPUT_ONLY.contains(&field.json_name())
}

/// The segments of a path that leads somewhere.
fn read(path: &str, message: &MessageDescriptor) -> Result<Vec<String>, String> {
    let (segments, rest) = field::segments(path)?;
    if segments.is_empty() || !rest.is_empty() {
        return Err("a path is names of fields with dots between".to_owned());
    }
    let mut inside = Some(message.clone());
    let mut left = segments.iter();
    while let Some(segment) = left.next() {
        let Some(message) = inside.take() else {
            return Err(format!("nothing in it can be named on its own, not {segment:?}"));
        };
        let field = field::named(&message, segment)
            .ok_or_else(|| format!("there is no field {segment:?}; there are {}", field::names(&message)))?;
        if field.is_list() {
            continue;
        }
        inside = field.kind().as_message().cloned();
        if let Some(entry) = inside.take_if(|_| field.is_map()) {
            left.next();
            inside = entry.map_entry_value_field().kind().as_message().cloned();
        }
    }
    Ok(segments)
}

/// Takes one path over, if what is given has it, or has it not.
fn take(onto: &mut DynamicMessage, from: &DynamicMessage, path: &[String], which: Take) {
    let [first, rest @ ..] = path else { return };
    let Some(field) = field::named(&from.descriptor(), first) else { return };
    let is_given = from.has_field(&field);
    if field.is_map()
        && let [key, rest @ ..] = rest
    {
        return take_entry(onto, from, &field, key, rest, which);
    }
    if !rest.is_empty() {
        // What lies in a message that is not given is not given.
        if let (Value::Message(inner), true) = (from.get_field(&field).as_ref(), is_given || onto.has_field(&field))
            && let Value::Message(own) = onto.get_field_mut(&field)
        {
            take(own, inner, rest, which);
        }
        return;
    }
    match which {
        Take::Present if is_given => onto.set_field(&field, from.get_field(&field).into_owned()),
        Take::Absent if !is_given => match field.containing_oneof() {
            // A ttl is stored as the time that it came to: whoever clears the one clears the other.
            Some(oneof) => oneof.fields().for_each(|field| onto.clear_field(&field)),
            None => onto.clear_field(&field),
        },
        Take::Present | Take::Absent => {}
    }
}

fn take_entry(
    onto: &mut DynamicMessage,
    from: &DynamicMessage,
    field: &FieldDescriptor,
    key: &str,
    rest: &[String],
    which: Take,
) {
    let key = MapKey::String(key.to_owned());
    let given = from.get_field(field);
    let given = given.as_map().and_then(|entries| entries.get(&key));
    let Some(entries) = onto.get_field_mut(field).as_map_mut() else { return };
    match (given, rest.is_empty(), which) {
        (Some(value), true, Take::Present) => {
            entries.insert(key, value.clone());
        }
        (None, true, Take::Absent) => {
            entries.remove(&key);
        }
        (_, true, _) => {}
        (given, false, _) => {
            let Some(Kind::Message(kind)) = value_kind(field) else { return };
            let empty = Value::Message(DynamicMessage::new(kind));
            let Value::Message(inner) = given.unwrap_or(&empty) else { return };
            if given.is_none() && !entries.contains_key(&key) {
                return;
            }
            if let Value::Message(own) = entries.entry(key).or_insert_with(|| empty.clone()) {
                take(own, inner, rest, which);
            }
        }
    }
}

fn value_kind(map: &FieldDescriptor) -> Option<Kind> {
    map.kind().as_message().map(|entry| entry.map_entry_value_field().kind())
}
