//! The names of our keys in etcd. Pure.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use xxhash_rust::xxh3::xxh3_64;

/// All keys under one prefix. Numbers are padded, so that keys are in the order of what they stand for.
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Keys {
        Keys { prefix: prefix.trim_end_matches('/').to_owned() }
    }

    /// Of all that makes up the state, and that is followed.
    pub(super) fn state(&self) -> Vec<u8> {
        self.key("state/")
    }

    pub(super) fn head(&self) -> Vec<u8> {
        self.key("state/head")
    }

    pub(super) fn generations(&self) -> Vec<u8> {
        self.key("state/objects/")
    }

    /// What is before the generations of that commit and of all later ones.
    pub(super) fn generations_of(&self, number: i64) -> Vec<u8> {
        self.key(&format!("state/objects/{number:020}"))
    }

    /// What all objects of a generation begin with.
    pub(super) fn objects(&self, generation: &str) -> Vec<u8> {
        self.key(&format!("state/objects/{generation}/"))
    }

    pub(super) fn object(&self, generation: &str, name: &str) -> Vec<u8> {
        self.key(&format!("state/objects/{generation}/{name}"))
    }

    pub(super) fn entry(&self, number: i64) -> Vec<u8> {
        self.key(&format!("history/{number:020}"))
    }

    /// What is before the parts of that revision and of all later ones.
    pub(super) fn parts_of(&self, number: i64) -> Vec<u8> {
        self.key(&format!("parts/{number:020}"))
    }

    pub(super) fn parts(&self, id: &str) -> Vec<u8> {
        self.key(&format!("parts/{id}/"))
    }

    pub(super) fn part(&self, id: &str, part: usize) -> Vec<u8> {
        self.key(&format!("parts/{id}/{part:04}"))
    }

    pub(super) fn audit(&self, id: &str) -> Vec<u8> {
        self.key(&format!("audit/{id}"))
    }

    pub(super) fn leader(&self) -> Vec<u8> {
        self.key("leader")
    }

    pub(super) fn replicas(&self) -> Vec<u8> {
        self.key("replicas/")
    }

    pub(super) fn replica(&self, name: &str) -> Vec<u8> {
        self.key(&format!("replicas/{name}"))
    }

    fn key(&self, rest: &str) -> Vec<u8> {
        format!("{}/{rest}", self.prefix).into_bytes()
    }
}

/// The end of the range of all keys that begin so.
pub(super) fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    // Ours end with a character of ASCII.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// Names one attempt to become a revision, unlike any other: sorted by its number.
pub(super) fn commit_id(number: i64) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let seed = format!("{nanos} {} {}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    // The host's name too: two machines may have equal clocks and process ids.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{number:020}-{:016x}{:016x}", xxh3_64(seed.as_bytes()), xxh3_64(format!("{seed} {host}").as_bytes()))
}

/// The number in a commit's id, or in what begins with one.
pub(super) fn number_of(id: &str) -> Option<i64> {
    id.get(..20)?.parse().ok()
}
