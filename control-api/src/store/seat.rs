//! What a replica on a shared store tells the rest of its process: does it lead, and who else is there. The stores that replicas share find
//! it out, each in its own way, and renew it every [`RENEW_EVERY`].

use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::leader::Leader;
use crate::replicas::{Replica, Replicas};

/// How long a replica counts as alive without a word. etcd grants no less than two of its elections.
pub(super) const LEASE: Duration = Duration::from_secs(6);
/// Two words may be lost.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(2);

pub(super) struct Seat {
    /// Name of this replica.
    own: String,
    leads: watch::Sender<bool>,
    others: watch::Sender<Vec<Replica>>,
}

impl Seat {
    /// Nobody is known yet, and nobody leads.
    pub(super) fn take(own: Replica) -> (Seat, Leader, Replicas) {
        let (leads, elected) = watch::channel(false);
        let (others, known) = watch::channel(Vec::new());
        let seat = Seat { own: own.name.clone(), leads, others };
        (seat, Leader::follow(elected), Replicas::follow(own, known))
    }

    pub(super) fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    pub(super) fn tell(&self, leads: bool, others: Vec<Replica>) {
        if self.leads.send_if_modified(|own| std::mem::replace(own, leads) != leads) {
            info!(leads, replica = %self.own, "leader");
        }
        self.others.send_if_modified(|own| {
            let changed = *own != others;
            if changed {
                let names: Vec<&str> = others.iter().map(|other| other.name.as_str()).collect();
                info!(others = ?names, "replicas");
                *own = others;
            }
            changed
        });
    }

    /// Waits for the next round; leads no longer than until `until`. True: it is told to end.
    pub(super) async fn rest(&self, until: Option<Instant>, end: &mut oneshot::Receiver<()>) -> bool {
        let step_down = until.unwrap_or_else(Instant::now);
        let next = tokio::time::sleep(RENEW_EVERY);
        tokio::pin!(next);
        loop {
            tokio::select! {
                () = &mut next => return false,
                () = tokio::time::sleep_until(step_down), if self.leads() => self.step_down(),
                _ = &mut *end => return true,
            }
        }
    }

    /// Its lease is over: another may lead.
    pub(super) fn step_down(&self) {
        if self.leads.send_if_modified(|own| std::mem::replace(own, false)) {
            warn!(replica = %self.own, "leads no longer: its lease is over");
        }
    }

    /// It ends. True: it led.
    pub(super) fn give_up(&self) -> bool {
        self.leads.send_replace(false)
    }
}
