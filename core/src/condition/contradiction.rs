//! Can a rule match any request at all? What is told is certain, what is certain is not always told: the search has a
//! budget, and what one source says of another is not looked at. For the checker; no request comes here.

use std::net::IpAddr;

use laneway_proto::contract::TAG_BYTES_MAX;
use laneway_proto::routing;

use super::{Condition, Network, Operator, Source, Test, split_authority};
use crate::carry::trim;
use crate::pattern::Caches;
use crate::tag::Tag;

/// Tests that the search tries; after these a rule counts as one that may match.
const STEPS_MAX: usize = 500_000;
/// Integers of a range that are tried one by one.
const INTEGERS_MAX: i128 = 10_000;

const TOO_MUCH: &str = "cannot be all that is asked of it";

/// Why no request can match, `None` if one may. `keys`: one of these must be there, if any is given.
pub(crate) fn contradiction(condition: Option<(&Condition, &routing::Condition)>, keys: &[Source]) -> Option<String> {
    let of_key = |source: &Source| Test {
        source: source.clone(),
        operator: Operator::Present(true),
        negate: false,
        ignore_case: false,
    };
    let keys: Vec<Test> = keys.iter().map(of_key).collect();
    let mut todo = Vec::new();
    if !keys.is_empty() {
        todo.push(Part::Keys(&keys));
    }
    todo.extend(condition.map(|(condition, from)| Part::Condition { condition, from, wanted: true }));
    let mut search = Search { held: Vec::new(), steps: 0, caches: Caches::default(), why: None };
    if search.may_hold(todo) { None } else { search.why }
}

/// A part of the rule that has to come out in one way.
#[derive(Clone, Copy)]
enum Part<'c> {
    /// One of them.
    Keys(&'c [Test]),
    Condition {
        condition: &'c Condition,
        /// The same as it was written: what tells whether two tests are one.
        from: &'c routing::Condition,
        wanted: bool,
    },
}

/// A test and the answer, before `negate`, that it has to give.
#[derive(Clone, Copy)]
struct Literal<'c> {
    test: &'c Test,
    from: Option<&'c routing::Condition>,
    wanted: bool,
}

struct Search<'c> {
    held: Vec<Literal<'c>>,
    steps: usize,
    caches: Caches,
    /// The first that was found.
    why: Option<String>,
}

impl<'c> Search<'c> {
    /// Can all of `todo` come out as wanted, together with what is held?
    fn may_hold(&mut self, mut todo: Vec<Part<'c>>) -> bool {
        let held = self.held.len();
        let mut choices = Vec::new();
        while let Some(part) = todo.pop() {
            self.steps += 1;
            let Part::Condition { condition, from, wanted } = part else {
                choices.push(part);
                continue;
            };
            match (condition, wanted) {
                (Condition::Test(test), _) => {
                    self.held.push(Literal { test, from: Some(from), wanted: wanted != test.negate });
                    if !self.agree(&test.source) {
                        self.held.truncate(held);
                        return false;
                    }
                }
                (Condition::All(_), true) | (Condition::Any(_), false) | (Condition::Not(_), _) => {
                    todo.extend(children(condition, from, wanted));
                }
                (Condition::All(_), false) | (Condition::Any(_), true) => choices.push(part),
            }
        }
        let may_hold = match choices.pop() {
            None => true,
            Some(Part::Keys(keys)) => keys.iter().any(|test| {
                self.held.push(Literal { test, from: None, wanted: true });
                let may_hold = self.agree(&test.source) && self.may_hold(choices.clone());
                self.held.pop();
                may_hold
            }),
            Some(Part::Condition { condition, from, wanted }) => children(condition, from, wanted).any(|one| {
                let mut todo = choices.clone();
                todo.push(one);
                self.may_hold(todo)
            }),
        };
        self.held.truncate(held);
        may_hold || self.steps > STEPS_MAX
    }

    /// Is there a value of this source, or its absence, that all tests held of it agree on?
    fn agree(&mut self, source: &Source) -> bool {
        let literals: Vec<Literal<'c>> = self.held.iter().filter(|l| l.test.source == *source).copied().collect();
        let why = self.disagreement(source, &literals);
        if let Some(why) = why.filter(|_| self.steps <= STEPS_MAX) {
            self.why.get_or_insert_with(|| format!("no request can match: {} {why}", source.in_words()));
            return false;
        }
        true
    }

