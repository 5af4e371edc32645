//! What one client connection is doing, as the worker's sweeper and the drain see it, and what they tell it.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Context, Waker};

use super::Direction;

/// Seconds since the worker started, moved by its sweeper. Reading it costs no system call.
#[derive(Clone, Default)]
pub(crate) struct CoarseClock(Rc<Cell<u32>>);

impl CoarseClock {
    /// Never 0: that means "none" in [`Connection`].
    pub(crate) fn seconds(&self) -> u32 {
        self.0.get().max(1)
    }

    pub(crate) fn advance(&self, seconds: u32) {
        self.0.set(seconds);
    }
}

/// What a client connection is told from outside while it runs. Each goes before those above it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Command {
    /// Nothing.
    Run,
    /// Say with the next answer that it is the last, and rest until it is asked for. HTTP/2 can say it at any time.
    Announce,
    /// Finish what runs, then close.
    Finish,
    /// Close now.
    Cut,
}

/// A client connection that speaks HTTP.
pub(crate) struct Connection {
    pub(crate) direction: Direction,
    pub(crate) is_http2: bool,
    /// Open for as long as this is registered with the worker.
    pub(crate) socket: RawFd,
    clock: CoarseClock,
    /// When the first byte of the head that is being read came; 0: none is.
    head_since: Cell<u32>,
    /// When the last request ended, or the connection began.
    idle_since: Cell<u32>,
    /// Requests or streams that run.
    running: Cell<u32>,
    /// Since when a body waits for the client and no byte of it moves; 0: none does.
    stalled_since: Cell<u32>,
    /// Bytes of the request's body and its answer's that had moved then.
    moved_bytes: Cell<u64>,
    /// What the kernel held for the client when the sweeper looked last.
    held_bytes: Cell<usize>,
    command: Cell<Command>,
    waker: RefCell<Option<Waker>>,
}

impl Connection {
    pub(crate) fn new(direction: Direction, is_http2: bool, clock: &CoarseClock, socket: RawFd) -> Connection {
        Connection {
            direction,
            is_http2,
            socket,
            clock: clock.clone(),
            head_since: Cell::new(0),
            idle_since: Cell::new(clock.seconds()),
            running: Cell::new(0),
            stalled_since: Cell::new(0),
            moved_bytes: Cell::new(0),
            held_bytes: Cell::new(0),
            command: Cell::new(Command::Run),
            waker: RefCell::new(None),
        }
    }

    /// A part of a head has come.
    pub(crate) fn head_began(&self) {
        if self.head_since.get() == 0 {
            self.head_since.set(self.clock.seconds());
        }
    }

    /// It is here whole.
    pub(crate) fn head_ended(&self) {
        self.head_since.set(0);
    }

    /// Marks one request as running until the guard is dropped.
    pub(crate) fn begin(self: &Rc<Self>) -> Running {
        self.running.set(self.running.get() + 1);
        // In HTTP/2 the next one may be coming already.
        if !self.is_http2 {
            self.head_ended();
        }
        Running(Rc::clone(self))
    }

    /// For how many seconds the head that is being read has been coming.
    pub(crate) fn head_seconds(&self, now: u32) -> Option<u32> {
        let since = self.head_since.get();
        let is_read = self.is_http2 || self.running.get() == 0;
        (since != 0 && is_read).then(|| now.saturating_sub(since))
    }

    /// For how many seconds nothing has been asked.
    pub(crate) fn idle_seconds(&self, now: u32) -> Option<u32> {
        (self.running.get() == 0).then(|| now.saturating_sub(self.idle_since.get()))
    }

    /// What runs waits for the client, to send more of a body or to read more of one; so much has moved. In HTTP/2: nothing is
    /// taken of what is written, whatever it is.
    pub(crate) fn waits_for_client(&self, moved_bytes: u64) {
        if self.stalled_since.get() == 0 || self.moved_bytes.get() != moved_bytes {
            self.stalled_since.set(self.clock.seconds());
            self.moved_bytes.set(moved_bytes);
        }
    }

    /// It does not, or no more.
    pub(crate) fn waits_for_nobody(&self) {
        self.stalled_since.set(0);
    }

    /// For how many seconds a body has waited for the client without a byte. `held_bytes`: what the kernel holds for it; a change
    /// is a client that takes, however slowly, what we wrote long ago.
    pub(crate) fn stalled_seconds(&self, now: u32, held_bytes: impl FnOnce(RawFd) -> usize) -> Option<u32> {
        if self.stalled_since.get() == 0 {
            return None;
        }
        let held = held_bytes(self.socket);
        if self.held_bytes.replace(held) != held {
            self.stalled_since.set(now.max(1));
        }
        Some(now.saturating_sub(self.stalled_since.get()))
    }

    pub(crate) fn tell(&self, command: Command) {
        if command > self.command.get() {
            self.command.set(command);
            if let Some(waker) = self.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }

    /// What runs is to look around itself, if anything does.
    pub(crate) fn wake(&self) {
        if self.running.get() > 0
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Whether the next answer is to be the last.
    pub(crate) fn is_ending(&self) -> bool {
        self.command.get() >= Command::Announce
    }

    /// What it was told; who asks is woken when that changes.
    pub(crate) fn listen(&self, cx: &Context<'_>) -> Command {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.command.get()
    }
}

/// One request of a connection that runs.
pub(crate) struct Running(Rc<Connection>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        if !self.0.is_http2 {
            self.0.waits_for_nobody();
        }
        self.0.idle_since.set(self.0.clock.seconds());
    }
}

#[cfg(test)]
mod tests;
