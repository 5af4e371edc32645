//! How the sidecar is: told by its parts, and shown on the status port (/ready, /live, /metrics; /app-health is `app_health.rs`) to everybody, on the admin port
//! (`admin.rs`) to whoever is on this machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::StatusCode;
use http::request::Parts;
use laneway_core::decode::Resources;
use laneway_core::snapshot::Snapshot;
use laneway_core::tag::Tag;
use laneway_proto::contract::{
    BASELINE, TYPE_ENDPOINTS, TYPE_LANE, TYPE_LANE_GROUP, TYPE_PEER, TYPE_SERVICE, TYPE_SERVICE_POLICY,
};
use tokio::sync::Notify;
use xxhash_rust::xxh3::Xxh3;

use crate::current::View;
use crate::journal::Outlets;
use crate::pages::{self, Bounds, Page};
use crate::telemetry::{Telemetry, names, service_label};

/// Askers at a time; slow readers must not cost memory.
const CONNECTIONS_MAX: usize = 64;

pub const BOUNDS: Bounds = Bounds { connections_max: CONNECTIONS_MAX, only_loopback: false };

/// How far the sidecar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No configuration yet.
    Starting = 0,
    Ready = 1,
    /// No configuration came in time: serves as baseline, passes through.
    Degraded = 2,
    Draining = 3,
    /// With the configuration that was on disk: the control plane has not answered yet.
    Recalled = 4,
}

impl State {
    pub fn label(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Ready => "ready",
            State::Degraded => "degraded",
            State::Draining => "draining",
            State::Recalled => "recalled",
        }
    }
}

/// (type, name, version)
pub type HeldResource = (String, String, String);

/// What is held, for /config_dump and /metrics.
#[derive(Default, Clone)]
pub struct Held {
    pub revision: u64,
    pub resources: Vec<HeldResource>,
}

/// Names and versions of what is held.
pub fn held(resources: &Resources) -> Vec<HeldResource> {
    let types = [TYPE_LANE_GROUP, TYPE_LANE, TYPE_SERVICE_POLICY, TYPE_SERVICE, TYPE_ENDPOINTS, TYPE_PEER];
    let of = |kind: &'static str| {
        let id = kind.rsplit('.').next().unwrap_or(kind);
        let versions = resources.versions(kind).into_iter();
        versions.map(move |(name, version)| (id.to_owned(), name.to_owned(), version.to_owned()))
    };
    types.into_iter().flat_map(of).collect()
}

/// One version for each type that is held: equal ones mean equal resources.
fn versions(held: &[HeldResource]) -> BTreeMap<&str, String> {
    let mut of_type: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for (kind, name, version) in held {
        of_type.entry(kind).or_default().push((name, version));
    }
    let hash = |mut resources: Vec<(&str, &str)>| {
        resources.sort_unstable();
        let mut hasher = Xxh3::new();
        for (name, version) in resources {
            hasher.update(name.as_bytes());
            hasher.update(b"@");
            hasher.update(version.as_bytes());
            hasher.update(b"\n");
        }
        format!("{:016x}", hasher.digest())
    };
    of_type.into_iter().map(|(kind, resources)| (kind, hash(resources))).collect()
}

/// Told by the parts, shown to whoever asks. Cheap to clone.
#[derive(Clone)]
pub struct Status(Arc<Shared>);

struct Shared {
    state: AtomicU8,
    connected: AtomicBool,
    panics: AtomicU64,
    refusals: AtomicU64,
    /// What is held was on disk.
    is_recalled: AtomicBool,
    cache_failures: AtomicU64,
    held: ArcSwap<(Held, Instant)>,
    telemetry: Telemetry,
    drain: Notify,
    announcement: Notify,
    has_successor: AtomicBool,
    changed: Notify,
    source: &'static str,
    view: View,
    outlets: Outlets,
}

