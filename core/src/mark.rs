//! A note that something was of use, made on the way of a request and read by whoever gives up what is idle.
//!
//! Making it costs one load where it stands already, which is nearly always: it is taken off about once a minute. Nothing is
//! ordered by it, and one that is lost in a race costs a question more, no request.

use std::sync::atomic::{AtomicBool, Ordering};

/// Off at first. A copy is of something new, and off.
#[derive(Debug, Default)]
pub(crate) struct Mark(AtomicBool);

impl Mark {
    #[inline]
    pub(crate) fn set(&self) {
        // Not stored again and again: workers share the line.
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Takes it off; true where it stood.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Clone for Mark {
    fn clone(&self) -> Mark {
        Mark::default()
    }
}
