//! A replica's seat: who leads, and who else there is. Leases of the cluster (coordination.k8s.io/v1) say both.
//!
//! ```text
//!   every RENEW_EVERY: list our Leases --> renew laneway-control-{replica} --> laneway-control: renew it, or take one that is free
//! ```
//! Clocks of machines are not compared: a Lease counts as alive for LEASE after it was last *seen* to change. A replica that is killed is
//! forgotten after that, one that ends gives its Leases back. Whoever could not renew for as long as a Lease lasts no longer leads: by
//! then another one may. Two that lead for a moment do no harm, since what a leader writes is a commit like any other.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{info, warn};
use xxhash_rust::xxh3::xxh3_64;

use super::super::StoreError;
use super::super::seat::{LEASE, RENEW_EVERY, Seat};
use super::failure::{self, call};
use super::journal::post;
use crate::leader::Leader;
use crate::replicas::{Replica, Replicas};

/// Of the leader; those of replicas begin so.
const NAME: &str = "laneway-control";
/// All of ours have it.
const LABEL: &str = "app.kubernetes.io/name";
/// Of a replica's Lease: its name, and the URL of its API.
const REPLICA: &str = "laneway.io/replica";
const API: &str = "laneway.io/api";
/// Which process wrote a Lease: one that is restarted has the name of the one before.
const PROCESS: &str = "laneway.io/process";
/// Leases of replicas that were killed are removed after so long.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// More than anybody's replicas, dead ones among them.
const LEASES_MAX: u32 = 500;

/// The task, before it runs.
pub struct Session {
    api: Api<Lease>,
    own: Replica,
    /// Of this process, unlike any other's.
    identity: String,
    seat: Seat,
    /// By name: as what a Lease was last seen, and since when.
    seen: BTreeMap<String, (String, Instant)>,
    /// Until then nobody else takes the lead.
    until: Option<Instant>,
    /// Its own Lease was written.
    is_seated: bool,
}

impl Session {
    /// Takes a seat: who leads and who else there is, as it is now and as it becomes while the session runs.
    pub async fn join(
        client: Client,
        namespace: &str,
        own: Replica,
    ) -> Result<(Session, Leader, Replicas), StoreError> {
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let seed = format!("{} {nanos} {}", own.name, std::process::id());
        let identity = format!("{}_{:016x}", own.name, xxh3_64(seed.as_bytes()));
        let api = Api::namespaced(client, namespace);
        let (seen, until) = (BTreeMap::new(), None);
        let (seat, leader, replicas) = Seat::take(own.clone());
        let mut session = Session { api, own, identity, seat, seen, until, is_seated: false };
        session.round().await?;
        Ok((session, leader, replicas))
    }

    /// Runs until it is told to end; then the others need not wait for the Lease to run out.
    pub async fn run(mut self, mut end: oneshot::Receiver<()>) {
        let mut is_away = false;
        loop {
            if self.seat.rest(self.until, &mut end).await {
                return self.leave().await;
            }
            // An answer that comes too late is none: whoever leads steps down in time.
            let round = tokio::time::timeout(LEASE - RENEW_EVERY, self.round()).await;
            let done = round.unwrap_or_else(|_| Err(StoreError::Away("no answer from the API server".to_owned())));
            match done {
                Ok(()) if std::mem::take(&mut is_away) => info!("the API server is back"),
                Ok(()) => {}
                Err(failure) => {
                    if self.until.is_none_or(|until| until <= Instant::now()) {
                        self.seat.step_down();
                    }
                    if !std::mem::replace(&mut is_away, true) {
                        let error = &failure as &(dyn std::error::Error + 'static);
                        warn!(
                            error,
                            "the API server cannot be reached: nothing can be changed, sidecars keep what they have"
                        );
                    }
                }
            }
        }
    }

    async fn round(&mut self) -> Result<(), StoreError> {
        let asked = Instant::now();
        let ours = ListParams::default().labels(&format!("{LABEL}={NAME}")).limit(LEASES_MAX);
        let leases = call("list the Leases", self.api.list(&ours)).await?.items;
        self.notice(&leases, asked);
        self.sit(&leases).await?;
        let leads = self.stand(&leases, asked).await?;
        self.seat.tell(leads, self.alive(&leases, asked));
        if leads {
            self.tidy(&leases, asked).await;
        }
        Ok(())
    }

    /// Remembers since when each is as it is.
    fn notice(&mut self, leases: &[Lease], now: Instant) {
        let mut seen = BTreeMap::new();
        for lease in leases {
            let Some(name) = lease.metadata.name.clone() else { continue };
            let version = lease.metadata.resource_version.clone().unwrap_or_default();
            let since = self.seen.get(&name).filter(|(old, _)| *old == version).map_or(now, |(_, since)| *since);
            seen.insert(name, (version, since));
        }
        self.seen = seen;
    }

    /// How long a Lease has been as it is.
    fn age(&self, lease: &Lease, now: Instant) -> Duration {
        let name = lease.metadata.name.as_deref().unwrap_or_default();
        self.seen.get(name).map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(*since))
    }

