//! How often somebody may do something: so many a second, and as many at once after a rest. Pure: the time comes in.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Names that are told apart; there are never more at a time but by certificates with a `*`. Those beyond share one limit.
const NAMES_MAX: usize = 10_000;
/// What a rest gives back at most, as time.
const BURST: Duration = Duration::from_secs(1);

/// One limit, for each name by itself.
pub struct Limit {
    /// Between two of one name, where there are always more.
    interval: Duration,
    /// When the last of each name would have been, had they come evenly.
    last: Mutex<HashMap<String, Instant>>,
}

impl Limit {
    pub fn per_second(count: u32) -> Limit {
        Limit { interval: BURST / count.max(1), last: Mutex::default() }
    }

    /// Takes one for a name. An error: none is left; one is after that time.
    pub fn take(&self, name: &str, now: Instant) -> Result<(), Duration> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = last.len() >= NAMES_MAX && !last.contains_key(name);
        if is_full {
            last.retain(|_, at| *at > now);
        }
        let name = if last.len() >= NAMES_MAX && !last.contains_key(name) { "" } else { name };
        let next = last.get(name).copied().unwrap_or(now).max(now) + self.interval;
        match (next - now).checked_sub(BURST).filter(|wait| !wait.is_zero()) {
            Some(wait) => Err(wait),
            None => {
                last.insert(name.to_owned(), next);
                Ok(())
            }
        }
    }
}
