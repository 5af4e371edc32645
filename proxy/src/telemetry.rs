//! Counters of the data path. One [`Worker`] belongs to one worker thread, which alone writes it: relaxed loads and stores, no
//! lock and no shared cache line on the way of a request. The status port adds them up.
//!
//! Every label comes from a closed set, or from a table with a bound.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use laneway_core::decide::{Doubt, TagRefusal};
use laneway_core::why::{TagSource, Why, source_label, why_label};

use self::rules::RuleMatches;
pub use self::rules::RuleMode;

mod rules;

/// Different words of one free label set; a word beyond is counted as `other`.
const WORDS_MAX: usize = 64;
const WHYS: usize = 14;
const SOURCES: usize = 8;
const DIRECTIONS: [&str; 2] = ["inbound", "outbound"];
const REFUSALS: [(TagRefusal, &str); 4] = [
    (TagRefusal::Malformed, "malformed"),
    (TagRefusal::Conflicting, "conflicting"),
    (TagRefusal::Untrusted, "untrusted"),
    (TagRefusal::CarriersDiffer, "carriers_differ"),
];

/// In the order of [`Doubt`].
const DOUBTS: [(Doubt, &str); 3] =
    [(Doubt::Conflict, "conflict"), (Doubt::Ambiguous, "ambiguous"), (Doubt::Refused, "refused")];

#[derive(Default)]
struct Counts {
    requests: [[[AtomicU64; SOURCES]; WHYS]; 2],
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
}

/// One worker's counters.
#[derive(Clone, Default)]
pub struct Worker(Arc<Counts>);

/// All workers' counters, for the status port.
#[derive(Clone, Default)]
pub struct Telemetry(Vec<Worker>);

