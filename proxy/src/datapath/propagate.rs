//! Writes the tag of a request into its carriers, and takes every other trace of a tag out: exactly one value leaves.
//!
//! Looks at a head and says what is to change in it ([`Rewrite`]); whoever writes the head for the next hop does it. Which carriers,
//! and their names, is the group's choice; the names are made once for a snapshot.

use std::rc::Rc;

use laneway_core::context::Context;
use laneway_core::context::Passed;
use laneway_core::facts::{Headers, NameSet};
use laneway_core::hop::Hop;
use laneway_core::snapshot::Group;
use laneway_core::tag::RequestTag;
use laneway_core::trace::{Id, TRACE_HEADERS};
use laneway_proto::contract::{self, HOP_HEADER};
use laneway_proto::routing::{NewTrace, TagCarrier};

use crate::h1::fields::is_same_name;
use crate::journal::Journal;
use crate::journal::context::{SpanIds, TraceContext};

/// Of names, as far as they are told apart by it.
const LENGTHS: usize = 64;
const BAGGAGE: &str = "baggage";
/// Room for the lines that are usually added.
const ADDED_BYTES: usize = 128;
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// W3C Baggage section 3.3.2: what a propagator must at least carry, and so all that we may count on.
const BAGGAGE_BYTES_MAX: usize = 8192;
const BAGGAGE_MEMBERS_MAX: usize = 64;
/// W3C Trace Context section 3.3.1.1: members of tracestate.
const TRACESTATE_MEMBERS_MAX: usize = 32;

/// What a header is to lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Other,
    Tag,
    Alias,
    Baggage,
    Tracestate,
    /// `traceparent`.
    Parent,
    /// Of another kind of tracing, or what requests are correlated by.
    Trace,
    /// [`HOP_HEADER`].
    Hop,
    /// The tag header or an alias with `_` for `-`, which CGI and its heirs read as the same.
    LookAlike,
}

impl Role {
    /// A lane or trace header: no `Connection` option removes it.
    pub(crate) fn is_lane(self) -> bool {
        match self {
            Role::Tag | Role::Alias | Role::Baggage | Role::Tracestate | Role::Parent | Role::Trace => true,
            Role::Other | Role::Hop | Role::LookAlike => false,
        }
    }

