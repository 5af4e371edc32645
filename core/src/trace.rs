//! Trace and request ids: what an instrumented application hands from the request that it serves to the calls that it makes,
//! whatever its tracing library calls it. Bytes become an [`Id`] here.
//!
//! The ids of tracing systems are compared by their low 64 bits: an application may hear `traceparent` and say `b3`, some
//! libraries write short ids, and leading zeros may be dropped. Every other id is compared as text, within its own header.

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::carry::trim;
use crate::facts::{Headers, NameSet};

/// One id. Equal for equal ids in whatever header, but by a collision of 2^-64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(u128);

impl Id {
    /// The trace id with these low 64 bits; `None`: zeros, which are none.
    pub fn of_trace(low: u64) -> Option<Id> {
        // The high half parts them from texts.
        (low != 0).then(|| Id(u128::from(low)))
    }

    fn of_text(space: u64, text: &[u8]) -> Option<Id> {
        (!text.is_empty()).then(|| Id(xxh3_128_with_seed(text, space) | 1 << 127))
    }

    /// Spreads ids over `shards`, a power of two.
    pub fn shard(self, shards: usize) -> usize {
        // Half of a random trace id is as good as a hash of it.
        (self.0 ^ self.0 >> 17) as usize & (shards - 1)
    }
}

/// The headers of tracing systems, whether requests are correlated by them or not. `x-request-id` and its like are ids of
/// requests, which tracing libraries do not look at.
pub const TRACE_HEADERS: [&str; 9] = [
    "traceparent",
    "b3",
    "x-b3-traceid",
    "uber-trace-id",
    "sw8",
    "x-datadog-trace-id",
    "x-cloud-trace-context",
    "x-amzn-trace-id",
    "grpc-trace-bin",
];

/// The headers that requests are correlated by.
#[derive(Clone, Debug)]
pub struct IdHeaders {
    headers: Vec<IdHeader>,
    names: NameSet,
    /// Of [`TRACE_HEADERS`].
    traces: NameSet,
}

impl Default for IdHeaders {
    fn default() -> IdHeaders {
        IdHeaders::new(&[])
    }
}

#[derive(Clone, Debug)]
struct IdHeader {
    /// Lower case.
    name: String,
    format: Format,
}

/// How an id stands in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// W3C Trace Context: `00-{32 hex}-{16 hex}-{flags}`.
    Traceparent,
    /// B3 single: `{16 or 32 hex}-{span}[-..]`; without a span it is only a decision.
    B3,
    /// B3 multi: 16 or 32 hex.
    Hex,
    /// Jaeger: `{hex}:{span}:{parent}:{flags}`, the colons perhaps as `%3A`.
    Jaeger,
    /// SkyWalking 8: `1-{base64 of the trace id}-{segment}-..`.
    SkyWalking,
    /// Datadog: the low 64 bits, decimal.
    Decimal,
    /// Google Cloud: `{32 hex}/{span}[;o=..]`.
    CloudTrace,
    /// AWS X-Ray: `Root=1-{8 hex}-{24 hex};..`.
    XRay,
    /// OpenCensus in gRPC metadata: base64 of version 0, field 0 with 16 bytes, and more.
    GrpcTraceBin,
    /// Whatever stands there, the seed being that of its name.
    Text(u64),
}

impl IdHeaders {
    /// `names` in lower case, in order of precedence.
    pub fn new(names: &[String]) -> IdHeaders {
        let headers = names.iter().map(|name| IdHeader { name: name.clone(), format: Format::of(name) });
        IdHeaders {
            headers: headers.collect(),
            names: names.iter().collect(),
            traces: TRACE_HEADERS.iter().copied().collect(),
        }
    }

    /// Does the request belong to a trace of any kind that we know, be it by an id that we cannot read, or do not correlate by?
    pub fn say_a_trace(&self, headers: &dyn Headers) -> bool {
        headers.has_any(self.traces) && TRACE_HEADERS.iter().any(|name| headers.line(name, 0).is_some())
    }

