//! Whom a cluster knows: bearer tokens that its API server reviews, and what may be done with them.
//!
//! ```text
//!   token ─▶ answer of less than a minute ago? ─▶ review, a few at a time ─▶ person: role by their rights · sidecar: the pod of the token
//! ```
//! Tokens are known by their SHA-256; none is kept or logged. While the API server is away, whoever it knew stays known for their minute;
//! everybody else is told that nobody can say, which is not that they are unknown.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::{Pass, Refusal, Role, hash};
use crate::discovery::PodService;

#[cfg(test)]
mod tests;

/// How long an answer holds: a token that was taken back, or rights, are good for so long at most, on a stream that stands until that is
/// of age (`push/age.rs`).
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// And a refusal: who was just given rights does not wait long.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);
/// Answers that are remembered.
const ANSWERS_MAX: usize = 10_000;
/// Reviews at a time, for sidecars and for people each: who floods one port does not shut the other.
const REVIEWS_MAX: usize = 16;
/// Longest wait for an answer, a turn included.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Rights are asked for over all namespaces: a role here holds for all of them.
const RESOURCES: [&str; 3] = ["lanegroups", "lanes", "servicepolicies"];
const CHANGES: [&str; 3] = ["create", "update", "delete"];
const READS: [&str; 2] = ["get", "list"];
const SWITCH: (&str, &str) = ("lanes", "enable");

/// Of `status.user.extra`: the pod that a token was made for.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// What an API server is asked.
pub trait Reviewer: Send + Sync {
    /// Whose token it is. Without an audience: one for the API server itself.
    fn token<'a>(&'a self, token: &'a str, audience: Option<&'a str>) -> Asked<'a, Verdict>;
    /// May they, in all namespaces?
    fn may<'a>(&'a self, who: &'a User, resource: &'static str, verb: &'static str) -> Asked<'a, bool>;
    /// The service of a pod, by the pod itself.
    fn service<'a>(&'a self, pod: &'a Pod) -> Asked<'a, PodService>;
}

pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, Away>> + Send + 'a>>;

/// The API server did not answer: why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Away(pub String);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Known(User),
    /// What the API server says about it; may be empty.
    Unknown(String),
}

/// Somebody whom the API server knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
    /// Of those that were asked for, what the token is for.
    pub audiences: Vec<String>,
}

/// The pod of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// What discovery knows of the service of a pod, by namespace and name.
pub type ServiceOf = Arc<dyn Fn(&str, &str) -> PodService + Send + Sync>;

/// What nobody is let in for.
#[derive(Debug, PartialEq, Eq)]
pub enum NotKnown {
    Refused(Refusal),
    Later(Later),
}

/// Nobody can say who it is at the moment; to try again is good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Later {
    #[error("the API server cannot be asked who this is, try again: {0}")]
    Away(Away),
    #[error("pod {namespace}/{name} is not known yet, so nobody can say which service it is of; try again")]
    Unseen { namespace: String, name: String },
}

/// An API server as an authority.
pub struct Authority {
    reviewer: Box<dyn Reviewer>,
    audience: String,
    service_of: ServiceOf,
    of_people: Port<(String, Role)>,
    of_sidecars: Port<Known>,
}

/// A pod that showed its token.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    pod: Pod,
    /// By the pod itself, where discovery does not read its namespace.
    said: Option<PodService>,
}

/// What is known at one port.
struct Port<T> {
    answers: Mutex<HashMap<[u8; 32], Answer<T>>>,
    turns: Semaphore,
}

struct Answer<T> {
    said: Result<T, Refusal>,
    until: Instant,
}

impl Authority {
    pub fn new(reviewer: Box<dyn Reviewer>, audience: String, service_of: ServiceOf) -> Authority {
        Authority { reviewer, audience, service_of, of_people: Port::new(), of_sidecars: Port::new() }
    }

    /// The principal and role of whoever calls the API.
    pub async fn person(&self, token: &str, now: Instant) -> Result<(String, Role), NotKnown> {
        self.of_people.ask(token, now, self.review_person(token)).await
    }

