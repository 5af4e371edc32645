//! The composition root: takes the configuration apart, binds early, serves late, wires the parts, and brings them down. Nothing
//! but `main` imports it.
//!
//! ```text
//!  main thread     control | static file -> Publisher      status, admin, signals      (one current_thread runtime)
//!  worker threads  listeners -> datapath <- Reader         one runtime each
//! ```

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use laneway_core::snapshot::Snapshot;
use tokio::net::TcpListener;
use tokio::runtime::{LocalOptions, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;
use tracing::{error, info, warn};

use crate::admin::{self, Admin};
use crate::app_health::AppHealth;
use crate::config::{Config, ConfigSource, Flags};
use crate::control::{self, credentials::Files};
use crate::current::{self, Demand, Publisher};
use crate::datapath::{self, Bound, BoundWorker, Given};
use crate::drain::{self, Phase, Trigger};
use crate::habits::Habits;
use crate::handover::{self, HandoverError, Offer, Predecessor, Sockets, Successor};
use crate::journal::Outlets;
use crate::logging::Logging;
use crate::pages;
use crate::pressure::{self, Pressure};
use crate::resources::{self, First};
use crate::status::{self, State, Status};
use crate::telemetry::Telemetry;
use crate::timer::Timer;

/// Beyond the drain's own deadline, for threads to end.
const JOIN_GRACE: Duration = Duration::from_millis(500);

/// Why the program ended.
#[derive(Debug)]
pub enum Failed {
    /// The configuration is at fault.
    Config(anyhow::Error),
    /// The system is.
    Run(anyhow::Error),
}

impl Failed {
    pub fn is_config(&self) -> bool {
        matches!(self, Failed::Config(_))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The alternate form prints the whole chain.
            Failed::Config(error) | Failed::Run(error) => write!(f, "{error:#}"),
        }
    }
}

/// Runs until a signal, and drains.
pub fn run(flags: Flags, logging: Logging) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime");
    let runtime = runtime.map_err(Failed::Run)?;
    let signals = Signals::listen(&runtime).map_err(Failed::Run)?;
    let loaded = match flags.resources() {
        Some(path) => Some(resources::load(path).map_err(|error| Failed::Config(error.into()))?),
        None => None,
    };
    let proxy = loaded.as_ref().and_then(|loaded| loaded.proxy.clone());
    let environment = |name: &str| std::env::var(name).ok();
    let config = flags.check(environment, proxy.as_ref()).map_err(|error| Failed::Config(error.into()))?;

    let (first, source) = match (&config.source, loaded) {
        (ConfigSource::File { path }, Some(loaded)) => {
            let (snapshot, first) =
                resources::first(loaded, &config.identity, path).map_err(|error| Failed::Config(error.into()))?;
            (snapshot, Source::File { path: path.clone(), first })
        }
        (ConfigSource::File { path }, None) => {
            return Err(Failed::Config(anyhow::anyhow!("{} was not read", path.display())));
        }
        (ConfigSource::Control { url, credentials, cache }, _) => {
            let (url, credentials, cache) = (url.clone(), credentials.clone(), cache.clone());
            (Snapshot::empty(config.identity.clone()), Source::Control { url, credentials, cache })
        }
    };
    serve(runtime, signals, config, first, source, logging).map_err(Failed::Run)
}

/// Where snapshots come from.
enum Source {
    Control { url: String, credentials: Files, cache: Option<PathBuf> },
    File { path: PathBuf, first: First },
}

fn serve(
    runtime: Runtime,
    signals: Signals,
    config: Config,
    first: Snapshot,
    source: Source,
    logging: Logging,
) -> anyhow::Result<()> {
    let served = runtime.block_on(LocalSet::new().run_until(serve_inside(signals, config, first, source, logging)));
    // Dropping it would wait for the thread that joins the workers, even after the deadline.
    runtime.shutdown_background();
    served
}

