//! Follows the control plane: one delta stream, from which every good resource becomes part of the snapshot. It fails static: what
//! came last stays in force for ever, whatever happens to the stream.
//!
//! [`Session`] is the protocol, pure; [`client`] is the wire, [`credentials`] what is shown on it; here they meet the [`Publisher`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use laneway_core::back_off::BackOff;
use laneway_core::delta::{Reply, Session};
use laneway_core::snapshot::{Identity, Snapshot};
use laneway_proto::xds::DeltaDiscoveryResponse;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info, warn};

use crate::current::{Demands, Publisher};
use crate::status::{Held, State, Status, held};
use client::{Client, End, Received};

mod client;
pub mod credentials;

/// Keys that stand for nothing and were not asked for in this time are given up, and looked for this often.
const IDLE_MAX: Duration = Duration::from_secs(600);
const IDLE_LOOK: Duration = Duration::from_secs(60);

/// What following needs to know.
pub struct Config {
    /// `http://HOST:PORT` or `https://HOST:PORT`
    pub url: String,
    pub credentials: credentials::Files,
    pub identity: Identity,
    pub pod_name: String,
    /// Of the pod, in text form.
    pub addresses: Vec<String>,
    /// Ready without a configuration after this, as degraded.
    pub boot_wait: Duration,
}

/// Follows for ever.
pub async fn follow(config: Config, publisher: Publisher, mut demands: Demands, status: Status) {
    let degraded = {
        let (status, wait) = (status.clone(), config.boot_wait);
        async move {
            tokio::time::sleep(wait).await;
            if status.state() == State::Starting {
                warn!(after = ?wait, "no configuration yet: ready as baseline only");
                status.reached(State::Degraded);
            }
        }
    };
    tokio::task::spawn_local(degraded);

    let mut follower = Follower {
        session: Session::new(config.identity.clone()),
        revision: publisher.current_revision(),
        publisher,
        status,
        unsettled: Vec::new(),
    };
    let mut back_off = BackOff::new(std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 1_u8));
    loop {
        let started = Instant::now();
        let End { how, reason, is_expected } = follower.stream(&config, &mut demands).await;
        follower.status.connected(false);
        let pause = back_off.pause(how, started.elapsed());
        if is_expected {
            info!(url = %config.url, %reason, ?pause, "the stream to the control plane ended; another one follows");
        } else {
            warn!(url = %config.url, %reason, ?pause, "no stream to the control plane; the last configuration stays");
        }
        // Who asks meanwhile waits for its own time-out, then passes through; the next stream asks for it.
        let pause = tokio::time::sleep(pause);
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
}

impl Follower {
    /// One stream, to its end; says why it ended.
    async fn stream(&mut self, config: &Config, demands: &mut Demands) -> End {
        let opened = Client::open(config, self.session.open()).await;
        let mut client = match opened {
            Ok(client) => client,
            Err(error) => return error,
        };
        info!(url = %config.url, "follows the control plane");
        self.status.connected(true);
        let mut idle_look = tokio::time::interval(IDLE_LOOK);
        idle_look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = client.receive() => match received {
                    Received::Response(response) => {
                        let Some((reply, snapshot)) = self.apply(response) else {
                            return End::of_us("reading a response panicked, which is a bug of ours");
                        };
                        if let Some(problem) = &reply.refused {
                            warn!(%problem, "refused resources; the last good ones stay");
                            self.status.refused();
                        }
                        self.unsettled.extend(reply.answered);
                        if let Some(snapshot) = snapshot {
                            self.publish(snapshot).await;
                        }
                        demands.answered(self.unsettled.drain(..));
                        if self.session.is_complete() {
                            self.status.reached(State::Ready);
                        }
                        // Only now: every worker decides on it.
                        if let Err(error) = client.send(reply.message).await {
                            return error;
                        }
                    }
                    Received::Ended(end) => return end,
                },
                _ = idle_look.tick() => {
                    let (given_up, messages) = self.session.forget(demands.idle(IDLE_MAX));
                    demands.forget(&given_up);
                    for message in messages {
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

    /// Reads a response and builds what follows from it. `None`: one of the two panicked. That must not take the last good
    /// configuration with it, so everything is as before.
    fn apply(&mut self, response: DeltaDiscoveryResponse) -> Option<(Reply, Option<Snapshot>)> {
        let good = self.session.resources().clone();
        let revision = self.revision + 1;
        let applied = catch_unwind(AssertUnwindSafe(|| {
            let reply = self.session.receive(response);
            let resources = self.session.resources();
            let snapshot = reply.is_changed.then(|| resources.snapshot(&self.session.identity, revision));
            (reply, snapshot)
        }));
        if applied.is_err() {
            error!("reading a response of the control plane panicked; the last good configuration stays");
            self.session.restore(good);
            self.status.panicked();
        }
        applied.ok()
    }

    async fn publish(&mut self, snapshot: Snapshot) {
        self.revision = snapshot.revision;
        self.publisher.publish(snapshot);
        self.publisher.settled(self.revision).await;
        self.status.holds(Held { revision: self.revision, resources: held(self.session.resources()) });
    }
}
