//! Conditions of rules: compiled once, evaluated for each request without an allocation. Entry rules, service policies,
//! check and decode all come here, so that what is accepted and what is evaluated are one thing.

use std::collections::HashSet;
use std::net::IpAddr;

use laneway_proto::contract::{CONDITION_DEPTH_MAX, CONDITION_TESTS_MAX, IN_BYTES_MAX, IN_VALUES_MAX};
use laneway_proto::routing::condition as wire;
use laneway_proto::routing::{self, Attribute, StickyKey, sticky_key};

use crate::facts::Facts;
use crate::pattern::{Caches, Pattern};
use crate::witness::{Step, Witness};
use claim::Claims;

mod claim;
mod contradiction;
mod value;
mod words;

pub(crate) use contradiction::contradiction;
pub(crate) use value::{form_decode, split_authority};

/// Why a field is refused. `field` is a path with proto names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub field: String,
    /// One of the reasons of `laneway.discovery.v1.ResourceError`.
    pub reason: &'static str,
    pub message: String,
    /// What is allowed, or what to do; may be empty.
    pub help: String,
    /// The work for this field has not come.
    pub is_unsupported: bool,
}

impl Refusal {
    pub(crate) fn new(field: &str, reason: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { field: field.to_owned(), reason, message: message.into(), help: String::new(), is_unsupported: false }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Refusal {
        self.help = help.into();
        self
    }

    pub(crate) fn unsupported(field: &str, what: &str) -> Refusal {
        Refusal {
            is_unsupported: true,
            ..Refusal::new(field, "INVALID_CONDITION", format!("{what} is not supported yet"))
        }
    }
}

/// Buffers that a value is decoded into, and caches of expressions. One for each worker.
pub(crate) struct Buffers {
    value: Vec<u8>,
    folded: Vec<u8>,
    claims: Claims,
    caches: Caches,
}

/// What one value may take before a buffer grows: longer than any head that the request gate lets through.
const BUFFER_BYTES: usize = 64 << 10;

impl Buffers {
    pub(crate) fn new() -> Buffers {
        Buffers {
            value: Vec::with_capacity(BUFFER_BYTES),
            folded: Vec::with_capacity(BUFFER_BYTES),
            claims: Claims::new(),
            caches: Caches::default(),
        }
    }

    /// The value of a source.
    pub(crate) fn read<'b>(&'b mut self, source: &Source, facts: &Facts<'b>) -> Option<&'b [u8]> {
        source.read(facts, &mut self.value, &mut self.claims)
    }
}

/// A compiled condition.
pub(crate) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Test(Box<Test>),
}

/// One value, one operator.
pub(crate) struct Test {
    source: Source,
    operator: Operator,
    negate: bool,
    ignore_case: bool,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Lower case.
    Header(String),
    Cookie(String),
    Query(String),
    /// Of a token that nobody has verified; see [`claim`].
    JwtClaim(String),
    Path,
    Method,
    Host,
    GrpcMethod,
    CallerService,
    CallerNamespace,
    CallerTag,
    CallerIp,
}

enum Operator {
    Exact(Vec<u8>),
    Prefix(Vec<u8>),
    Suffix(Vec<u8>),
    Regex(Pattern),
    In(HashSet<Box<[u8]>, foldhash::fast::RandomState>),
    Networks(Vec<Network>),
    Present(bool),
    /// Both ends belong to it.
    Range(i64, i64),
    Remainder(i64, Vec<i64>),
}