async fn serve_inside(
    mut signals: Signals,
    config: Config,
    first: Snapshot,
    source: Source,
    logging: Logging,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let workers = config.datapath.workers;
    let telemetry = Telemetry::new(workers, config.telemetry);
    let source_label = match &source {
        Source::Control { .. } => "control",
        Source::File { .. } => "file",
    };
    let (publisher, readers) = current::channel(workers, first);
    let outlets = Outlets::open(&config.journal, workers)?;
    let status = Status::new(telemetry.clone(), source_label, publisher.view(), outlets.clone());
    let (mut trigger, watching) = drain::channel();
    #[cfg(feature = "otlp")]
    let exporting = export(&config, &outlets)?;

    let Inherited { sockets: mut inherited, habits, predecessor } = inherit(config.handover.as_ref())?;
    let bound = datapath::bind(config.datapath.clone(), |address| inherited.take(address));
    let bound = bound.context("bind the listeners")?;
    let public = bind_pages(config.status, &mut inherited).await.context("bind the status port")?;
    let private = bind_pages(config.admin, &mut inherited).await.context("bind the admin port")?;
    for address in inherited.addresses() {
        warn!(%address, "the predecessor listens there and this process does not: who is in its queue at the end is refused");
    }
    drop(inherited);
    let offered = match &config.handover {
        Some(handover) => {
            Some((handover.clone(), sockets(&bound, [&public, &private]).context("share the listeners")?))
        }
        None => None,
    };
    for (direction, address) in bound.addresses() {
        info!(?direction, %address, "listening");
    }
    let identity = &config.identity;
    info!(
        namespace = %identity.namespace,
        service = %identity.service,
        tag = %identity.tag.map_or(String::from("baseline"), |tag| tag.to_string()),
        version = env!("CARGO_PKG_VERSION"),
        "laneway-proxy"
    );

    let reported = config.telemetry.by_lane.then(|| telemetry.clone());
    let (demand, recalled) = follow(&config, source, publisher, &status, reported, &habits);
    let pressure = Pressure::default();
    if let Some(limit_bytes) = config.memory_max_bytes {
        tokio::task::spawn_local(pressure::watch(limit_bytes, pressure.clone()));
    }
    let (ended, mut worker_ended) = mpsc::channel(workers);
    let shares = bound.into_workers().into_iter().zip(readers).enumerate();
    let mut threads = Vec::new();
    let (opened, openings) = watch::channel(false);
    for (index, (share, reader)) in shares {
        let ended = Ended { index, tell: ended.clone() };
        let given = Given {
            reader,
            demand: demand.clone(),
            counters: telemetry.worker(index),
            drain: watching.clone(),
            opened: openings.clone(),
            timer: Timer::current(),
            journal: outlets.journal(&config.journal, index),
            habits: habits.clone(),
            index,
            pressure: pressure.clone(),
        };
        threads.push(start_worker(ended, share, given)?);
    }
    drop(watching);
    // Who was let in before would find nothing known, and wait for a control plane that may be away. Its sender is gone without a
    // disk to look at.
    let _ = recalled.await;
    // A successor serves nobody before it is ready and its predecessor has said that it may.
    let successor = match predecessor {
        Some((predecessor, patience)) => tokio::select! {
            successor = take_over(&status, predecessor, patience) => Some(successor.context("take over")?),
            () = signals.first(&status) => return Ok(()),
            Some(index) = worker_ended.recv() => return Err(worker_gone(index)),
        },
        None => None,
    };
    opened.send_replace(true);
    let (shown, health) = (status.clone(), AppHealth::new(config.app_health.clone()));
    let public = tokio::task::spawn_local(pages::serve(public, status::BOUNDS, move |asked| {
        let (shown, health) = (shown.clone(), health.clone());
        async move { health.page(&asked).await.unwrap_or_else(|| shown.page(&asked)) }
    }));
    let admin = Admin { status: status.clone(), logging, pod_name: config.pod_name.clone(), started };
    let private = tokio::task::spawn_local(pages::serve(private, admin::BOUNDS, move |asked| {
        std::future::ready(admin.page(&asked))
    }));

    let is_successor = successor.is_some();
    let (first, ended) = tokio::select! {
        () = told_to_end(&mut signals, &status, &mut trigger) => (Some(Phase::Draining), Ok(())),
        taken = replaced(&status, &habits, successor, offered) => match taken {
            Ok(()) => {
                info!("a successor serves: draining");
                (Some(Phase::Replaced), Ok(()))
            }
            // The predecessor has given up on us: it never stopped.
            Err(error) if is_successor => (Some(Phase::Replaced), Err(error)),
            Err(error) => (Some(Phase::Draining), Err(error)),
        },
        // Better a fresh process than one that is half there.
        Some(index) = worker_ended.recv() => (None, Err(worker_gone(index))),
    };
    if first == Some(Phase::Replaced) {
        // What is asked from now on is asked of the other process.
        public.abort();
        private.abort();
    }
    if let Some(first) = first {
        end(first, trigger, &mut signals, &config, &status, threads).await;
    }
    #[cfg(feature = "otlp")]
    if let Some(exporting) = exporting {
        exporting.finish().await;
    }
    if outlets.writer.is_some_and(|writer| !writer.finish()) {
        warn!("nobody takes the access log; its last lines are lost");
    }
    ended
}

