//! The door of the discovery port: no call gets past it before it is known who calls, and no stream says that it is somebody else.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, header};
use axum::middleware::Next;
use laneway_core::snapshot::Identity;
use tonic::Status;

use crate::access::{Door, Pass};
use crate::listen::Peer;

/// Who is at the other end of a stream, and what it showed.
#[derive(Clone)]
pub(super) struct Visitor {
    door: Door,
    pub(super) peer: Peer,
    authorization: Option<String>,
    pass: Pass,
}

/// Lets a call in, of whatever service, and puts the [`Visitor`] beside it. Health stays open to probes.
pub(super) async fn admit(State(door): State<Door>, mut request: Request, next: Next) -> Response<Body> {
    if request.uri().path().starts_with("/grpc.health.v1.Health/") {
        return next.run(request).await;
    }
    match look(door, &request) {
        Ok(visitor) => {
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        Err(refusal) => refusal.into_http(),
    }
}

fn look(door: Door, request: &Request) -> Result<Visitor, Status> {
    let peer = request.extensions().get::<Peer>().cloned();
    let peer = peer.ok_or_else(|| Status::internal("a connection without a peer, which is a bug of ours"))?;
    // What is no text is no token, and is told so.
    let authorization = request.headers().get(header::AUTHORIZATION);
    let authorization = authorization.map(|value| value.to_str().unwrap_or_default().to_owned());
    let pass = ask(&door, &peer, authorization.as_deref())?;
    Ok(Visitor { door, peer, authorization, pass })
}

impl Visitor {
    /// Whether it may say that it is this node.
    pub(super) fn may_be(&self, node: &Identity) -> Result<(), Status> {
        let (namespace, service) = (&node.namespace, &node.service);
        if self.pass.admits(namespace, service) {
            return Ok(());
        }
        let (principal, places) = (&self.pass.principal, self.pass.places());
        Err(Status::permission_denied(format!(
            "node.metadata says namespace {namespace:?}, service {service:?}, but {principal} may only be {places}"
        )))
    }

    /// Returns when the rules have changed.
    pub(super) async fn rules_changed(&mut self) {
        self.door.changed().await;
    }

    /// Asks the rules once more.
    pub(super) fn ask_again(&mut self, node: &Identity) -> Result<(), Status> {
        self.pass = ask(&self.door, &self.peer, self.authorization.as_deref())?;
        self.may_be(node)
    }
}

fn ask(door: &Door, peer: &Peer, authorization: Option<&str>) -> Result<Pass, Status> {
    let pass = door.sidecar(peer.address, &peer.names, authorization, Instant::now());
    pass.map_err(|denied| Status::unauthenticated(denied.to_string()))
}