/// An address, or a CIDR block.
#[derive(Clone, Copy)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl Condition {
    /// Compiles a condition that stands at `field`; every refusal is added, `None` if there was any.
    pub(crate) fn compile(from: &routing::Condition, field: &str, refusals: &mut Vec<Refusal>) -> Option<Condition> {
        let mut budget = Budget { tests: 0, values: 0, bytes: 0 };
        let before = refusals.len();
        let compiled = compile(from, field, 1, &mut budget, refusals);
        if budget.tests > CONDITION_TESTS_MAX {
            let message = format!("a condition holds at most {CONDITION_TESTS_MAX} tests, this one {}", budget.tests);
            refusals.push(Refusal::new(field, "TOO_LARGE", message));
        }
        if budget.values > IN_VALUES_MAX || budget.bytes > IN_BYTES_MAX {
            let message = format!("`in` holds at most {IN_VALUES_MAX} values and {IN_BYTES_MAX} bytes in one rule");
            refusals.push(Refusal::new(field, "TOO_LARGE", message));
        }
        compiled.filter(|_| refusals.len() == before)
    }

    pub(crate) fn asks_who_calls(&self) -> bool {
        match self {
            Condition::All(parts) | Condition::Any(parts) => parts.iter().any(Condition::asks_who_calls),
            Condition::Not(not) => not.asks_who_calls(),
            Condition::Test(test) => test.source.is_who_calls(),
        }
    }

    pub(crate) fn holds<'s>(
        &'s self,
        facts: &Facts<'_>,
        buffers: &mut Buffers,
        witness: &mut impl Witness<'s>,
    ) -> bool {
        match self {
            Condition::All(all) => all.iter().all(|one| one.holds(facts, buffers, witness)),
            Condition::Any(any) => any.iter().any(|one| one.holds(facts, buffers, witness)),
            Condition::Not(not) => !not.holds(facts, buffers, witness),
            Condition::Test(test) => test.holds(facts, buffers, witness),
        }
    }
}

impl Test {
    fn holds<'s>(&'s self, facts: &Facts<'_>, buffers: &mut Buffers, witness: &mut impl Witness<'s>) -> bool {
        let holds = self.answer(facts, buffers) != self.negate;
        witness.step(|| Step::Test { test: self, value: buffers.read(&self.source, facts).map(<[u8]>::to_vec), holds });
        holds
    }

    #[inline(always)]
    fn answer(&self, facts: &Facts<'_>, buffers: &mut Buffers) -> bool {
        let Buffers { value: buffer, folded, claims, caches } = buffers;
        if let Operator::Networks(networks) = &self.operator {
            return facts.source.address.is_some_and(|address| networks.iter().any(|n| n.contains(address)));
        }
        let value = match (&self.operator, &self.source) {
            (Operator::Present(wanted), Source::CallerIp) => return facts.source.address.is_some() == *wanted,
            (Operator::Present(wanted), source) => return source.read(facts, buffer, claims).is_some() == *wanted,
            (_, source) => source.read(facts, buffer, claims),
        };
        value.is_some_and(|value| self.matches(value, folded, caches))
    }

    /// What a value that is there comes to.
    fn matches(&self, value: &[u8], folded: &mut Vec<u8>, caches: &mut Caches) -> bool {
        match &self.operator {
            Operator::Exact(wanted) => self.same(value, wanted),
            Operator::Prefix(wanted) => value.get(..wanted.len()).is_some_and(|head| self.same(head, wanted)),
            Operator::Suffix(wanted) => {
                value.len() >= wanted.len() && self.same(&value[value.len() - wanted.len()..], wanted)
            }
            Operator::Regex(pattern) => pattern.is_match(value, caches),
            Operator::In(set) if self.ignore_case => {
                folded.clear();
                folded.extend(value.iter().map(u8::to_ascii_lowercase));
                set.contains(folded.as_slice())
            }
            Operator::In(set) => set.contains(value),
            Operator::Range(min, max) => integer(value).is_some_and(|value| (*min..=*max).contains(&value)),
            Operator::Remainder(divisor, remainders) => {
                integer(value).is_some_and(|value| remainders.contains(&value.rem_euclid(*divisor)))
            }
            Operator::Present(_) | Operator::Networks(_) => false,
        }
    }

    fn same(&self, value: &[u8], wanted: &[u8]) -> bool {
        if self.ignore_case { value.eq_ignore_ascii_case(wanted) } else { value == wanted }
    }
}

