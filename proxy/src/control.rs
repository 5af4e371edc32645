//! Follows the control plane: one delta stream, from which every good resource becomes part of the snapshot. It fails static: what
//! came last stays in force for ever, whatever happens to the stream.
//!
//! [`Session`] is the protocol, pure; [`client`] is the wire, [`credentials`] what is shown on it; here they meet the [`Publisher`].
//! [`cache`] keeps what came last on disk for the next process.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use laneway_core::back_off::{BackOff, Ended};
use laneway_core::delta::{Reply, Session};
use laneway_core::snapshot::{Identity, Snapshot, Used};
use laneway_proto::contract::{TYPE_PEER, TYPE_SERVICE};
use laneway_proto::xds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, error, info, warn};

use crate::current::{Demands, Publisher};
use crate::habits::Habits;
use crate::status::{Held, State, Status, held};
use crate::telemetry::Telemetry;
use cache::Saver;
#[cfg(fuzzing)]
pub use cache::hostile as hostile_cache;
use client::{Client, End, Received};

mod cache;
mod client;
pub mod credentials;
mod report;
#[cfg(test)]
mod tests;

/// Keys of which nobody made use in this time are given up, with what is held for them; looked for this often.
const IDLE_MAX: Duration = Duration::from_secs(600);
const IDLE_LOOK: Duration = Duration::from_secs(60);
/// A sidecar that has a configuration from disk says that it is ready after this, or when the control plane cannot be reached.
const RECALLED_WAIT: Duration = Duration::from_millis(100);

/// A sidecar that has group and lanes waits so long for the destinations that the process before it called.
const AWAITED_WAIT: Duration = Duration::from_secs(1);
/// While nobody answers a try may follow another in less than a second; it is said this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(15);

/// What following needs to know.
pub struct Config {
    /// `http://HOST:PORT` or `https://HOST:PORT`
    pub url: String,
    pub credentials: credentials::Files,
    pub identity: Identity,
    /// What is reported of the lanes; `None`: nothing.
    pub telemetry: Option<Telemetry>,
    pub pod_name: String,
    /// Of the pod, in text form.
    pub addresses: Vec<String>,
    /// Ready without a configuration after this, as degraded; `None`: never.
    pub boot_wait: Option<Duration>,
    /// Where the last good configuration is kept on disk.
    pub cache: Option<PathBuf>,
    /// What this sidecar calls, and what the process before it did.
    pub habits: Habits,
}

/// Follows for ever. `recalled` hears when what was on disk is in force, or is of no use.
pub async fn follow(
    config: Config,
    publisher: Publisher,
    mut demands: Demands,
    status: Status,
    recalled: oneshot::Sender<()>,
) {
    let mut session = Session::new(config.identity.clone());
    let former = config.habits.former_keys();
    let mut follower = Follower {
        // Opened with them; the own service is asked for in any case.
        awaited: former.iter().filter(|key| !session.want(key).is_empty()).cloned().collect(),
        session,
        revision: publisher.current_revision(),
        publisher,
        status: status.clone(),
        unsettled: Vec::new(),
        habits: config.habits.clone(),
        is_settling: false,
        saver: config
            .cache
            .clone()
            .map(|path| Saver::start(path, config.identity.clone(), status.clone(), config.habits.clone())),
    };
    demands.recalled(&former);
    let is_recalled = follower.recall(&config, &demands).await;
    // Nobody listens where the program is on its way out.
    let _ = recalled.send(());
    let in_time =
        if is_recalled { Some((RECALLED_WAIT, State::Recalled)) } else { config.boot_wait.zip(Some(State::Degraded)) };
    if let Some((wait, state)) = in_time {
        tokio::task::spawn_local(async move {
            tokio::time::sleep(wait).await;
            if status.reached(state) && state == State::Degraded {
                warn!(after = ?wait, "no configuration yet: ready as baseline only");
            }
        });
    }

    let mut complained: Option<(Ended, Instant)> = None;
    let mut back_off = BackOff::new(std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 1_u8));
    loop {
        let started = Instant::now();
        let End { how, reason, is_expected } = follower.stream(&config, back_off.connect_timeout(), &mut demands).await;
        follower.status.connected(false);
        if is_recalled {
            follower.status.reached(State::Recalled);
        }
        let pause = back_off.pause(how, started.elapsed(), follower.session.resources().return_spread());
        if is_expected {
            info!(url = %config.url, %reason, ?pause, "the stream to the control plane ended; another one follows");
        } else if complained.is_none_or(|(before, at)| before != how || at.elapsed() >= COMPLAIN_EVERY) {
            complained = Some((how, Instant::now()));
            warn!(url = %config.url, %reason, ?pause, "no stream to the control plane; the last configuration stays");
        } else {
            debug!(url = %config.url, %reason, ?pause, "no stream to the control plane yet");
        }
        // Who asks meanwhile waits for its own time-out, then passes through; the next stream asks for it.
        let status = follower.status.clone();
        let pause = async move {
            tokio::time::sleep(pause).await;
            // Of two streams of one sidecar the control plane ends the older one: each would end the other's again and again.
            status.without_successor().await;
        };
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                // The next stream opens with it.
                Some(key) = demands.next() => drop(follower.session.want(&key)),
            }
        }
    }
}

