//! The order of a list (AIP-132): `priority desc, update_time`. Pure.
//!
//! What two objects have alike is decided by their names, so that every list has one order and a page can begin anywhere.

use std::cmp::Ordering;

use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde::{Deserialize, Serialize};
use tonic::Status;

use super::errors;
use super::field::{End, Path, Scalar, segments};

#[cfg(test)]
mod tests;

/// Fields of one order.
const FIELDS_MAX: usize = 8;

/// By which fields; none: by name.
#[derive(Debug)]
pub(super) struct Order(Vec<(Path, Direction)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// Where in an order an object stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    values: Vec<Scalar>,
    pub(super) name: String,
}

impl Order {
    pub(super) fn parse(text: &str, message: &MessageDescriptor) -> Result<Order, Status> {
        let parts = text.split(',').filter(|_| !text.trim().is_empty());
        let fields: Result<Vec<_>, String> = parts.map(|part| parse(part.trim(), message)).collect();
        match fields {
            Ok(fields) if fields.len() > FIELDS_MAX => {
                Err(errors::bad_field("order_by", format!("has more than {FIELDS_MAX} fields")))
            }
            Ok(fields) => Ok(Order(fields)),
            Err(problem) => Err(errors::bad_field("order_by", problem)),
        }
    }

    pub(super) fn is_by_name(&self) -> bool {
        self.0.is_empty()
    }

    /// `message` is not looked at where the order is by name.
    pub(super) fn place(&self, message: Option<&DynamicMessage>, name: &str) -> Place {
        let value = |(path, _): &(Path, Direction)| message.map_or(Scalar::None, |message| path.scalar(message));
        Place { values: self.0.iter().map(value).collect(), name: name.to_owned() }
    }

    pub(super) fn compare(&self, left: &Place, right: &Place) -> Ordering {
        let values = left.values.iter().zip(&right.values).zip(&self.0);
        let mut differing = values.map(|((left, right), (_, direction))| match direction {
            Direction::Up => left.cmp(right),
            Direction::Down => right.cmp(left),
        });
        differing.find(|order| order.is_ne()).unwrap_or(Ordering::Equal).then_with(|| left.name.cmp(&right.name))
    }
}

fn parse(part: &str, message: &MessageDescriptor) -> Result<(Path, Direction), String> {
    let (names, rest) = segments(part)?;
    let direction = match rest.trim() {
        "" | "asc" => Direction::Up,
        "desc" => Direction::Down,
        other => return Err(format!("after a field stands nothing or desc, not {other:?}")),
    };
    let path = Path::find(message, &names)?;
    if !path.is_single() || matches!(path.end, End::Whole) {
        return Err(format!("{:?} has no one value to go by", names.join(".")));
    }
    Ok((path, direction))
}