    /// Renews the Lease that says that this replica is there.
    async fn sit(&mut self, leases: &[Lease]) -> Result<(), StoreError> {
        let name = seat_of(&self.own.name);
        let found = leases.iter().find(|lease| lease.metadata.name.as_deref() == Some(name.as_str()));
        if let Some(found) = found {
            let is_anothers = !self.is_own(found);
            // At first it may be of a process before us that was killed.
            if is_anothers && self.is_seated {
                warn!(replica = %self.own.name, "another replica has the same name: give each its own with --replica");
            }
        }
        let mut lease = found.cloned().unwrap_or_else(|| named(&name));
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.insert(REPLICA.to_owned(), self.own.name.clone());
        annotations.insert(API.to_owned(), self.own.api.clone());
        self.write(lease, &self.own.name).await?;
        self.is_seated = true;
        Ok(())
    }

    /// Renews the lead, or takes it where it is free. True: this replica leads.
    async fn stand(&mut self, leases: &[Lease], asked: Instant) -> Result<bool, StoreError> {
        let found = leases.iter().find(|lease| lease.metadata.name.as_deref() == Some(NAME));
        let lease = match found {
            None => named(NAME),
            Some(found) => {
                let is_own = self.is_own(found);
                let is_free = holder(found).is_none_or(str::is_empty) || self.age(found, asked) >= LEASE;
                if !is_own && !is_free {
                    self.until = None;
                    return Ok(false);
                }
                let mut lease = found.clone();
                if !is_own {
                    let spec = lease.spec.get_or_insert_default();
                    spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
                    spec.acquire_time = Some(MicroTime(Timestamp::now()));
                }
                lease
            }
        };
        let has_written = self.write(lease, &self.own.name).await?;
        self.until = has_written.then(|| asked + LEASE);
        Ok(has_written)
    }

    /// Renews a Lease as it was read. False: somebody else has written it since.
    async fn write(&self, mut lease: Lease, holder: &str) -> Result<bool, StoreError> {
        let name = lease.metadata.name.clone().unwrap_or_default();
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(holder.to_owned());
        spec.lease_duration_seconds = i32::try_from(LEASE.as_secs()).ok();
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        lease.metadata.annotations.get_or_insert_default().insert(PROCESS.to_owned(), self.identity.clone());
        let done = if lease.metadata.resource_version.is_some() {
            call("renew a Lease", self.api.replace(&name, &post(false), &lease)).await
        } else {
            call("make a Lease", self.api.create(&post(false), &lease)).await
        };
        match done {
            Ok(_) => Ok(true),
            Err(StoreError::Failed { source, .. })
                if failure::is_conflict(&*source) || failure::is_missing(&*source) =>
            {
                Ok(false)
            }
            Err(failure) => Err(failure),
        }
    }

    fn is_own(&self, lease: &Lease) -> bool {
        let process = lease.metadata.annotations.as_ref().and_then(|own| own.get(PROCESS));
        process == Some(&self.identity) && holder(lease).is_some_and(|holder| !holder.is_empty())
    }

    /// The others whose Lease is not over.
    fn alive(&self, leases: &[Lease], now: Instant) -> Vec<Replica> {
        let replicas = leases.iter().filter(|lease| self.age(lease, now) < LEASE).filter_map(replica);
        replicas.filter(|replica| replica.name != self.own.name).collect()
    }

    /// Removes Leases of replicas that have long been gone.
    async fn tidy(&self, leases: &[Lease], now: Instant) {
        let dead = leases.iter().filter(|lease| replica(lease).is_some() && self.age(lease, now) > FORGET_AFTER);
        for name in dead.filter_map(|lease| lease.metadata.name.as_deref()) {
            if let Err(failure) = call("remove a Lease", self.api.delete(name, &DeleteParams::default())).await {
                let error = &failure as &(dyn std::error::Error + 'static);
                info!(error, lease = name, "the Lease of a replica that is gone stays for a while");
            }
        }
    }

    async fn leave(self) {
        let has_led = self.seat.give_up();
        let seat = seat_of(&self.own.name);
        let gone = call("remove the Lease of this replica", self.api.delete(&seat, &DeleteParams::default())).await;
        let freed = match has_led {
            true => self.give_up().await,
            false => Ok(()),
        };
        if let Err(failure) = gone.map(drop).and(freed) {
            let error = &failure as &(dyn std::error::Error + 'static);
            warn!(error, "the other replicas wait until the Lease is over");
        }
    }

    /// Nobody holds the lead then.
    async fn give_up(&self) -> Result<(), StoreError> {
        let found = call("read the leader's Lease", self.api.get_opt(NAME)).await?;
        let Some(lease) = found.filter(|lease| self.is_own(lease)) else { return Ok(()) };
        self.write(lease, "").await.map(drop)
    }
}

fn named(name: &str) -> Lease {
    let labels = BTreeMap::from([(LABEL.to_owned(), NAME.to_owned())]);
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
    let spec = LeaseSpec { acquire_time: Some(MicroTime(Timestamp::now())), ..LeaseSpec::default() };
    Lease { metadata, spec: Some(spec) }
}

/// The Lease of a replica; its name may have letters that names in a cluster have not.
fn seat_of(replica: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if replica.len() <= 200 && replica.bytes().all(is_plain) && !replica.ends_with('-') {
        return format!("{NAME}-{replica}");
    }
    format!("{NAME}-{:016x}", xxh3_64(replica.as_bytes()))
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

/// Whose Lease it is; none of that of the leader.
fn replica(lease: &Lease) -> Option<Replica> {
    let annotations = lease.metadata.annotations.as_ref()?;
    Some(Replica { name: annotations.get(REPLICA)?.clone(), api: annotations.get(API)?.clone() })
}
