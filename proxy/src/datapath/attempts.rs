//! One request on its way to an instance, and to another where that fails: which it is claimed at, what was tried, what time is
//! left. Who serves the client asks here what to do about a failure, and sends.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use laneway_core::conduct::Conduct;
use laneway_core::snapshot::Protocol;

use super::account::{Account, Moved};
use super::deadline::{self, Clock, Overrun, Progress};
use super::failure::Failure;
use super::path::Path;
use super::pool::Ending;
use super::retry::{Again, Cause, Reach, Tries};
use super::route::{Called, Route, Target};
use super::upstream::Claim;
use super::worker::Worker;

/// GRPC UNAVAILABLE: the instance cannot serve, whatever was asked.
const GRPC_UNAVAILABLE: u16 = 14;

pub(crate) struct Attempts {
    pub(crate) claim: Claim,
    /// `None`: it goes to the pod's own application, or to nobody that we know.
    called: Option<Rc<Called>>,
    tries: Tries,
    clock: Option<Box<Clock>>,
}

/// What a failure is to be told with.
pub(crate) struct Lost<'l> {
    pub(crate) failure: Failure,
    pub(crate) reach: Reach,
    /// Whatever is proved of the request: the instance took a fresh connection, and ended it without a word.
    pub(crate) is_dropped: bool,
    pub(crate) is_idempotent: bool,
    /// All of the request can be said again.
    pub(crate) is_at_hand: bool,
    pub(crate) path: &'l mut Option<Rc<Path>>,
    pub(crate) account: &'l mut Account,
}

/// Does this status say that the instance, or who stands for it, cannot serve at all?
pub(crate) fn is_gateway_error(status: u16) -> bool {
    matches!(status, 502..=504)
}

/// What a time limit that was passed comes to, while an instance has the request.
pub(crate) fn means(overrun: Overrun, progress: Progress) -> (Failure, Reach) {
    match overrun {
        Overrun::Request => (Failure::RequestTimeout, Reach::Late),
        Overrun::Attempt => (Failure::RequestTimeout, Reach::Unknown),
        // The instance is silent, or the client is.
        Overrun::Idle if progress.is_request_whole => (Failure::IdleTimeout, Reach::Late),
        Overrun::Idle => (Failure::IdleTimeout, Reach::Final),
    }
}

/// The same before anything was sent.
pub(crate) fn means_unsent(overrun: Overrun) -> (Failure, Reach) {
    match overrun {
        Overrun::Request => (Failure::RequestTimeout, Reach::Late),
        Overrun::Attempt => (Failure::RequestTimeout, Reach::Unsent),
        Overrun::Idle => (Failure::IdleTimeout, Reach::Final),
    }
}

/// Without a clock it is never ready.
pub(crate) fn poll_clock(clock: &mut Option<Box<Clock>>, cx: &Context<'_>, progress: Progress) -> Poll<Overrun> {
    clock.as_mut().map_or(Poll::Pending, |clock| clock.poll(cx, progress))
}

impl Attempts {
    pub(crate) fn new(
        worker: &Worker,
        target: Target,
        called: Option<Rc<Called>>,
        request_timeout: Option<Duration>,
    ) -> Attempts {
        let conduct = called.as_ref().and_then(|called| called.conduct.as_deref());
        let clock = conduct.and_then(|conduct| {
            let (attempt, idle) = (conduct.retry.per_try_timeout, conduct.idle_timeout);
            Clock::new(&worker.deadlines, deadline::Limits { request: request_timeout, attempt, idle })
        });
        let mut claim = worker.upstream.claim(target);
        if let Some(called) = &called {
            claim.host.is_of(&called.service);
        }
        if let Some(conduct) = conduct {
            claim.limit(conduct.limits, worker.config.workers);
        }
        Attempts { claim, called, tries: Tries::default(), clock }
    }

    /// A connection that has served before will do, as far as is known.
    pub(crate) fn takes_idle(&self) -> bool {
        !self.tries.wants_fresh()
    }

    /// An answer of 502, 503 or 504 is to be looked at before the client gets it.
    pub(crate) fn holds_gateway_errors(&self, is_idempotent: bool) -> bool {
        let conduct = self.called.as_ref().and_then(|called| called.conduct.as_ref());
        is_idempotent
            && conduct.is_some_and(|conduct| conduct.retry.on_gateway_error)
            && conduct.is_some_and(|conduct| self.tries.failed.len() < conduct.retry.retries_max as usize)
    }

    /// Ready when its time is over.
    #[inline]
    pub(crate) fn poll_overrun(&mut self, cx: &Context<'_>, progress: impl FnOnce() -> Progress) -> Poll<Overrun> {
        if self.clock.is_none() {
            return Poll::Pending;
        }
        poll_clock(&mut self.clock, cx, progress())
    }

    /// What becomes of that which runs on its instance.
    #[inline]
    pub(crate) fn ending(&self) -> Ending {
        self.claim.host.ending()
    }

    /// For who watches the time while the rest is lent to somebody else; to be given back.
    pub(crate) fn take_clock(&mut self) -> Option<Box<Clock>> {
        self.clock.take()
    }

    pub(crate) fn give_clock(&mut self, clock: Option<Box<Clock>>) {
        self.clock = clock;
    }

