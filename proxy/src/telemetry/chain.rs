//! Counts by key that one writer adds to and everybody reads, without a lock: a list that only grows. For few keys, of which nearly
//! always the first is meant.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::add;

pub(super) struct Chain<K>(OnceLock<Box<Link<K>>>);

struct Link<K> {
    key: K,
    count: AtomicU64,
    next: Chain<K>,
}

impl<K: Copy + PartialEq> Chain<K> {
    pub(super) fn new() -> Chain<K> {
        Chain(OnceLock::new())
    }

    /// Adds one under `key`. Where that is new, `admit` says what it is counted as, which may be another key.
    pub(super) fn count(&self, key: K, admit: impl FnOnce() -> K) {
        let end = match self.find(key) {
            Ok(count) => return add(count, 1),
            Err(end) => end,
        };
        let admitted = admit();
        let end = match if admitted == key { Err(end) } else { self.find(admitted) } {
            Ok(count) => return add(count, 1),
            Err(end) => end,
        };
        // Set by nobody else: there is one writer.
        let _ = end.0.set(Box::new(Link { key: admitted, count: AtomicU64::new(1), next: Chain::new() }));
    }

    pub(super) fn each(&self) -> impl Iterator<Item = (K, u64)> {
        let first = self.0.get();
        std::iter::successors(first, |link| link.next.0.get()).map(|link| (link.key, link.count.load(Relaxed)))
    }

    /// The count, or the end of the list.
    fn find(&self, key: K) -> Result<&AtomicU64, &Chain<K>> {
        let mut chain = self;
        while let Some(link) = chain.0.get() {
            if link.key == key {
                return Ok(&link.count);
            }
            chain = &link.next;
        }
        Err(chain)
    }
}
