//! The door of the discovery port: no call gets past it before it is known who calls, and no stream says that it is somebody else.

use std::future::Future;
use std::pin::Pin;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, header};
use axum::middleware::Next;
use tokio::time::Instant;
use tonic::Status;

use crate::access::review::Later;
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

/// Whether somebody who was let in would be let in now.
pub(super) enum Answer {
    Yes,
    No(Status),
    /// Nobody can say at the moment.
    Nobody(Status),
}

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
    let pass = ask(&door, &peer, authorization.as_deref()).await?;
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

    /// Asks whether it would be let in now, as whatever it may be.
    pub(super) fn ask(&self) -> Asking {
        let Visitor { door, peer, authorization, .. } = self.clone();
        Box::pin(async move {
            match ask(&door, &peer, authorization.as_deref()).await {
                Ok(_) => Answer::Yes,
                Err(Refused::Later(Later::Away(_) | Later::Crowded, status)) => Answer::Nobody(status),
                Err(Refused::Later(Later::Unseen { .. }, status) | Refused::Now(status)) => Answer::No(status),
            }
        })
    }
}

/// Somebody is not let in: what they are told.
enum Refused {
    Now(Status),
    Later(Later, Status),
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Status {
        match refused {
            Refused::Now(status) | Refused::Later(_, status) => status,
        }
    }
}

async fn ask(door: &Door, peer: &Peer, authorization: Option<&str>) -> Result<Pass, Refused> {
    let pass = door.sidecar(peer.address, &peer.names, authorization, now()).await;
    pass.map_err(|denied| {
        let words = denied.to_string();
        match denied {
            Denied::Later(later) => Refused::Later(later, Status::unavailable(words)),
            Denied::Refused(_) | Denied::Flood => Refused::Now(Status::unauthenticated(words)),
        }
    })
}

/// By the clock that streams wait by.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
