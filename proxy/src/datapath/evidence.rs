//! What the pod's inbound requests tell about the calls of its application: which contexts are in flight, and which context a trace
//! or request id belongs to. Inbound notes, outbound asks; shared by the workers, because a request and the calls that it causes
//! may be carried by different ones.
//!
//! A request without ids and without a context costs two atomic counts. Else one shard is locked for one lookup.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use laneway_core::context::Context;
use laneway_core::correlation::{Bounds, Correlations, Known};
use laneway_core::decide::{self, InFlight};
use laneway_core::facts::Headers;
use laneway_core::in_flight::{Contexts, InLane, Place};
use laneway_core::tag::Tag;
use laneway_core::trace::{Id, IdHeaders};

use super::attribution::{Attribution, Callers};
use super::path::{Trail, Trails};

/// A power of two.
const SHARDS: usize = 16;
/// Ids that are held, of all shards together.
const IDS_MAX: usize = 64 << 10;
/// Of their contexts: pass headers make them long.
const CONTEXT_BYTES_MAX: usize = 16 << 20;
/// For how long an id is known after its last request has ended: what an application does after its answer still belongs to it.
const ID_SECONDS: u32 = 60;
/// Of one request, the first in order of precedence.
const IDS_PER_REQUEST_MAX: usize = 8;

/// Of one process.
pub(crate) struct Evidence {
    started: Instant,
    /// Requests in flight that have nothing to hand on.
    plain: AtomicU32,
    /// Requests in flight that have.
    contextual: AtomicU32,
    contexts: Mutex<Contexts>,
    /// Has a request with an id come in yet? Until then no call has one that is known.
    has_ids: AtomicBool,
    shards: [Mutex<Correlations>; SHARDS],
    callers: Callers,
    trails: Trails,
}

impl Evidence {
    pub(crate) fn new(attribution: Box<dyn Attribution>) -> Evidence {
        let bounds = Bounds { ids: IDS_MAX / SHARDS, bytes: CONTEXT_BYTES_MAX / SHARDS, seconds: ID_SECONDS };
        Evidence {
            started: Instant::now(),
            plain: AtomicU32::new(0),
            contextual: AtomicU32::new(0),
            contexts: Mutex::default(),
            has_ids: AtomicBool::new(false),
            shards: std::array::from_fn(|_| Mutex::new(Correlations::new(bounds))),
            callers: Callers::new(attribution),
            trails: Trails::default(),
        }
    }

    /// Seconds since the process started.
    pub(crate) fn seconds(&self) -> u32 {
        u32::try_from(self.started.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    /// Notes an inbound request as running, until the guard is dropped. `ids`: the request's, and one that we gave it.
    /// `lane_seconds`: for which what it causes stays in its lane.
    pub(crate) fn begin(
        self: &Arc<Self>,
        context: Option<Arc<Context>>,
        ids: impl Iterator<Item = Id>,
        lane_seconds: u32,
        now: u32,
    ) -> InFlightGuard {
        let mut noted: Vec<Id> = Vec::new();
        for id in ids {
            if noted.len() < IDS_PER_REQUEST_MAX && !noted.contains(&id) {
                self.shard(id).begin(id, context.as_ref(), now);
                noted.push(id);
                self.has_ids.store(true, Relaxed);
            }
        }
        let kind = match context {
            None => {
                self.plain.fetch_add(1, Relaxed);
                Kind::Plain
            }
            Some(context) => {
                let place = lock(&self.contexts).begin(&context, now.saturating_add(lane_seconds));
                self.contextual.fetch_add(1, Relaxed);
                Kind::Contextual(context, place)
            }
        };
        InFlightGuard { evidence: Arc::clone(self), kind, ids: noted, port: None, trail: None }
    }

    /// Forgets ids that are over. Once a second or so, by any worker.
    pub(crate) fn sweep(&self, now: u32) {
        for shard in &self.shards {
            lock(shard).sweep(now);
        }
    }

    fn shard(&self, id: Id) -> MutexGuard<'_, Correlations> {
        lock(&self.shards[id.shard(SHARDS)])
    }

    /// Of which lanes inbound requests are in flight.
    pub(crate) fn in_lane(&self) -> InLane {
        if self.contextual.load(Relaxed) == 0 {
            return InLane::None;
        }
        lock(&self.contexts).lane()
    }

    fn in_flight(&self, own: Option<Tag>) -> InFlight {
        if self.contextual.load(Relaxed) == 0 {
            return InFlight { total: self.plain.load(Relaxed), ..InFlight::default() };
        }
        let contexts = lock(&self.contexts);
        contexts.view(self.plain.load(Relaxed), own)
    }
}

/// A panic under one of these locks leaves at worst a count that is too high.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One inbound request that runs; dropping it ends it.
pub(crate) struct InFlightGuard {
    evidence: Arc<Evidence>,
    kind: Kind,
    ids: Vec<Id>,
    /// Of our connection to the application, where somebody tells callers by it.
    port: Option<u16>,
    /// Where the group asks for paths.
    trail: Option<Arc<Trail>>,
}

enum Kind {
    Plain,
    Contextual(Arc<Context>, Place),
}

impl InFlightGuard {
    /// The request goes to the application over the connection from this address, now.
    pub(crate) fn sent_from(&mut self, local: SocketAddr) {
        if !self.evidence.callers.are_told() {
            return;
        }
        // A second try goes over another connection.
        if let Some(before) = self.port.replace(local.port()) {
            self.evidence.callers.end(before);
        }
        self.evidence.callers.begin(local.port(), self.context().cloned());
    }

