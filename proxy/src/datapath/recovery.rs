//! Tags whose instances were too few a moment ago: they stay passed over until there have been enough for ten seconds, so that
//! requests do not go to and fro. Decides by what it is told; time is an argument, in seconds of the worker's clock.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use laneway_core::tag::Tag;

/// From the last time that there were too few.
const RECOVERY_SECONDS: u32 = 10;

/// Those of one worker. Services and tags are of the configuration, so it bounds them.
#[derive(Default)]
pub(crate) struct Recovery {
    /// When each was last found below its thresholds.
    below_at: RefCell<HashMap<(Arc<str>, Tag), u32, foldhash::fast::RandomState>>,
    count: Cell<usize>,
}

impl Recovery {
    pub(crate) fn is_any(&self) -> bool {
        self.count.get() > 0
    }

    /// A tag of a service is found above its thresholds, or below. Is it passed over?
    pub(crate) fn is_passed_over(&self, service: &Arc<str>, tag: Tag, is_above: bool, now: u32) -> bool {
        let mut below_at = self.below_at.borrow_mut();
        if is_above {
            let at = below_at.get(&(Arc::clone(service), tag));
            return at.is_some_and(|at| now.saturating_sub(*at) < RECOVERY_SECONDS);
        }
        below_at.insert((Arc::clone(service), tag), now);
        self.count.set(below_at.len());
        true
    }

    /// Once a second.
    pub(crate) fn tick(&self, now: u32) {
        if self.is_any() {
            let mut below_at = self.below_at.borrow_mut();
            below_at.retain(|_, at| now.saturating_sub(*at) < RECOVERY_SECONDS);
            self.count.set(below_at.len());
        }
    }
}

#[cfg(test)]
mod tests;
