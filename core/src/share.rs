//! Shares of traffic: who is in, and how a caller stays on one side. Pure arithmetic; the dice are the caller's.

use laneway_proto::contract::BASIS_POINTS;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Salt and key up to this are hashed in one go: the state of a stream costs more than hashing them does.
const SHORT_BYTES: usize = 256;

/// `xxh3_64(salt, 0x00, key; seed 0)`.
pub fn hash(salt: &[u8], key: &[u8]) -> u64 {
    let length = salt.len() + 1 + key.len();
    if length <= SHORT_BYTES {
        let mut text = [0; SHORT_BYTES];
        text[..salt.len()].copy_from_slice(salt);
        text[salt.len() + 1..length].copy_from_slice(key);
        return xxh3_64(&text[..length]);
    }
    let mut hasher = Xxh3::new();
    hasher.update(salt);
    hasher.update(&[0]);
    hasher.update(key);
    hasher.digest()
}

/// Is this hash, or throw of the dice, inside a share? Monotone: a larger share only adds callers.
pub fn is_in(hash: u64, basis_points: u32) -> bool {
    bucket(hash) < u64::from(basis_points)
}

/// Which of the 10,000 parts of all callers a hash falls into.
pub fn bucket(hash: u64) -> u64 {
    hash % u64::from(BASIS_POINTS)
}

/// Position of the weighted outcome that a hash falls on, in the order of the list; `None` where all weights are 0.
pub fn choose(hash: u64, weights: impl Iterator<Item = u32> + Clone) -> Option<usize> {
    let sum: u64 = weights.clone().map(u64::from).sum();
    let mut at = hash.checked_rem(sum)?;
    for (index, weight) in weights.enumerate() {
        let weight = u64::from(weight);
        if at < weight {
            return Some(index);
        }
        at -= weight;
    }
    None
}

/// Dice of one worker (wyrand): small, quick, good enough to spread load; never for secrets.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(crate) fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0xa076_1d64_78bd_642f);
        let wide = u128::from(self.0) * u128::from(self.0 ^ 0xe703_7ed1_a0b4_28db);
        (wide >> 64) as u64 ^ wide as u64
    }

    /// Below `bound`, which is above 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.throw()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests;
