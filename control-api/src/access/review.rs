//! Whom a cluster knows: bearer tokens that its API server reviews, and what may be done with them.
//!
//! ```text
//!   token ─▶ may it be one at all? ─▶ turns ─▶ review ─▶ person: role by their rights · sidecar: the pod of the token
//! ```
//! Tokens are known by their SHA-256; none is kept or logged. While the API server is away, whoever it knew stays known for their minute;
//! everybody else is told that nobody can say, which is not that they are unknown.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::claims::audiences;
use super::reviewer::{Pod, Reviewer, User, Verdict};
use super::rights::Rights;
use super::turns::{Later, Said, Turns};
use super::{Pass, Refusal, Role};
use crate::discovery::PodService;

#[cfg(test)]
mod tests;

/// Of `status.user.extra`: the pod that a token was made for.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// What discovery knows of the service of a pod.
pub type ServiceOf = Arc<dyn Fn(&Pod) -> PodService + Send + Sync>;

/// What nobody is let in for.
#[derive(Debug, PartialEq, Eq)]
pub enum NotKnown {
    Refused(Refusal),
    Later(Later),
}

/// An API server as an authority.
pub struct Authority {
    reviewer: Box<dyn Reviewer>,
    audience: String,
    service_of: ServiceOf,
    rights: Rights,
    of_people: Turns<(String, Role)>,
    of_sidecars: Turns<Known>,
}

/// A pod that showed its token.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    pod: Pod,
    /// By the pod itself, where discovery does not read its namespace or has not seen it yet.
    said: Option<PodService>,
}

impl Authority {
    pub fn new(reviewer: Box<dyn Reviewer>, audience: String, service_of: ServiceOf) -> Authority {
        Authority {
            reviewer,
            audience,
            service_of,
            rights: Rights::new(),
            of_people: Turns::new(),
            of_sidecars: Turns::new(),
        }
    }

    /// The principal and role of whoever calls the API from an address.
    pub async fn person(&self, token: &str, from: IpAddr, now: Instant) -> Result<(String, Role), NotKnown> {
        let said = self.of_people.ask(token, from, now, self.review_person(token)).await;
        said.map_err(NotKnown::Later)?.map_err(NotKnown::Refused)
    }

    /// The pod that a sidecar is in.
    pub async fn sidecar(&self, token: &str, from: IpAddr, now: Instant) -> Result<Pass, NotKnown> {
        let refused = |refusal| Err(NotKnown::Refused(refusal));
        let Some(audiences) = audiences(token) else { return refused(Refusal::NoJwt) };
        if !audiences.contains(&self.audience) {
            return refused(Refusal::OtherAudience { says: audiences, wanted: self.audience.clone() });
        }
        let said = self.of_sidecars.ask(token, from, now, self.review_pod(token)).await;
        let Known { pod, said } = said.map_err(NotKnown::Later)?.map_err(NotKnown::Refused)?;
        let service = match (self.service_of)(&pod) {
            PodService::Unread | PodService::Unknown => said.unwrap_or(PodService::Unknown),
            known => known,
        };
        let (principal, namespace) = (format!("pod:{}/{}", pod.namespace, pod.name), pod.namespace.clone());
        // One that does not know its service is an instance all the same.
        let mut places = vec![(namespace.clone(), String::new())];
        match service {
            PodService::Of(service) => places.insert(0, (namespace, service)),
            PodService::OfNone => {}
            // Whoever is let in now may be anything, so it is told to come again.
            PodService::Unknown | PodService::Unread => return Err(NotKnown::Later(unseen(&pod))),
        }
        Ok(Pass { principal, places, pod: Some(pod) })
    }

    async fn review_person(&self, token: &str) -> Result<Said<(String, Role)>, Later> {
        // People's own tokens are for the API server, and may be of any form.
        let is_ours = audiences(token).is_some_and(|audiences| audiences.contains(&self.audience));
        let ours = match is_ours {
            true => Some(self.reviewer.token(token, Some(&self.audience)).await?),
            false => None,
        };
        let user = match ours {
            Some(Verdict::Known(user)) if user.audiences.contains(&self.audience) => user,
            // An issuer of another kind may call us so too.
            Some(_) | None => match self.reviewer.token(token, None).await? {
                Verdict::Known(user) => user,
                Verdict::Unknown(why) => return Ok(Err(Refusal::Unreviewed(why))),
            },
        };
        let principal = format!("kubernetes:{}", user.name);
        let role = self.rights.role(&*self.reviewer, &user).await?;
        Ok(role.map(|role| (principal.clone(), role)).ok_or(Refusal::NoRole(principal)))
    }

    async fn review_pod(&self, token: &str) -> Result<Said<Known>, Later> {
        let user = match self.reviewer.token(token, Some(&self.audience)).await? {
            Verdict::Known(user) => user,
            Verdict::Unknown(why) => return Ok(Err(Refusal::Unreviewed(why))),
        };
        // A server that knows nothing of audiences says nothing of them, and would take any token.
        if !user.audiences.contains(&self.audience) {
            return Ok(Err(Refusal::Audience(self.audience.clone())));
        }
        let Some(pod) = pod(&user) else { return Ok(Err(Refusal::NoPod(user.name))) };
        let said = match (self.service_of)(&pod) {
            // One that names none has a sidecar that knows of none, whatever Service selects it.
            PodService::Unread => match self.reviewer.service(&pod).await? {
                PodService::Unknown | PodService::Unread => return Err(unseen(&pod)),
                said => Some(said),
            },
            // It has just been started. Where it names none a Service may select it, which discovery will know.
            PodService::Unknown => {
                let said = self.reviewer.service(&pod).await?;
                Some(said).filter(|said| matches!(said, PodService::Of(_)))
            }
            PodService::OfNone | PodService::Of(_) => None,
        };
        Ok(Ok(Known { pod, said }))
    }
}

fn unseen(pod: &Pod) -> Later {
    Later::Unseen { namespace: pod.namespace.clone(), name: pod.name.clone() }
}

/// The pod that a token was made for.
fn pod(user: &User) -> Option<Pod> {
    let only = |key: &str| match user.extra.get(key).map(Vec::as_slice) {
        Some([value]) if !value.is_empty() => Some(value.clone()),
        _ => None,
    };
    let (namespace, account) = user.name.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    let is_whole = !namespace.is_empty() && !account.is_empty();
    is_whole.then(|| Some(Pod { namespace: namespace.to_owned(), name: only(POD_NAME)?, uid: only(POD_UID)? }))?
}
