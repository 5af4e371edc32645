//! This replica's seat among the others: a lease, what stands under it, and who leads.
//!
//! ```text
//!   every RENEW_EVERY: keep the lease alive --> replicas/{own name}, leader where nobody is --> read both
//! ```
//! A replica that is killed is forgotten when its lease is over, one that ends gives it back. Whoever cannot reach etcd for
//! as long as a lease lasts no longer leads: by then another one may. Two that lead for a moment do no harm, since what a
//! leader writes is a commit like any other.

use prost::Message;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{info, warn};

use super::super::seat::{LEASE, Seat};
use super::{Etcd, StoreError, get, kept, keys, put_leased, wire};
use crate::leader::Leader;
use crate::replicas::{Replica, Replicas};

/// The task, before it runs.
pub struct Session {
    store: Etcd,
    own: Replica,
    seat: Seat,
    lease: Option<Lease>,
    /// Its name was written under this lease.
    is_seated: bool,
}

struct Lease {
    id: i64,
    /// Surely alive until then.
    until: Instant,
}

impl Session {
    /// Takes a seat: who leads and who else there is, as it is now and as it becomes while the session runs.
    pub async fn join(store: Etcd, own: Replica) -> Result<(Session, Leader, Replicas), StoreError> {
        let (seat, leader, replicas) = Seat::take(own.clone());
        let mut session = Session { store, own, seat, lease: None, is_seated: false };
        session.round().await?;
        Ok((session, leader, replicas))
    }

    /// Runs until it is told to end; then the others need not wait for the lease to run out.
    pub async fn run(mut self, mut end: oneshot::Receiver<()>) {
        let mut is_away = false;
        loop {
            if self.seat.rest(self.lease.as_ref().map(|lease| lease.until), &mut end).await {
                return self.leave().await;
            }
            match self.round().await {
                Ok(()) if std::mem::take(&mut is_away) => info!("etcd is back"),
                Ok(()) => {}
                Err(failure) => {
                    if !std::mem::replace(&mut is_away, true) {
                        let error = &failure as &(dyn std::error::Error + 'static);
                        warn!(error, "etcd cannot be reached: nothing can be changed, sidecars keep what they have");
                    }
                }
            }
        }
    }

    async fn round(&mut self) -> Result<(), StoreError> {
        let lease = self.renewed().await?;
        let keys = &self.store.shared.keys;
        let own = kept::Replica { name: self.own.name.clone(), api: self.own.api.clone() };
        // Whoever is first leads. Where somebody leads already nothing is written, so that nobody's watch is woken.
        let absent = wire::Compare {
            target: wire::compare::CompareTarget::Version.into(),
            key: keys.leader(),
            target_union: Some(wire::compare::TargetUnion::Version(0)),
            ..wire::Compare::default()
        };
        let request = wire::TxnRequest {
            compare: vec![absent],
            success: vec![put_leased(keys.leader(), own.encode_to_vec(), lease)],
            failure: vec![get(keys.leader())],
        };
        let answer = self.store.decide(request).await?;
        let leads = answer.succeeded || self.holds(&answer, lease);
        let mut replicas = self.replicas().await?;
        let found = replicas.iter().find(|(replica, _)| replica.name == self.own.name).map(|(_, by)| *by);
        if found != Some(lease) {
            // At first it may be of a process before us that was killed, and whose lease is not over yet.
            if self.is_seated && found.is_some() {
                warn!(replica = %self.own.name, "another replica has the same name: give each its own with --replica");
            }
            let success = vec![put_leased(keys.replica(&self.own.name), own.encode_to_vec(), lease)];
            self.store.decide(wire::TxnRequest { success, ..wire::TxnRequest::default() }).await?;
            replicas = self.replicas().await?;
            self.is_seated = true;
        }
        let others = replicas.into_iter().map(|(replica, _)| replica).filter(|replica| replica.name != self.own.name);
        self.seat.tell(leads, others.collect());
        Ok(())
    }

    /// The lease, alive from now on for as long as it lasts.
    async fn renewed(&mut self) -> Result<i64, StoreError> {
        let asked = Instant::now();
        let client = &self.store.shared.client;
        if let Some(lease) = &mut self.lease {
            let is_alive =
                client.keep_alive(lease.id).await.map_err(|failure| failure.into_error("renew the lease"))?;
            if is_alive {
                lease.until = asked + LEASE;
                return Ok(lease.id);
            }
            self.lease = None;
            self.is_seated = false;
            self.seat.step_down();
        }
        let seconds = i64::try_from(LEASE.as_secs()).unwrap_or(i64::MAX);
        let id = client.grant(seconds).await.map_err(|failure| failure.into_error("take a lease"))?;
        self.lease = Some(Lease { id, until: asked + LEASE });
        Ok(id)
    }

    fn holds(&self, answer: &wire::TxnResponse, lease: i64) -> bool {
        answer.responses.iter().any(|response| match &response.response {
            Some(wire::response_op::Response::ResponseRange(range)) => range.kvs.iter().any(|own| own.lease == lease),
            _ => false,
        })
    }

    /// All that are alive, each with its lease.
    async fn replicas(&self) -> Result<Vec<(Replica, i64)>, StoreError> {
        let key = self.store.shared.keys.replicas();
        let range = wire::RangeRequest { range_end: keys::behind(&key), key, ..wire::RangeRequest::default() };
        let answer = self.store.shared.client.range(range).await;
        let answer = answer.map_err(|failure| failure.into_error("read who else there is"))?;
        let all = answer.kvs.iter().map(|found| {
            let replica = kept::Replica::decode(found.value.as_slice());
            let replica = replica.map_err(|source| super::damaged("a replica", &source))?;
            Ok((Replica { name: replica.name, api: replica.api }, found.lease))
        });
        all.collect()
    }

    async fn leave(self) {
        self.seat.give_up();
        let Some(lease) = self.lease else { return };
        if let Err(failure) = self.store.shared.client.revoke(lease.id).await {
            let failure = failure.into_error("give the lease back");
            let error = &failure as &(dyn std::error::Error + 'static);
            warn!(error, "the other replicas wait until the lease is over");
        }
    }
}
