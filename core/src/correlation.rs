//! Which context an id belongs to: what inbound requests said, remembered while they run and for a time after, so that a call
//! that carries their id, and no tag, is known by it. "Unknown" rather than wrong: an id that was seen with two contexts answers
//! nothing any more.
//!
//! Without a clock and a lock: the caller says what second it is, and has one table for each shard of its ids.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::context::Context;
use crate::snapshot::FastMap;
use crate::trace::Id;

/// What an id tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It was not seen, or long ago.
    Unknown,
    /// It was seen on requests of different contexts.
    Conflict,
    /// That of the requests it was seen on; `None`: they have nothing to hand on.
    Context(Option<Arc<Context>>),
}

/// How much is remembered, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Ids of requests with a context; and as many of those without that run. Beyond, the oldest go.
    pub ids: usize,
    /// Of the contexts of these ids; beyond, the oldest go as well.
    pub bytes: usize,
    /// After the last request with an id ended: what it began may go on calling.
    pub seconds: u32,
}

/// Ids and their contexts.
#[derive(Debug)]
pub struct Correlations {
    bounds: Bounds,
    /// Of requests with a context.
    held: FastMap<Id, Held>,
    /// Of their contexts.
    bytes: usize,
    /// Every id of `held` once, with the second in which to look at it again; the oldest first.
    order: VecDeque<(Id, u32)>,
    /// Of requests without a context, how many run: only for these are ids without a context remembered.
    plain: FastMap<Id, u32>,
}

#[derive(Debug)]
struct Held {
    context: Arc<Context>,
    running: u32,
    /// Once none runs.
    until: u32,
    is_conflicting: bool,
}

impl Held {
    fn is_over(&self, now: u32) -> bool {
        self.running == 0 && self.until <= now
    }
}

impl Correlations {
    pub fn new(bounds: Bounds) -> Correlations {
        Correlations { bounds, held: FastMap::default(), bytes: 0, order: VecDeque::new(), plain: FastMap::default() }
    }

    /// A request with that id and context begins.
    pub fn begin(&mut self, id: Id, context: Option<&Arc<Context>>, now: u32) {
        let Some(context) = context else {
            match self.held.get_mut(&id) {
                Some(held) if !held.is_over(now) => held.is_conflicting = true,
                _ => {}
            }
            if self.plain.len() < self.bounds.ids || self.plain.contains_key(&id) {
                *self.plain.entry(id).or_default() += 1;
            }
            return;
        };
        let is_plain_too = self.plain.contains_key(&id);
        match self.held.get_mut(&id) {
            Some(held) => {
                if held.is_over(now) {
                    self.bytes = self.bytes + context.bytes() - held.context.bytes();
                    *held = Held { context: Arc::clone(context), running: 0, until: now, is_conflicting: false };
                }
                held.running += 1;
                held.is_conflicting |= is_plain_too || held.context != *context;
            }
            None => {
                let until = now + self.bounds.seconds;
                let held = Held { context: Arc::clone(context), running: 1, until, is_conflicting: is_plain_too };
                self.bytes += held.context.bytes();
                self.held.insert(id, held);
                self.order.push_back((id, until));
            }
        }
        while self.held.len() > self.bounds.ids || self.bytes > self.bounds.bytes {
            let Some((oldest, _)) = self.order.pop_front() else { return };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, id: Id) {
        if let Some(held) = self.held.remove(&id) {
            self.bytes -= held.context.bytes();
        }
    }

    /// A request that [began](Correlations::begin) with that id has ended; `is_plain`: it had no context.
    pub fn end(&mut self, id: Id, is_plain: bool, now: u32) {
        if is_plain {
            match self.plain.get_mut(&id) {
                Some(1) => drop(self.plain.remove(&id)),
                Some(running) => *running -= 1,
                None => {}
            }
        } else if let Some(held) = self.held.get_mut(&id) {
            held.running = held.running.saturating_sub(1);
            held.until = now + self.bounds.seconds;
        }
    }

    /// What is known of an id.
    pub fn get(&self, id: Id, now: u32) -> Known {
        match self.held.get(&id) {
            Some(held) if held.is_over(now) => {}
            Some(Held { is_conflicting: true, .. }) => return Known::Conflict,
            Some(held) => return Known::Context(Some(Arc::clone(&held.context))),
            None => {}
        }
        if self.plain.contains_key(&id) { Known::Context(None) } else { Known::Unknown }
    }

    /// Forgets what is over. Looks at those that may be, and no more.
    pub fn sweep(&mut self, now: u32) {
        for _ in 0..self.order.len() {
            match self.order.front() {
                Some((_, due)) if *due <= now => {}
                _ => return,
            }
            let Some((id, _)) = self.order.pop_front() else { return };
            match self.held.get(&id) {
                Some(held) if held.is_over(now) => self.forget(id),
                Some(held) if held.running > 0 => self.order.push_back((id, now + self.bounds.seconds)),
                Some(held) => self.order.push_back((id, held.until)),
                None => {}
            }
        }
    }

    /// Ids that are held.
    pub fn len(&self) -> usize {
        self.held.len() + self.plain.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
