//! One door: asks the rules that hold at this moment, and keeps account of those it does not let in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::watch;
use tracing::{info, warn};

use super::limit::Limit;
use super::review::{Authority, NotKnown};
use super::turns::Later;
use super::{ANONYMOUS, Access, Caller, Pass, Refusal, Role, Shown};

/// Failures that are looked at one by one, logged and told their reason, a second; the rest is counted.
const FAILURES_PER_SECOND: u32 = 10;

/// Who is asked at a door, in this order. Nobody: everybody comes in.
#[derive(Clone, Default)]
pub struct Rules {
    /// The access file.
    pub access: Option<watch::Receiver<Arc<Access>>>,
    /// A cluster, about tokens that the file does not know.
    pub cluster: Option<Arc<Authority>>,
}

/// A port's door. Clones are the same door.
#[derive(Clone)]
pub struct Door {
    port: &'static str,
    rules: Rules,
    failures: Arc<Failures>,
}

struct Failures {
    limit: Limit,
    /// Since the last one that was logged.
    unlogged: AtomicU64,
    count: AtomicU64,
    /// Those that were told to come again, by [`Later::REASONS`].
    not_yet: [AtomicU64; Later::REASONS.len()],
}

/// Somebody was not let in.
#[derive(Debug, PartialEq, Eq)]
pub enum Denied {
    Refused(Refusal),
    /// One of too many within a second.
    Flood,
    /// Nobody can say who it is at the moment.
    Later(Later),
}

impl Door {
    pub fn new(port: &'static str, rules: Rules) -> Door {
        let failures = Failures {
            limit: Limit::per_second(FAILURES_PER_SECOND),
            unlogged: AtomicU64::new(0),
            count: AtomicU64::new(0),
            not_yet: Default::default(),
        };
        Door { port, rules, failures: Arc::new(failures) }
    }

    /// Lets in whoever calls the API.
    pub async fn person(
        &self,
        remote: SocketAddr,
        names: &[String],
        authorization: Option<&str>,
        now: Instant,
    ) -> Result<Caller, Denied> {
        let remote_address = remote.to_string();
        if self.rules.is_open() {
            return Ok(Caller { principal: ANONYMOUS.to_owned(), role: Role::Admin, remote_address });
        }
        let token = read(authorization).map_err(|refusal| self.refused(refusal, remote, now))?;
        let of_file = self.rules.of_file().person(Shown { token, names });
        let known = match (of_file, token, &self.rules.cluster) {
            (Err(_), Some(token), Some(cluster)) => cluster.person(token, remote.ip(), now).await,
            (of_file, ..) => of_file.map_err(NotKnown::Refused),
        };
        let (principal, role) = known.map_err(|why| self.not_known(why, remote, now))?;
        Ok(Caller { principal, role, remote_address })
    }

    /// Lets in a sidecar, which may then say that it is what its pass admits.
    pub async fn sidecar(
        &self,
        remote: SocketAddr,
        names: &[String],
        authorization: Option<&str>,
        now: Instant,
    ) -> Result<Pass, Denied> {
        let known = self.look_at(remote, names, authorization, now).await;
        known.map_err(|why| self.not_known(why, remote, now))
    }

    /// Can it be said at the moment who a sidecar is? What it showed when it came may be over by now, and it has something newer to show when it
    /// comes again: so nobody is refused here, and counted only where nobody can say.
    pub async fn can_say(
        &self,
        remote: SocketAddr,
        names: &[String],
        authorization: Option<&str>,
        now: Instant,
    ) -> Result<(), Later> {
        match self.look_at(remote, names, authorization, now).await {
            Err(why @ NotKnown::Later(Later::Away(_) | Later::Crowded)) => match self.not_known(why, remote, now) {
                Denied::Later(later) => Err(later),
                Denied::Refused(_) | Denied::Flood => Ok(()),
            },
            Ok(_) | Err(NotKnown::Refused(_) | NotKnown::Later(Later::Unseen { .. })) => Ok(()),
        }
    }

