//! What is known of one request when it is decided. Borrowed from the head; nothing is copied.

use std::net::IpAddr;

use crate::tag::Tag;

/// The headers of a request, whatever library parsed them.
pub trait Headers {
    /// The `index`-th line named `name` (lower case), in the order of arrival.
    fn line(&self, name: &str, index: usize) -> Option<&[u8]>;

    /// May a line have one of these names? `false` saves asking for each of them.
    fn has_any(&self, names: NameSet) -> bool {
        names != NameSet::default()
    }
}

/// A few header names, as far as [`name_index`] tells them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameSet(u64);

impl NameSet {
    pub fn add(&mut self, name: &[u8]) {
        self.0 |= 1 << name_index(name.len(), name.first().copied().unwrap_or(0));
    }

    /// May a name be in both?
    pub fn meets(self, other: NameSet) -> bool {
        self.0 & other.0 != 0
    }
}

impl<N: AsRef<[u8]>> FromIterator<N> for NameSet {
    fn from_iter<I: IntoIterator<Item = N>>(names: I) -> NameSet {
        let mut set = NameSet::default();
        names.into_iter().for_each(|name| set.add(name.as_ref()));
        set
    }
}

/// From the bits of a reader that kept them: bit [`name_index`] of each name.
impl From<u64> for NameSet {
    fn from(bits: u64) -> NameSet {
        NameSet(bits)
    }
}

/// Below 64, of a name's length and first byte; the same for a name in any case. Names of different indices are different.
#[inline]
pub fn name_index(length: usize, first: u8) -> usize {
    (length * 5 + usize::from(first & 0x1f)) % 64
}

/// No headers: bytes that we do not read.
pub struct NoHeaders;

impl Headers for NoHeaders {
    fn line(&self, _name: &str, _index: usize) -> Option<&[u8]> {
        None
    }

    fn has_any(&self, _names: NameSet) -> bool {
        false
    }
}

/// One request, as far as a rule can look at it.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub method: &'a str,
    /// As received, with the query; `*` and authority forms too.
    pub target: &'a str,
    /// `:authority` or `Host`, as received.
    pub authority: &'a str,
    pub headers: &'a dyn Headers,
    /// Content type is `application/grpc`, or begins with that and `+` or `;`.
    pub is_grpc: bool,
    pub source: Source<'a>,
}

/// Who calls: for an outbound call this pod, for an inbound request what the peer's address tells.
#[derive(Clone, Copy, Default)]
pub struct Source<'a> {
    /// Resource name of the service, `namespaces/{namespace}/services/{service}`. Empty: unknown.
    pub service: &'a str,
    pub tag: Option<Tag>,
    /// Of the TCP peer.
    pub address: Option<IpAddr>,
    /// The peer is known to have a sidecar. Inbound only.
    pub is_meshed: bool,
}
