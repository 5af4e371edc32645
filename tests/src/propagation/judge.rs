//! What an answer says of the calls that made it. Pure.

use anyhow::{Context, Result, ensure};

/// The lanes of the load, in the parts of [`lane_of`]; "" is none.
const LANES: [&str; 3] = ["", "gray", "blue"];
/// Who is called, and in which lanes it has instances of its own.
const CALLED: [(&str, &[&str]); 2] = [("B", &["gray"]), ("C", &["gray", "blue"])];

/// Calls, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// At the instance of the request's lane, or at baseline for a request without one, or where the lane has none.
    pub right: u64,
    /// At an instance of another lane.
    pub wrong: u64,
    /// At baseline though the lane has an instance: the sidecar did not know.
    pub unknown: u64,
    /// Of the right ones: those of requests without a lane.
    pub untagged: u64,
    /// Of the right ones: those at baseline because the lane has no instance there. Whether the lane was known shows at
    /// the next call, which is counted by itself, and in the sidecar's counters.
    pub unseen: u64,
}

/// The lane of an order: a third each, without a pattern in their order.
pub fn lane_of(order: u64) -> &'static str {
    LANES[(scramble(order) % LANES.len() as u64) as usize]
}

/// A fixed shuffle: the finalizer of splitmix64.
pub fn scramble(order: u64) -> u64 {
    let mut bits = order.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl Tally {
    pub fn calls(&self) -> u64 {
        self.right + self.wrong + self.unknown
    }

    pub fn add(&mut self, other: Tally) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.unknown += other.unknown;
        self.untagged += other.untagged;
        self.unseen += other.unseen;
    }

    /// The calls of one answer, as `A[10.1.0.11 7] -> Bgray[10.1.0.13 7] -> C[10.1.0.14 7]` for order 7.
    pub fn of_answer(answer: &str, order: u64) -> Result<Self> {
        let mut steps = answer.trim_end().split(" -> ");
        let first = step(steps.next().unwrap_or(""), order)?;
        ensure!(first == "A", "`{answer}` does not begin at A");
        let mut tally = Self::default();
        for (service, instances) in CALLED {
            let name = step(steps.next().with_context(|| format!("`{answer}` does not reach {service}"))?, order)?;
            let reached =
                name.strip_prefix(service).with_context(|| format!("`{answer}` does not reach {service} then"))?;
            tally.call(lane_of(order), reached, instances);
        }
        ensure!(steps.next().is_none(), "`{answer}` goes on");
        Ok(tally)
    }

    fn call(&mut self, lane: &str, reached: &str, instances: &[&str]) {
        if reached == lane {
            self.right += 1;
            self.untagged += u64::from(lane.is_empty());
        } else if !reached.is_empty() {
            self.wrong += 1;
        } else if instances.contains(&lane) {
            self.unknown += 1;
        } else {
            self.right += 1;
            self.unseen += 1;
        }
    }
}

/// The name of a step, which must have been made for this order.
fn step(text: &str, order: u64) -> Result<&str> {
    let (name, rest) = text.split_once('[').with_context(|| format!("`{text}` is no step of a chain"))?;
    ensure!(rest.ends_with(&format!(" {order}]")), "order {order} was answered by `{text}`");
    Ok(name)
}

#[cfg(test)]
mod tests;
