//! Who waits for the API server, and what it said a short while ago: one for each port, so that who floods one does not shut the other.
//!
//! ```text
//!   token ─▶ known ─▶ said again
//!     └─▶ asked about already ─▶ waits with whoever brought it first
//!           └─▶ a place to wait ─▶ a turn of its address ─▶ a turn of all ─▶ review ─▶ known
//! ```
//! Tokens that are made up cost a review each. One address has never half of the turns, so those who make them up at one address
//! hold up nobody else; whoever finds no place, or no turn in time, is told to try again, not that it is unknown.
//! The wait for a turn and the review have a limit each: whoever has a turn has the time for its review, so that turns are never
//! spent on those who would not hear the answer, however many wait.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, Semaphore};
use tokio::time;

use super::reviewer::Away;
use super::{Refusal, hash};
use crate::origin::origin;

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
/// Of one address: a sidecar has one token, people behind one address a few.
pub(super) const OF_ADDRESS_MAX: usize = 7;
/// Tokens of one address that wait or are reviewed. Many sidecars may come from one: behind a gateway, or by way of a node.
pub(super) const OF_ADDRESS_WAITING_MAX: usize = 128;
/// Tokens of all addresses that do: as many as get their turn within [`TURN_MAX`] where a review takes [`REVIEW_USUAL`].
pub(super) const WAITING_MAX: usize = REVIEWS_MAX * (TURN_MAX.as_millis() / REVIEW_USUAL.as_millis()) as usize;
/// A review by an API server that has a lot to do.
const REVIEW_USUAL: Duration = Duration::from_millis(80);
/// Longest wait for a turn.
pub(super) const TURN_MAX: Duration = Duration::from_secs(2);
/// Longest review, after that. A sidecar waits for 5 s in all (`ANSWER_TIMEOUT` of its client), the way to us and back included.
pub(super) const REVIEW_MAX: Duration = Duration::from_millis(2_500);

/// Whom a review finds, or why nobody.
pub(super) type Said<T> = Result<T, Refusal>;

/// Nobody can say who it is at the moment; to try again is good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Later {
    #[error("the API server cannot be asked who this is, try again: {0}")]
    Away(Away),
    #[error("too many tokens wait for the API server, of this address or of all; try again")]
    Crowded,
    #[error("pod {namespace}/{name} is not known yet, so nobody can say which service it is of; try again")]
    Unseen { namespace: String, name: String },
}

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
    /// Those that brought them first.
    addresses: HashMap<IpAddr, Address>,
}

struct Address {
    /// Tokens that it brought.
    count: usize,
    turns: Arc<Semaphore>,
}

/// One token that is asked about.
struct Review<T> {
    /// Whoever comes with it while it is asked about takes the same answer. If the one that asks goes away, the next one asks.
    said: Arc<OnceCell<Said<T>>>,
    /// Whoever brought it first, and the turns of that address.
    from: IpAddr,
    turns: Arc<Semaphore>,
    waiters: usize,
}

/// A place among those who wait; given up when dropped.
struct Place<'t, T> {
    of: &'t Turns<T>,
    key: Key,
    said: Arc<OnceCell<Said<T>>>,
    of_address: Arc<Semaphore>,
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
        let place = self.enter(key, origin(from))?;
        let turn_by = time::Instant::now() + TURN_MAX;
        let reviewed = place.said.get_or_try_init(|| async {
            // Whoever waited for the review of another, which failed, may be too late for one of its own.
            if time::Instant::now() > turn_by {
                return Err(Later::Crowded);
            }
            let turn = time::timeout_at(turn_by, async {
                // That of its address first: those who wait for it are in nobody's way.
                let own = place.of_address.acquire().await;
                (own, self.turns.acquire().await)
            });
            let (Ok(_own), Ok(_turn)) = turn.await.map_err(|_| Later::Crowded)? else {
                return Err(Away("the program ends".to_owned()).into());
            };
            let said = time::timeout(REVIEW_MAX, review).await.map_err(|_| no_answer(REVIEW_MAX))??;
            self.remember(key, &said, now);
            Ok(said)
        });
        // Whoever waits for the review of another waits no longer than for one of its own.
        let said = time::timeout_at(turn_by + REVIEW_MAX, reviewed).await;
        said.map_err(|_| no_answer(TURN_MAX + REVIEW_MAX))?.cloned()
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
            let (said, of_address) = (Arc::clone(&review.said), Arc::clone(&review.turns));
            return Ok(Place { of: self, key, said, of_address });
        }
        let of_address = addresses.get(&from).map_or(0, |address| address.count);
        if of_address >= OF_ADDRESS_WAITING_MAX || tokens.len() >= WAITING_MAX {
            return Err(Later::Crowded);
        }
        let new = || Address { count: 0, turns: Arc::new(Semaphore::new(OF_ADDRESS_MAX)) };
        let address = addresses.entry(from).or_insert_with(new);
        address.count += 1;
        let (said, of_address) = (Arc::new(OnceCell::new()), Arc::clone(&address.turns));
        tokens.insert(key, Review { said: Arc::clone(&said), from, turns: Arc::clone(&of_address), waiters: 1 });
        Ok(Place { of: self, key, said, of_address })
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
        if let Some(address) = addresses.get_mut(&review.from) {
            address.count -= 1;
            if address.count == 0 {
                addresses.remove(&review.from);
            }
        }
        tokens.remove(&self.key);
    }
}

impl Later {
    /// As metrics name them.
    pub const REASONS: [&'static str; 3] = ["away", "crowded", "unseen"];

    pub fn reason(&self) -> &'static str {
        match self {
            Later::Away(_) => "away",
            Later::Crowded => "crowded",
            Later::Unseen { .. } => "unseen",
        }
    }
}

impl From<Away> for Later {
    fn from(away: Away) -> Later {
        Later::Away(away)
    }
}

fn no_answer(within: Duration) -> Later {
    Away(format!("no answer within {} s", within.as_secs_f32())).into()
}