/// Starts what sends spans to the collector, if one is named.
#[cfg(feature = "otlp")]
fn export(config: &Config, outlets: &Outlets) -> anyhow::Result<Option<crate::journal::otlp::Exporting>> {
    use crate::journal::otlp::Exporting;
    let Some((traces, queues)) = config.journal.traces.as_ref().zip(outlets.queues.clone()) else { return Ok(None) };
    let started = Exporting::start(&traces.endpoint, &config.identity, &config.pod_name, queues);
    started.map(Some).map_err(|error| anyhow::anyhow!("--otlp-endpoint {}: {error}", traces.endpoint))
}

/// Starts whatever replaces the snapshot, and returns how to ask it, and who tells when it has looked at the disk.
fn follow(
    config: &Config,
    source: Source,
    publisher: Publisher,
    status: &Status,
    telemetry: Option<Telemetry>,
    habits: &Habits,
) -> (Demand, oneshot::Receiver<()>) {
    let (looked, recalled) = oneshot::channel();
    match source {
        Source::File { path, first } => {
            status.reached(State::Ready);
            let following = resources::follow(path, config.identity.clone(), first, publisher, status.clone());
            tokio::task::spawn_local(following);
            (Demand::none(), recalled)
        }
        Source::Control { url, credentials, cache } => {
            let (demand, demands) = current::demand();
            let following = control::Config {
                url,
                credentials,
                identity: config.identity.clone(),
                telemetry,
                pod_name: config.pod_name.clone(),
                addresses: config.datapath.own_addresses.iter().map(ToString::to_string).collect(),
                boot_wait: config.boot_wait,
                cache,
                habits: habits.clone(),
            };
            tokio::task::spawn_local(control::follow(following, publisher, demands, status.clone(), looked));
            (demand, recalled)
        }
    }
}

/// Tells that a worker thread has ended, in whatever way.
struct Ended {
    index: usize,
    tell: mpsc::Sender<usize>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        // One place for each worker; after the drain nobody listens.
        let _ = self.tell.try_send(self.index);
    }
}

fn start_worker(ended: Ended, share: BoundWorker, given: Given) -> anyhow::Result<JoinHandle<()>> {
    let index = ended.index;
    let run = move || {
        let _ended = ended;
        let local = LocalOptions::default();
        // No clock: see timer.rs.
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build_local(local) {
            Ok(runtime) => runtime,
            Err(error) => return error!(%error, index, "a worker has no runtime"),
        };
        let served = runtime.block_on(share.run(given));
        if let Err(error) = served {
            error!(%error, index, "a worker ended");
        }
    };
    std::thread::Builder::new().name(format!("worker-{index}")).spawn(run).context("start a worker thread")
}

/// What asks the process to end. Heard from its first moment on: a process 1, as in a container, is not even ended by a signal that
/// it does not handle.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen(runtime: &Runtime) -> anyhow::Result<Signals> {
        let _entered = runtime.enter();
        let terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        Ok(Signals { terminate, interrupt })
    }

    /// SIGTERM, SIGINT, or POST /drain.
    async fn first(&mut self, status: &Status) {
        tokio::select! {
            _ = self.terminate.recv() => info!("SIGTERM: draining"),
            _ = self.interrupt.recv() => info!("SIGINT: draining"),
            () = status.drain_asked() => info!("asked to drain: draining"),
        }
    }

    /// Another SIGINT: somebody at a terminal is in a hurry. SIGTERM comes twice without haste: a hook has drained already, and then
    /// the cluster sends it.
    async fn impatience(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => info!("SIGTERM: draining already"),
                _ = self.interrupt.recv() => return,
            }
        }
    }
}