struct Follower {
    session: Session,
    publisher: Publisher,
    status: Status,
    revision: u64,
    /// Keys that the session has answers for and no snapshot shows yet.
    unsettled: Vec<Arc<str>>,
    saver: Option<Saver>,
    habits: Habits,
    /// Keys of the process before that have no answer yet.
    awaited: BTreeSet<Arc<str>>,
    /// Ready when they have answers, or have been waited for long enough.
    is_settling: bool,
}

impl Follower {
    /// Puts in force what an earlier process left on disk. False: nothing that can be used.
    async fn recall(&mut self, config: &Config, demands: &Demands) -> bool {
        let Some(path) = &config.cache else { return false };
        let saved = match cache::load(path, &config.identity) {
            Ok(Some(saved)) => saved,
            Ok(None) => return false,
            Err(error) => {
                // The whole chain, once.
                let error = anyhow::Error::from(error);
                warn!(path = %path.display(), error = %format!("{error:#}"), "the configuration on disk (--cache) is of no use");
                return false;
            }
        };
        let (age, responses) = (saved.age, saved.responses);
        self.habits.recall(saved.called);
        let Some(snapshot) = self.guarded(|session, revision| {
            let replies = session.recall(&saved.keys, responses);
            (replies, session.resources().snapshot(&session.identity, revision))
        }) else {
            return false;
        };
        let (replies, snapshot) = snapshot;
        for reply in replies {
            self.keep(&reply.message.type_url, reply.taken, &reply.removed);
            if let Some(problem) = reply.refused {
                warn!(%problem, "left out what an earlier version had saved and this one does not take");
            }
        }
        demands.recalled(&saved.keys);
        self.publish(snapshot, demands).await;
        self.status.recalled(age);
        info!(path = %path.display(), ?age, revision = self.revision, "serves the configuration that was on disk");
        true
    }

