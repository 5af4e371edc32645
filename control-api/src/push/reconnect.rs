//! What every sidecar is told of how to come back: one resource for all, another one when their number has changed enough.
//!
//! ```text
//!  fleet: a stream comes, goes ─┐
//!                               ├─▶ gather ─▶ Spread::with(streams x replicas) ─▶ watch ─▶ each stream
//!  replicas: one comes, goes ───┘
//! ```
//! Times the replicas, because all of their sidecars may have to come to one of them; however many each has, then no more come in a
//! second than to one that had them all.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use laneway_core::back_off::Spread;
use laneway_core::compile::{Compiled, WireResource};
use laneway_core::snapshot::Identity;
use laneway_proto::contract::TYPE_RECONNECT;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::debug;

use super::session::Source;
use crate::fleet::Fleet;
use crate::replicas::Replicas;

#[cfg(test)]
mod tests;

/// Streams that come together are counted together.
const GATHER: Duration = Duration::from_millis(50);
/// A fleet is smaller when it was so for as long as this: one that leaves, because the way to it breaks or this process ends, is
/// to come back as one, and its last ones are not told that they are few.
const SMALLER_AFTER: Duration = Duration::from_secs(60);

/// The resource, as it is now.
pub(super) type Told = watch::Sender<Arc<WireResource>>;

/// For nobody yet.
pub(super) fn channel() -> Told {
    watch::channel(Arc::new(Spread::SHORTEST.to_resource())).0
}

/// Counts for ever.
pub(super) async fn count(fleet: Fleet, mut replicas: Replicas, told: Told) -> Infallible {
    let mut events = fleet.events();
    // Who is there already counts.
    events.mark_changed();
    let mut looks = tokio::time::interval_at(Instant::now() + SMALLER_AFTER, SMALLER_AFTER);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut spread = Spread::SHORTEST;
    // Since the last look.
    let mut most = 0;
    loop {
        let is_look = tokio::select! {
            // It cannot end: the fleet is here.
            _ = events.changed() => false,
            () = replicas.changed() => false,
            _ = looks.tick() => true,
        };
        tokio::time::sleep(GATHER).await;
        let streams = fleet.connected_count().saturating_mul(replicas.count());
        most = most.max(streams);
        let next = spread.with(most);
        if is_look {
            most = streams;
        }
        if std::mem::replace(&mut spread, next) != next {
            debug!(spread = ?next.time(), streams, "sidecars are told over what time to come back");
            told.send_replace(Arc::new(next.to_resource()));
        }
    }
}

/// What there is to send: the configuration, and this.
pub(super) struct Offer<'o> {
    pub(super) compiled: &'o Compiled,
    pub(super) reconnect: Arc<WireResource>,
}

impl Source for Offer<'_> {
    fn subscribed(&self, type_url: &str, node: &Identity) -> Vec<Arc<WireResource>> {
        match type_url {
            TYPE_RECONNECT => vec![Arc::clone(&self.reconnect)],
            _ => self.compiled.subscribed(type_url, node),
        }
    }

    fn answer(&self, type_url: &str, key: &str, node: &Identity) -> Vec<Arc<WireResource>> {
        self.compiled.answer(type_url, key, node)
    }
}
