//! What one worker has: its view of the snapshot, its pools, its scratch, its dice, its connections. `Rc` all the way; the
//! few things that workers share are in [`Shared`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use laneway_core::conduct::{Conduct, Outliers, Warmup};
use laneway_core::decide::Scratch;
use laneway_core::snapshot::Snapshot;

use super::activity::{CoarseClock, Command, Connection};
use super::attribution::Unattributed;
use super::bell::Bell;
use super::budget::Traffics;
use super::connect::{From, OwnSockets};
use super::deadline::Deadlines;
use super::ejection::{Among, Verdict};
use super::evidence::Evidence;
use super::failure::Failure;
use super::leaving::{Leaving, Over, Standing};
use super::newcomers::Known;
use super::pool::{Key, Pool};
use super::propagate::Names;
use super::sockopt;
use super::upstream::Upstream;
use super::warm::Warming;
use super::{Config, Direction, Given};
use crate::current::{Demand, Reader};
use crate::habits::Habits;
use crate::journal::Journal;
use crate::pressure::{Level, Pressure};
use crate::telemetry;
use crate::timer::Timer;

/// What the workers of one process share: what inbound requests tell about outbound calls, and the addresses of our own
/// connections.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) evidence: Arc<Evidence>,
    own_sockets: OwnSockets,
    inbound: Arc<InboundOpen>,
}

impl Shared {
    pub(crate) fn new() -> Shared {
        let evidence = Arc::new(Evidence::new(Box::new(Unattributed)));
        Shared { evidence, own_sockets: OwnSockets::default(), inbound: Arc::default() }
    }
}

/// Inbound connections of all workers.
#[derive(Default)]
struct InboundOpen {
    count: AtomicUsize,
    none: tokio::sync::Notify,
}

impl InboundOpen {
    fn opened(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    fn closed(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none.notify_waiters();
        }
    }

