//! The sidecar's own answer: why there is none from an application. gRPC callers get their own kind of error.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use laneway_proto::contract::ERROR_HEADER;

use super::failure::Failure;

/// What is said instead of an answer.
pub(crate) struct Refusal {
    pub(crate) failure: Failure,
    /// Id of the destination; empty: unknown.
    pub(crate) service: std::sync::Arc<str>,
    pub(crate) is_grpc: bool,
}

impl Refusal {
    /// For HTTP/1.1. `is_head`: it answers HEAD, so without the body.
    pub(crate) fn to_http1(&self, is_head: bool, closes: bool) -> Vec<u8> {
        let (head, body) = self.to_http2();
        let status = head.status();
        let mut text =
            format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("")).into_bytes();
        for (name, value) in head.headers() {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        if self.is_grpc {
            text.extend_from_slice(b"content-length: 0\r\n");
        }
        text.extend_from_slice(if closes { b"connection: close\r\n\r\n" } else { b"\r\n" });
        if !is_head {
            text.extend_from_slice(&body);
        }
        text
    }

    /// For a gRPC call whose answer has begun: its end.
    pub(crate) fn to_trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("14"));
        trailers.insert("grpc-message", self.failure.header_value(&self.service));
        trailers
    }

    pub(crate) fn to_http2(&self) -> (http::Response<()>, Bytes) {
        let reason = self.failure.header_value(&self.service);
        let mut head = http::Response::new(());
        let mut body = Bytes::new();
        if self.is_grpc {
            // Trailers-only (the gRPC protocol over HTTP/2); 14 is UNAVAILABLE.
            head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            head.headers_mut().insert("grpc-status", HeaderValue::from_static("14"));
            head.headers_mut().insert("grpc-message", reason.clone());
        } else {
            body = format!("{}\n", reason.to_str().unwrap_or(self.failure.label())).into();
            *head.status_mut() = self.failure.status();
            head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            head.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        head.headers_mut().insert(ERROR_HEADER, reason);
        (head, body)
    }
}
