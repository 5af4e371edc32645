//! Header maps, as HTTP/2 has them: what of them belongs to one hop, and the view of them that rules see.

use http::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use laneway_core::facts::Headers;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// The head of a request as rules see it.
pub(crate) struct HeadView<'a>(pub(crate) &'a HeaderMap);

impl Headers for HeadView<'_> {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        if index == 0 {
            return self.0.get(name).map(HeaderValue::as_bytes);
        }
        self.0.get_all(name).iter().nth(index).map(HeaderValue::as_bytes)
    }
}

/// Belongs to a connection of HTTP/1.1, so HTTP/2 never says it (RFC 9113 section 8.2.2). `te` may, if it says `trailers`.
pub(crate) fn is_connection_specific(name: &HeaderName) -> bool {
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE].contains(name)
}

/// Does `te` say that trailers are understood?
pub(crate) fn wants_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(TE).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"))
}

/// Is it gRPC (the gRPC protocol over HTTP/2: content-type begins with `application/grpc`)?
pub(crate) fn is_grpc(content_type: Option<&[u8]>) -> bool {
    let Some(value) = content_type else { return false };
    value.starts_with(b"application/grpc") && matches!(value.get(16), None | Some(b'+' | b';'))
}

pub(crate) fn content_type(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes)
}
