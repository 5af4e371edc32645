//! What is known of one request when it is decided. Borrowed from the head; nothing is copied.

use std::net::IpAddr;

use crate::tag::Tag;

/// The headers of a request, whatever library parsed them.
pub trait Headers {
    /// The `index`-th line named `name` (lower case), in the order of arrival.
    fn line(&self, name: &str, index: usize) -> Option<&[u8]>;
}

/// No headers: bytes that we do not read.
pub struct NoHeaders;

impl Headers for NoHeaders {
    fn line(&self, _name: &str, _index: usize) -> Option<&[u8]> {
        None
    }
}

/// One request, as far as a rule can look at it.
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
