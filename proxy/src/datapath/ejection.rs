//! Which instances this worker does not call for a while, because they failed, and which get less than their share, because they
//! are new or come back. Decides by what it is told; time is an argument, in seconds of the worker's clock.
//!
//! ```text
//!  well ── failures in a row ──▶ out ── its time is over, or it answers ──▶ warming up ──▶ well
//! ```

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;

use laneway_core::conduct::{Outliers, Warmup};
use laneway_core::decide::WHOLE_SHARE;
use laneway_proto::contract::BASIS_POINTS;

/// What comes back gets its share in this time, where the policy has no warm-up.
const RETURN_SECONDS: u32 = 10;
/// The least share of one that warms up: without requests nothing gets warm.
const SHARE_MIN: u32 = WHOLE_SHARE / 20;

/// Instances that are not simply well. Those that are take no room.
#[derive(Default)]
pub(crate) struct Health {
    records: RefCell<HashMap<SocketAddr, Record, foldhash::fast::RandomState>>,
    ejected: Cell<u32>,
    warming: Cell<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    state: State,
    /// Times in a row that it was taken out.
    ejections: u32,
    warmup: Warm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Out { until: u32 },
    Warming { since: u32, share: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Warm {
    seconds: u32,
    is_quadratic: bool,
}

/// What an ejection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Out {
        seconds: u32,
    },
    /// Too many of them are out already.
    Kept,
}

/// Those that are chosen from together.
pub(crate) struct Among<'s> {
    pub(crate) addresses: &'s [SocketAddr],
    /// Requests go elsewhere when all are out.
    pub(crate) has_fallback: bool,
}

impl Health {
    pub(crate) fn has_ejected(&self) -> bool {
        self.ejected.get() > 0
    }

    pub(crate) fn has_warming(&self) -> bool {
        self.warming.get() > 0
    }

    pub(crate) fn is_ejected(&self, address: SocketAddr) -> bool {
        matches!(self.records.borrow().get(&address), Some(Record { state: State::Out { .. }, .. }))
    }

    /// Of [`WHOLE_SHARE`].
    pub(crate) fn share(&self, address: SocketAddr) -> u32 {
        match self.records.borrow().get(&address).map(|record| record.state) {
            Some(State::Warming { share, .. }) => share,
            Some(State::Out { .. }) | None => WHOLE_SHARE,
        }
    }

    /// It has failed too often.
    pub(crate) fn eject(
        &self,
        address: SocketAddr,
        among: &Among<'_>,
        rules: &Outliers,
        warmup: Option<Warmup>,
        now: u32,
    ) -> Verdict {
        let counted = among.addresses.len() as u32;
        let out = among.addresses.iter().filter(|other| self.is_ejected(**other)).count() as u32;
        if self.is_ejected(address) || out >= ejected_max(counted, among.has_fallback, rules) {
            return Verdict::Kept;
        }
        let mut records = self.records.borrow_mut();
        let before = records.get(&address).map_or(0, |record| record.ejections);
        let ejections = before.saturating_add(1);
        let seconds = |duration: std::time::Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX).max(1);
        let lasts = seconds(rules.base_ejection).saturating_mul(ejections).min(seconds(rules.max_ejection));
        let until = now.saturating_add(lasts);
        records.insert(address, Record { state: State::Out { until }, ejections, warmup: Warm::of(warmup) });
        self.count(&records);
        Verdict::Out { seconds: until - now }
    }

    /// One that was out has answered: it comes back at once. True: it was out.
    pub(crate) fn answered(&self, address: SocketAddr, now: u32) -> bool {
        let mut records = self.records.borrow_mut();
        let Some(record) = records.get_mut(&address) else { return false };
        let State::Out { .. } = record.state else { return false };
        record.state = State::Warming { since: now, share: SHARE_MIN };
        self.count(&records);
        true
    }

    /// It was not there a moment ago.
    pub(crate) fn is_new(&self, address: SocketAddr, warmup: Warmup, now: u32) {
        let mut records = self.records.borrow_mut();
        let state = State::Warming { since: now, share: SHARE_MIN };
        records.insert(address, Record { state, ejections: 0, warmup: Warm::of(Some(warmup)) });
        self.count(&records);
    }

    /// Once a second.
    pub(crate) fn tick(&self, now: u32) {
        let mut records = self.records.borrow_mut();
        if records.is_empty() {
            return;
        }
        records.retain(|_, record| match record.state {
            State::Out { until } => {
                if now >= until {
                    record.state = State::Warming { since: now, share: SHARE_MIN };
                }
                true
            }
            State::Warming { since, .. } => {
                let share = record.warmup.share(now.saturating_sub(since));
                record.state = State::Warming { since, share };
                share < WHOLE_SHARE
            }
        });
        self.count(&records);
    }

    /// Forgets those that may not be called any more: when they come back they are others.
    pub(crate) fn retain(&self, may_be_called: impl Fn(SocketAddr) -> bool) {
        let mut records = self.records.borrow_mut();
        records.retain(|address, _| may_be_called(*address));
        self.count(&records);
    }

    /// Those that are out.
    pub(crate) fn ejected(&self) -> Vec<SocketAddr> {
        let records = self.records.borrow();
        let out = records.iter().filter(|(_, record)| matches!(record.state, State::Out { .. }));
        out.map(|(address, _)| *address).collect()
    }

    fn count(&self, records: &HashMap<SocketAddr, Record, foldhash::fast::RandomState>) {
        let ejected = records.values().filter(|record| matches!(record.state, State::Out { .. })).count();
        self.ejected.set(ejected as u32);
        self.warming.set((records.len() - ejected) as u32);
    }
}

/// How many of so many may be out.
fn ejected_max(counted: u32, has_fallback: bool, rules: &Outliers) -> u32 {
    if has_fallback {
        return counted;
    }
    let share = u64::from(counted) * u64::from(rules.max_ejected_basis_points) / u64::from(BASIS_POINTS);
    // Of two or three, one; the last one never.
    let at_least = u32::from(counted > 1 && rules.max_ejected_basis_points > 0);
    (share as u32).max(at_least).min(counted.saturating_sub(1))
}

impl Warm {
    fn of(warmup: Option<Warmup>) -> Warm {
        match warmup {
            Some(Warmup { window, is_quadratic }) => {
                Warm { seconds: u32::try_from(window.as_secs()).unwrap_or(u32::MAX).max(1), is_quadratic }
            }
            None => Warm { seconds: RETURN_SECONDS, is_quadratic: false },
        }
    }

    fn share(self, age: u32) -> u32 {
        if age >= self.seconds {
            return WHOLE_SHARE;
        }
        let (age, seconds, whole) = (u64::from(age), u64::from(self.seconds), u64::from(WHOLE_SHARE));
        let share = match self.is_quadratic {
            false => whole * age / seconds,
            true => whole * age * age / (seconds * seconds),
        };
        (share as u32).clamp(SHARE_MIN, WHOLE_SHARE - 1)
    }
}

#[cfg(test)]
mod tests;
