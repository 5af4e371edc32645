//! How many requests to a service are tried again: so much of what was asked in the last seconds, and a few in any case. So a
//! service that fails is not buried under what its callers try again. One worker's; time is an argument.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use laneway_proto::contract::BASIS_POINTS;

/// Seconds that are looked back.
const WINDOW: usize = 10;
/// Retries of a window that need no budget: a service that is seldom called must be able to try again at all.
const FLOOR: u64 = 10;
/// Services that are kept beside those in use; of more the ones without requests are forgotten at once.
const SERVICES_MAX: usize = 4096;

/// What was asked of one service, and tried again.
#[derive(Default)]
pub(crate) struct Traffic {
    /// Of the second that runs.
    requests: Cell<u32>,
    retries: Cell<u32>,
    before: RefCell<[Second; WINDOW - 1]>,
}

#[derive(Clone, Copy, Default)]
struct Second {
    requests: u32,
    retries: u32,
}

impl Traffic {
    /// On the way of every request: one count.
    #[inline]
    pub(crate) fn asked(&self) {
        self.requests.set(self.requests.get().wrapping_add(1));
    }

    /// Takes one retry from the budget.
    pub(crate) fn try_again(&self, basis_points: u32) -> bool {
        let before = self.before.borrow();
        let sum =
            |now: u32, of: fn(&Second) -> u32| before.iter().map(|s| u64::from(of(s))).sum::<u64>() + u64::from(now);
        let requests = sum(self.requests.get(), |second| second.requests);
        let retries = sum(self.retries.get(), |second| second.retries);
        let allowed = requests * u64::from(basis_points) / u64::from(BASIS_POINTS);
        if retries >= allowed.max(FLOOR) {
            return false;
        }
        self.retries.set(self.retries.get() + 1);
        true
    }

    /// A second has gone by. False: nothing is left in the window.
    fn tick(&self) -> bool {
        let mut before = self.before.borrow_mut();
        before.rotate_right(1);
        before[0] = Second { requests: self.requests.take(), retries: self.retries.take() };
        before.iter().any(|second| second.requests > 0)
    }
}

/// That of all services which are called.
#[derive(Default)]
pub(crate) struct Traffics(RefCell<HashMap<Arc<str>, Rc<Traffic>, foldhash::fast::RandomState>>);

impl Traffics {
    /// `service`: resource name.
    pub(crate) fn of(&self, service: &Arc<str>) -> Rc<Traffic> {
        let mut all = self.0.borrow_mut();
        if all.len() >= SERVICES_MAX && !all.contains_key(service) {
            all.retain(|_, traffic| Rc::strong_count(traffic) > 1);
        }
        Rc::clone(all.entry(Arc::clone(service)).or_default())
    }

    /// Once a second.
    pub(crate) fn tick(&self) {
        self.0.borrow_mut().retain(|_, traffic| traffic.tick() || Rc::strong_count(traffic) > 1);
    }
}

#[cfg(test)]
mod tests;
