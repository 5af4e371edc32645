//! Who waits for the API server, and what it said a short while ago: one for each port, so that who floods one does not shut the other.
//!
//! ```text
//!   token ─▶ known ─▶ said again
//!     └─▶ asked about already ─▶ waits with whoever brought it first
//!           └─▶ its address has few others waiting ─▶ one of the turns ─▶ review ─▶ known
//! ```
//! Tokens that are made up cost a review each. One address has never half of the turns, so those who make them up at one address
//! hold up nobody else; whoever finds no place is told to try again, not that it is unknown.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, Semaphore};

use super::review::{Away, Later};
use super::{Refusal, hash};

#[cfg(test)]
mod tests;

/// How long an answer holds: a token that was taken back, or rights, are good for so long at most.
pub(super) const KNOWN_FOR: Duration = Duration::from_secs(60);
/// And a refusal: who was just given rights does not wait long.
pub(super) const UNKNOWN_FOR: Duration = Duration::from_secs(5);
/// Answers that are remembered.
pub(super) const ANSWERS_MAX: usize = 10_000;
/// Reviews at a time.
pub(super) const REVIEWS_MAX: usize = 16;
/// Tokens of one address that wait or are reviewed: a sidecar has one, people behind one address a few.
pub(super) const OF_ADDRESS_MAX: usize = 7;
/// Tokens of all addresses that do: what is reviewed within [`WAIT_MAX`] by an API server that takes 80 ms.
pub(super) const WAITING_MAX: usize = 1_024;
/// Longest wait for an answer, a turn included.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Whom a review finds, or why nobody.
pub(super) type Said<T> = Result<T, Refusal>;

pub(super) struct Turns<T> {
    answers: Mutex<HashMap<Key, Answer<T>>>,
    waiting: Mutex<Waiting<T>>,
    turns: Semaphore,
}

/// SHA-256 of a token.
type Key = [u8; 32];

struct Answer<T> {
    said: Said<T>,
    until: Instant,
}

struct Waiting<T> {
    tokens: HashMap<Key, Review<T>>,
    /// How many of the tokens each brought.
    addresses: HashMap<IpAddr, usize>,
}

/// One token that is asked about.
struct Review<T> {
    /// Whoever comes with it while it is asked about takes the same answer. If the one that asks goes away, the next one asks.
    said: Arc<OnceCell<Said<T>>>,
    /// Whoever brought it first.
    from: IpAddr,
    waiters: usize,
}

/// A place among those who wait; given up when dropped.
struct Place<'t, T> {
    of: &'t Turns<T>,
    key: Key,
    said: Arc<OnceCell<Said<T>>>,
}

impl<T: Clone> Turns<T> {
    pub(super) fn new() -> Turns<T> {
        let waiting = Waiting { tokens: HashMap::new(), addresses: HashMap::new() };
        Turns { answers: Mutex::default(), waiting: Mutex::new(waiting), turns: Semaphore::new(REVIEWS_MAX) }
    }

    /// What is known of a token, or what a review of it says now. `from` is the address that it comes from.
    pub(super) async fn ask(
        &self,
        token: &str,
        from: IpAddr,
        now: Instant,
        review: impl Future<Output = Result<Said<T>, Later>>,
    ) -> Result<Said<T>, Later> {
        let key = hash(token);
        if let Some(said) = self.known(&key, now) {
            return Ok(said);
        }
        let place = self.enter(key, from)?;
        let reviewed = place.said.get_or_try_init(|| async {
            let _turn = self.turns.acquire().await.map_err(|_| Away("the program ends".to_owned()))?;
            let said = review.await?;
            self.remember(key, &said, now);
            Ok::<_, Later>(said)
        });
        match tokio::time::timeout(WAIT_MAX, reviewed).await {
            Ok(said) => said.cloned(),
            Err(_) => Err(Away(format!("no answer within {} s", WAIT_MAX.as_secs())).into()),
        }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.answers().len()
    }

    fn enter(&self, key: Key, from: IpAddr) -> Result<Place<'_, T>, Later> {
        let mut waiting = self.waiting();
        let Waiting { tokens, addresses } = &mut *waiting;
        if let Some(review) = tokens.get_mut(&key) {
            review.waiters += 1;
            return Ok(Place { of: self, key, said: Arc::clone(&review.said) });
        }
        let of_address = addresses.get(&from).copied().unwrap_or_default();
        if of_address >= OF_ADDRESS_MAX || tokens.len() >= WAITING_MAX {
            return Err(Later::Crowded);
        }
        addresses.insert(from, of_address + 1);
        let said = Arc::new(OnceCell::new());
        tokens.insert(key, Review { said: Arc::clone(&said), from, waiters: 1 });
        Ok(Place { of: self, key, said })
    }

    fn known(&self, key: &Key, now: Instant) -> Option<Said<T>> {
        self.answers().get(key).filter(|answer| now < answer.until).map(|answer| answer.said.clone())
    }

    fn remember(&self, key: Key, said: &Said<T>, now: Instant) {
        let mut answers = self.answers();
        if answers.len() >= ANSWERS_MAX && !answers.contains_key(&key) {
            answers.retain(|_, answer| now < answer.until);
            // Guesses are forgotten before anybody who is known.
            if answers.len() >= ANSWERS_MAX {
                answers.retain(|_, answer| answer.said.is_ok());
            }
            if answers.len() >= ANSWERS_MAX {
                return;
            }
        }
        let holds = if said.is_ok() { KNOWN_FOR } else { UNKNOWN_FOR };
        answers.insert(key, Answer { said: said.clone(), until: now + holds });
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<Key, Answer<T>>> {
        // Whoever panicked left a whole map behind.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Turns<T> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        // Nothing in it can panic between two changes that belong together.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        let mut waiting = self.of.waiting();
        let Waiting { tokens, addresses } = &mut *waiting;
        let Some(review) = tokens.get_mut(&self.key) else { return };
        review.waiters -= 1;
        if review.waiters > 0 {
            return;
        }
        if let Some(count) = addresses.get_mut(&review.from) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&review.from);
            }
        }
        tokens.remove(&self.key);
    }
}
