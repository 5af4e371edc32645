//! The filter of a list: AIP-160 as far as comparisons joined by AND. Pure.
//!
//! ```text
//!   principal = "user:alice" AND changes.name = "namespaces/shop/*" AND create_time >= "2030-01-01T00:00:00Z"
//! ```

use std::cmp::Ordering;
use std::time::SystemTime;

use tonic::Status;

use super::errors;

#[cfg(test)]
mod tests;

/// Longest filter, in bytes.
const BYTES_MAX: usize = 4 << 10;

/// What can be filtered.
pub(super) trait Filtered {
    /// Its fields, by their proto names.
    const FIELDS: &'static [(&'static str, Kind)];

    /// What one of these fields holds: one value, or several where it is repeated.
    fn values(&self, field: &str) -> Vec<Value<'_>>;
}

/// What kind of value a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Of several texts: one of them is meant.
    Texts,
    Number,
    Time,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Number(i64),
    Time(SystemTime),
}

/// What must hold, all of it.
#[derive(Debug)]
pub(super) struct Filter(Vec<Test>);

#[derive(Debug)]
struct Test {
    field: &'static str,
    operator: Operator,
    wanted: Wanted,
}

#[derive(Debug)]
enum Wanted {
    Text(Pattern),
    Number(i64),
    Time(SystemTime),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// Of what is repeated: one of it is that.
    Has,
}

/// A value, cut at each `*`, which stands for anything.
#[derive(Debug)]
struct Pattern(Vec<String>);

impl Filter {
    /// For a list of `T`. Empty: everything.
    pub(super) fn parse<T: Filtered>(text: &str) -> Result<Filter, Status> {
        parse(text, T::FIELDS).map(Filter).map_err(|problem| errors::bad_field("filter", problem))
    }

    pub(super) fn takes<T: Filtered>(&self, item: &T) -> bool {
        self.0.iter().all(|test| test.holds(&item.values(test.field)))
    }
}

impl Test {
    fn holds(&self, values: &[Value<'_>]) -> bool {
        match self.operator {
            Operator::NotEqual => !values.iter().any(|value| self.wanted.is(*value)),
            Operator::Equal | Operator::Has => values.iter().any(|value| self.wanted.is(*value)),
            Operator::Less => self.any(values, Ordering::is_lt),
            Operator::LessOrEqual => self.any(values, Ordering::is_le),
            Operator::Greater => self.any(values, Ordering::is_gt),
            Operator::GreaterOrEqual => self.any(values, Ordering::is_ge),
        }
    }

    fn any(&self, values: &[Value<'_>], is_so: fn(Ordering) -> bool) -> bool {
        values.iter().filter_map(|value| self.wanted.order(*value)).any(is_so)
    }
}

impl Wanted {
    fn is(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Wanted::Text(pattern), Value::Text(text)) => pattern.matches(text),
            _ => self.order(value).is_some_and(Ordering::is_eq),
        }
    }

    /// Of the value beside what is wanted, where the two have an order.
    fn order(&self, value: Value<'_>) -> Option<Ordering> {
        match (self, value) {
            (Wanted::Number(wanted), Value::Number(number)) => Some(number.cmp(wanted)),
            (Wanted::Time(wanted), Value::Time(time)) => Some(time.cmp(wanted)),
            _ => None,
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

/// A moment as a value; none where there is none.
pub(super) fn time(moment: Option<prost_types::Timestamp>) -> Vec<Value<'static>> {
    moment.and_then(|moment| SystemTime::try_from(moment).ok()).map(Value::Time).into_iter().collect()
}

type Fields = &'static [(&'static str, Kind)];

fn parse(text: &str, fields: Fields) -> Result<Vec<Test>, String> {
    if text.len() > BYTES_MAX {
        return Err(format!("has more than {BYTES_MAX} bytes"));
    }
    let mut tests = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if !tests.is_empty() {
            rest = match rest.split_once(char::is_whitespace) {
                Some(("AND", after)) => after.trim_start(),
                _ => return Err(format!("only AND joins comparisons yet, not {:?}", first_word(rest))),
            };
        }
        let (test, after) = comparison(rest, fields)?;
        tests.push(test);
        rest = after.trim_start();
    }
    Ok(tests)
}

/// One comparison, and what stands after it.
fn comparison(text: &str, fields: Fields) -> Result<(Test, &str), String> {
    let end = text.find(|letter: char| !(letter.is_ascii_alphanumeric() || "_.".contains(letter)));
    let (field, rest) = text.split_at(end.unwrap_or(text.len()));
    if field.is_empty() || field == "NOT" {
        let (known, word) = (names(fields), first_word(text));
        return Err(format!("a comparison begins with a field, which are {known}; not with {word:?}"));
    }
    let rest = rest.trim_start();
    // The longer ones first.
    let operators = [
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("=", Operator::Equal),
        ("<", Operator::Less),
        (">", Operator::Greater),
        (":", Operator::Has),
    ];
    let found = operators.iter().find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)));
    let (operator, rest) = found.ok_or_else(|| format!("after {field} stands one of = != < <= > >= :"))?;
    let (value, rest) = value(rest.trim_start())?;
    Ok((test(field, operator, &value, fields)?, rest))
}

fn test(name: &str, operator: Operator, value: &str, fields: Fields) -> Result<Test, String> {
    // Messages are seen as JSON more often than as protos.
    let is_named = |field: &str| field == name || field == snake(name);
    let Some((field, kind)) = fields.iter().copied().find(|(field, _)| is_named(field)) else {
        return Err(format!("{name:?} cannot be filtered on; {} can", names(fields)));
    };
    let wanted = match kind {
        Kind::Number => {
            let number = value.parse().map_err(|_| format!("{field} is compared with a number, not with {value:?}"))?;
            Wanted::Number(number)
        }
        Kind::Time => {
            let time: prost_types::Timestamp =
                value.parse().map_err(|_| format!("{value:?} is no moment such as 2030-01-01T00:00:00Z"))?;
            Wanted::Time(SystemTime::try_from(time).map_err(|_| format!("{value:?} is out of range"))?)
        }
        Kind::Text | Kind::Texts => Wanted::Text(Pattern::of(value)),
    };
    let is_allowed = match (kind, operator) {
        (Kind::Number | Kind::Time, _) | (Kind::Texts, Operator::Has) => true,
        (Kind::Text | Kind::Texts, operator) => matches!(operator, Operator::Equal | Operator::NotEqual),
    };
    if !is_allowed {
        return Err(format!("{field} is compared by = and !=, where * stands for anything"));
    }
    Ok(Test { field, operator, wanted })
}

fn names(fields: Fields) -> String {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// `createTime` as `create_time`.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// A value, in quotes or not, and what stands after it.
fn value(text: &str) -> Result<(String, &str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let word = first_word(text);
        if word.is_empty() {
            return Err("a comparison ends with a value".to_owned());
        }
        return Ok((word.to_owned(), &text[word.len()..]));
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, letter) in quoted.char_indices() {
        match letter {
            _ if escaped => {
                value.push(letter);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Ok((value, &quoted[at + 1..])),
            _ => value.push(letter),
        }
    }
    Err("a quote is not closed".to_owned())
}

fn first_word(text: &str) -> &str {
    text.split(char::is_whitespace).next().unwrap_or_default()
}
