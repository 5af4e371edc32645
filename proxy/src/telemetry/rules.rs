//! How often each rule matched: a table that one worker alone adds to and the status port reads, without a lock. A rule
//! that is there costs a hash and a comparison; only its first match allocates. What was counted stays when the rules change.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use laneway_core::name;

use super::flow::OTHER;
use super::page::Page;
use super::{add, names};

/// Different rules that a worker counts by name; a rule beyond is counted as `other`.
const SERIES_MAX: usize = 256;
/// Chains; at the bound each has four rules.
const CHAINS: usize = 64;

/// Did the match count only, or colour too?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleMode {
    Enabled,
    DryRun,
}

impl RuleMode {
    fn label(self) -> &'static str {
        match self {
            RuleMode::Enabled => "enabled",
            RuleMode::DryRun => "dry_run",
        }
    }
}

pub(super) struct RuleMatches {
    chains: [Link; CHAINS],
    series: AtomicU64,
    /// By mode.
    other: [AtomicU64; 2],
}

impl Default for RuleMatches {
    fn default() -> RuleMatches {
        let chains = std::array::from_fn(|_| Link::new());
        RuleMatches { chains, series: AtomicU64::new(0), other: Default::default() }
    }
}

type Link = OnceLock<Box<Series>>;

struct Series {
    /// Resource name.
    lane: Box<str>,
    rule: Box<str>,
    mode: RuleMode,
    count: AtomicU64,
    next: Link,
}

impl RuleMatches {
    pub(super) fn matched(&self, lane: &str, rule: &str, mode: RuleMode) {
        let hash = foldhash::fast::FixedState::default().hash_one((lane, rule, mode as u8));
        let mut link = &self.chains[hash as usize % CHAINS];
        while let Some(series) = link.get() {
            if *series.rule == *rule && *series.lane == *lane && series.mode == mode {
                return add(&series.count, 1);
            }
            link = &series.next;
        }
        if self.series.load(Relaxed) >= SERIES_MAX as u64 {
            return add(&self.other[mode as usize], 1);
        }
        add(&self.series, 1);
        let count = AtomicU64::new(1);
        // Set by nobody else: there is one writer.
        let _ = link.set(Box::new(Series { lane: lane.into(), rule: rule.into(), mode, count, next: Link::new() }));
    }

    fn each(&self) -> impl Iterator<Item = &Series> {
        let chain = |link| std::iter::successors(following(link), |series| following(&series.next));
        self.chains.iter().flat_map(chain)
    }
}

fn following(link: &Link) -> Option<&Series> {
    link.get().map(|series| &**series)
}

pub(super) fn render<'c>(page: &mut Page, workers: impl Iterator<Item = &'c RuleMatches>) {
    page.family(&names::RULE_MATCHES);
    for ((lane, rule, mode), count) in total(workers) {
        page.sample(&names::RULE_MATCHES, &[name::id_of(lane), rule, mode.label()], count);
    }
}

/// By lane, rule and mode, the workers added up.
pub(super) fn total<'c>(workers: impl Iterator<Item = &'c RuleMatches>) -> BTreeMap<(&'c str, &'c str, RuleMode), u64> {
    let mut total: BTreeMap<(&str, &str, RuleMode), u64> = BTreeMap::new();
    for worker in workers {
        for series in worker.each() {
            *total.entry((&series.lane, &series.rule, series.mode)).or_default() += series.count.load(Relaxed);
        }
        for mode in [RuleMode::Enabled, RuleMode::DryRun] {
            let count = worker.other[mode as usize].load(Relaxed);
            if count > 0 {
                *total.entry((OTHER, OTHER, mode)).or_default() += count;
            }
        }
    }
    total
}

#[cfg(test)]
mod tests;
