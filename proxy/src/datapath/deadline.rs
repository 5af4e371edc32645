//! Times at which requests are over, of one worker. A request without a time limit knows nothing of it; one with a limit reads the
//! clock once. One task waits for the earliest, and is told only of one that comes before what it waits for: with limits of seconds
//! it wakes once in as many.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::timer::Timer;

/// Quarters of an idle time: so often it is looked whether anything moved, instead of reading the clock with every byte.
const QUARTERS: u32 = 4;

#[derive(Clone)]
pub(crate) struct Deadlines(Rc<Inner>);

struct Inner {
    armed: RefCell<BTreeMap<Key, Rc<Alarm>>>,
    next: Cell<u64>,
    /// When the task looks again; `None`: when it is told.
    looks_at: Cell<Option<Instant>>,
    earlier: Notify,
}

type Key = (Instant, u64);

#[derive(Default)]
struct Alarm {
    is_due: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// One deadline; dropping it takes it away.
pub(crate) struct Armed {
    deadlines: Deadlines,
    key: Key,
    alarm: Rc<Alarm>,
}

impl Deadlines {
    pub(crate) fn new() -> Deadlines {
        Deadlines(Rc::new(Inner {
            armed: RefCell::default(),
            next: Cell::new(0),
            looks_at: Cell::new(None),
            earlier: Notify::new(),
        }))
    }

    pub(crate) fn arm(&self, now: Instant, after: Duration) -> Armed {
        let inner = &*self.0;
        let number = inner.next.get();
        inner.next.set(number.wrapping_add(1));
        let key = (now + after, number);
        let alarm = Rc::<Alarm>::default();
        inner.armed.borrow_mut().insert(key, Rc::clone(&alarm));
        if inner.looks_at.get().is_none_or(|at| key.0 < at) {
            inner.looks_at.set(Some(key.0));
            inner.earlier.notify_one();
        }
        Armed { deadlines: self.clone(), key, alarm }
    }

    /// Wakes what is due at `now`, and says when the next one is.
    fn sound(&self, now: Instant) -> Option<Instant> {
        let mut armed = self.0.armed.borrow_mut();
        let next = loop {
            let Some(first) = armed.first_entry() else { break None };
            if first.key().0 > now {
                break Some(first.key().0);
            }
            let alarm = first.remove();
            alarm.is_due.set(true);
            if let Some(waker) = alarm.waker.borrow_mut().take() {
                waker.wake();
            }
        };
        self.0.looks_at.set(next);
        next
    }

    /// The task of the worker.
    pub(crate) async fn run(self, timer: Timer) {
        loop {
            let now = Instant::now();
            match self.sound(now) {
                None => self.0.earlier.notified().await,
                // An earlier one may come while it waits.
                Some(next) => drop(timer.timeout(next - now, self.0.earlier.notified()).await),
            }
        }
    }
}

impl Armed {
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.alarm.is_due.get() {
            return Poll::Ready(());
        }
        let mut waker = self.alarm.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        self.deadlines.0.armed.borrow_mut().remove(&self.key);
    }
}

/// The time limits of one request.
pub(crate) struct Clock {
    deadlines: Deadlines,
    limits: Limits,
    /// From when the whole request is here.
    request: Option<Armed>,
    attempt: Option<Armed>,
    idle: Option<(Armed, Quiet)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// From the whole request to the whole answer.
    pub(crate) request: Option<Duration>,
    /// From the whole request to the head of the answer of one instance.
    pub(crate) attempt: Option<Duration>,
    /// Without a byte in either direction.
    pub(crate) idle: Option<Duration>,
}

/// How far a request is.
#[derive(Clone, Copy, Default)]
pub(crate) struct Progress {
    pub(crate) is_request_whole: bool,
    pub(crate) is_answered: bool,
    /// Grows with everything that moves.
    pub(crate) moved: u64,
}

/// Which limit was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overrun {
    Request,
    Attempt,
    Idle,
}

/// Quarters of the idle time in which nothing moved.
#[derive(Clone, Copy, Debug, Default)]
struct Quiet {
    moved: u64,
    quarters: u32,
}

impl Quiet {
    /// Another quarter has gone by. True: that was the last.
    fn is_over(&mut self, moved: u64) -> bool {
        if moved != self.moved {
            *self = Quiet { moved, quarters: 0 };
            return false;
        }
        self.quarters += 1;
        self.quarters >= QUARTERS
    }
}

impl Clock {
    /// `None`: there is nothing to watch.
    pub(crate) fn new(deadlines: &Deadlines, limits: Limits) -> Option<Box<Clock>> {
        (limits != Limits::default()).then(|| {
            let deadlines = deadlines.clone();
            Box::new(Clock { deadlines, limits, request: None, attempt: None, idle: None })
        })
    }

    /// Another instance is tried.
    pub(crate) fn begin_attempt(&mut self) {
        self.attempt = None;
    }

    /// The answer turned out to be a tunnel: only the idle time is left.
    pub(crate) fn begin_tunnel(&mut self) {
        (self.limits.request, self.limits.attempt) = (None, None);
        (self.request, self.attempt) = (None, None);
    }

    /// Ready when a limit is passed.
    pub(crate) fn poll(&mut self, cx: &Context<'_>, progress: Progress) -> Poll<Overrun> {
        if progress.is_request_whole {
            let Limits { request, attempt, .. } = self.limits;
            arm(&self.deadlines, &mut self.request, request);
            if !progress.is_answered {
                arm(&self.deadlines, &mut self.attempt, attempt);
            }
        }
        if let Some(request) = &self.request
            && request.poll(cx).is_ready()
        {
            return Poll::Ready(Overrun::Request);
        }
        if progress.is_answered {
            self.attempt = None;
        }
        if let Some(attempt) = &self.attempt
            && attempt.poll(cx).is_ready()
        {
            return Poll::Ready(Overrun::Attempt);
        }
        self.poll_idle(cx, progress.moved)
    }

    fn poll_idle(&mut self, cx: &Context<'_>, moved: u64) -> Poll<Overrun> {
        let Some(limit) = self.limits.idle else { return Poll::Pending };
        loop {
            let mut quiet = Quiet { moved, quarters: 0 };
            if let Some((armed, before)) = &mut self.idle {
                if armed.poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if before.is_over(moved) {
                    return Poll::Ready(Overrun::Idle);
                }
                quiet = *before;
            }
            self.idle = Some((self.deadlines.arm(Instant::now(), limit / QUARTERS), quiet));
        }
    }
}

fn arm(deadlines: &Deadlines, armed: &mut Option<Armed>, limit: Option<Duration>) {
    if let (None, Some(limit)) = (&armed, limit) {
        *armed = Some(deadlines.arm(Instant::now(), limit));
    }
}

#[cfg(test)]
mod tests;