    /// From now on the calls of this request are noted.
    pub(crate) fn trail(&mut self) -> Arc<Trail> {
        let trail = self.evidence.trails.begin(&self.ids);
        self.trail = Some(Arc::clone(&trail));
        trail
    }

    fn context(&self) -> Option<&Arc<Context>> {
        match &self.kind {
            Kind::Plain => None,
            Kind::Contextual(context, _) => Some(context),
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let evidence = &self.evidence;
        if !self.ids.is_empty() {
            let now = evidence.seconds();
            let is_plain = self.context().is_none();
            for &id in &self.ids {
                evidence.shard(id).end(id, is_plain, now);
            }
        }
        match &self.kind {
            Kind::Plain => drop(evidence.plain.fetch_sub(1, Relaxed)),
            Kind::Contextual(context, place) => {
                lock(&evidence.contexts).end(context, *place);
                evidence.contextual.fetch_sub(1, Relaxed);
            }
        }
        if let Some(port) = self.port {
            evidence.callers.end(port);
        }
        if let Some(trail) = &self.trail {
            evidence.trails.end(trail, &self.ids);
        }
    }
}

/// One outbound call, as the ladder asks about it.
pub(crate) struct Call<'c> {
    pub(crate) evidence: &'c Evidence,
    pub(crate) ids: &'c IdHeaders,
    pub(crate) headers: &'c dyn Headers,
    /// The pod's tag.
    pub(crate) own: Option<Tag>,
    /// Of the application's connection to us, and where it was going.
    pub(crate) source: SocketAddr,
    pub(crate) destination: Option<SocketAddr>,
    pub(crate) now: u32,
}

impl Call<'_> {
    /// That of the request which the call belongs to, where that is certain.
    pub(crate) fn trail(&self) -> Option<Arc<Trail>> {
        let ids = self.ids.read(self.headers).take(IDS_PER_REQUEST_MAX);
        self.evidence.trails.find(ids, self.evidence.in_flight(self.own).total)
    }
}

impl decide::Evidence for Call<'_> {
    fn correlated(&self) -> Known {
        let mut known = Known::Unknown;
        if !self.evidence.has_ids.load(Relaxed) {
            return known;
        }
        for id in self.ids.read(self.headers).take(IDS_PER_REQUEST_MAX) {
            match self.evidence.shard(id).get(id, self.now) {
                Known::Context(context) => return Known::Context(context),
                Known::Conflict => known = Known::Conflict,
                Known::Unknown => {}
            }
        }
        known
    }

    fn kernel(&self) -> Known {
        match self.destination {
            Some(destination) => self.evidence.callers.who(self.source, destination),
            None => Known::Unknown,
        }
    }

    fn in_flight(&self) -> InFlight {
        self.evidence.in_flight(self.own)
    }

    fn followed(&self, tag: Tag) -> u32 {
        lock(&self.evidence.contexts).followed(tag, self.now)
    }
}

#[cfg(test)]
mod tests;
