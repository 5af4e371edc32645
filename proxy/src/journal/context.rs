//! W3C Trace Context (`traceparent`, level 1): read, judged, written. What belongs to which trace, and is it recorded?

/// Longest `traceparent` that is looked at; one of version 00 has 55.
const BYTES_MAX: usize = 256;
/// The length of version 00.
const BYTES: usize = 55;
const SAMPLED: u8 = 1;
/// What may be said with version 00: sampled, and (level 2) that the id is random.
const FLAGS_KNOWN: u8 = 3;

/// The trace that a request came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Not 0.
    pub trace: u128,
    /// Of who sent the request; not 0.
    pub parent: u64,
    pub flags: u8,
}

/// One span of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanIds {
    pub trace: u128,
    pub span: u64,
    /// `None`: the trace begins here.
    pub parent: Option<u64>,
    pub flags: u8,
}

impl TraceContext {
    /// `None`: it is none, and to be treated as if it were not there.
    pub fn read(value: &[u8]) -> Option<TraceContext> {
        let value = value.trim_ascii();
        let head = value.get(..BYTES)?;
        let (version, trace, parent, flags) = (&head[..2], &head[3..35], &head[36..52], &head[53..]);
        let version = hex(version)?;
        let is_whole = match version {
            0 => value.len() == BYTES,
            // Later versions may say more, behind another dash.
            1..=0xfe => value.len() <= BYTES_MAX && value.get(BYTES).is_none_or(|&byte| byte == b'-'),
            _ => false,
        };
        if !is_whole || [head[2], head[35], head[52]] != *b"---" {
            return None;
        }
        let (trace, parent, flags) = (hex(trace)?, hex(parent)?, hex(flags)?);
        let (parent, flags) = (u64::try_from(parent).ok()?, u8::try_from(flags).ok()?);
        (trace != 0 && parent != 0).then_some(TraceContext { trace, parent, flags })
    }

    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// A span whose parent is who sent the request. `random` is not 0.
    pub fn child(&self, random: u64) -> SpanIds {
        SpanIds { trace: self.trace, span: random, parent: Some(self.parent), flags: self.flags & FLAGS_KNOWN }
    }
}

impl SpanIds {
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// A trace that begins here, and is recorded. No word is 0.
    pub fn root(trace: u128, span: u64) -> SpanIds {
        SpanIds { trace, span, parent: None, flags: SAMPLED }
    }

    /// The value that is sent on: whoever gets it is our child.
    pub fn traceparent(&self) -> [u8; BYTES] {
        let mut value = *b"00-................................-................-..";
        write_hex(self.trace, &mut value[3..35]);
        write_hex(self.span.into(), &mut value[36..52]);
        write_hex(self.flags.into(), &mut value[53..]);
        value
    }
}

/// Digits, lower case, as many as there is room for.
pub fn write_hex(word: u128, digits: &mut [u8]) {
    let count = digits.len();
    for (at, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(word >> (4 * (count - 1 - at))) as usize & 0xf];
    }
}

/// At most 32 digits, lower case: others are invalid (section 3.2.2).
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |word: u128, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(word << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests;