    fn disagreement(&mut self, source: &Source, literals: &[Literal<'c>]) -> Option<&'static str> {
        let is_fine_without = |l: &Literal<'_>| match l.test.operator {
            Operator::Present(present) => present != l.wanted,
            _ => !l.wanted,
        };
        if literals.iter().all(is_fine_without) {
            return None;
        }
        // From here on the value is there.
        let (presence, tests): (Vec<Literal<'_>>, Vec<Literal<'_>>) =
            literals.iter().partition(|l| matches!(l.test.operator, Operator::Present(_)));
        if presence.iter().any(is_fine_without) {
            return Some(TOO_MUCH);
        }
        let positive: Vec<Literal<'_>> = tests.iter().filter(|l| l.wanted).copied().collect();
        let negative: Vec<Literal<'_>> = tests.iter().filter(|l| !l.wanted).copied().collect();
        if positive.iter().any(|p| negative.iter().any(|n| is_same(p.from, n.from))) {
            return Some(TOO_MUCH);
        }
        self.of_values(source, &positive, &tests)
            .or_else(|| of_ends(source, &positive, &negative))
            .or_else(|| self.of_integers(&positive, &tests))
            .or_else(|| self.of_networks(&positive, &negative))
    }

    /// Where a test leaves only some values: is it one of them?
    fn of_values(&mut self, source: &Source, positive: &[Literal<'_>], tests: &[Literal<'_>]) -> Option<&'static str> {
        let count = |test: &Test| match &test.operator {
            Operator::Exact(_) => Some(1),
            Operator::In(values) => Some(values.len()),
            _ => None,
        };
        let (_, finite) =
            positive.iter().filter_map(|l| Some((count(l.test)?, l.test))).min_by_key(|(count, _)| *count)?;
        let values: Box<dyn Iterator<Item = &[u8]>> = match &finite.operator {
            Operator::Exact(value) => Box::new(std::iter::once(value.as_slice())),
            Operator::In(values) => Box::new(values.iter().map(|value| &**value)),
            _ => return None,
        };
        let ignore_case = finite.ignore_case;
        let mut why = TOO_MUCH;
        let mut is_spelled_right = false;
        for value in values {
            self.steps += 1 + tests.len();
            if self.steps > STEPS_MAX {
                return None;
            }
            match never_whole(source, value, ignore_case) {
                Some(never) if !is_spelled_right => why = never,
                Some(_) => {}
                None => {
                    is_spelled_right = true;
                    why = TOO_MUCH;
                    if tests.iter().all(|test| self.may_agree(test, value, ignore_case)) {
                        return None;
                    }
                }
            }
        }
        Some(why)
    }

    /// `ignore_case`: may the value be any that differs from `value` in the case of letters alone?
    fn may_agree(&mut self, literal: &Literal<'_>, value: &[u8], ignore_case: bool) -> bool {
        let Literal { test, wanted, .. } = *literal;
        let is_integer = matches!(test.operator, Operator::Range(..) | Operator::Remainder(..));
        let is_regex = matches!(test.operator, Operator::Regex(_));
        let is_one = !ignore_case || !value.iter().any(u8::is_ascii_alphabetic);
        if is_one || is_integer || (test.ignore_case && !is_regex) {
            return test.matches(value, &mut Vec::new(), &mut self.caches) == wanted;
        }
        match &test.operator {
            Operator::Exact(other) => !wanted || value.eq_ignore_ascii_case(other),
            Operator::Prefix(other) => !wanted || starts(value, other, true),
            Operator::Suffix(other) => !wanted || ends(value, other, true),
            _ => true,
        }
    }

