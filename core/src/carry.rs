//! How a request carries its tag: tag header and aliases, `baggage` member, `tracestate` member. Bytes become a
//! [`RequestTag`] here, for inbound and outbound alike. A carrier holds one value; the first carrier that holds any decides.

use laneway_proto::contract::{BASELINE, TAG_BYTES_MAX, TRACESTATE_MEMBER};
use laneway_proto::routing::TagCarrier;

use crate::facts::Headers;
use crate::snapshot::Group;
use crate::tag::{RequestTag, Tag};
use crate::witness::{Nobody, Step, Witness};

/// Why what a request carried is no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagRefusal {
    /// Bad character, empty, comma list, or more than 63 bytes.
    Malformed,
    /// Two different values in one carrier.
    Conflicting,
    /// Not believed: `trust`.
    Untrusted,
    /// Carriers differ; the first won.
    CarriersDiffer,
}

/// What was read from a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    pub tag: RequestTag,
    /// [`TagRefusal::CarriersDiffer`] stands beside a tag, the others instead of one.
    pub refused: Option<TagRefusal>,
}

/// Reads the carriers of the group in their order.
pub fn read(group: &Group, headers: &dyn Headers) -> Carried {
    read_before(group, headers, &mut Nobody)
}

pub(crate) fn read_before<'s>(group: &Group, headers: &dyn Headers, witness: &mut impl Witness<'s>) -> Carried {
    if !headers.has_any(group.carrier_names) {
        return Carried::default();
    }
    let mut first: Option<RequestTag> = None;
    for &carrier in &group.carriers {
        let found = match carrier {
            TagCarrier::Header => read_header(group, headers),
            TagCarrier::Baggage => read_baggage(group, headers),
            TagCarrier::Tracestate => read_tracestate(group, headers),
            // Refused by check and decode.
            TagCarrier::Mse | TagCarrier::Unspecified => Found::default(),
        };
        if found.value.is_some() || found.refused.is_some() {
            witness.step(|| Step::Carrier { carrier, tag: found.value, refused: found.refused });
        }
        match (first, found) {
            (_, Found { value: None, refused: None }) => {}
            (None, Found { refused: Some(refusal), .. }) => {
                return Carried { tag: RequestTag::None, refused: Some(refusal) };
            }
            (None, Found { value, refused: None }) => first = value,
            (Some(tag), Found { value, refused }) => {
                if refused.is_some() || value != Some(tag) {
                    return Carried { tag, refused: Some(TagRefusal::CarriersDiffer) };
                }
            }
        }
    }
    Carried { tag: first.unwrap_or_default(), refused: None }
}

/// What one carrier holds.
#[derive(Clone, Copy, Default)]
struct Found {
    value: Option<RequestTag>,
    refused: Option<TagRefusal>,
}

impl Found {
    fn add(&mut self, group: &Group, bytes: &[u8]) {
        let Some(value) = parse(group, bytes) else {
            self.refused = Some(TagRefusal::Malformed);
            return;
        };
        match self.value {
            None => self.value = Some(value),
            Some(before) if before == value => {}
            Some(_) => self.refused = self.refused.or(Some(TagRefusal::Conflicting)),
        }
    }
}

fn parse(group: &Group, bytes: &[u8]) -> Option<RequestTag> {
    let bytes = trim(bytes);
    if bytes == BASELINE.as_bytes() {
        return Some(RequestTag::Baseline);
    }
    let tag = Tag::parse(bytes).ok()?;
    if group.baseline_tag == Some(tag) {
        return Some(RequestTag::Baseline);
    }
    Some(RequestTag::Lane(tag))
}

#[inline(always)]
fn read_header(group: &Group, headers: &dyn Headers) -> Found {
    let mut found = Found::default();
    for name in std::iter::once(&group.tag_header).chain(&group.aliases) {
        for line in lines(headers, name) {
            found.add(group, line);
        }
    }
    found
}

#[inline(always)]
fn read_baggage(group: &Group, headers: &dyn Headers) -> Found {
    let mut found = Found::default();
    for line in lines(headers, "baggage") {
        for member in line.split(|&b| b == b',') {
            // Properties follow after semicolons; they are not ours.
            let pair = member.split(|&b| b == b';').next().unwrap_or_default();
            let Some(equals) = pair.iter().position(|&b| b == b'=') else { continue };
            if trim(&pair[..equals]) != group.tag_header.as_bytes() {
                continue;
            }
            // Values of baggage are percent-encoded; an encoder may encode what it need not.
            let mut decoded = [0; TAG_BYTES_MAX + 1];
            let length = percent_decode(trim(&pair[equals + 1..]), &mut decoded);
            found.add(group, &decoded[..length]);
        }
    }
    found
}

#[inline(always)]
fn read_tracestate(group: &Group, headers: &dyn Headers) -> Found {
    let mut found = Found::default();
    if headers.line("traceparent", 0).is_none() {
        return found;
    }
    for line in lines(headers, "tracestate") {
        for member in line.split(|&b| b == b',') {
            let Some(equals) = member.iter().position(|&b| b == b'=') else { continue };
            if trim(&member[..equals]) == TRACESTATE_MEMBER.as_bytes() {
                found.add(group, &member[equals + 1..]);
            }
        }
    }
    found
}

fn lines<'h>(headers: &'h dyn Headers, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    (0..).map_while(move |index| headers.line(name, index))
}

/// Fills `into` and returns the length; what does not fit is cut off, which makes the value too long for a tag.
fn percent_decode(bytes: &[u8], into: &mut [u8]) -> usize {
    let mut length = 0;
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, tail) = match (first, tail) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (first, tail),
            },
            _ => (first, tail),
        };
        if length == into.len() {
            break;
        }
        into[length] = byte;
        length += 1;
        rest = tail;
    }
    length
}

pub(crate) fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// Without optional white space (RFC 9110 section 5.6.3) around.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let blank = |b: &u8| *b == b' ' || *b == b'\t';
    let start = bytes.iter().position(|b| !blank(b)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|b| !blank(b)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

#[cfg(test)]
mod tests;