impl Source {
    fn read<'b>(&self, facts: &Facts<'b>, buffer: &'b mut Vec<u8>, claims: &'b mut Claims) -> Option<&'b [u8]> {
        value::read(self, facts, buffer, claims)
    }

    /// Inbound it takes a look-up: the connection tells the address alone.
    pub(crate) fn is_who_calls(&self) -> bool {
        matches!(self, Source::CallerService | Source::CallerNamespace | Source::CallerTag)
    }

    pub(crate) fn of_key(from: &StickyKey, field: &str) -> Result<Source, Refusal> {
        use sticky_key::Source as Key;
        match &from.source {
            None => Err(Refusal::new(field, "MISSING_FIELD", "a key names one source").help(SOURCES)),
            Some(Key::Header(name)) => header(name, field),
            Some(Key::Cookie(name)) => named(name, Source::Cookie, &format!("{field}.cookie")),
            Some(Key::Query(name)) => named(name, Source::Query, &format!("{field}.query")),
            Some(Key::Attachment(_)) => Err(Refusal::unsupported(&format!("{field}.attachment"), "attachment")),
            Some(Key::JwtClaim(name)) => named(name, Source::JwtClaim, &format!("{field}.jwt_claim")),
            Some(Key::Property(_)) => Err(Refusal::unsupported(&format!("{field}.property"), "property")),
            Some(Key::Attribute(value)) => attribute(*value, &format!("{field}.attribute")),
        }
    }
}

