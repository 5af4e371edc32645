//! The door of the API port: no call gets past it before it is known who calls. Health stays open to probes.
//!
//! It puts the [`Caller`] beside the request, whatever way the call goes on: gRPC, JSON, reflection. What a caller may change is
//! looked at in `change`, where it is known what is meant.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Response, header};
use axum::middleware::Next;
use tonic::Status;

use super::{errors, http, roles};
use crate::access::{Caller, Denied, Door, Refusal};
use crate::listen::Peer;

/// Paths that anybody may ask: they tell whether the process serves, and nothing else.
const OPEN: [&str; 3] = ["/ready", "/live", "/grpc.health.v1.Health/"];

pub(super) async fn admit(State(door): State<Door>, mut request: Request, next: Next) -> Response<Body> {
    let path = request.uri().path();
    if OPEN.iter().any(|open| path == *open || (open.ends_with('/') && path.starts_with(open))) {
        return next.run(request).await;
    }
    let is_grpc = request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| {
        // "application/grpc+proto" is gRPC too.
        kind.as_bytes().starts_with(b"application/grpc")
    });
    // The request itself cannot be held while somebody is asked.
    let shown = shown(&request);
    let method = path.trim_start_matches('/').to_owned();
    match look(&door, shown, &method).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) if is_grpc => refusal.into_http(),
        Err(refusal) => {
            let is_unknown = refusal.code() == tonic::Code::Unauthenticated;
            let mut response = http::refusal(refusal);
            if is_unknown {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

fn shown(request: &Request) -> Result<(Peer, Option<String>), Status> {
    let peer = request.extensions().get::<Peer>().cloned();
    let peer = peer.ok_or_else(|| Status::internal("a connection without a peer, which is a bug of ours"))?;
    // What is no text is no token, and is told so.
    let authorization = request.headers().get(header::AUTHORIZATION);
    Ok((peer, authorization.map(|value| value.to_str().unwrap_or_default().to_owned())))
}

async fn look(door: &Door, shown: Result<(Peer, Option<String>), Status>, method: &str) -> Result<Caller, Status> {
    let (peer, authorization) = shown?;
    let caller = door.person(peer.address, &peer.names, authorization.as_deref(), Instant::now()).await;
    let caller = caller.map_err(|denied| {
        let words = denied.to_string();
        match denied {
            Denied::Later(_) => errors::unavailable(words),
            Denied::Refused(Refusal::NoRole(_)) => errors::denied(words),
            Denied::Refused(_) | Denied::Flood => errors::unauthenticated(words),
        }
    })?;
    // What takes more than reading is looked at in `change`. Others' services (reflection) are there for everybody who is known.
    if method.starts_with("laneway.") && roles::needed(method).is_none() {
        return Err(errors::denied(format!("no role may call {method}")));
    }
    Ok(caller)
}
