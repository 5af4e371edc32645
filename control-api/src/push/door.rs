//! The door of the discovery port: no call gets past it before it is known who calls, and no stream says that it is somebody else.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, header};
use axum::middleware::Next;
use tonic::Status;

use crate::access::{Denied, Door, Pass, Said};
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
    // The request itself cannot be held while somebody is asked.
    let shown = shown(&request);
    match look(door, shown).await {
        Ok(visitor) => {
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        Err(refusal) => refusal.into_http(),
    }
}

fn shown(request: &Request) -> Result<(Peer, Option<String>), Status> {
    let peer = request.extensions().get::<Peer>().cloned();
    let peer = peer.ok_or_else(|| Status::internal("a connection without a peer, which is a bug of ours"))?;
    // What is no text is no token, and is told so.
    let authorization = request.headers().get(header::AUTHORIZATION);
    let authorization = authorization.map(|value| value.to_str().unwrap_or_default().to_owned());
    Ok((peer, authorization))
}

async fn look(door: Door, shown: Result<(Peer, Option<String>), Status>) -> Result<Visitor, Status> {
    let (peer, authorization) = shown?;
    let pass = ask(&door, &peer, authorization.as_deref()).await?;
    Ok(Visitor { door, peer, authorization, pass })
}

impl Visitor {
    /// At a door that lets everybody in.
    #[cfg(test)]
    pub(super) async fn anybody() -> Visitor {
        let door = Door::new("discovery", crate::access::Rules::default());
        let peer = Peer { address: ([10, 0, 0, 1], 1).into(), names: [].into() };
        look(door, Ok((peer, None))).await.expect("it is open")
    }

    /// Whether it may say that it is this.
    pub(super) fn may_be(&self, said: &Said<'_>) -> Result<(), Status> {
        self.pass.refusal(said).map_or(Ok(()), |refusal| Err(Status::permission_denied(refusal)))
    }

    /// Returns when the rules have changed.
    pub(super) async fn rules_changed(&mut self) {
        self.door.changed().await;
    }

    /// Asks the rules once more.
    pub(super) async fn ask_again(&mut self, said: &Said<'_>) -> Result<(), Status> {
        match ask(&self.door, &self.peer, self.authorization.as_deref()).await {
            Ok(pass) => self.pass = pass,
            // Whom it let in stays while nobody can be asked.
            Err(status) if status.code() == tonic::Code::Unavailable => {}
            Err(status) => return Err(status),
        }
        self.may_be(said)
    }
}

async fn ask(door: &Door, peer: &Peer, authorization: Option<&str>) -> Result<Pass, Status> {
    let pass = door.sidecar(peer.address, &peer.names, authorization, Instant::now()).await;
    pass.map_err(|denied| match denied {
        Denied::Later(_) => Status::unavailable(denied.to_string()),
        Denied::Refused(_) | Denied::Flood => Status::unauthenticated(denied.to_string()),
    })
}