    /// May not stand in trailers: trailers never count.
    pub(crate) fn is_tag(self) -> bool {
        match self {
            Role::Tag | Role::Alias | Role::Baggage | Role::Tracestate | Role::Hop | Role::LookAlike => true,
            Role::Other | Role::Parent | Role::Trace => false,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// Roles whose lines are dropped without a look at the other lines.
const ALWAYS_LOOKED_FOR: u16 = Role::Tag.bit() | Role::Alias.bit() | Role::Hop.bit() | Role::LookAlike.bit();

/// The group's header names.
pub(crate) struct Names {
    pub(crate) revision: u64,
    tag: String,
    aliases: Vec<String>,
    /// Of tag, aliases, baggage and tracestate.
    carriers: NameSet,
    /// Every name that plays a role; the first that fits has it.
    known: Vec<(String, Role)>,
    /// By length, the first letters of these, and so of their look-alikes: most names are told apart from all of them by it.
    letters: [u32; LENGTHS],
    /// The same of tag, aliases and hop alone.
    dropped_letters: [u32; LENGTHS],
    writes_header: bool,
    writes_baggage: bool,
    writes_tracestate: bool,
}

impl Names {
    pub(crate) fn new(revision: u64, group: &Group) -> Names {
        let writes = |carrier: TagCarrier| group.carriers.contains(&carrier);
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect::<Vec<_>>();
        let aliases = lower(&group.aliases);
        let tag = group.tag_header.to_ascii_lowercase();
        let own = [
            (tag.as_str(), Role::Tag),
            (BAGGAGE, Role::Baggage),
            (TRACESTATE, Role::Tracestate),
            (TRACEPARENT, Role::Parent),
            (HOP_HEADER, Role::Hop),
        ];
        let aliased = aliases.iter().map(|name| (name.as_str(), Role::Alias));
        let traced = TRACE_HEADERS.into_iter().chain(group.ids.names()).map(|name| (name, Role::Trace));
        let mut known: Vec<(String, Role)> = Vec::new();
        for (name, role) in own.into_iter().chain(aliased).chain(traced) {
            if known.iter().all(|(other, _)| other != name) {
                known.push((name.to_owned(), role));
            }
        }
        let (mut letters, mut dropped_letters) = ([0; LENGTHS], [0; LENGTHS]);
        for (name, role) in &known {
            let (length, letter) = (name.len() % LENGTHS, first_letter(name.as_bytes()));
            letters[length] |= letter;
            if ALWAYS_LOOKED_FOR & role.bit() != 0 {
                dropped_letters[length] |= letter;
            }
        }
        Names {
            revision,
            known,
            letters,
            dropped_letters,
            carriers: std::iter::once(&tag).chain(&aliases).map(String::as_str).chain([BAGGAGE, TRACESTATE]).collect(),
            tag,
            aliases,
            writes_header: writes(TagCarrier::Header),
            writes_baggage: writes(TagCarrier::Baggage),
            writes_tracestate: writes(TagCarrier::Tracestate),
        }
    }

    /// `name` in any case.
    #[inline]
    pub(crate) fn role(&self, name: &[u8]) -> Role {
        if self.letters[name.len() % LENGTHS] & first_letter(name) == 0 { Role::Other } else { self.known_role(name) }
    }

    /// Could it be one of those that are usually dropped?
    #[inline]
    fn may_be_dropped(&self, name: &[u8]) -> bool {
        self.dropped_letters[name.len() % LENGTHS] & first_letter(name) != 0
    }

    fn known_role(&self, name: &[u8]) -> Role {
        if let Some((_, role)) = self.known.iter().find(|(known, _)| is_same_name(name, known)) {
            return *role;
        }
        if name.contains(&b'_') && self.looks_like_tag(name) { Role::LookAlike } else { Role::Other }
    }

    fn looks_like_tag(&self, name: &[u8]) -> bool {
        let dashed: Vec<u8> = name.iter().map(|&byte| if byte == b'_' { b'-' } else { byte }).collect();
        std::iter::once(&self.tag).chain(&self.aliases).any(|known| is_same_name(&dashed, known))
    }
}

/// A bit for the first letter of a name, in any case.
fn first_letter(name: &[u8]) -> u32 {
    name.first().map_or(0, |byte| 1 << (byte & 0x1f))
}

/// What changes in the head of one request on its way.
pub(crate) struct Rewrite {
    names: Rc<Names>,
    dropped: u16,
    has_new_trace: bool,
    /// Field lines, each with its CRLF.
    added: Vec<u8>,
}

impl Rewrite {
    /// No change yet.
    pub(crate) fn new(names: Rc<Names>) -> Rewrite {
        Rewrite { names, dropped: Role::LookAlike.bit(), has_new_trace: false, added: Vec::new() }
    }

    /// Does the line of this name stay? `is_named`: a `Connection` option may name it; asked only where that counts.
    #[inline]
    pub(crate) fn keeps(&self, name: &[u8], is_named: impl Fn() -> bool) -> bool {
        if self.dropped & !ALWAYS_LOOKED_FOR == 0 && !self.names.may_be_dropped(name) && !is_named() {
            return true;
        }
        let role = self.names.role(name);
        self.dropped & role.bit() == 0 && (role.is_lane() || !is_named())
    }

    pub(crate) fn names(&self) -> &Rc<Names> {
        &self.names
    }

    /// The lines to add, each with its CRLF.
    pub(crate) fn added(&self) -> &[u8] {
        &self.added
    }

    pub(crate) fn drop_hop(&mut self) {
        self.dropped |= Role::Hop.bit();
    }

    /// Whatever stood there goes.
    pub(crate) fn add_hop(&mut self, hop: Hop) {
        self.drop_hop();
        self.add(HOP_HEADER, &[hop.wire()]);
    }

    /// Once: room for more beside what stands there would be a second allocation.
    fn make_room(&mut self) {
        if self.added.capacity() == 0 {
            self.added.reserve(ADDED_BYTES);
        }
    }

    /// `value` in parts.
    fn add<P: AsRef<[u8]>>(&mut self, name: &str, value: &[P]) {
        self.make_room();
        self.added.extend_from_slice(name.as_bytes());
        self.added.extend_from_slice(b": ");
        for part in value {
            self.added.extend_from_slice(part.as_ref());
        }
        self.added.extend_from_slice(b"\r\n");
    }
}

/// Makes `tag` the only tag of the request; `None` removes what there is. After [`trace`].
pub(crate) fn write(headers: &dyn Headers, names: &Names, tag: RequestTag, rewrite: &mut Rewrite) {
    let value = tag.wire();
    if value.is_none() && !headers.has_any(names.carriers) {
        return;
    }
    write_header(headers, names, value, rewrite);
    let baggage = value.filter(|_| names.writes_baggage);
    write_member(headers, Role::Baggage, &names.tag, baggage, rewrite);
    let has_parent = |rewrite: &Rewrite| rewrite.has_new_trace || headers.line(TRACEPARENT, 0).is_some();
    let state = value.filter(|_| names.writes_tracestate && has_parent(rewrite));
    write_member(headers, Role::Tracestate, contract::TRACESTATE_MEMBER, state, rewrite);
}

/// Adds the pass headers of the request that a call belongs to, where the application did not forward them.
pub(crate) fn pass(headers: &dyn Headers, context: &Context, rewrite: &mut Rewrite) {
    for Passed { name, value } in &context.passed {
        if headers.line(name, 0).is_none() {
            rewrite.add(name, &[value]);
        }
    }
}

/// Which trace a request goes on in.
#[derive(Default)]
pub(crate) struct Traced {
    pub(crate) trace: Option<u128>,
    /// That we record.
    pub(crate) span: Option<SpanIds>,
    /// Of a trace that began here: what the request is correlated by.
    pub(crate) new_id: Option<Id>,
}

/// Says in `traceparent` which trace the request goes on in. Where we record a span of it, the next hop is that span's child; the
/// trace stays the same, so that calls are recognised by it. `context`: what the request hands on, where it is one that may begin
/// a trace for that. `random` is 24 fresh bytes.
pub(crate) fn trace(
    headers: &dyn Headers,
    group: &Group,
    context: Option<&Context>,
    journal: &Journal,
    random: impl Fn() -> [u64; 3],
    rewrite: &mut Rewrite,
) -> Traced {
    if !journal.is_kept() {
        let begun = start_trace(headers, group, context, random, rewrite);
        return Traced { new_id: begun.and_then(id_of), ..Traced::default() };
    }
    let came = said_trace(headers);
    let has_other = || group.ids.say_a_trace(headers);
    if let Some(span) = journal.span(came, has_other, &random) {
        rewrite.dropped |= Role::Parent.bit();
        rewrite.add(TRACEPARENT, &[span.traceparent()]);
        rewrite.has_new_trace = true;
        let new_id = if span.parent.is_none() { id_of(span) } else { None };
        return Traced { trace: Some(span.trace), span: Some(span), new_id };
    }
    let begun = start_trace(headers, group, context, random, rewrite);
    Traced {
        trace: came.map(|came| came.trace).or(begun.map(|begun| begun.trace)),
        // Whoever goes on in it takes the parent that we said for a span of ours.
        span: begun.filter(|begun| journal.traces() && begun.is_sampled()),
        new_id: begun.and_then(id_of),
    }
}

/// The trace that a request says in `traceparent`. Several lines are none: who could say which one goes on?
pub(crate) fn said_trace(headers: &dyn Headers) -> Option<TraceContext> {
    let line = headers.line(TRACEPARENT, 0)?;
    headers.line(TRACEPARENT, 1).is_none().then(|| TraceContext::read(line))?
}

/// By its low half.
fn id_of(span: SpanIds) -> Option<Id> {
    Id::of_trace(span.trace as u64)
}

/// Gives a request that hands something on, and belongs to no trace of any known kind, a `traceparent`, so that an instrumented
/// application carries on one that we can recognise.
fn start_trace(
    headers: &dyn Headers,
    group: &Group,
    context: Option<&Context>,
    random: impl FnOnce() -> [u64; 3],
    rewrite: &mut Rewrite,
) -> Option<SpanIds> {
    let is_sampled = match group.new_trace {
        NewTrace::Sampled | NewTrace::Unspecified => true,
        NewTrace::Unsampled => false,
        NewTrace::Never => return None,
    };
    if context.is_none() || group.ids.say_a_trace(headers) {
        return None;
    }
    let [high, low, parent] = random();
    // An id of zeros is invalid (W3C Trace Context section 3.2.2.3).
    let trace = u128::from(high) << 64 | u128::from(low.max(1));
    let begun = SpanIds { flags: u8::from(is_sampled), ..SpanIds::root(trace, parent.max(1)) };
    rewrite.add(TRACEPARENT, &[begun.traceparent()]);
    rewrite.has_new_trace = true;
    Some(begun)
}

fn write_header(headers: &dyn Headers, names: &Names, value: Option<&str>, rewrite: &mut Rewrite) {
    rewrite.dropped |= Role::Alias.bit();
    let value = value.filter(|_| names.writes_header);
    let is_right = match (headers.line(&names.tag, 0), value) {
        (None, None) => true,
        (Some(line), Some(value)) => line == value.as_bytes() && headers.line(&names.tag, 1).is_none(),
        _ => false,
    };
    if is_right {
        return;
    }
    rewrite.dropped |= Role::Tag.bit();
    if let Some(value) = value {
        rewrite.add(&names.tag, &[value]);
    }
}

/// Makes `key=value` the only member of that key in a list header, and keeps the others as they are.
fn write_member(headers: &dyn Headers, role: Role, key: &str, value: Option<&str>, rewrite: &mut Rewrite) {
    let name = if role == Role::Baggage { BAGGAGE } else { TRACESTATE };
    if headers.line(name, 0).is_none() {
        if let Some(value) = value {
            rewrite.add(name, &[key, "=", value]);
        }
        return;
    }
    // More than is read as ours, never less: what stays could be believed further on.
    let is_own =
        |member: &[u8]| member.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii() == key.as_bytes();
    let (mut ours, mut is_right) = (0, false);
    for_each_member(headers, name, |member| {
        if is_own(member) {
            ours += 1;
            let theirs = member.strip_prefix(key.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
            is_right = theirs.is_some() && theirs == value.map(str::as_bytes);
        }
    });
    if (ours == 0 && value.is_none()) || (ours == 1 && is_right) {
        return;
    }
    let own = value.map(|value| [key, "=", value].concat().into_bytes());
    // Tracestate: the newest members stand first, so the oldest go. Baggage: the last that came go.
    let is_first = role == Role::Tracestate;
    let members_max = if is_first { TRACESTATE_MEMBERS_MAX } else { BAGGAGE_MEMBERS_MAX };
    let mut list = own.clone().filter(|_| is_first).unwrap_or_default();
    let (mut count, budget) = (usize::from(own.is_some()), own.as_ref().map_or(0, |own| own.len() + 1));
    for_each_member(headers, name, |member| {
        if !is_own(member) && count < members_max && list.len() + member.len() + budget < BAGGAGE_BYTES_MAX {
            push(&mut list, member);
            count += 1;
        }
    });
    if let Some(own) = own.filter(|_| !is_first) {
        push(&mut list, &own);
    }
    rewrite.dropped |= role.bit();
    if !list.is_empty() {
        rewrite.add(name, &[&list]);
    }
}

fn push(list: &mut Vec<u8>, member: &[u8]) {
    if !list.is_empty() {
        list.push(b',');
    }
    list.extend_from_slice(member);
}

/// The members of all lines: bytes, as they are read (`carry.rs`), for a line need not be text.
fn for_each_member(headers: &dyn Headers, name: &str, mut each: impl FnMut(&[u8])) {
    let mut index = 0;
    while let Some(line) = headers.line(name, index) {
        line.split(|&byte| byte == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
            .for_each(&mut each);
        index += 1;
    }
}

#[cfg(test)]
mod tests;
