//! How the data path asks for destinations that the snapshot does not have.
//!
//! ```text
//!  ensure(key) --known?--> at once
//!              \--> asked once -> control subscribes -> answered, in the snapshot -> known
//!                            \--> after `wait`: given up, so known too; the next request does not wait again
//! ```
//! What is known is read without a lock. Nothing here grows beyond [`KEYS_MAX`]: a destination more is passed through. What was
//! of no use for a while is given up; connections that asked before find that out by [`Asked`], and ask again.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use laneway_proto::contract::DISCOVERY_NAMES_MAX;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::timer::Timer;

/// Wishes that control has not read yet; it reads in microseconds.
const WISHES_MAX: usize = 1024;
/// Keys that are asked for at a time. The contract gives a stream 10,000 names over all types, and a key is asked for in
/// four types; a fifth leaves room for our own.
pub(super) const KEYS_MAX: usize = DISCOVERY_NAMES_MAX / 5;
/// Keys up to which callers are asked for. Who calls is not ours to choose: strangers must not take the place of destinations.
const CALLER_KEYS_MAX: usize = KEYS_MAX / 2;

/// Asks for destinations. Cheap to clone.
#[derive(Clone)]
pub struct Demand(Option<Arc<Wishes>>);

type KnownKeys = HashMap<Arc<str>, Arc<AtomicU64>, foldhash::fast::RandomState>;

struct Wishes {
    /// Keys that nobody waits for any more, answered or given up, with the millisecond of their last use.
    known: ArcSwap<KnownKeys>,
    /// Keys that were asked for, with who waits.
    waiting: Mutex<HashMap<Arc<str>, watch::Sender<bool>>>,
    ask: mpsc::Sender<Arc<str>>,
    /// Milliseconds are counted from here.
    epoch: Instant,
    /// How often keys were given up.
    given_up: AtomicU64,
}

/// When one connection asked last: not again for each of its requests, but yet again when what it asked for may have been given
/// up since.
#[derive(Default)]
pub struct Asked(Cell<Option<u64>>);

impl Asked {
    pub fn now(&self, demand: &Demand) {
        self.0.set(Some(demand.given_up_count()));
    }

    /// Something else is wanted.
    pub fn clear(&self) {
        self.0.set(None);
    }

    /// Does what was said then still hold?
    pub fn holds(&self, demand: &Demand) -> bool {
        self.0.get() == Some(demand.given_up_count())
    }
}

/// The control side of [`Demand`].
pub struct Demands {
    wishes: Arc<Wishes>,
    asked: mpsc::Receiver<Arc<str>>,
}

/// A demand that a control session answers.
pub fn demand() -> (Demand, Demands) {
    let (ask, asked) = mpsc::channel(WISHES_MAX);
    let wishes = Arc::new(Wishes {
        known: ArcSwap::default(),
        waiting: Mutex::default(),
        ask,
        epoch: Instant::now(),
        given_up: AtomicU64::new(0),
    });
    (Demand(Some(Arc::clone(&wishes))), Demands { wishes, asked })
}

impl Demand {
    /// Nobody to ask: the snapshot has all there is (static mode).
    pub fn none() -> Demand {
        Demand(None)
    }

    /// Returns when `key` was answered, one way or the other, and the current snapshot holds the answer; or after `wait`. At
    /// once when it was answered or given up before. Many callers ask once.
    pub async fn ensure(&self, timer: &Timer, key: &str, wait: Duration) {
        self.ensure_within(KEYS_MAX, timer, key, wait).await;
    }

    /// The same for who calls. Beyond its own bound nobody is asked, and the caller is a stranger.
    pub async fn ensure_caller(&self, timer: &Timer, key: &str, wait: Duration) {
        self.ensure_within(CALLER_KEYS_MAX, timer, key, wait).await;
    }

    fn given_up_count(&self) -> u64 {
        // Ordered by the snapshot that lacks what was given up: it is published after the count.
        self.0.as_ref().map_or(0, |wishes| wishes.given_up.load(Ordering::Relaxed))
    }