    /// The pod that a sidecar is in.
    pub async fn sidecar(&self, token: &str, now: Instant) -> Result<Pass, NotKnown> {
        let Known { pod, said } = self.of_sidecars.ask(token, now, self.review_pod(token)).await?;
        let service = match (self.service_of)(&pod.namespace, &pod.name) {
            PodService::Unread => said.unwrap_or(PodService::Unknown),
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

    async fn review_person(&self, token: &str) -> Result<Result<(String, Role), Refusal>, Later> {
        let ours = self.reviewer.token(token, Some(&self.audience)).await?;
        let user = match ours {
            Verdict::Known(user) if user.audiences.contains(&self.audience) => user,
            // People's own tokens are for the API server.
            Verdict::Known(_) | Verdict::Unknown(_) => match self.reviewer.token(token, None).await? {
                Verdict::Known(user) => user,
                Verdict::Unknown(why) => return Ok(Err(Refusal::Unreviewed(why))),
            },
        };
        let principal = format!("kubernetes:{}", user.name);
        if self.may_all(&user, &RESOURCES, &CHANGES).await? {
            return Ok(Ok((principal, Role::Admin)));
        }
        if self.reviewer.may(&user, SWITCH.0, SWITCH.1).await? {
            return Ok(Ok((principal, Role::Operator)));
        }
        if self.may_all(&user, &RESOURCES, &READS).await? {
            return Ok(Ok((principal, Role::Viewer)));
        }
        Ok(Err(Refusal::NoRole(principal)))
    }

    async fn may_all(&self, user: &User, resources: &[&'static str], verbs: &[&'static str]) -> Result<bool, Later> {
        for resource in resources {
            for verb in verbs {
                if !self.reviewer.may(user, resource, verb).await? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    async fn review_pod(&self, token: &str) -> Result<Result<Known, Refusal>, Later> {
        let user = match self.reviewer.token(token, Some(&self.audience)).await? {
            Verdict::Known(user) => user,
            Verdict::Unknown(why) => return Ok(Err(Refusal::Unreviewed(why))),
        };
        // A server that knows nothing of audiences says nothing of them, and would take any token.
        if !user.audiences.contains(&self.audience) {
            return Ok(Err(Refusal::Audience(self.audience.clone())));
        }
        let Some(pod) = pod(&user) else { return Ok(Err(Refusal::NoPod(user.name))) };
        let said = match (self.service_of)(&pod.namespace, &pod.name) {
            PodService::Unread => match self.reviewer.service(&pod).await? {
                PodService::Unknown | PodService::Unread => return Err(unseen(&pod)),
                said => Some(said),
            },
            PodService::Unknown | PodService::OfNone | PodService::Of(_) => None,
        };
        Ok(Ok(Known { pod, said }))
    }
}

impl From<Away> for Later {
    fn from(away: Away) -> Later {
        Later::Away(away)
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

impl<T: Clone> Port<T> {
    fn new() -> Port<T> {
        Port { answers: Mutex::default(), turns: Semaphore::new(REVIEWS_MAX) }
    }

    async fn ask(
        &self,
        token: &str,
        now: Instant,
        review: impl Future<Output = Result<Result<T, Refusal>, Later>>,
    ) -> Result<T, NotKnown> {
        let key = hash(token);
        if let Some(said) = self.known(&key, now) {
            return said.map_err(NotKnown::Refused);
        }
        let asked = tokio::time::timeout(WAIT_MAX, async {
            let _turn = self.turns.acquire().await.map_err(|_| Away("the program ends".to_owned()))?;
            review.await
        });
        let said = match asked.await {
            Ok(Ok(said)) => said,
            Ok(Err(later)) => return Err(NotKnown::Later(later)),
            Err(_) => {
                let away = Away(format!("no answer within {} s", WAIT_MAX.as_secs()));
                return Err(NotKnown::Later(Later::Away(away)));
            }
        };
        self.remember(key, &said, now);
        said.map_err(NotKnown::Refused)
    }

    fn known(&self, key: &[u8; 32], now: Instant) -> Option<Result<T, Refusal>> {
        self.answers().get(key).filter(|answer| now < answer.until).map(|answer| answer.said.clone())
    }

    fn remember(&self, key: [u8; 32], said: &Result<T, Refusal>, now: Instant) {
        let mut answers = self.answers();
        if answers.len() >= ANSWERS_MAX && !answers.contains_key(&key) {
            answers.retain(|_, answer| now < answer.until);
            // Guesses are forgotten before anybody who is known.
            if answers.len() >= ANSWERS_MAX {
                answers.retain(|_, answer| answer.said.is_ok());
            }
            if answers.len() >= ANSWERS_MAX {
                return;
            }
        }
        let holds = if said.is_ok() { KNOWN_FOR } else { UNKNOWN_FOR };
        answers.insert(key, Answer { said: said.clone(), until: now + holds });
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<[u8; 32], Answer<T>>> {
        // Whoever panicked left a whole map behind.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