    async fn all_closed(&self) {
        loop {
            // Made before the look: it is woken by what happens after it.
            let none = self.none.notified();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}

/// How often the sweeper comes.
const SWEEP: Duration = Duration::from_secs(1);
/// Between two sweeps: more than a busy machine makes of a second, and less than what any instance is given to answer.
const STILL: Duration = Duration::from_millis(2_500);

pub(crate) struct Worker {
    pub(crate) config: Arc<Config>,
    pub(crate) shared: Shared,
    pub(crate) reader: Reader,
    pub(crate) demand: Demand,
    pub(crate) counters: telemetry::Worker,
    pub(crate) meter: telemetry::Meter,
    pub(crate) timer: Timer,
    pub(crate) journal: Journal,
    pub(crate) pressure: Pressure,
    pub(crate) clock: CoarseClock,
    pub(crate) deadlines: Deadlines,
    pub(crate) upstream: Upstream,
    pub(crate) habits: Habits,
    index: usize,
    /// What holds for calls of services without a policy.
    pub(crate) unasked: Arc<Conduct>,
    /// When the sweeper was here last: what fails while the whole process stood still says nothing of instances.
    swept_at: Cell<Instant>,
    asleep_until: Cell<Option<Instant>>,
    pub(crate) scratch: RefCell<Scratch>,
    names: RefCell<Option<Rc<Names>>>,
    connections: RefCell<HashMap<u64, Rc<Connection>, foldhash::fast::RandomState>>,
    connection_count: Cell<usize>,
    next_connection: Cell<u64>,
    closed: tokio::sync::Notify,
    /// What every connection of a direction was told; one that comes later is told it too.
    told: [Cell<Command>; 2],
    dice: Cell<u64>,
}

impl Worker {
    pub(crate) fn new(config: Arc<Config>, shared: Shared, given: Given) -> Worker {
        let Given { reader, demand, counters, timer, journal, habits, pressure, index, .. } = given;
        let clock = CoarseClock::default();
        let idle_seconds = u32::try_from(config.timeouts.pool_idle.as_secs()).unwrap_or(u32::MAX).max(1);
        // The process-wide random seed of a hasher: unpredictable, and of the standard library.
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0_u8);
        Worker {
            upstream: Upstream {
                pool: Pool::new(clock.clone(), idle_seconds),
                traffics: Traffics::default(),
                own_sockets: shared.own_sockets.clone(),
                timer: timer.clone(),
                bell: Bell::default(),
            },
            habits,
            index,
            unasked: Arc::new(Conduct::unasked(config.timeouts.connect)),
            deadlines: Deadlines::new(),
            swept_at: Cell::new(Instant::now()),
            asleep_until: Cell::new(None),
            config,
            shared,
            reader,
            demand,
            meter: telemetry::Meter::new(counters.clone()),
            counters,
            timer,
            journal,
            pressure,
            clock,
            scratch: RefCell::new(Scratch::new(seed)),
            names: RefCell::new(None),
            connections: RefCell::default(),
            connection_count: Cell::new(0),
            next_connection: Cell::new(0),
            closed: tokio::sync::Notify::new(),
            told: [const { Cell::new(Command::Run) }; 2],
            dice: Cell::new(seed.rotate_left(32) | 1),
        }
    }

    /// Header names of the group, made once for a snapshot.
    pub(crate) fn names(&self, snapshot: &Snapshot) -> Rc<Names> {
        let mut cached = self.names.borrow_mut();
        match &*cached {
            Some(names) if names.revision == snapshot.revision => Rc::clone(names),
            _ => {
                let names = Rc::new(Names::new(snapshot.revision, snapshot.group()));
                *cached = Some(Rc::clone(&names));
                names
            }
        }
    }

    /// Three random words (SplitMix64): trace ids are to be unique, not secret.
    pub(crate) fn random(&self) -> [u64; 3] {
        std::array::from_fn(|_| {
            let state = self.dice.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
            self.dice.set(state);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        })
    }

    /// Is this destination the proxy itself?
    pub(crate) fn is_self(&self, destination: SocketAddr) -> bool {
        self.config.own_ports.contains(&destination.port())
            && (self.config.own_addresses.contains(&destination.ip())
                || destination.ip().is_loopback()
                || destination.ip().is_unspecified())
            && !self.is_other_loopback(destination)
    }

    /// On a laptop each pod is a loopback address of its own (127.0.N.1): another one's port is not ours.
    fn is_other_loopback(&self, destination: SocketAddr) -> bool {
        let listens = |listener: &super::Listener| {
            listener.address.port() == destination.port()
                && (listener.address.ip().is_unspecified() || listener.address.ip() == destination.ip())
        };
        destination.ip().is_loopback() && !self.config.listeners.iter().any(listens)
    }

    /// Registers a client connection with the sweeper; dropping the guard takes it out.
    pub(crate) fn register(self: &Rc<Self>, connection: Rc<Connection>) -> Registered {
        let id = self.next_connection.get();
        self.next_connection.set(id + 1);
        let told = self.told[connection.direction as usize].get();
        // One of HTTP/2 that comes during a drain is used until nothing new is taken: it would come again at once.
        if !(connection.is_http2 && told == Command::Announce) {
            connection.tell(told);
        }
        self.connections.borrow_mut().insert(id, connection);
        Registered { worker: Rc::clone(self), id }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.connection_count.get() < self.config.limits.connections.div_ceil(self.config.workers.max(1))
    }

    /// Counts an accepted connection until the guard is dropped.
    pub(crate) fn admit(self: &Rc<Self>, direction: Direction) -> Admitted {
        self.connection_count.set(self.connection_count.get() + 1);
        if direction == Direction::Inbound {
            self.shared.inbound.opened();
        }
        self.counters.connection_opened(direction);
        Admitted { worker: Rc::clone(self), direction }
    }

    /// The connections that this process opened.
    pub(crate) fn own_sockets(&self) -> &OwnSockets {
        &self.shared.own_sockets
    }

    /// Every HTTP connection of a direction says with its next answer that it is the last; by HTTP/2 it is said at once.
    pub(crate) fn announce(&self, direction: Direction) {
        self.tell_all(direction, Command::Announce);
    }

    /// The HTTP connections of a direction close when nothing runs on them.
    pub(crate) fn finish(&self, direction: Direction) {
        self.tell_all(direction, Command::Finish);
    }

    /// Waits until the last inbound connection of the process has ended.
    pub(crate) async fn inbound_closed(&self) {
        self.shared.inbound.all_closed().await;
    }

    /// Waits until the last accepted connection has ended.
    pub(crate) async fn all_closed(&self) {
        while self.connection_count.get() > 0 {
            self.closed.notified().await;
        }
    }

    /// Tells every HTTP connection of a direction, those to come too.
    fn tell_all(&self, direction: Direction, command: Command) {
        self.told[direction as usize].set(command);
        for connection in self.connections.borrow().values().filter(|connection| connection.direction == direction) {
            connection.tell(command);
        }
    }

    /// Once a second: moves the clock, cuts slow heads, ends idle connections, tidies the pools.
    pub(crate) async fn sweep(self: Rc<Self>) {
        loop {
            self.timer.sleep(SWEEP).await;
            let now = self.shared.evidence.seconds();
            self.clock.advance(now);
            self.shared.evidence.sweep(now);
            self.sweep_connections(now);
            self.look_at_the_time();
            if self.pressure.level() == Level::Trim {
                self.give_up_what_rests(now);
            }
            self.upstream.pool.sweep();
            self.upstream.traffics.tick();
            self.upstream.pool.recovery.tick(now);
            let health = &self.upstream.pool.health;
            let had_ejected = health.has_ejected();
            health.tick(now);
            if had_ejected {
                self.tell_ejected();
            }
            self.habits.called(self.index, self.upstream.pool.called());
            self.meter.sweep(now);
        }
    }

    /// Ends the connections of clients that ask nothing, and those to instances that nobody uses.
    fn give_up_what_rests(&self, now: u32) {
        for connection in self.connections.borrow().values() {
            if connection.idle_seconds(now).is_some() {
                connection.tell(Command::Finish);
            }
        }
        self.upstream.pool.give_up_idle();
    }

    fn sweep_connections(&self, now: u32) {
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        let (head_max, idle_max) = (seconds(self.config.timeouts.header_read), seconds(self.config.timeouts.idle));
        let body_max = seconds(self.config.timeouts.body);
        for connection in self.connections.borrow().values() {
            let stalled = connection.stalled_seconds(now, |socket| sockopt::unacknowledged(socket).unwrap_or(0));
            if stalled.is_some_and(|seconds| seconds > body_max) {
                self.counters.failure("slow-body");
                connection.tell(Command::Cut);
                continue;
            }
            if let Some(seconds) = connection.head_seconds(now) {
                if seconds > head_max {
                    self.counters.failure("slow-head");
                    connection.tell(Command::Cut);
                }
            } else if let Some(seconds) = connection.idle_seconds(now)
                && seconds > idle_max
            {
                // In HTTP/2 the client is asked whether it has read that it is over, and may never say.
                let is_told = seconds.saturating_sub(idle_max) > head_max;
                connection.tell(if is_told { Command::Cut } else { Command::Finish });
            }
        }
    }

    /// Did this process stand still (SIGSTOP, a paused machine) since the last sweep, or just before it?
    fn look_at_the_time(&self) {
        let now = Instant::now();
        if now.duration_since(self.swept_at.replace(now)) > STILL {
            self.asleep_until.set(Some(now + SWEEP));
        }
    }

    /// Failures are those of instances, and not of this process having stood still.
    pub(crate) fn is_awake(&self) -> bool {
        let now = Instant::now();
        now.duration_since(self.swept_at.get()) <= STILL && self.asleep_until.get().is_none_or(|until| now >= until)
    }

    /// An instance has failed too often: out, unless too many are.
    pub(crate) fn eject(&self, address: SocketAddr, rules: &Outliers, warmup: Option<Warmup>) {
        let snapshot = self.reader.load();
        let Some(siblings) = snapshot.siblings(address) else { return };
        let among = Among { addresses: &siblings.addresses, has_fallback: siblings.has_fallback };
        let health = &self.upstream.pool.health;
        if let Verdict::Out { seconds } = health.eject(address, &among, rules, warmup, self.clock.seconds()) {
            self.counters.ejected(&siblings.service.name, siblings.tag);
            self.tell_ejected();
            let service = &*siblings.service.name;
            tracing::info!(%address, service, seconds, "an instance fails and is not called for a while");
        }
    }

    /// What is out now, for who asks.
    pub(crate) fn tell_ejected(&self) {
        let snapshot = self.reader.load();
        let out = self.upstream.pool.health.ejected();
        let named = out.iter().filter_map(|address| {
            let siblings = snapshot.siblings(*address)?;
            Some((Arc::clone(&siblings.service.name), siblings.tag))
        });
        self.counters.are_ejected(named);
    }

    /// One request got no answer from an instance.
    pub(crate) fn note_failure(&self, failure: Failure, to: SocketAddr) {
        self.counters.failure(failure.label());
        match failure {
            Failure::UpstreamProtocol(reason) => self.counters.answer_refused(reason.label()),
            Failure::BadRequest(reason) => self.counters.gate_refused(reason.label()),
            _ => {}
        }
        tracing::debug!(%to, blame = ?failure.blame(), reason = failure.label(), "no answer");
    }

    /// An instance that the snapshot has, or this pod itself.
    pub(crate) fn may_be_called(&self, snapshot: &Snapshot, key: Key) -> bool {
        let own = &self.config.own_addresses;
        key.from == From::Marker || own.contains(&key.address.ip()) || snapshot.may_be_called(key.address)
    }

    /// Follows the snapshots: opens what an earlier process had open, says that this worker has seen one, closes idle connections to
    /// what may not be called, and ends what runs there when its time is over.
    pub(crate) async fn follow(self: Rc<Self>) {
        let mut reader = self.reader.clone();
        let mut warming = Warming::default();
        let mut known = Known::default();
        let mut leaving = Leaving::default();
        loop {
            let (revision, mut next) = {
                let snapshot = self.reader.load();
                let health = &self.upstream.pool.health;
                let had_ejected = health.has_ejected();
                health.retain(|address| snapshot.may_be_called(address));
                if had_ejected {
                    self.tell_ejected();
                }
                for (address, warmup) in known.newcomers(&snapshot) {
                    health.is_new(address, warmup, self.clock.seconds());
                }
                leaving.watch(self.upstream.pool.retain(|key| self.may_be_called(&snapshot, key)));
                (snapshot.revision, self.end_what_is_over(&mut leaving, &snapshot))
            };
            warming.proceed(&self).await;
            self.reader.seen(revision);
            while let Some(at) = next {
                let left = at.saturating_duration_since(Instant::now());
                if self.timer.timeout(left, reader.changed()).await.is_ok() {
                    break;
                }
                next = self.end_what_is_over(&mut leaving, &self.reader.load());
            }
            if next.is_none() {
                reader.changed().await;
            }
        }
    }

    /// Tells what runs on instances that have gone away that its time is over, where it is. Returns when to look again.
    fn end_what_is_over(&self, leaving: &mut Leaving, snapshot: &Snapshot) -> Option<Instant> {
        let look = leaving.look(Instant::now(), |service, address| {
            if !snapshot.is_leaving(service, address) {
                return Standing::Stays;
            }
            let conduct = snapshot.service(service).and_then(|service| snapshot.conduct(service));
            Standing::Leaves { closes_after: conduct.and_then(|conduct| conduct.closes_streams_after) }
        });
        for Over { address, service, running } in &look.over {
            tracing::info!(%address, %service, running, "an instance goes away: what still runs on it is ended");
        }
        if !look.over.is_empty() {
            self.upstream.bell.ring();
            self.connections.borrow().values().for_each(|connection| connection.wake());
        }
        look.next
    }
}

/// Takes a connection out of the sweeper's list.
pub(crate) struct Registered {
    worker: Rc<Worker>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().remove(&self.id);
    }
}

/// One accepted connection.
pub(crate) struct Admitted {
    worker: Rc<Worker>,
    direction: Direction,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.worker.counters.panicked();
        }
        self.worker.connection_count.set(self.worker.connection_count.get() - 1);
        self.worker.closed.notify_one();
        if self.direction == Direction::Inbound {
            self.worker.shared.inbound.closed();
        }
        self.worker.counters.connection_closed(self.direction);
    }
}