    /// Waits for a place at the instance, where its service limits them, and no longer than the request may take.
    pub(crate) async fn await_place(&mut self, progress: Progress) -> Result<(), (Failure, Reach)> {
        if self.claim.has_place() {
            return Ok(());
        }
        let Attempts { claim, clock, .. } = self;
        let mut waiting = pin!(claim.await_place());
        poll_fn(|cx| match waiting.as_mut().poll(cx) {
            Poll::Ready(placed) => Poll::Ready(placed.map_err(|failure| (failure, Reach::Final))),
            // It waits for others, and not for the instance.
            Poll::Pending => {
                poll_clock(clock, cx, progress).map(|overrun| Err((means_unsent(overrun).0, Reach::Final)))
            }
        })
        .await
    }

    /// What is left of the answer is no answer any more.
    pub(crate) fn begin_tunnel(&mut self) {
        if let Some(clock) = &mut self.clock {
            clock.begin_tunnel();
        }
    }

    /// The instance has answered, well or not.
    #[inline]
    pub(crate) fn answered(&self, worker: &Worker, moved: Moved) {
        let is_failure = is_gateway_error(moved.status) || moved.grpc_status == Some(GRPC_UNAVAILABLE);
        if is_failure || self.claim.host.has_failed() || worker.upstream.pool.health.has_ejected() {
            self.note_answer(worker, is_failure);
        }
    }

    #[cold]
    fn note_answer(&self, worker: &Worker, is_failure: bool) {
        let address = self.claim.target.address;
        if is_failure {
            return self.note_failure(worker, &self.claim);
        }
        self.claim.host.is_well();
        if worker.upstream.pool.health.answered(address, worker.clock.seconds()) {
            tracing::info!(%address, "an instance that was out answers again");
            worker.tell_ejected();
        }
    }

    /// The instance has failed once more; if that is too often, it is taken out.
    fn note_failure(&self, worker: &Worker, claim: &Claim) {
        let Some(called) = &self.called else { return };
        let conduct = self.conduct(worker, called);
        if let Some(rules) = &conduct.outliers
            && worker.is_awake()
            && claim.host.fails() >= rules.consecutive_failures
        {
            worker.eject(claim.target.address, rules, conduct.warmup);
        }
    }

    fn conduct<'c>(&self, worker: &'c Worker, called: &'c Called) -> &'c Arc<Conduct> {
        called.conduct.as_ref().unwrap_or(&worker.unasked)
    }

    /// The request got no answer, or one that is to be looked at. Does it go out once more? Then the claim is where it goes.
    pub(crate) fn go_again(&mut self, worker: &Worker, route: &dyn Route, lost: Lost<'_>) -> bool {
        let Lost { failure, reach, is_dropped, is_idempotent, is_at_hand, path, account } = lost;
        // What an instance does not begin, or closes while it rests, is no failure: it may be going away in good order. What is
        // held counts when it is known what becomes of it.
        let counts = is_dropped || matches!(reach, Reach::Unsent | Reach::Dropped | Reach::Unknown | Reach::Late);
        if counts && failure.is_of_instance() {
            self.note_failure(worker, &self.claim);
        }
        let rules = self.called.as_ref().map_or(worker.unasked.retry, |called| self.conduct(worker, called).retry);
        match self.tries.again(reach, is_idempotent, is_at_hand, &rules) {
            Again::No => false,
            Again::Fresh => {
                self.tries.goes_fresh();
                true
            }
            Again::Elsewhere(cause) => self.go_elsewhere(worker, route, (cause, reach), path, account),
        }
    }

    fn go_elsewhere(
        &mut self,
        worker: &Worker,
        route: &dyn Route,
        (cause, reach): (Cause, Reach),
        path: &mut Option<Rc<Path>>,
        account: &mut Account,
    ) -> bool {
        let left: SocketAddr = self.claim.target.address;
        let Some(called) = self.called.clone() else { return false };
        let conduct = Arc::clone(self.conduct(worker, &called));
        self.tries.leaves(left);
        let Some(onward) = route.onward(&called, &self.tries.failed) else { return false };
        // Where nothing was sent, nothing is done twice: no budget has to bound that.
        let is_free = cause == Cause::Connect;
        if !is_free && !called.traffic.try_again(conduct.retry.budget_basis_points) {
            worker.counters.retry_refused();
            return false;
        }
        worker.counters.retried(cause.label());
        tracing::debug!(from = %left, to = %onward.target.address, cause = cause.label(), "tries another instance");
        account.turned(onward.target.address, onward.tag);
        if let Some(why) = onward.why {
            account.counts_elsewhere(onward.flow, why);
            if let Some(path) = path {
                *path = Rc::new(path.turned(&onward.service, onward.tag, why));
            }
        }
        let mut target = onward.target;
        if target.protocol == Protocol::Detect {
            target.protocol = self.claim.target.protocol;
        }
        let mut claim = worker.upstream.claim(target);
        claim.host.is_of(&called.service);
        claim.limit(conduct.limits, worker.config.workers);
        let left = std::mem::replace(&mut self.claim, claim);
        if reach == Reach::Held {
            self.note_failure(worker, &left);
        }
        self.called = Some(Rc::new(Called { instance_tag: onward.tag, ..Called::clone(&called) }));
        if let Some(clock) = &mut self.clock {
            clock.begin_attempt();
        }
        true
    }
}
