//! The door of the discovery port: no call gets past it before it is known who calls, and no stream says that it is somebody else.

use std::future::Future;
use std::pin::Pin;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, header};
use axum::middleware::Next;
use tokio::time::Instant;
use tonic::Status;

use crate::access::{Denied, Door, Pass, Said};
use crate::listen::Peer;

#[cfg(test)]
pub(super) mod tests;

/// Who is at the other end of a stream, and what it showed.
#[derive(Clone)]
pub(super) struct Visitor {
    door: Door,
    pub(super) peer: Peer,
    authorization: Option<String>,
    pass: Pass,
}

/// Whether it can be said at the moment who somebody is who was let in; why not.
pub(super) type Answer = Result<(), Status>;

/// A question that waits for its answer.
pub(super) type Asking = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The answer, where there is a question.
pub(super) async fn answer(asking: &mut Option<Asking>) -> Answer {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
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
    // A change while somebody is asked is one that it is to be told of.
    let door = door.from_now_on();
    let pass = door.sidecar(peer.address, &peer.names, authorization.as_deref(), now()).await;
    let pass = pass.map_err(|denied| match denied {
        Denied::Later(_) => Status::unavailable(denied.to_string()),
        Denied::Refused(_) | Denied::Flood => Status::unauthenticated(denied.to_string()),
    })?;
    Ok(Visitor { door, peer, authorization, pass })
}

impl Visitor {
    /// At a door that lets everybody in.
    #[cfg(test)]
    pub(super) async fn anybody() -> Visitor {
        Visitor::at(Door::new("discovery", crate::access::Rules::default()), None).await.expect("it is open")
    }

    /// Who shows a token, or none, at a door.
    #[cfg(test)]
    pub(super) async fn at(door: Door, token: Option<&str>) -> Result<Visitor, Status> {
        let peer = Peer { address: ([10, 0, 0, 1], 1).into(), names: [].into() };
        look(door, Ok((peer, token.map(|token| format!("Bearer {token}"))))).await
    }

    /// The uid of the pod that it is in, where a cluster vouches for it.
    pub(super) fn pod_uid(&self) -> Option<&str> {
        self.pass.pod().map(|pod| pod.uid.as_str())
    }

    /// Whether it may say that it is this.
    pub(super) fn may_be(&self, said: &Said<'_>) -> Result<(), Status> {
        self.pass.refusal(said).map_or(Ok(()), |refusal| Err(Status::permission_denied(refusal)))
    }

    /// Returns when the rules have changed.
    pub(super) async fn rules_changed(&mut self) {
        self.door.changed().await;
    }

    /// Whether it may still be this, after the rules have changed.
    pub(super) fn look_again(&mut self, said: &Said<'_>) -> Result<(), Status> {
        let Visitor { door, peer, authorization, pass } = self;
        let still = door.sidecar_still(pass.clone(), peer.address, &peer.names, authorization.as_deref(), now());
        *pass = still.map_err(|denied| Status::unauthenticated(denied.to_string()))?;
        self.may_be(said)
    }

    /// Asks whether it can be said who it is, if it ends now and comes again.
    pub(super) fn ask(&self) -> Asking {
        let Visitor { door, peer, authorization, .. } = self.clone();
        Box::pin(async move {
            let said = door.can_say(peer.address, &peer.names, authorization.as_deref(), now()).await;
            said.map_err(|later| Status::unavailable(later.to_string()))
        })
    }
}

/// By the clock that streams wait by.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
