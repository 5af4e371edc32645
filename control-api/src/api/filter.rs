//! The filter of a list: AIP-160 without functions and words that stand alone. Pure.
//!
//! ```text
//!   enabled = true AND (labels.team = "trade" OR owner = "*@example.com") AND NOT entry.rules:*
//!   expression = factor {AND factor}    factor = term {OR term}    term = [NOT | -] (comparison | "(" expression ")")
//! ```
//! OR binds closer than AND, as AIP-160 has it. A path through something repeated holds if it holds for one of it.

use laneway_proto::descriptors;
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, Value};
use tonic::Status;

use self::grammar::{Comparison, Expression, Operator};
use super::errors;
use super::field::{End, Path, Scalar};

mod grammar;
#[cfg(test)]
mod tests;

/// What must hold.
#[derive(Debug)]
pub(super) struct Filter {
    message: MessageDescriptor,
    /// None: everything is taken.
    node: Option<Node>,
}

#[derive(Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Test(Test),
}

#[derive(Debug)]
struct Test {
    path: Path,
    wanted: Wanted,
}

/// Of one of the values at the path.
#[derive(Debug)]
enum Wanted {
    /// Set, and not what it is by default.
    Present,
    Like(Pattern),
    Compared(Operator, Scalar),
}

/// A text, cut at each `*`, which stands for anything.
#[derive(Debug)]
struct Pattern(Vec<String>);

impl Filter {
    /// `name` is the full name of the message. An empty text takes everything.
    pub(super) fn parse(text: &str, name: &str) -> Result<Filter, Status> {
        let message = descriptors().get_message_by_name(name).expect("the messages are in the contract");
        let parsed = grammar::parse(text)
            .and_then(|expression| expression.map(|expression| node(expression, &message)).transpose());
        let node = parsed.map_err(|problem| errors::bad_field("filter", problem))?;
        Ok(Filter { message, node })
    }

    pub(super) fn takes_all(&self) -> bool {
        self.node.is_none()
    }

    pub(super) fn takes(&self, message: &impl Message) -> bool {
        self.node.as_ref().is_none_or(|node| node.holds(&super::field::dynamic(&self.message, message)))
    }

    pub(super) fn takes_dynamic(&self, message: &DynamicMessage) -> bool {
        self.node.as_ref().is_none_or(|node| node.holds(message))
    }
}

impl Node {
    fn holds(&self, message: &DynamicMessage) -> bool {
        match self {
            Node::All(nodes) => nodes.iter().all(|node| node.holds(message)),
            Node::Any(nodes) => nodes.iter().any(|node| node.holds(message)),
            Node::Not(node) => !node.holds(message),
            Node::Test(test) => {
                let mut holds = false;
                test.path.each(message, &mut |value| holds |= test.wanted.is(value, &test.path.end));
                holds
            }
        }
    }
}

impl Wanted {
    fn is(&self, value: &Value, end: &End) -> bool {
        match self {
            Wanted::Present => match value {
                Value::Message(_) => true,
                Value::List(values) => !values.is_empty(),
                Value::Map(entries) => !entries.is_empty(),
                value => {
                    !matches!(
                        end.scalar(value),
                        Scalar::None | Scalar::Bool(false) | Scalar::Integer(0) | Scalar::Float(0)
                    ) && value.as_str() != Some("")
                }
            },
            Wanted::Like(pattern) => value.as_str().is_some_and(|text| pattern.matches(text)),
            Wanted::Compared(operator, wanted) => operator.holds(end.scalar(value).cmp(wanted)),
        }
    }
}

impl Pattern {
    fn of(value: &str) -> Pattern {
        Pattern(value.split('*').map(str::to_owned).collect())
    }

    fn matches(&self, text: &str) -> bool {
        let (first, last, between) = match self.0.as_slice() {
            [] => return text.is_empty(),
            [only] => return text == only,
            [first, between @ .., last] => (first, last, between),
        };
        let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
        for part in between {
            let Some((_, after)) = rest.split_once(part.as_str()) else { return false };
            rest = after;
        }
        rest.ends_with(last.as_str())
    }
}

fn node(expression: Expression, message: &MessageDescriptor) -> Result<Node, String> {
    let nodes = |parts: Vec<Expression>| -> Result<Vec<Node>, String> {
        parts.into_iter().map(|part| node(part, message)).collect()
    };
    Ok(match expression {
        Expression::All(parts) => Node::All(nodes(parts)?),
        Expression::Any(parts) => Node::Any(nodes(parts)?),
        Expression::Not(part) => Node::Not(Box::new(node(*part, message)?)),
        Expression::Comparison(comparison) => test(comparison, message)?,
    })
}

fn test(comparison: Comparison, message: &MessageDescriptor) -> Result<Node, String> {
    let Comparison { field, operator, value } = comparison;
    let mut path = Path::find(message, &field)?;
    let field = field.join(".");
    if operator == Operator::Has && value == "*" {
        return Ok(Node::Test(Test { path, wanted: Wanted::Present }));
    }
    if matches!(path.end, End::Whole) {
        if operator != Operator::Has {
            return Err(format!("{field} is not one value: `{field}:*` asks whether it is set"));
        }
        path = path.further(message, &value)?;
        return Ok(Node::Test(Test { path, wanted: Wanted::Present }));
    }
    let is_ordered = !matches!(path.end, End::Bool | End::Enum(_));
    if !is_ordered && operator.is_ordering() {
        return Err(format!("{field} is compared by = and !="));
    }
    // Not equal: none of the values is.
    let is_negated = operator == Operator::NotEqual;
    let operator = if is_negated || operator == Operator::Has { Operator::Equal } else { operator };
    let wanted = match (&path.end, operator) {
        (End::Text, Operator::Equal) => Wanted::Like(Pattern::of(&value)),
        (end, operator) => Wanted::Compared(operator, scalar(end, &field, &value)?),
    };
    let test = Node::Test(Test { path, wanted });
    Ok(if is_negated { Node::Not(Box::new(test)) } else { test })
}

/// A value as the field has it.
fn scalar(end: &End, field: &str, value: &str) -> Result<Scalar, String> {
    let is_none = |what: &str| format!("{field} is {what}, not {value:?}");
    match end {
        End::Bool => match value {
            "true" => Ok(Scalar::Bool(true)),
            "false" => Ok(Scalar::Bool(false)),
            _ => Err(is_none("true or false")),
        },
        End::Integer => value.parse().map(Scalar::Integer).map_err(|_| is_none("a whole number")),
        End::Float => {
            let number = value.parse::<f64>().ok().filter(|number| !number.is_nan());
            number.map(|number| Scalar::Float(number.to_bits())).ok_or_else(|| is_none("a number"))
        }
        End::Enum(values) => match values.get_value_by_name(value) {
            Some(found) => Ok(Scalar::Integer(found.number().into())),
            None => {
                let names: Vec<String> = values.values().map(|value| value.name().to_owned()).collect();
                Err(is_none(&format!("one of {}", names.join(", "))))
            }
        },
        End::Timestamp => {
            let time: prost_types::Timestamp =
                value.parse().map_err(|_| is_none("a moment such as 2030-01-01T00:00:00Z"))?;
            Ok(Scalar::Time(time.seconds, time.nanos))
        }
        End::Duration => {
            let length: prost_types::Duration = value.parse().map_err(|_| is_none("seconds such as 1.5s"))?;
            Ok(Scalar::Time(length.seconds, length.nanos))
        }
        End::Text => Ok(Scalar::Text(value.to_owned())),
        End::Whole => Err(is_none("not one value")),
    }
}