    /// One stream, to its end; says why it ended.
    async fn stream(&mut self, config: &Config, connect_timeout: Duration, demands: &mut Demands) -> End {
        let opened = Client::open(config, connect_timeout, self.session.open()).await;
        let mut client = match opened {
            Ok(client) => client,
            Err(error) => return error,
        };
        info!(url = %config.url, "follows the control plane");
        self.status.connected(true);
        // Not before the first response: then it is known there who speaks.
        let mut is_heard = false;
        let reporting = report::report(client.stats(), config.telemetry.clone());
        tokio::pin!(reporting);
        let mut idle_look = tokio::time::interval(IDLE_LOOK);
        idle_look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = client.receive() => match received {
                    Received::Response(response) => {
                        let Some((mut reply, snapshot)) = self.apply(response) else {
                            return End::of_us("reading a response panicked, which is a bug of ours");
                        };
                        if !reply.taken.is_empty() || !reply.removed.is_empty() {
                            self.keep(&reply.message.type_url, std::mem::take(&mut reply.taken), &reply.removed);
                        }
                        if let Some(problem) = &reply.refused {
                            warn!(%problem, "refused resources; the last good ones stay");
                            self.status.refused();
                        }
                        for key in &reply.answered {
                            self.awaited.remove(key);
                        }
                        if !reply.answered.is_empty() {
                            self.habits.wanted(self.session.found());
                        }
                        self.unsettled.extend(reply.answered);
                        if let Some(snapshot) = snapshot {
                            self.publish(snapshot, demands).await;
                        }
                        demands.answered(self.unsettled.drain(..));
                        if self.session.is_complete() {
                            self.complete();
                        }
                        is_heard = true;
                        // Only now: every worker decides on it.
                        if let Err(error) = client.send(reply.message).await {
                            return error;
                        }
                    }
                    Received::Ended(end) => return end,
                },
                never = &mut reporting, if is_heard => match never {},
                _ = idle_look.tick() => {
                    for message in self.give_up_idle(IDLE_MAX, demands).await {
                        if let Err(error) = client.send(message).await {
                            return error;
                        }
                    }
                }
                Some(key) = demands.next() => {
                    for message in self.session.want(&key) {
                        if let Err(error) = client.send(message).await {
                            return error;
                        }
                    }
                }
            }
        }
    }

    /// Reads a response and builds what follows from it. `None`: one of the two panicked.
    fn apply(&mut self, response: DeltaDiscoveryResponse) -> Option<(Reply, Option<Snapshot>)> {
        self.guarded(|session, revision| {
            let reply = session.receive(response);
            let snapshot = reply.is_changed.then(|| session.resources().snapshot(&session.identity, revision));
            (reply, snapshot)
        })
    }

    /// Does `work` for the next revision. A panic in it must not take the last good configuration with it: then everything is
    /// as before.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Session, u64) -> T) -> Option<T> {
        let good = self.session.resources().clone();
        let revision = self.revision + 1;
        let done = catch_unwind(AssertUnwindSafe(|| work(&mut self.session, revision)));
        if done.is_err() {
            error!("reading a configuration panicked; the last good one stays");
            self.session.restore(good);
            self.status.panicked();
        }
        done.ok()
    }

    /// Group and lanes are here. What the process before called is here too, or is waited for no longer than a request would.
    fn complete(&mut self) {
        if self.awaited.is_empty() {
            self.status.reached(State::Ready);
        } else if !std::mem::replace(&mut self.is_settling, true) {
            let status = self.status.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(AWAITED_WAIT).await;
                status.reached(State::Ready);
            });
        }
    }

    /// Hands on what is held from now on, for the next process.
    fn keep(&self, type_url: &str, taken: Vec<Resource>, removed: &[String]) {
        if let Some(saver) = &self.saver {
            saver.took(type_url, taken, removed, self.session.found());
        }
    }

    /// Gives up what was of no use for so long; what is to be sent then. The data path loses it first: whoever needs it again
    /// asks again, and that question follows what is sent here.
    async fn give_up_idle(&mut self, idle: Duration, demands: &Demands) -> Vec<DeltaDiscoveryRequest> {
        self.note_used(demands);
        let keys = demands.idle(idle);
        if keys.is_empty() {
            return Vec::new();
        }
        let Some((forgotten, snapshot)) = self.guarded(|session, revision| {
            let forgotten = session.forget(keys);
            let is_less = !forgotten.removed.is_empty();
            let snapshot = is_less.then(|| session.resources().snapshot(&session.identity, revision));
            (forgotten, snapshot)
        }) else {
            return Vec::new();
        };
        if forgotten.keys.is_empty() {
            // Nobody gives up the own service, which may be among them.
            return Vec::new();
        }
        demands.forget(&forgotten.keys);
        for (kind, removed) in &forgotten.removed {
            self.keep(kind, Vec::new(), removed);
        }
        if let Some(snapshot) = snapshot {
            self.publish(snapshot, demands).await;
        }
        debug!(keys = forgotten.keys.len(), "gave up what was idle");
        forgotten.messages
    }

    /// Hands on what the data path made use of since this was done last.
    fn note_used(&self, demands: &Demands) {
        let session = &self.session;
        self.publisher.current().take_used(|used| match used {
            Used::Service(name) => session.keys_of(TYPE_SERVICE, name).for_each(|key| demands.used(key)),
            Used::Peer(address) => {
                session.keys_of(TYPE_PEER, &format!("ip/{address}")).for_each(|key| demands.used(key));
            }
        });
    }

    async fn publish(&mut self, snapshot: Snapshot, demands: &Demands) {
        // With the old one go its marks.
        self.note_used(demands);
        self.revision = snapshot.revision;
        self.publisher.publish(snapshot);
        self.publisher.settled(self.revision).await;
        self.status.holds(Held { revision: self.revision, resources: held(self.session.resources()) });
    }
}
