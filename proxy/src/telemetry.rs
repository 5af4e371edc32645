//! What the data path counts, and the page that shows it. One [`Worker`] belongs to one worker thread, which alone writes it: relaxed
//! loads and stores, no lock and no shared cache line on the way of a request. Whoever asks adds them up, off the workers.
//!
//! Every label comes from a closed set, or from a table with a bound.
//!
//! ```text
//!  request ─▶ Meter ─▶ Flow (one party, one lane) ─┐ read ┌─▶ lanes ─▶ Page ◀─ process, rules, words
//!             └─ new: published ─▶ Worker ─────────┘──────┘    └─ istio
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use laneway_core::decide::{Doubt, TagRefusal};
use laneway_core::snapshot::Snapshot;
use laneway_core::tag::Tag;

use self::ejections::Ejections;
pub(crate) use self::flow::service_label;
use self::flow::{Budget, Labels, Totals};
pub use self::flow::{Flow, Outcome, Spoken};
pub use self::meter::{Handle, Meter, Party};
pub(crate) use self::page::Page;
use self::rules::RuleMatches;
pub use self::rules::RuleMode;
pub(crate) use self::slices::Slicer;

mod chain;
mod ejections;
mod flow;
mod istio;
mod lanes;
mod latency;
mod meter;
pub(crate) mod names;
mod page;
mod process;
mod rules;
mod slices;

/// Different words of one free label set; a word beyond is counted as `other`.
const WORDS_MAX: usize = 64;
const DIRECTIONS: [Direction; 2] = [Direction::Inbound, Direction::Outbound];
const REFUSALS: [(TagRefusal, &str); 4] = [
    (TagRefusal::Malformed, "malformed"),
    (TagRefusal::Conflicting, "conflicting"),
    (TagRefusal::Untrusted, "untrusted"),
    (TagRefusal::CarriersDiffer, "carriers_differ"),
];

/// In the order of [`Doubt`].
const DOUBTS: [(Doubt, &str); 3] =
    [(Doubt::Conflict, "conflict"), (Doubt::Ambiguous, "ambiguous"), (Doubt::Refused, "refused")];

/// Which way traffic goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From others to this pod's application.
    Inbound,
    /// From this pod's application to others.
    Outbound,
}

impl Direction {
    pub fn label(self) -> &'static str {
        match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        }
    }
}

/// What is counted, and how it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Requests are counted by lane. Off: only what has no lane is counted.
    pub by_lane: bool,
    /// Series of all workers together.
    pub series_max: u32,
    /// Under the names of Istio's standard metrics too.
    pub istio: bool,
}

#[cfg(test)]
impl Config {
    pub(crate) const FOR_TESTS: Config = Config { by_lane: true, series_max: 5000, istio: false };
}

struct Counts {
    by_lane: bool,
    budget: Arc<Budget>,
    /// Of the worker's meter; replaced when one comes or goes.
    flows: ArcSwap<Vec<Arc<Flow>>>,
    seconds: AtomicU32,
    tag_refused: [AtomicU64; 4],
    doubts: [AtomicU64; 3],
    opened: [AtomicU64; 2],
    closed: [AtomicU64; 2],
    panics: AtomicU64,
    rules: RuleMatches,
    // Rare events: a lock that only the scrape contends for.
    failures: Mutex<BTreeMap<&'static str, u64>>,
    gate: Mutex<BTreeMap<&'static str, u64>>,
    answers: Mutex<BTreeMap<&'static str, u64>>,
    retries: Mutex<BTreeMap<&'static str, u64>>,
    retries_refused: AtomicU64,
    streams_ended: Mutex<BTreeMap<&'static str, u64>>,
    ejections: Mutex<Ejections>,
}

/// One worker's counters.
#[derive(Clone)]
pub struct Worker(Arc<Counts>);

/// All workers' counters, for whoever asks.
#[derive(Clone)]
pub struct Telemetry {
    workers: Vec<Worker>,
    config: Config,
    started: SystemTime,
}

/// One writer: a load and a store are enough, and cheaper than a locked add.
#[inline]
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed);
}