fn add(counter: &AtomicU64) {
    // One writer: a load and a store are enough, and cheaper than a locked add.
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

fn direction_index(direction: &str) -> usize {
    usize::from(direction == DIRECTIONS[1])
}

impl Worker {
    /// One request was decided. `direction` is `inbound` or `outbound`.
    pub fn request(&self, direction: &'static str, why: Why, source: TagSource) {
        let (why, source) = (why as usize % WHYS, source as usize % SOURCES);
        add(&self.0.requests[direction_index(direction)][why][source]);
    }

    /// A carried tag was not taken as it came.
    pub fn tag_refused(&self, refusal: TagRefusal) {
        for (index, (known, _)) in REFUSALS.iter().enumerate() {
            if *known == refusal {
                add(&self.0.tag_refused[index]);
            }
        }
    }

    /// A rule took an inbound request, or would have. `lane` is its resource name.
    pub fn rule_matched(&self, lane: &str, rule: &str, mode: RuleMode) {
        self.0.rules.matched(lane, rule, mode);
    }

    /// Nothing told the tag of an outbound call for certain.
    pub fn doubted(&self, doubt: Doubt) {
        add(&self.0.doubts[doubt as usize % DOUBTS.len()]);
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

    pub fn connection_opened(&self, direction: &'static str) {
        add(&self.0.opened[direction_index(direction)]);
    }

    pub fn connection_closed(&self, direction: &'static str) {
        add(&self.0.closed[direction_index(direction)]);
    }

    /// A connection's task panicked; the process lives.
    pub fn panicked(&self) {
        add(&self.0.panics);
    }
}

fn count_word(words: &Mutex<BTreeMap<&'static str, u64>>, word: &'static str) {
    let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
    let word = if words.len() < WORDS_MAX || words.contains_key(word) { word } else { "other" };
    *words.entry(word).or_default() += 1;
}

impl Telemetry {
    pub fn new(workers: usize) -> Telemetry {
        Telemetry((0..workers).map(|_| Worker::default()).collect())
    }

    pub fn worker(&self, index: usize) -> Worker {
        self.0[index].clone()
    }

    /// Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let sum = |of: &dyn Fn(&Counts) -> u64| self.0.iter().map(|worker| of(&worker.0)).sum::<u64>();
        header(
            &mut text,
            "laneway_requests_total",
            "counter",
            "Requests that were decided, by direction, why and tag source",
        );
        for (direction, direction_label) in DIRECTIONS.iter().enumerate() {
            for why in 0..WHYS {
                for source in 0..SOURCES {
                    let count = sum(&|counts| counts.requests[direction][why][source].load(Relaxed));
                    let (Ok(why), Ok(source)) = (Why::try_from(why as i32), TagSource::try_from(source as i32)) else {
                        continue;
                    };
                    if count > 0 {
                        let (why, source) = (why_label(why), source_label(source));
                        let _ = writeln!(
                            text,
                            "laneway_requests_total{{direction=\"{direction_label}\",why=\"{why}\",source=\"{source}\"}} {count}"
                        );
                    }
                }
            }
        }
        header(&mut text, "laneway_tag_rejected_total", "counter", "Carried tags that were not taken as they came");
        for (index, (_, reason)) in REFUSALS.iter().enumerate() {
            let count = sum(&|counts| counts.tag_refused[index].load(Relaxed));
            let _ = writeln!(text, "laneway_tag_rejected_total{{reason=\"{reason}\"}} {count}");
        }
        rules::render(&mut text, self.0.iter().map(|worker| &worker.0.rules));
        let help =
            "Outbound calls whose tag nothing told for certain: an id of two contexts, or several tags in flight";
        header(&mut text, "laneway_ambiguous_total", "counter", help);
        for (index, (_, kind)) in DOUBTS.iter().enumerate() {
            let count = sum(&|counts| counts.doubts[index].load(Relaxed));
            let _ = writeln!(text, "laneway_ambiguous_total{{kind=\"{kind}\"}} {count}");
        }
        header(&mut text, "laneway_connections_opened_total", "counter", "Client connections taken");
        for (index, direction) in DIRECTIONS.iter().enumerate() {
            let count = sum(&|counts| counts.opened[index].load(Relaxed));
            let _ = writeln!(text, "laneway_connections_opened_total{{direction=\"{direction}\"}} {count}");
        }
        header(&mut text, "laneway_connections", "gauge", "Client connections open now");
        for (index, direction) in DIRECTIONS.iter().enumerate() {
            let closed = sum(&|counts| counts.closed[index].load(Relaxed));
            let opened = sum(&|counts| counts.opened[index].load(Relaxed));
            let _ =
                writeln!(text, "laneway_connections{{direction=\"{direction}\"}} {}", opened.saturating_sub(closed));
        }
        header(&mut text, "laneway_panics_total", "counter", "Connections that ended by a bug of ours");
        let _ = writeln!(text, "laneway_panics_total {}", sum(&|counts| counts.panics.load(Relaxed)));
        self.words(&mut text, "laneway_failures_total", "Requests and connections that failed here", |counts| {
            &counts.failures
        });
        self.words(&mut text, "laneway_gate_refused_total", "Requests refused for what they say", |counts| {
            &counts.gate
        });
        self.words(
            &mut text,
            "laneway_answers_refused_total",
            "Answers of instances refused for what they say",
            |counts| &counts.answers,
        );
        text
    }

    fn words(
        &self,
        text: &mut String,
        name: &str,
        help: &str,
        of: impl Fn(&Counts) -> &Mutex<BTreeMap<&'static str, u64>>,
    ) {
        header(text, name, "counter", help);
        let mut total: BTreeMap<&str, u64> = BTreeMap::new();
        for worker in &self.0 {
            for (word, count) in of(&worker.0).lock().unwrap_or_else(PoisonError::into_inner).iter() {
                *total.entry(word).or_default() += count;
            }
        }
        for (reason, count) in total {
            let _ = writeln!(text, "{name}{{reason=\"{reason}\"}} {count}");
        }
    }
}

fn header(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}");
}