fn worker_gone(index: usize) -> anyhow::Error {
    anyhow::anyhow!("worker {index} ended by itself")
}

/// What a process that runs already gives us; without one nothing.
#[derive(Default)]
struct Inherited {
    sockets: Sockets,
    habits: Habits,
    predecessor: Option<(Predecessor, Duration)>,
}

fn inherit(handover: Option<&handover::Config>) -> anyhow::Result<Inherited> {
    let Some(handover) = handover else { return Ok(Inherited::default()) };
    let Some(inheritance) = handover::inherit(&handover.path).context("take over (--handover)")? else {
        return Ok(Inherited::default());
    };
    info!(path = %handover.path.display(), "takes over from the process that runs");
    // Of another version, perhaps: then the start is a cold one.
    let habits = Habits::decode(&inheritance.habits).unwrap_or_default();
    let predecessor = Some((inheritance.predecessor, handover.timeout));
    Ok(Inherited { sockets: inheritance.sockets, habits, predecessor })
}

async fn bind_pages(address: SocketAddr, inherited: &mut Sockets) -> std::io::Result<TcpListener> {
    match inherited.take(address).pop() {
        Some(socket) => {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)
        }
        None => pages::bind(address).await,
    }
}

/// All that is listened on, once more.
fn sockets(bound: &Bound, pages: [&TcpListener; 2]) -> std::io::Result<Vec<OwnedFd>> {
    let mut sockets = bound.sockets()?;
    for socket in pages {
        sockets.push(socket.as_fd().try_clone_to_owned()?);
    }
    Ok(sockets)
}

/// Returns when we are ready, and the predecessor has let us serve.
async fn take_over(status: &Status, predecessor: Predecessor, patience: Duration) -> Result<Successor, HandoverError> {
    // Without a configuration we would be worse than who has one.
    let configured = tokio::time::timeout(patience, status.configured()).await;
    configured.map_err(|_| HandoverError::NotReady(patience))?;
    predecessor.ready().await
}

/// Tells the predecessor that we serve, and returns when a successor of ours does.
async fn replaced(
    status: &Status,
    habits: &Habits,
    successor: Option<Successor>,
    offered: Option<(handover::Config, Vec<OwnedFd>)>,
) -> anyhow::Result<()> {
    let is_successor = successor.is_some();
    if let Some(successor) = successor {
        successor.serving().await.context("take over")?;
        info!("took over");
    }
    if let Some((handover, sockets)) = offered {
        match Offer::open(handover, sockets) {
            Ok(offer) => {
                offer.taken(|| habits.encode(), |engaged| status.has_successor(engaged)).await;
                return Ok(());
            }
            Err(error) if is_successor => warn!(%error, "nobody can take over from this process"),
            Err(error) => return Err(error).context("offer to be taken over from"),
        }
    }
    std::future::pending().await
}

/// Returns when this process is to end. Before that it may be said that it will be, after its application.
async fn told_to_end(signals: &mut Signals, status: &Status, trigger: &mut Trigger) {
    tokio::select! {
        () = signals.first(status) => return,
        () = status.announcement_asked() => {}
    }
    // Who never was ready was not sent to: there is nobody to tell.
    if status.state() != State::Starting {
        status.reached(State::Draining);
        trigger.announce();
        info!("the pod is about to end: callers are told");
    }
    signals.first(status).await;
}

/// Drains.
async fn end(
    first: Phase,
    trigger: Trigger,
    signals: &mut Signals,
    config: &Config,
    status: &Status,
    threads: Vec<JoinHandle<()>>,
) {
    // Who never was ready was not sent to.
    let min = if status.state() == State::Starting { Duration::ZERO } else { config.drain_min };
    status.reached(State::Draining);
    tokio::select! {
        finished = trigger.drain(first, min, config.drain_max) => {
            if !finished {
                return warn!(after = ?config.drain_max, "cut what still ran");
            }
        }
        () = signals.impatience() => return warn!("SIGINT: cut what still ran"),
    }
    // The watches are gone, so the workers are on their way out.
    let joined = tokio::task::spawn_blocking(move || threads.into_iter().map(JoinHandle::join).all(|end| end.is_ok()));
    match tokio::time::timeout(JOIN_GRACE, joined).await {
        Ok(Ok(true)) => info!("drained"),
        _ => warn!("a worker thread did not end by itself"),
    }
}
