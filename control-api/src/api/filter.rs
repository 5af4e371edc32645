//! The filter of a list of revisions: AIP-160 as far as comparisons joined by AND. Pure.
//!
//! ```text
//!   principal = "user:alice" AND changes.name = "namespaces/shop/*" AND create_time >= "2030-01-01T00:00:00Z"
//! ```

use std::time::SystemTime;

use laneway_proto::admin::Revision;
use tonic::Status;

use super::errors;

#[cfg(test)]
mod tests;

/// Longest filter, in bytes.
const BYTES_MAX: usize = 4 << 10;
const FIELDS: &str = "principal, method, reason, create_time and changes.name";

/// What must hold, all of it.
#[derive(Debug)]
pub(super) struct Filter(Vec<Test>);

#[derive(Debug)]
enum Test {
    Text { field: Text, wanted: Pattern, is: bool },
    Time { operator: Operator, wanted: SystemTime },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Principal,
    Method,
    Reason,
    /// Of one change at least.
    ChangedName,
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
    /// Empty: everything.
    pub(super) fn parse(text: &str) -> Result<Filter, Status> {
        parse(text).map(Filter).map_err(|problem| errors::bad_field("filter", problem))
    }

    pub(super) fn takes(&self, revision: &Revision) -> bool {
        self.0.iter().all(|test| test.holds(revision))
    }
}

impl Test {
    fn holds(&self, revision: &Revision) -> bool {
        match self {
            Test::Time { operator, wanted } => {
                let time = revision.create_time.and_then(|time| SystemTime::try_from(time).ok());
                time.is_some_and(|time| match operator {
                    Operator::Equal | Operator::Has => time == *wanted,
                    Operator::NotEqual => time != *wanted,
                    Operator::Less => time < *wanted,
                    Operator::LessOrEqual => time <= *wanted,
                    Operator::Greater => time > *wanted,
                    Operator::GreaterOrEqual => time >= *wanted,
                })
            }
            Test::Text { field, wanted, is } => {
                let matches = match field {
                    Text::Principal => wanted.matches(&revision.principal),
                    Text::Method => wanted.matches(&revision.method),
                    Text::Reason => wanted.matches(&revision.reason),
                    Text::ChangedName => revision.changes.iter().any(|change| wanted.matches(&change.name)),
                };
                matches == *is
            }
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

fn parse(text: &str) -> Result<Vec<Test>, String> {
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
        let (test, after) = comparison(rest)?;
        tests.push(test);
        rest = after.trim_start();
    }
    Ok(tests)
}

/// One comparison, and what stands after it.
fn comparison(text: &str) -> Result<(Test, &str), String> {
    let end = text.find(|letter: char| !(letter.is_ascii_alphanumeric() || "_.".contains(letter)));
    let (field, rest) = text.split_at(end.unwrap_or(text.len()));
    if field.is_empty() || field == "NOT" {
        return Err(format!("a comparison begins with a field, which are {FIELDS}; not with {:?}", first_word(text)));
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
    Ok((test(field, operator, &value)?, rest))
}

fn test(field: &str, operator: Operator, value: &str) -> Result<Test, String> {
    let text = match field {
        "principal" => Text::Principal,
        "method" => Text::Method,
        "reason" => Text::Reason,
        "changes.name" => Text::ChangedName,
        "create_time" | "createTime" => {
            let time: prost_types::Timestamp =
                value.parse().map_err(|_| format!("{value:?} is no moment such as 2030-01-01T00:00:00Z"))?;
            let wanted = SystemTime::try_from(time).map_err(|_| format!("{value:?} is out of range"))?;
            return Ok(Test::Time { operator, wanted });
        }
        _ => return Err(format!("{field:?} cannot be filtered on; {FIELDS} can")),
    };
    let is = match operator {
        Operator::Equal => true,
        Operator::NotEqual => false,
        Operator::Has if text == Text::ChangedName => true,
        _ => return Err(format!("{field} is compared by = and !=, where * stands for anything")),
    };
    Ok(Test::Text { field: text, wanted: Pattern::of(value), is })
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
