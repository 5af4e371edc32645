//! Calls that may be made again: a `request_id` has one result for an hour (AIP-155).
//!
//! ```text
//!   first --> runs --> answer is kept --> the same again: the answer
//!               ^ a repetition waits        another request with that id: refused
//!               '-- failed: forgotten, whoever waits tries in turn
//! ```
//! Of this replica alone, in memory, bounded in number and bytes: the oldest answers go first.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use prost::Message;
use tokio::sync::OnceCell;
use tonic::Status;
use xxhash_rust::xxh3::xxh3_128;

use super::errors;
use crate::reconcile::audit::Call;

#[cfg(test)]
mod tests;

const KEPT_FOR: Duration = Duration::from_secs(3600);

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) calls: usize,
    /// Of the answers together.
    pub(super) bytes: usize,
}

/// A minute's worth of the writes that are let through at most; people and CI make some in an hour.
pub(super) const BOUND: Bound = Bound { calls: 10_000, bytes: 32 << 20 };

/// The calls with an id.
#[derive(Clone)]
pub(super) struct Repeats {
    calls: Arc<Mutex<Calls>>,
}

/// Who calls, and the id that they gave: two callers never get each other's answers.
type Key = (String, String);

struct Calls {
    bound: Bound,
    entries: BTreeMap<Key, Arc<Entry>>,
    /// Oldest first; one for each entry, and some for entries that failed.
    order: VecDeque<(Key, Arc<Entry>)>,
    bytes: usize,
}

struct Entry {
    begun: Instant,
    /// Hash of method and request.
    request: u128,
    /// Encoded. Empty while it runs.
    answer: OnceCell<Vec<u8>>,
}

/// A place among them, for one call.
pub(super) struct Once {
    repeats: Repeats,
    key: Key,
    entry: Arc<Entry>,
}

impl Repeats {
    pub(super) fn new(bound: Bound) -> Repeats {
        let calls = Calls { bound, entries: BTreeMap::new(), order: VecDeque::new(), bytes: 0 };
        Repeats { calls: Arc::new(Mutex::new(calls)) }
    }

    /// Takes a call in. Refused when the id was given for another request, or when too many run.
    pub(super) fn call(&self, call: &Call, request: &impl Message, now: Instant) -> Result<Once, Status> {
        let mut bytes = call.method.as_bytes().to_vec();
        request.encode_raw(&mut bytes);
        let request = xxh3_128(&bytes);
        // A UUID is the same in capitals.
        let key = (call.principal.clone(), call.request_id.to_ascii_lowercase());
        let mut calls = self.calls();
        calls.forget_old(now);
        if let Some(entry) = calls.entries.get(&key) {
            if entry.request != request {
                let message = "was given for another request less than an hour ago; a new request takes a new id";
                return Err(errors::bad_field("request_id", message));
            }
            return Ok(Once { repeats: self.clone(), key, entry: Arc::clone(entry) });
        }
        calls.make_room()?;
        let entry = Arc::new(Entry { begun: now, request, answer: OnceCell::new() });
        calls.entries.insert(key.clone(), Arc::clone(&entry));
        calls.order.push_back((key.clone(), Arc::clone(&entry)));
        Ok(Once { repeats: self.clone(), key, entry })
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        // Whoever panicked left whole values behind.
        self.calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Once {
    /// The answer of the first that was done; `work` where there is none yet.
    pub(super) async fn run<T: Message + Default>(
        self,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let run = || async {
            let answer = work.await?.encode_to_vec();
            self.repeats.calls().kept(answer.len());
            Ok::<_, Status>(answer)
        };
        let answer = self.entry.answer.get_or_try_init(run).await?;
        T::decode(answer.as_slice()).map_err(|_| Status::internal("an answer that was kept cannot be read"))
    }
}

impl Drop for Once {
    /// A call that failed, or panicked, leaves nothing behind once nobody else waits for it.
    fn drop(&mut self) {
        let mut calls = self.repeats.calls();
        // Held by the two collections and by this one: entries are handed out under the lock alone.
        if self.entry.answer.initialized() || Arc::strong_count(&self.entry) > 3 {
            return;
        }
        if calls.entries.get(&self.key).is_some_and(|entry| Arc::ptr_eq(entry, &self.entry)) {
            calls.entries.remove(&self.key);
            calls.order.retain(|(_, entry)| !Arc::ptr_eq(entry, &self.entry));
        }
    }
}

impl Calls {
    fn forget_old(&mut self, now: Instant) {
        while let Some((_, entry)) = self.order.front() {
            let is_old = now.saturating_duration_since(entry.begun) >= KEPT_FOR && entry.answer.initialized();
            if !is_old {
                return;
            }
            self.forget(0);
        }
    }

    /// Forgets the oldest answer where one more call would be too many.
    fn make_room(&mut self) -> Result<(), Status> {
        if self.order.len() < self.bound.calls {
            return Ok(());
        }
        let oldest = self.order.iter().position(|(_, entry)| entry.answer.initialized());
        let oldest = oldest.ok_or_else(|| errors::exhausted("too many calls with a request_id run at this moment"))?;
        self.forget(oldest);
        Ok(())
    }

    /// An answer came in.
    fn kept(&mut self, bytes: usize) {
        self.bytes += bytes;
        while self.bytes > self.bound.bytes {
            let oldest = self.order.iter().position(|(_, entry)| entry.answer.initialized());
            // What just came in is not initialised yet: alone it may be larger than the bound, by one answer.
            let Some(oldest) = oldest else { return };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, at: usize) {
        let Some((key, entry)) = self.order.remove(at) else { return };
        self.bytes = self.bytes.saturating_sub(entry.answer.get().map_or(0, Vec::len));
        self.entries.remove(&key);
    }
}
