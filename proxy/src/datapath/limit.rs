//! What one worker sends to one instance at a time: requests up to a limit, a bounded number that wait for a place, and one
//! connection where the last ones did not come to stand.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::Failure;

/// Connections in a row that did not stand in time, until others stop waiting for one more.
const TIMEOUTS_MAX: u32 = 2;

/// Places for requests at one instance, where its service limits them.
#[derive(Default)]
pub(crate) struct Places {
    /// And how many there are in all.
    all: RefCell<Option<(usize, Arc<Semaphore>)>>,
    queued: Cell<u32>,
}

/// A request's place; it is free again when this is dropped.
pub(crate) type Place = OwnedSemaphorePermit;

/// One that waits in the queue.
struct Queued<'p>(&'p Cell<u32>);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Places {
    /// Those of `count`; who came while there were others keeps its place among those.
    fn of(&self, count: usize) -> Arc<Semaphore> {
        let mut all = self.all.borrow_mut();
        match &*all {
            Some((known, places)) if *known == count => Arc::clone(places),
            _ => {
                let places = Arc::new(Semaphore::new(count));
                *all = Some((count, Arc::clone(&places)));
                places
            }
        }
    }

    /// A place, if one is free.
    pub(crate) fn take(&self, count: usize) -> Option<Place> {
        self.of(count).try_acquire_owned().ok()
    }

    /// Waits for a place, unless too many do.
    pub(crate) async fn wait(&self, count: usize, queued_max: u32) -> Result<Place, Failure> {
        let places = self.of(count);
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            return Ok(place);
        }
        if self.queued.get() >= queued_max {
            return Err(Failure::Overflow);
        }
        self.queued.set(self.queued.get() + 1);
        let _queued = Queued(&self.queued);
        // It is never closed.
        places.acquire_owned().await.map_err(|_| Failure::Overflow)
    }
}

/// Connections that are opened to one instance.
#[derive(Default)]
pub(crate) struct Dials {
    /// In a row.
    timeouts: Cell<u32>,
    is_probed: Cell<bool>,
    /// That have ended, and how the last one did.
    ended: Cell<u32>,
    failure: Cell<Option<Failure>>,
}

/// One that is being opened.
pub(crate) struct Dial<'d> {
    dials: &'d Dials,
    is_probe: bool,
}

impl Dials {
    /// An error: none stood of late, and another one is trying.
    pub(crate) fn begin(&self) -> Result<Dial<'_>, Failure> {
        let is_probe = self.timeouts.get() >= TIMEOUTS_MAX;
        if is_probe && self.is_probed.replace(true) {
            return Err(Failure::Unreachable);
        }
        Ok(Dial { dials: self, is_probe })
    }

    /// None stood of late, and another one is trying.
    pub(crate) fn is_shut(&self) -> bool {
        self.is_probed.get()
    }

    /// For [`Dials::failed_since`].
    pub(crate) fn ended(&self) -> u32 {
        self.ended.get()
    }

    /// One that others waited for has failed: they would fare no better.
    pub(crate) fn failed_since(&self, ended: u32) -> Option<Failure> {
        self.failure.get().filter(|_| self.ended.get() != ended)
    }
}

impl Dial<'_> {
    pub(crate) fn ended(&self, failure: Option<Failure>) {
        let timeouts = match failure {
            Some(Failure::ConnectTimeout) => self.dials.timeouts.get().saturating_add(1),
            Some(_) | None => 0,
        };
        self.dials.timeouts.set(timeouts);
        self.dials.ended.set(self.dials.ended.get().wrapping_add(1));
        self.dials.failure.set(failure);
    }
}

impl Drop for Dial<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.dials.is_probed.set(false);
        }
    }
}

#[cfg(test)]
mod tests;