impl Network {
    fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        match address {
            // Callers are compared as IPv4 where they are.
            IpAddr::V6(mapped) if (96..=width).contains(&bits) => Some(match mapped.to_ipv4_mapped() {
                Some(address) => Network { address: address.into(), bits: bits - 96 },
                None => Network { address, bits },
            }),
            _ => (bits <= width).then_some(Network { address, bits }),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(block), IpAddr::V4(one)) => {
                let differing = (u32::from(block) ^ u32::from(one)).leading_zeros();
                differing >= u32::from(self.bits)
            }
            (IpAddr::V6(block), IpAddr::V6(one)) => {
                let differing = (u128::from(block) ^ u128::from(one)).leading_zeros();
                differing >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

/// What a whole tree holds.
struct Budget {
    tests: usize,
    values: usize,
    bytes: usize,
}

const SOURCES: &str = "header, cookie, query, jwtClaim, or attribute: path, method, host, grpcMethod, sourceService, \
                       sourceNamespace, sourceTag, sourceIp";
const OPERATORS: &str = "exact, prefix, suffix, regex, in, present, gt, ge, lt, le, between, mod";

fn compile(
    from: &routing::Condition,
    field: &str,
    depth: usize,
    budget: &mut Budget,
    refusals: &mut Vec<Refusal>,
) -> Option<Condition> {
    if depth > CONDITION_DEPTH_MAX {
        let message = format!("conditions nest at most {CONDITION_DEPTH_MAX} levels deep");
        refusals.push(Refusal::new(field, "TOO_LARGE", message));
        return None;
    }
    let forms = usize::from(!from.all.is_empty())
        + usize::from(!from.any.is_empty())
        + usize::from(from.not.is_some())
        + usize::from(from.source.is_some());
    let has_operator = from.operator.is_some() || !from.r#in.is_empty();
    if forms != 1 {
        let message = match (forms, has_operator) {
            (0, true) => "an operator without a source",
            (0, false) => "an empty condition",
            _ => "more than one of a source, all, any and not",
        };
        let help = format!("one source ({SOURCES}) with one operator, or one of all, any, not");
        refusals.push(Refusal::new(field, "INVALID_CONDITION", message).help(help));
        return None;
    }
    if from.source.is_none() {
        if has_operator || from.negate || from.ignore_case {
            let message = "an operator, negate or ignoreCase stands beside all, any or not";
            refusals.push(Refusal::new(field, "INVALID_CONDITION", message).help("they belong to a source"));
            return None;
        }
        if let Some(not) = &from.not {
            let inner = compile(not, &format!("{field}.not"), depth + 1, budget, refusals)?;
            return Some(Condition::Not(Box::new(inner)));
        }
        let (word, list) = if from.all.is_empty() { ("any", &from.any) } else { ("all", &from.all) };
        let mut parts = Vec::with_capacity(list.len());
        for (index, one) in list.iter().enumerate() {
            parts.extend(compile(one, &format!("{field}.{word}[{index}]"), depth + 1, budget, refusals));
        }
        if parts.len() != list.len() {
            return None;
        }
        return Some(if from.all.is_empty() { Condition::Any(parts) } else { Condition::All(parts) });
    }
    budget.tests += 1;
    let source = source(from, field).map_err(|refusal| refusals.push(refusal)).ok();
    let operator = operator(from, source.as_ref(), field, budget).map_err(|refusal| refusals.push(refusal)).ok();
    let test = Test { source: source?, operator: operator?, negate: from.negate, ignore_case: from.ignore_case };
    Some(Condition::Test(Box::new(test)))
}

fn source(from: &routing::Condition, field: &str) -> Result<Source, Refusal> {
    use wire::Source as Wire;
    let unsupported = |name: &str, json: &str| Err(Refusal::unsupported(&format!("{field}.{name}"), json));
    match &from.source {
        None => Err(Refusal::new(field, "MISSING_FIELD", "a test names a source").help(SOURCES)),
        Some(Wire::Header(name)) => header(name, field),
        Some(Wire::Cookie(name)) => named(name, Source::Cookie, &format!("{field}.cookie")),
        Some(Wire::Query(name)) => named(name, Source::Query, &format!("{field}.query")),
        Some(Wire::Attachment(_)) => unsupported("attachment", "attachment"),
        Some(Wire::JwtClaim(name)) => named(name, Source::JwtClaim, &format!("{field}.jwt_claim")),
        Some(Wire::Property(_)) => unsupported("property", "property"),
        Some(Wire::Body(_)) => unsupported("body", "body"),
        Some(Wire::DubboArgument(_)) => unsupported("dubbo_argument", "dubboArgument"),
        Some(Wire::Attribute(value)) => attribute(*value, &format!("{field}.attribute")),
    }
}

fn header(name: &str, field: &str) -> Result<Source, Refusal> {
    if is_header_name(name) {
        return Ok(Source::Header(name.to_ascii_lowercase()));
    }
    let message = format!("{name:?} is no header name");
    Err(Refusal::new(&format!("{field}.header"), "INVALID_CONDITION", message))
}

/// A field name (RFC 9110 section 5.1), no pseudo-header.
pub(crate) fn is_header_name(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.len() <= 256 && name.bytes().all(token)
}

fn named(name: &str, make: impl Fn(String) -> Source, field: &str) -> Result<Source, Refusal> {
    if name.is_empty() {
        return Err(Refusal::new(field, "INVALID_CONDITION", "the name is empty"));
    }
    Ok(make(name.to_owned()))
}

fn attribute(value: i32, field: &str) -> Result<Source, Refusal> {
    let Ok(attribute) = Attribute::try_from(value) else {
        return Err(Refusal::new(field, "UNKNOWN_ENUM", format!("unknown attribute {value}")));
    };
    match attribute {
        Attribute::Path => Ok(Source::Path),
        Attribute::Method => Ok(Source::Method),
        Attribute::Host => Ok(Source::Host),
        Attribute::GrpcMethod => Ok(Source::GrpcMethod),
        Attribute::SourceService => Ok(Source::CallerService),
        Attribute::SourceNamespace => Ok(Source::CallerNamespace),
        Attribute::SourceTag => Ok(Source::CallerTag),
        Attribute::SourceIp => Ok(Source::CallerIp),
        Attribute::DubboService => Err(Refusal::unsupported(field, "dubboService")),
        Attribute::DubboMethod => Err(Refusal::unsupported(field, "dubboMethod")),
        Attribute::Topic => Err(Refusal::unsupported(field, "topic")),
        Attribute::Unspecified => Err(Refusal::new(field, "UNKNOWN_ENUM", "no attribute is given")),
    }
}

fn operator(
    from: &routing::Condition,
    source: Option<&Source>,
    field: &str,
    budget: &mut Budget,
) -> Result<Operator, Refusal> {
    use wire::Operator as Wire;
    let refuse = |message: &str| Err(Refusal::new(field, "INVALID_CONDITION", message).help(OPERATORS));
    if from.operator.is_some() && !from.r#in.is_empty() {
        return refuse("a test has one operator, not `in` and another");
    }
    if from.ignore_case && !is_case_operator(from) {
        return refuse("ignoreCase goes only with exact, prefix, suffix, regex and in");
    }
    if source == Some(&Source::CallerIp) && !matches!(from.operator, Some(Wire::Present(_))) {
        return networks(from, field, budget);
    }
    let bytes = |text: &String| text.as_bytes().to_vec();
    Ok(match &from.operator {
        None if from.r#in.is_empty() => return refuse("a test needs an operator"),
        None => {
            count(from, budget);
            let fold = |value: &String| match from.ignore_case {
                true => value.to_ascii_lowercase().into_bytes().into_boxed_slice(),
                false => value.as_bytes().into(),
            };
            Operator::In(from.r#in.iter().map(fold).collect())
        }
        Some(Wire::Exact(text)) => Operator::Exact(bytes(text)),
        Some(Wire::Prefix(text)) => Operator::Prefix(bytes(text)),
        Some(Wire::Suffix(text)) => Operator::Suffix(bytes(text)),
        Some(Wire::Regex(text)) => match Pattern::compile(text, from.ignore_case) {
            Ok(pattern) => Operator::Regex(pattern),
            Err(error) => {
                let help = "the syntax of Rust's regex crate, without look-around and back-references";
                return Err(Refusal::new(&format!("{field}.regex"), "INVALID_REGEX", error).help(help));
            }
        },
        Some(Wire::Present(wanted)) => Operator::Present(*wanted),
        Some(Wire::Gt(bound)) => match bound.checked_add(1) {
            Some(min) => Operator::Range(min, i64::MAX),
            None => return refuse("no integer is greater"),
        },
        Some(Wire::Ge(min)) => Operator::Range(*min, i64::MAX),
        Some(Wire::Lt(bound)) => match bound.checked_sub(1) {
            Some(max) => Operator::Range(i64::MIN, max),
            None => return refuse("no integer is less"),
        },
        Some(Wire::Le(max)) => Operator::Range(i64::MIN, *max),
        Some(Wire::Between(range)) if range.min <= range.max => Operator::Range(range.min, range.max),
        Some(Wire::Between(range)) => {
            let message = format!("min {} is above max {}", range.min, range.max);
            return Err(Refusal::new(&format!("{field}.between"), "OUT_OF_RANGE", message));
        }
        Some(Wire::Mod(modulo)) => {
            let field = format!("{field}.mod");
            if !(2..=1_000_000).contains(&modulo.divisor) {
                let message = format!("the divisor is 2 to 1000000, not {}", modulo.divisor);
                return Err(Refusal::new(&format!("{field}.divisor"), "OUT_OF_RANGE", message));
            }
            if modulo.remainders.is_empty() || modulo.remainders.iter().any(|r| *r >= modulo.divisor) {
                let message = format!("remainders are 0 to {}, one at least", modulo.divisor - 1);
                return Err(Refusal::new(&format!("{field}.remainders"), "OUT_OF_RANGE", message));
            }
            Operator::Remainder(modulo.divisor.into(), modulo.remainders.iter().map(|r| i64::from(*r)).collect())
        }
    })
}

fn is_case_operator(from: &routing::Condition) -> bool {
    use wire::Operator as Wire;
    match &from.operator {
        None => !from.r#in.is_empty(),
        Some(Wire::Exact(_) | Wire::Prefix(_) | Wire::Suffix(_) | Wire::Regex(_)) => true,
        Some(
            Wire::Present(_) | Wire::Gt(_) | Wire::Ge(_) | Wire::Lt(_) | Wire::Le(_) | Wire::Between(_) | Wire::Mod(_),
        ) => false,
    }
}

fn networks(from: &routing::Condition, field: &str, budget: &mut Budget) -> Result<Operator, Refusal> {
    count(from, budget);
    let (field, texts) = match &from.operator {
        Some(wire::Operator::Exact(text)) => (format!("{field}.exact"), std::slice::from_ref(text)),
        None if !from.r#in.is_empty() => (format!("{field}.in"), from.r#in.as_slice()),
        _ => {
            let message = "sourceIp is tested with exact, in or present";
            return Err(Refusal::new(field, "INVALID_CONDITION", message));
        }
    };
    let mut networks = Vec::with_capacity(texts.len());
    for text in texts {
        let Some(network) = Network::parse(text) else {
            let message = format!("{text:?} is neither an address nor a CIDR block");
            return Err(Refusal::new(&field, "INVALID_CONDITION", message));
        };
        networks.push(network);
    }
    Ok(Operator::Networks(networks))
}

fn count(from: &routing::Condition, budget: &mut Budget) {
    budget.values += from.r#in.len();
    budget.bytes += from.r#in.iter().map(String::len).sum::<usize>();
}

fn integer(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