    /// In lower case, in order of precedence.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|header| header.name.as_str())
    }

    /// The ids of a request, in order of precedence. Several lines of one name are none: who could say which one goes on?
    pub fn read<'r>(&'r self, headers: &'r dyn Headers) -> impl Iterator<Item = Id> + 'r {
        let headers_here = if headers.has_any(self.names) { self.headers.as_slice() } else { &[] };
        headers_here.iter().filter_map(|header| {
            let line = headers.line(&header.name, 0)?;
            headers.line(&header.name, 1).is_none().then(|| header.format.read(line))?
        })
    }
}

impl Format {
    fn of(name: &str) -> Format {
        match name {
            "traceparent" => Format::Traceparent,
            "b3" => Format::B3,
            "x-b3-traceid" => Format::Hex,
            "uber-trace-id" => Format::Jaeger,
            "sw8" => Format::SkyWalking,
            "x-datadog-trace-id" => Format::Decimal,
            "x-cloud-trace-context" => Format::CloudTrace,
            "x-amzn-trace-id" => Format::XRay,
            "grpc-trace-bin" => Format::GrpcTraceBin,
            other => Format::Text(xxhash_rust::xxh3::xxh3_64(other.as_bytes())),
        }
    }

    fn read(self, value: &[u8]) -> Option<Id> {
        let value = trim(value);
        match self {
            Format::Traceparent => {
                let (version, rest) = split(value, b'-')?;
                let (id, _) = split(rest, b'-')?;
                // Version ff is invalid; later ones keep this place for the id.
                let is_known = version.len() == 2 && !version.eq_ignore_ascii_case(b"ff");
                (is_known && id.len() == 32).then(|| hex(id))?.and_then(Id::of_trace)
            }
            Format::B3 => hex_16_or_32(split(value, b'-')?.0),
            Format::Hex => hex_16_or_32(value),
            Format::Jaeger => {
                let end = value.iter().position(|&byte| byte == b':' || byte == b'%')?;
                hex(&value[..end]).and_then(Id::of_trace)
            }
            Format::SkyWalking => {
                let (_, rest) = split(value, b'-')?;
                Id::of_text(0, split(rest, b'-')?.0)
            }
            Format::Decimal => std::str::from_utf8(value).ok()?.parse().ok().and_then(Id::of_trace),
            Format::CloudTrace => {
                let id = split(value, b'/').map_or(value, |(id, _)| id);
                (id.len() == 32).then(|| hex(id))?.and_then(Id::of_trace)
            }
            Format::XRay => {
                let root = value.split(|&byte| byte == b';').find_map(|part| trim(part).strip_prefix(b"Root=1-"))?;
                let (time, id) = split(root, b'-')?;
                (time.len() == 8 && id.len() == 24).then(|| hex(id))?.and_then(Id::of_trace)
            }
            Format::GrpcTraceBin => {
                // 24 letters hold the first 18 bytes: version, number of the field, trace id.
                let bytes: [u8; 18] = base64_18(value.get(..24)?)?;
                let low = u64::from_be_bytes(bytes[10..].try_into().ok()?);
                (bytes[..2] == [0, 0]).then_some(low).and_then(Id::of_trace)
            }
            Format::Text(space) => Id::of_text(space, value),
        }
    }
}

fn split(value: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = value.iter().position(|&byte| byte == at)?;
    Some((&value[..at], &value[at + 1..]))
}

fn hex_16_or_32(value: &[u8]) -> Option<Id> {
    matches!(value.len(), 16 | 32).then(|| hex(value))?.and_then(Id::of_trace)
}

/// The low 64 bits of 1 to 32 hexadecimal digits; what stands above them is not looked at.
fn hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 32 {
        return None;
    }
    let low = &digits[digits.len().saturating_sub(16)..];
    low.iter().try_fold(0_u64, |low, &digit| Some(low << 4 | u64::from(crate::carry::hex(digit)?)))
}

/// 24 letters of base64 (RFC 4648 section 4) without padding.
fn base64_18(letters: &[u8]) -> Option<[u8; 18]> {
    let mut bytes = [0; 18];
    for (four, three) in letters.chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
        let word = four.iter().try_fold(0_u32, |word, &letter| Some(word << 6 | sextet(letter)?))?;
        three.copy_from_slice(&word.to_be_bytes()[1..]);
    }
    Some(bytes)
}

fn sextet(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests;
