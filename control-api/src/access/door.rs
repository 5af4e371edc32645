//! One door: asks the rules that hold at this moment, and keeps account of those it does not let in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::watch;
use tracing::warn;

use super::limit::Limit;
use super::{ANONYMOUS, Access, Caller, Pass, Refusal, Role, Shown};

/// Failures that are looked at one by one, logged and told their reason, a second; the rest is counted.
const FAILURES_PER_SECOND: u32 = 10;

/// A port's door. Clones are the same door.
#[derive(Clone)]
pub struct Door {
    port: &'static str,
    /// `None`: everybody comes in.
    access: Option<watch::Receiver<Arc<Access>>>,
    failures: Arc<Failures>,
}

struct Failures {
    limit: Limit,
    /// Since the last one that was logged.
    unlogged: AtomicU64,
    count: AtomicU64,
}

/// Somebody was not let in.
#[derive(Debug, PartialEq, Eq)]
pub enum Denied {
    Refused(Refusal),
    /// One of too many within a second.
    Flood,
}

impl Door {
    pub fn new(port: &'static str, access: Option<watch::Receiver<Arc<Access>>>) -> Door {
        let failures = Failures {
            limit: Limit::per_second(FAILURES_PER_SECOND),
            unlogged: AtomicU64::new(0),
            count: AtomicU64::new(0),
        };
        Door { port, access, failures: Arc::new(failures) }
    }

    /// Lets in whoever calls the API.
    pub fn person(
        &self,
        remote: SocketAddr,
        names: &[String],
        authorization: Option<&str>,
        now: Instant,
    ) -> Result<Caller, Denied> {
        let remote_address = remote.to_string();
        let Some(access) = &self.access else {
            return Ok(Caller { principal: ANONYMOUS.to_owned(), role: Role::Admin, remote_address });
        };
        let access = Arc::clone(&access.borrow());
        match read(authorization).and_then(|token| access.person(Shown { token, names })) {
            Ok((principal, role)) => Ok(Caller { principal, role, remote_address }),
            Err(refusal) => Err(self.failed(refusal, remote, now)),
        }
    }

    /// Lets in a sidecar, which may then say that it is what its pass admits.
    pub fn sidecar(
        &self,
        remote: SocketAddr,
        names: &[String],
        authorization: Option<&str>,
        now: Instant,
    ) -> Result<Pass, Denied> {
        let Some(access) = &self.access else { return Ok(Pass::any()) };
        let access = Arc::clone(&access.borrow());
        let pass = read(authorization).and_then(|token| access.sidecar(Shown { token, names }));
        pass.map_err(|refusal| self.failed(refusal, remote, now))
    }

    /// Which port's it is.
    pub fn port(&self) -> &'static str {
        self.port
    }

    /// How often somebody was not let in.
    pub fn denied(&self) -> u64 {
        self.failures.count.load(Ordering::Relaxed)
    }

    /// Returns when the rules have changed since this clone of the door was last told.
    pub async fn changed(&mut self) {
        let Some(access) = &mut self.access else { return std::future::pending().await };
        if access.changed().await.is_err() {
            // The process ends.
            std::future::pending().await
        }
    }

    fn failed(&self, refusal: Refusal, remote: SocketAddr, now: Instant) -> Denied {
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

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Denied::Refused(refusal) => refusal.fmt(f),
            Denied::Flood => f.write_str("too many failed authentications; good credentials are still taken"),
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