    async fn ensure_within(&self, keys_max: usize, timer: &Timer, key: &str, wait: Duration) {
        let Some(wishes) = &self.0 else { return };
        let known = wishes.known.load().get(key).cloned();
        if let Some(used_ms) = known {
            used_ms.store(wishes.now_ms(), Ordering::Relaxed);
            return;
        }
        let Some((key, mut answered)) = wishes.ask(key, keys_max) else { return };
        if timer.timeout(wait, answered.wait_for(|answered| *answered)).await.is_err() {
            wishes.settle([key]);
        }
    }
}

impl Wishes {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Asks, unless somebody did. `None`: no room, or nobody to ask.
    fn ask(&self, key: &str, keys_max: usize) -> Option<(Arc<str>, watch::Receiver<bool>)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((key, answer)) = waiting.get_key_value(key) {
            return Some((Arc::clone(key), answer.subscribe()));
        }
        if waiting.len() + self.known.load().len() >= keys_max {
            return None;
        }
        let key: Arc<str> = Arc::from(key);
        self.ask.try_send(Arc::clone(&key)).ok()?;
        let (sender, answered) = watch::channel(false);
        waiting.insert(Arc::clone(&key), sender);
        Some((key, answered))
    }

    /// Nobody waits for these any more.
    fn settle(&self, keys: impl IntoIterator<Item = Arc<str>>) {
        let now = self.now_ms();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Keys that were given up are known already; keys of control's own nobody waits for.
        let woken: Vec<_> = keys.into_iter().filter_map(|key| waiting.remove_entry(&key)).collect();
        if woken.is_empty() {
            return;
        }
        let mut known = KnownKeys::clone(&self.known.load());
        for (key, _) in &woken {
            known.insert(Arc::clone(key), Arc::new(AtomicU64::new(now)));
        }
        self.known.store(Arc::new(known));
        for (_, answer) in woken {
            answer.send_replace(true);
        }
    }
}

impl Demands {
    /// The next key that nobody asked for before. `None`: every demand is gone, or this control side took its last.
    pub async fn next(&mut self) -> Option<Arc<str>> {
        self.asked.recv().await
    }

    /// The snapshot that was published last holds the answers to these.
    pub fn answered(&self, keys: impl IntoIterator<Item = Arc<str>>) {
        self.wishes.settle(keys);
    }

    /// These are asked for already, from before this process.
    pub fn recalled(&self, keys: &[Arc<str>]) {
        let now = self.wishes.now_ms();
        self.change_known(|known| {
            known.extend(keys.iter().map(|key| (Arc::clone(key), Arc::new(AtomicU64::new(now)))));
        });
    }

    /// What this key stands for was of use.
    pub fn used(&self, key: &str) {
        if let Some(used_ms) = self.wishes.known.load().get(key) {
            used_ms.store(self.wishes.now_ms(), Ordering::Relaxed);
        }
    }

    /// Keys that were of no use in the last `idle`: nobody asked, and nobody said [`Demands::used`].
    pub fn idle(&self, idle: Duration) -> Vec<Arc<str>> {
        let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        let now = self.wishes.now_ms();
        let known = self.wishes.known.load();
        let is_idle = |used_ms: &AtomicU64| now.saturating_sub(used_ms.load(Ordering::Relaxed)) >= idle_ms;
        known.iter().filter(|(_, used_ms)| is_idle(used_ms)).map(|(key, _)| Arc::clone(key)).collect()
    }

    /// Forgets these: whoever needs one asks again. To be said before the snapshot loses what they stood for, or somebody
    /// finds neither the one nor the question.
    pub fn forget(&self, keys: &[Arc<str>]) {
        self.change_known(|known| keys.iter().for_each(|key| drop(known.remove(key))));
        self.wishes.given_up.fetch_add(1, Ordering::Relaxed);
    }

    fn change_known(&self, change: impl FnOnce(&mut KnownKeys)) {
        // The lock keeps writers of `known` apart.
        let _writing = self.wishes.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = KnownKeys::clone(&self.wishes.known.load());
        change(&mut known);
        self.wishes.known.store(Arc::new(known));
    }
}
