//! A test in words, for `explain`: what was looked at, what it was, and how that stands to the rule. Values that may be
//! secrets are counted, never shown. The checker names sources so too. No worker comes
//! here.

use super::{Condition, Operator, Source, Test};

/// Longest part of a value that is shown, and of one item of a list.
const VALUE_CHARS_MAX: usize = 64;
const ITEM_CHARS_MAX: usize = 32;
/// Items of a list that are shown.
const ITEMS_MAX: usize = 8;
/// A list above this is only counted: it would be walked to find the first items.
const SORTED_MAX: usize = 10_000;
/// Headers that say who somebody is, or let him in.
const SECRET_HEADERS: [&str; 6] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token"];

impl Condition {
    /// Where a test stands in this condition: `.all[1].not`; `None`: not in it.
    pub(crate) fn path_of(&self, wanted: &Test) -> Option<String> {
        let in_list = |word: &str, list: &[Condition]| {
            list.iter().enumerate().find_map(|(at, one)| Some(format!(".{word}[{at}]{}", one.path_of(wanted)?)))
        };
        match self {
            Condition::All(all) => in_list("all", all),
            Condition::Any(any) => in_list("any", any),
            Condition::Not(not) => Some(format!(".not{}", not.path_of(wanted)?)),
            Condition::Test(test) => std::ptr::eq(&raw const **test, wanted).then(String::new),
        }
    }
}

impl Test {
    /// `header x-user-id is "101", not in [100, 120]`
    pub(crate) fn in_words(&self, value: Option<&[u8]>, holds: bool) -> String {
        let answer = holds != self.negate;
        let wanted = match (&self.operator, value) {
            // The two say all of it.
            (Operator::Present(_), _) => String::new(),
            (_, Some(_)) if self.source.is_secret() => {
                format!(", {}", if answer { "as the rule wants it" } else { "not as the rule wants it" })
            }
            (operator, _) => format!(", {}", operator.in_words(answer)),
        };
        let negate = match (self.negate, holds) {
            (false, _) => "",
            (true, true) => " (negate: holds)",
            (true, false) => " (negate: does not hold)",
        };
        let folded = if self.ignore_case { ", case ignored" } else { "" };
        format!("{}{wanted}{folded}{negate}", self.source.is_value(value))
    }
}

impl Source {
    /// `header x-user-id is "101"`
    pub(crate) fn is_value(&self, value: Option<&[u8]>) -> String {
        match value {
            None => format!("{} is absent", self.in_words()),
            Some(value) if self.is_secret() => {
                format!("{} is there ({} bytes, not shown)", self.in_words(), value.len())
            }
            Some(value) => format!("{} is {}", self.in_words(), quoted(value, VALUE_CHARS_MAX)),
        }
    }

    pub(super) fn in_words(&self) -> String {
        match self {
            Source::Header(name) => format!("header {name}"),
            Source::Cookie(name) => format!("cookie {name}"),
            Source::Query(name) => format!("query {name}"),
            Source::JwtClaim(name) => format!("JWT claim {name}"),
            Source::Path => "path".to_owned(),
            Source::Method => "method".to_owned(),
            Source::Host => "host".to_owned(),
            Source::GrpcMethod => "gRPC method".to_owned(),
            Source::CallerService => "source service".to_owned(),
            Source::CallerNamespace => "source namespace".to_owned(),
            Source::CallerTag => "source tag".to_owned(),
            Source::CallerIp => "source address".to_owned(),
        }
    }

    fn is_secret(&self) -> bool {
        match self {
            Source::Header(name) => SECRET_HEADERS.contains(&name.as_str()),
            Source::Cookie(_) | Source::JwtClaim(_) => true,
            Source::Query(_)
            | Source::Path
            | Source::Method
            | Source::Host
            | Source::GrpcMethod
            | Source::CallerService
            | Source::CallerNamespace
            | Source::CallerTag
            | Source::CallerIp => false,
        }
    }
}

impl Operator {
    /// What a value was found to be.
    fn in_words(&self, answer: bool) -> String {
        let not = if answer { "" } else { "not " };
        match self {
            Operator::Exact(wanted) => format!("{not}equal to {}", quoted(wanted, VALUE_CHARS_MAX)),
            Operator::Prefix(wanted) => format!("{not}beginning with {}", quoted(wanted, VALUE_CHARS_MAX)),
            Operator::Suffix(wanted) => format!("{not}ending with {}", quoted(wanted, VALUE_CHARS_MAX)),
            Operator::Regex(pattern) => format!("{not}matching {}", shortened(pattern.as_str(), VALUE_CHARS_MAX)),
            Operator::In(set) if set.len() > SORTED_MAX => format!("{not}in a list of {} values", set.len()),
            Operator::In(set) => {
                let mut items: Vec<&[u8]> = set.iter().map(|item| &**item).collect();
                // Numbers in their order, without reading them.
                items.sort_unstable_by_key(|item| (item.len(), *item));
                format!("{not}in {}", list(items.into_iter().map(|item| bare(item, ITEM_CHARS_MAX)), set.len()))
            }
            Operator::Networks(networks) => {
                let items = networks.iter().map(|network| format!("{}/{}", network.address, network.bits));
                format!("{not}in {}", list(items, networks.len()))
            }
            Operator::Present(_) => String::new(),
            Operator::Range(i64::MIN, max) => format!("{not}a number up to {max}"),
            Operator::Range(min, i64::MAX) => format!("{not}a number from {min}"),
            Operator::Range(min, max) => format!("{not}a number from {min} to {max}"),
            Operator::Remainder(divisor, remainders) => {
                let items = remainders.iter().map(ToString::to_string);
                format!("{not}a number that mod {divisor} is in {}", list(items, remainders.len()))
            }
        }
    }
}

/// `[100, 120, ... 99,998 more]`
fn list(items: impl Iterator<Item = String>, count: usize) -> String {
    let mut shown: Vec<String> = items.take(ITEMS_MAX).collect();
    if count > shown.len() {
        shown.push(format!("... {} more", count - shown.len()));
    }
    format!("[{}]", shown.join(", "))
}

/// A value in quotes, cut where it is long.
pub(crate) fn quoted(value: &[u8], chars_max: usize) -> String {
    format!("{:?}", shortened(&String::from_utf8_lossy(value), chars_max))
}

/// Without quotes where nothing could be misread.
fn bare(value: &[u8], chars_max: usize) -> String {
    let is_plain = !value.is_empty() && value.iter().all(|b| b.is_ascii_alphanumeric() || b"._:/@+-".contains(b));
    if is_plain { shortened(&String::from_utf8_lossy(value), chars_max) } else { quoted(value, chars_max) }
}

fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