    fn of_integers(&mut self, positive: &[Literal<'_>], tests: &[Literal<'_>]) -> Option<&'static str> {
        let (mut min, mut max, mut is_integer) = (i64::MIN, i64::MAX, false);
        for literal in positive {
            match &literal.test.operator {
                Operator::Range(low, high) => {
                    (min, max, is_integer) = (min.max(*low), max.min(*high), true);
                }
                Operator::Remainder(..) => is_integer = true,
                _ => {}
            }
        }
        let count = i128::from(max) - i128::from(min) + 1;
        if !is_integer || count > INTEGERS_MAX {
            return None;
        }
        let is_any_right = (min..=max).any(|value| {
            self.steps += tests.len();
            tests.iter().all(|literal| match &literal.test.operator {
                Operator::Range(low, high) => (*low..=*high).contains(&value) == literal.wanted,
                Operator::Remainder(divisor, remainders) => {
                    remainders.contains(&value.rem_euclid(*divisor)) == literal.wanted
                }
                _ => true,
            })
        });
        (!is_any_right).then_some(TOO_MUCH)
    }

    fn of_networks(&mut self, positive: &[Literal<'c>], negative: &[Literal<'c>]) -> Option<&'static str> {
        let networks = |literal: &Literal<'c>| match &literal.test.operator {
            Operator::Networks(networks) => Some(networks.as_slice()),
            _ => None,
        };
        let [inside, outside] = [positive, negative].map(|l| l.iter().filter_map(networks).collect::<Vec<_>>());
        for (at, some) in inside.iter().enumerate() {
            for others in &inside[at + 1..] {
                self.steps += some.len() * others.len();
                if self.steps <= STEPS_MAX && !some.iter().any(|one| others.iter().any(|other| one.meets(other))) {
                    return Some(TOO_MUCH);
                }
            }
            for others in &outside {
                self.steps += some.len() * others.len();
                if self.steps <= STEPS_MAX && some.iter().all(|one| others.iter().any(|other| other.covers(one))) {
                    return Some(TOO_MUCH);
                }
            }
        }
        None
    }
}

impl Network {
    fn covers(&self, other: &Network) -> bool {
        let is_mapped = matches!(other.address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
        !is_mapped && self.bits <= other.bits && self.contains(other.address)
    }

    fn meets(&self, other: &Network) -> bool {
        self.covers(other) || other.covers(self)
    }
}

fn children<'c>(
    condition: &'c Condition,
    from: &'c routing::Condition,
    wanted: bool,
) -> impl Iterator<Item = Part<'c>> {
    let (parts, froms, wanted): (&[Condition], &[routing::Condition], bool) = match (condition, from.not.as_deref()) {
        (Condition::All(parts), _) => (parts, &from.all, wanted),
        (Condition::Any(parts), _) => (parts, &from.any, wanted),
        (Condition::Not(inner), Some(not)) => (std::slice::from_ref(inner), std::slice::from_ref(not), !wanted),
        (Condition::Not(_) | Condition::Test(_), _) => (&[], &[], wanted),
    };
    parts.iter().zip(froms).map(move |(condition, from)| Part::Condition { condition, from, wanted })
}

/// Do two tests of one source ask the same?
fn is_same(one: Option<&routing::Condition>, other: Option<&routing::Condition>) -> bool {
    one.zip(other).is_some_and(|(one, other)| {
        one.operator == other.operator && one.r#in == other.r#in && one.ignore_case == other.ignore_case
    })
}