impl Worker {
    fn new(config: Config, workers: usize) -> Worker {
        let series_max = u64::from(config.series_max).div_ceil(workers.max(1) as u64);
        Worker(Arc::new(Counts {
            by_lane: config.by_lane,
            budget: Arc::new(Budget::new(series_max)),
            flows: ArcSwap::default(),
            seconds: AtomicU32::new(0),
            tag_refused: Default::default(),
            doubts: Default::default(),
            opened: Default::default(),
            closed: Default::default(),
            panics: AtomicU64::new(0),
            rules: RuleMatches::default(),
            failures: Mutex::default(),
            gate: Mutex::default(),
            answers: Mutex::default(),
            retries: Mutex::default(),
            retries_refused: AtomicU64::new(0),
            streams_ended: Mutex::default(),
            ejections: Mutex::default(),
        }))
    }

    /// A carried tag was not taken as it came.
    pub fn tag_refused(&self, refusal: TagRefusal) {
        for (index, (known, _)) in REFUSALS.iter().enumerate() {
            if *known == refusal {
                add(&self.0.tag_refused[index], 1);
            }
        }
    }

    /// A rule took an inbound request, or would have. `lane` is its resource name.
    pub fn rule_matched(&self, lane: &str, rule: &str, mode: RuleMode) {
        self.0.rules.matched(lane, rule, mode);
    }

    /// Nothing told the tag of an outbound call for certain.
    pub fn doubted(&self, doubt: Doubt) {
        add(&self.0.doubts[doubt as usize % DOUBTS.len()], 1);
    }

    /// A request or connection failed here, in a word of `failure.rs`.
    pub fn failure(&self, label: &'static str) {
        count_word(&self.0.failures, label);
    }

    /// A request was refused for what it says.
    pub fn gate_refused(&self, reason: &'static str) {
        count_word(&self.0.gate, reason);
    }

    /// An answer of an instance was refused for what it says.
    pub fn answer_refused(&self, reason: &'static str) {
        count_word(&self.0.answers, reason);
    }

    /// A request goes to another instance, for this cause.
    pub fn retried(&self, cause: &'static str) {
        count_word(&self.0.retries, cause);
    }

    /// One that might have gone there does not: the budget is used up.
    pub fn retry_refused(&self) {
        add(&self.0.retries_refused, 1);
    }

    /// What ran on an instance that went away was ended; it was of this kind.
    pub fn stream_ended(&self, kind: &'static str) {
        count_word(&self.0.streams_ended, kind);
    }

    /// An instance of this service (resource name) and tag was taken out.
    pub fn ejected(&self, service: &Arc<str>, tag: Option<Tag>) {
        self.0.ejections.lock().unwrap_or_else(PoisonError::into_inner).count(service, tag);
    }

    /// Those that are out now.
    pub fn are_ejected(&self, out: impl Iterator<Item = (Arc<str>, Option<Tag>)>) {
        self.0.ejections.lock().unwrap_or_else(PoisonError::into_inner).now(out);
    }

    pub fn connection_opened(&self, direction: Direction) {
        add(&self.0.opened[direction as usize], 1);
    }

    pub fn connection_closed(&self, direction: Direction) {
        add(&self.0.closed[direction as usize], 1);
    }

    /// A connection's task panicked; the process lives.
    pub fn panicked(&self) {
        add(&self.0.panics, 1);
    }

    fn counts_lanes(&self) -> bool {
        self.0.by_lane
    }

    fn budget(&self) -> &Arc<Budget> {
        &self.0.budget
    }

    /// What the meter has now.
    fn publish(&self, flows: Vec<Arc<Flow>>) {
        self.0.flows.store(Arc::new(flows));
    }

    /// Of the worker's clock, at its last sweep.
    fn seconds(&self) -> u32 {
        self.0.seconds.load(Relaxed)
    }

    fn tick(&self, seconds: u32) {
        self.0.seconds.store(seconds, Relaxed);
    }
}

fn count_word(words: &Mutex<BTreeMap<&'static str, u64>>, word: &'static str) {
    let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
    let word = if words.len() < WORDS_MAX || words.contains_key(word) { word } else { "other" };
    *words.entry(word).or_default() += 1;
}