    async fn look_at(
        &self,
        remote: SocketAddr,
        names: &[String],
        authorization: Option<&str>,
        now: Instant,
    ) -> Result<Pass, NotKnown> {
        if self.rules.is_open() {
            return Ok(Pass::any());
        }
        let token = read(authorization).map_err(NotKnown::Refused)?;
        let of_file = self.rules.of_file().sidecar(Shown { token, names });
        match (of_file, token, &self.rules.cluster) {
            (Err(_), Some(token), Some(cluster)) => cluster.sidecar(token, remote.ip(), now).await,
            (of_file, ..) => of_file.map_err(NotKnown::Refused),
        }
    }

    /// Which port's it is.
    pub fn port(&self) -> &'static str {
        self.port
    }

    /// How often somebody was not let in.
    pub fn denied(&self) -> u64 {
        self.failures.count.load(Ordering::Relaxed)
    }

    /// How often somebody was told to come again, by reason.
    pub fn not_yet(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Later::REASONS.into_iter().zip(self.failures.not_yet.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// A clone that is told of changes from now on.
    pub fn from_now_on(&self) -> Door {
        let mut door = self.clone();
        if let Some(access) = &mut door.rules.access {
            access.mark_unchanged();
        }
        door
    }

    /// What a sidecar may say that it is after the access file has changed. Nobody is asked: what a cluster said does not depend on the
    /// file, and its age ends it.
    pub fn sidecar_still(
        &self,
        pass: Pass,
        remote: SocketAddr,
        names: &[String],
        authorization: Option<&str>,
        now: Instant,
    ) -> Result<Pass, Denied> {
        if self.rules.is_open() || pass.pod().is_some() {
            return Ok(pass);
        }
        let still = read(authorization).and_then(|token| self.rules.of_file().sidecar(Shown { token, names }));
        still.map_err(|refusal| self.refused(refusal, remote, now))
    }

    /// Returns when the rules have changed since this clone of the door was last told.
    pub async fn changed(&mut self) {
        let Some(access) = &mut self.rules.access else { return std::future::pending().await };
        if access.changed().await.is_err() {
            // The process ends.
            std::future::pending().await
        }
    }

    fn not_known(&self, why: NotKnown, remote: SocketAddr, now: Instant) -> Denied {
        match why {
            NotKnown::Refused(refusal) => self.refused(refusal, remote, now),
            // No fault of theirs, so not counted as one.
            NotKnown::Later(later) => {
                let reason = later.reason();
                let at = Later::REASONS.iter().position(|known| *known == reason);
                if let Some(count) = at.and_then(|at| self.failures.not_yet.get(at)) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                // Each kind by itself: pods that are new, as there always are, hide no API server that is away.
                if self.failures.limit.take(reason, now).is_ok() {
                    match &later {
                        Later::Away(_) | Later::Crowded => {
                            warn!(port = self.port, %remote, reason = %later, "not let in yet")
                        }
                        // As every pod that has just been started.
                        Later::Unseen { .. } => info!(port = self.port, %remote, reason = %later, "not let in yet"),
                    }
                }
                Denied::Later(later)
            }
        }
    }

    fn refused(&self, refusal: Refusal, remote: SocketAddr, now: Instant) -> Denied {
        self.failures.count.fetch_add(1, Ordering::Relaxed);
        if self.failures.limit.take("", now).is_err() {
            self.failures.unlogged.fetch_add(1, Ordering::Relaxed);
            return Denied::Flood;
        }
        let unlogged = self.failures.unlogged.swap(0, Ordering::Relaxed);
        warn!(port = self.port, %remote, reason = %refusal, unlogged, "not let in");
        Denied::Refused(refusal)
    }
}

impl Rules {
    fn is_open(&self) -> bool {
        self.access.is_none() && self.cluster.is_none()
    }

    /// As it is at this moment; without one it names nobody.
    fn of_file(&self) -> Arc<Access> {
        self.access.as_ref().map(|access| Arc::clone(&access.borrow())).unwrap_or_default()
    }
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Denied::Refused(refusal) => refusal.fmt(f),
            Denied::Flood => f.write_str("too many failed authentications; good credentials are still taken"),
            Denied::Later(later) => later.fmt(f),
        }
    }
}

/// The token of an `authorization` header.
fn read(authorization: Option<&str>) -> Result<Option<&str>, Refusal> {
    let Some(value) = authorization else { return Ok(None) };
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(Refusal::Scheme),
    }
}
