//! Follows the control plane: one delta stream, from which every good resource becomes part of the snapshot. It fails static: what
//! came last stays in force for ever, whatever happens to the stream.
//!
//! [`session`] is the protocol, pure; [`client`] is the wire; here the two meet the [`Publisher`].

use std::time::Duration;

use laneway_core::snapshot::Identity;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::current::{Demands, Publisher};
use crate::status::{Held, State, Status};
use client::{Client, Received};
use session::Session;

mod client;
mod session;

/// First and longest pause between two tries to connect; each is drawn between 0 and its limit (full jitter).
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(15);
/// A stream that lived this long starts the pauses anew.
const STEADY: Duration = Duration::from_secs(60);

/// What following needs to know.
pub struct Config {
    /// `http://HOST:PORT`
    pub url: String,
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
        publisher,
        status,
        revision: 0,
        unsettled: Vec::new(),
    };
    let mut dice = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 1_u8);
    let mut limit = BACK_OFF_FIRST;
    loop {
        let started = Instant::now();
        let ended = follower.stream(&config, &mut demands).await;
        follower.status.connected(false);
        if started.elapsed() >= STEADY {
            limit = BACK_OFF_FIRST;
        }
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pause = limit.mul_f64((dice >> 11) as f64 / (1_u64 << 53) as f64);
        warn!(url = %config.url, reason = %ended, ?pause, "no stream to the control plane; the last configuration stays");
        limit = (limit * 2).min(BACK_OFF_MAX);
        // Who asks meanwhile waits for its own time-out, then passes through; the next stream asks for it.
        let pause = tokio::time::sleep(pause);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                Some(key) = demands.next() => { let _ = follower.session.want(&key); }
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
    unsettled: Vec<String>,
}

impl Follower {
    /// One stream, to its end; says why it ended.
    async fn stream(&mut self, config: &Config, demands: &mut Demands) -> String {
        let opened = Client::open(config, self.session.open()).await;
        let mut client = match opened {
            Ok(client) => client,
            Err(error) => return error,
        };
        info!(url = %config.url, "follows the control plane");
        self.status.connected(true);
        loop {
            tokio::select! {
                received = client.receive() => match received {
                    Received::Response(response) => {
                        let reply = self.session.receive(response);
                        if let Some(problem) = &reply.refused {
                            warn!(%problem, "refused resources; the last good ones stay");
                        }
                        self.unsettled.extend(reply.answered);
                        if reply.is_changed {
                            self.publish().await;
                        }
                        for key in self.unsettled.drain(..) {
                            demands.answered(&key);
                        }
                        if self.session.is_complete() {
                            self.status.reached(State::Ready);
                        }
                        // Only now: every worker decides on it.
                        if let Err(error) = client.send(reply.message).await {
                            return error;
                        }
                    }
                    Received::Ended(reason) => return reason,
                },
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

    async fn publish(&mut self) {
        self.revision = self.revision.max(self.publisher.current_revision()) + 1;
        let snapshot = self.session.resources().snapshot(&self.session.identity, self.revision);
        self.publisher.publish(snapshot);
        self.publisher.settled(self.revision).await;
        self.status.holds(Held { revision: self.revision, resources: self.session.held() });
    }
}