impl Telemetry {
    pub fn new(workers: usize, config: Config) -> Telemetry {
        let started = SystemTime::now();
        Telemetry { workers: (0..workers).map(|_| Worker::new(config, workers)).collect(), config, started }
    }

    pub fn worker(&self, index: usize) -> Worker {
        self.workers[index].clone()
    }

    /// Everything that is counted by lane, the workers added up.
    pub(crate) fn totals(&self) -> BTreeMap<Labels, Totals> {
        let mut totals: BTreeMap<Labels, Totals> = BTreeMap::new();
        for worker in &self.workers {
            for flow in worker.0.flows.load().iter() {
                flow.add_to(totals.entry(flow.labels.clone()).or_default());
            }
        }
        totals
    }

    /// The page, but for what its caller adds. `snapshot` says whose sidecar it is, and which instances there are.
    pub(crate) fn render(&self, snapshot: &Snapshot) -> Page {
        let mut page = Page::default();
        let totals = self.totals();
        lanes::render(&mut page, &totals, snapshot);
        self.render_counts(&mut page);
        lanes::render_endpoints(&mut page, snapshot);
        ejections::render(&mut page, self.workers.iter().map(|worker| &worker.0.ejections), snapshot);
        process::render(&mut page, self.started);
        if self.config.istio {
            istio::render(&mut page, &totals, snapshot);
        }
        page
    }

    fn render_counts(&self, page: &mut Page) {
        let sum = |of: &dyn Fn(&Counts) -> u64| self.workers.iter().map(|worker| of(&worker.0)).sum::<u64>();
        page.family(&names::TAG_REJECTED);
        for (index, (_, reason)) in REFUSALS.iter().enumerate() {
            page.sample(&names::TAG_REJECTED, &[reason], sum(&|counts| counts.tag_refused[index].load(Relaxed)));
        }
        page.family(&names::AMBIGUOUS);
        for (index, (_, kind)) in DOUBTS.iter().enumerate() {
            page.sample(&names::AMBIGUOUS, &[kind], sum(&|counts| counts.doubts[index].load(Relaxed)));
        }
        rules::render(page, self.workers.iter().map(|worker| &worker.0.rules));
        page.family(&names::CONNECTIONS_OPENED);
        for direction in DIRECTIONS {
            let opened = sum(&|counts| counts.opened[direction as usize].load(Relaxed));
            page.sample(&names::CONNECTIONS_OPENED, &[direction.label()], opened);
        }
        page.family(&names::CONNECTIONS);
        for direction in DIRECTIONS {
            // In this order: what closes in between does not make it negative.
            let closed = sum(&|counts| counts.closed[direction as usize].load(Relaxed));
            let opened = sum(&|counts| counts.opened[direction as usize].load(Relaxed));
            page.sample(&names::CONNECTIONS, &[direction.label()], opened.saturating_sub(closed));
        }
        page.single(&names::PANICS, sum(&|counts| counts.panics.load(Relaxed)));
        page.single(&names::SERIES_DROPPED, sum(&|counts| counts.budget.dropped()));
        self.words(page, &names::FAILURES, |counts| &counts.failures);
        self.words(page, &names::GATE_REFUSED, |counts| &counts.gate);
        self.words(page, &names::ANSWERS_REFUSED, |counts| &counts.answers);
        self.words(page, &names::RETRIES, |counts| &counts.retries);
        page.single(&names::RETRIES_REFUSED, sum(&|counts| counts.retries_refused.load(Relaxed)));
        self.words(page, &names::STREAMS_ENDED, |counts| &counts.streams_ended);
    }

    fn words(
        &self,
        page: &mut Page,
        metric: &names::Metric,
        of: impl Fn(&Counts) -> &Mutex<BTreeMap<&'static str, u64>>,
    ) {
        page.family(metric);
        let mut total: BTreeMap<&str, u64> = BTreeMap::new();
        for worker in &self.workers {
            for (word, count) in of(&worker.0).lock().unwrap_or_else(PoisonError::into_inner).iter() {
                *total.entry(word).or_default() += count;
            }
        }
        for (reason, count) in total {
            page.sample(metric, &[reason], count);
        }
    }
}