/// What a value begins or ends with.
fn of_ends(source: &Source, positive: &[Literal<'_>], negative: &[Literal<'_>]) -> Option<&'static str> {
    type Fits = fn(&[u8], &[u8], bool) -> bool;
    let prefix = |l: &Literal<'_>| match &l.test.operator {
        Operator::Prefix(text) => Some((text.clone(), l.test.ignore_case)),
        _ => None,
    };
    let suffix = |l: &Literal<'_>| match &l.test.operator {
        Operator::Suffix(text) => Some((text.clone(), l.test.ignore_case)),
        _ => None,
    };
    let prefixes: [Vec<_>; 2] = [positive, negative].map(|l| l.iter().filter_map(prefix).collect());
    let suffixes: [Vec<_>; 2] = [positive, negative].map(|l| l.iter().filter_map(suffix).collect());
    for ([asked, excluded], fits, never) in [
        (&prefixes, starts as Fits, never_prefix as fn(&Source, &[u8], bool) -> Option<&'static str>),
        (&suffixes, ends as Fits, never_suffix as fn(&Source, &[u8], bool) -> Option<&'static str>),
    ] {
        for (at, (text, ignore_case)) in asked.iter().enumerate() {
            if let Some(why) = never(source, text, *ignore_case) {
                return Some(why);
            }
            for (other, other_ignores) in &asked[at + 1..] {
                let ignore_case = *ignore_case || *other_ignores;
                if !fits(text, other, ignore_case) && !fits(other, text, ignore_case) {
                    return Some(TOO_MUCH);
                }
            }
            for (other, other_ignores) in excluded {
                // Whatever has this end has the other end too.
                if (*other_ignores || !ignore_case) && fits(text, other, *other_ignores) {
                    return Some(TOO_MUCH);
                }
            }
        }
    }
    None
}

fn starts(value: &[u8], with: &[u8], ignore_case: bool) -> bool {
    value.get(..with.len()).is_some_and(|head| is_equal(head, with, ignore_case))
}

fn ends(value: &[u8], with: &[u8], ignore_case: bool) -> bool {
    value.len() >= with.len() && is_equal(&value[value.len() - with.len()..], with, ignore_case)
}

fn is_equal(one: &[u8], other: &[u8], ignore_case: bool) -> bool {
    if ignore_case { one.eq_ignore_ascii_case(other) } else { one == other }
}

const NO_BLANKS: &str = "is compared without blanks at its ends";
const NO_SEMICOLON: &str = "ends where a `;` stands";
const A_PATH: &str = "begins with / and has neither query nor fragment";
const NO_DOTS: &str = "is compared without dot segments";
const A_HOST: &str = "is compared in lower case and without its port";
const A_TAG: &str = "is a tag, or the empty text for baseline";
const AN_ID: &str = "is an id, in which no / stands";

/// Why a source never has this value.
fn never_whole(source: &Source, value: &[u8], ignore_case: bool) -> Option<&'static str> {
    let is_host = |value: &[u8]| std::str::from_utf8(value).is_ok_and(|value| split_authority(value).0 == value);
    match source {
        Source::Header(_) | Source::Cookie(_) if trim(value) != value => Some(NO_BLANKS),
        Source::Path if value == b"*" => None,
        Source::Path if value.first() != Some(&b'/') => Some(A_PATH),
        Source::Path if value.split(|&b| b == b'/').any(|segment| segment == b"." || segment == b"..") => Some(NO_DOTS),
        Source::Host if !is_host(value) => Some(A_HOST),
        Source::CallerTag if !value.is_empty() && Tag::parse(&value.to_ascii_lowercase()).is_err() => Some(A_TAG),
        _ => never_inside(source, value, ignore_case),
    }
}

fn never_prefix(source: &Source, prefix: &[u8], ignore_case: bool) -> Option<&'static str> {
    match source {
        Source::Header(_) | Source::Cookie(_) if matches!(prefix.first(), Some(b' ' | b'\t')) => Some(NO_BLANKS),
        Source::Path if !matches!(prefix.first(), None | Some(b'/')) && prefix != b"*" => Some(A_PATH),
        _ => never_inside(source, prefix, ignore_case),
    }
}

fn never_suffix(source: &Source, suffix: &[u8], ignore_case: bool) -> Option<&'static str> {
    match source {
        Source::Header(_) | Source::Cookie(_) if matches!(suffix.last(), Some(b' ' | b'\t')) => Some(NO_BLANKS),
        _ => never_inside(source, suffix, ignore_case),
    }
}

/// Why a source never has a value in which this text stands.
fn never_inside(source: &Source, text: &[u8], ignore_case: bool) -> Option<&'static str> {
    let is_of_tag =
        |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-' || (ignore_case && b.is_ascii_uppercase());
    match source {
        Source::Cookie(_) if text.contains(&b';') => Some(NO_SEMICOLON),
        Source::Path if text.iter().any(|b| matches!(b, b'?' | b'#')) => Some(A_PATH),
        Source::Host if !ignore_case && text.iter().any(u8::is_ascii_uppercase) => Some(A_HOST),
        Source::CallerTag if text.len() > TAG_BYTES_MAX || !text.iter().all(is_of_tag) => Some(A_TAG),
        Source::CallerService | Source::CallerNamespace if text.contains(&b'/') => Some(AN_ID),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