impl Status {
    /// `source` says where the configuration comes from: `control` or `file`.
    pub fn new(telemetry: Telemetry, source: &'static str, view: View, outlets: Outlets) -> Status {
        Status(Arc::new(Shared {
            state: AtomicU8::new(State::Starting as u8),
            connected: AtomicBool::new(false),
            panics: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            is_recalled: AtomicBool::new(false),
            cache_failures: AtomicU64::new(0),
            held: ArcSwap::from_pointee((Held::default(), Instant::now())),
            telemetry,
            drain: Notify::new(),
            announcement: Notify::new(),
            has_successor: AtomicBool::new(false),
            changed: Notify::new(),
            source,
            view,
            outlets,
        }))
    }

    /// A state that was passed does not come back; what served without the control plane becomes Ready by it. Says whether
    /// it was new.
    pub fn reached(&self, state: State) -> bool {
        let reached = self.0.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
            let is_better = match state {
                State::Starting => false,
                State::Ready => now != State::Draining as u8 && now != State::Ready as u8,
                State::Degraded | State::Recalled => now == State::Starting as u8,
                State::Draining => true,
            };
            is_better.then_some(state as u8)
        });
        self.0.changed.notify_waiters();
        reached.is_ok()
    }

    /// Another process is about to take over, or has: it is this sidecar for the control plane.
    pub fn has_successor(&self, has: bool) {
        self.0.has_successor.store(has, Ordering::Release);
        self.0.changed.notify_waiters();
    }

    /// Waits until there is no such process.
    pub async fn without_successor(&self) {
        loop {
            // Made before the look: it is woken by what happens after it.
            let changed = self.0.changed.notified();
            if !self.0.has_successor.load(Ordering::Acquire) {
                return;
            }
            changed.await;
        }
    }

    /// Waits until there is a configuration to serve by, from wherever.
    pub async fn configured(&self) {
        loop {
            // Made before the look: it is woken by what happens after it.
            let changed = self.0.changed.notified();
            if matches!(self.state(), State::Ready | State::Recalled) {
                return;
            }
            changed.await;
        }
    }

    pub fn state(&self) -> State {
        match self.0.state.load(Ordering::Acquire) {
            0 => State::Starting,
            1 => State::Ready,
            2 => State::Degraded,
            4 => State::Recalled,
            _ => State::Draining,
        }
    }

    /// Whether a stream to the control plane stands.
    pub fn connected(&self, connected: bool) {
        self.0.connected.store(connected, Ordering::Release);
    }

    /// The control part panicked, and went on with the last good configuration.
    pub fn panicked(&self) {
        self.0.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// A response, or a changed file, had something that was refused.
    pub fn refused(&self) {
        self.0.refusals.fetch_add(1, Ordering::Relaxed);
    }

    pub fn refusals(&self) -> u64 {
        self.0.refusals.load(Ordering::Relaxed)
    }

    /// A new configuration is in force.
    pub fn holds(&self, held: Held) {
        self.0.is_recalled.store(false, Ordering::Release);
        self.0.held.store(Arc::new((held, Instant::now())));
    }

    pub fn held(&self) -> Arc<(Held, Instant)> {
        self.0.held.load_full()
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.view.current()
    }

    /// Where the configuration comes from.
    pub fn source(&self) -> &'static str {
        self.0.source
    }

    pub fn is_connected(&self) -> bool {
        self.0.connected.load(Ordering::Acquire)
    }

    /// Somebody asks for a drain.
    pub fn ask_drain(&self) {
        self.0.drain.notify_one();
    }

    /// Somebody says that the application is about to end.
    pub fn ask_announcement(&self) {
        self.0.announcement.notify_one();
    }

    /// Waits until somebody says so.
    pub async fn announcement_asked(&self) {
        self.0.announcement.notified().await;
    }

    /// What is held was on disk, for so long.
    pub fn recalled(&self, age: Duration) {
        let held = self.0.held.load().0.clone();
        // A clock that began later than that cannot say when it was.
        let since = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        self.0.held.store(Arc::new((held, since)));
        self.0.is_recalled.store(true, Ordering::Release);
    }

    /// The configuration could not be written to disk.
    pub fn cache_failed(&self) {
        self.0.cache_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until somebody asks for a drain.
    pub async fn drain_asked(&self) {
        self.0.drain.notified().await;
    }

    fn metrics(&self) -> String {
        let snapshot = self.0.view.current();
        let mut page = self.0.telemetry.render(&snapshot);
        let held = self.0.held.load();
        page.family(&names::CONFIG_INFO);
        for (kind, version) in versions(&held.0.resources) {
            page.sample(&names::CONFIG_INFO, &[kind, &version], 1);
        }
        page.single(&names::CONFIG_REVISION, held.0.revision);
        page.single(&names::CONFIG_AGE, held.1.elapsed().as_secs());
        page.single(&names::CONFIG_RECALLED, u8::from(self.0.is_recalled.load(Ordering::Acquire)));
        page.single(&names::CONFIG_RESOURCES, held.0.resources.len());
        page.family(&names::CONTROL_CONNECTED);
        let connected = u8::from(self.is_connected());
        page.sample(&names::CONTROL_CONNECTED, &[self.0.source], connected);
        page.single(&names::CONTROL_REFUSALS, self.refusals());
        page.single(&names::CONTROL_PANICS, self.0.panics.load(Ordering::Relaxed));
        page.single(&names::CACHE_FAILURES, self.0.cache_failures.load(Ordering::Relaxed));
        if let Some(writer) = &self.0.outlets.writer {
            let counts = writer.counts();
            page.family(&names::ACCESS_LOG_LINES);
            page.sample(&names::ACCESS_LOG_LINES, &["taken"], counts.lines);
            page.sample(&names::ACCESS_LOG_LINES, &["dropped"], counts.dropped);
            page.single(&names::ACCESS_LOG_FAILURES, counts.failed);
        }
        if let Some(queues) = &self.0.outlets.queues {
            let counts = queues.counts();
            page.family(&names::TRACE_SPANS);
            for (outcome, count) in
                [("exported", counts.exported), ("failed", counts.failed), ("dropped", counts.dropped)]
            {
                page.sample(&names::TRACE_SPANS, &[outcome], count);
            }
        }
        page.family(&names::BUILD);
        let identity = &snapshot.identity;
        let service = service_label(&identity.service_name(), &identity.namespace);
        let tag = identity.tag.as_ref().map_or(BASELINE, Tag::as_str);
        page.sample(&names::BUILD, &[env!("CARGO_PKG_VERSION"), &service, tag, &identity.namespace], 1);
        page.into_text()
    }

    /// A page of the status port.
    pub fn page(&self, asked: &Parts) -> Page {
        if !pages::is_reading(&asked.method) {
            return pages::only("GET", pages::text(StatusCode::METHOD_NOT_ALLOWED, "this port takes GET only\n"));
        }
        match asked.uri.path() {
            "/live" => pages::text(StatusCode::OK, "live\n"),
            "/ready" => match self.state() {
                State::Ready => pages::text(StatusCode::OK, "ready\n"),
                State::Degraded => pages::text(StatusCode::OK, "degraded: no configuration yet, baseline only\n"),
                State::Recalled => pages::text(
                    StatusCode::OK,
                    "recalled: the configuration that was on disk; the control plane has not answered yet\n",
                ),
                State::Starting => {
                    pages::text(StatusCode::SERVICE_UNAVAILABLE, "starting: waiting for the configuration\n")
                }
                State::Draining => pages::text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            },
            "/metrics" => pages::text(StatusCode::OK, self.metrics()),
            _ => pages::text(StatusCode::NOT_FOUND, "here are /ready, /live, /metrics and /app-health/PORT\n"),
        }
    }
}
