//! What is counted of the traffic between this pod and one other party, in one lane: requests by outcome, how long they took, bytes,
//! connections that are not read. One worker writes, everybody reads: relaxed loads and stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use laneway_core::in_flight::InLane;
use laneway_core::name;
use laneway_core::tag::Tag;
use laneway_core::why::{TagSource, Why};
use laneway_proto::contract::BASELINE;

use super::chain::Chain;
use super::latency::{Latencies, Latency};
use super::{Direction, add};

/// The label of what found no room, or that nobody knows.
pub(crate) const OTHER: &str = "other";
const UNKNOWN: &str = "unknown";
/// Different lanes that calls of one flow may have lost.
const LOST_MAX: usize = 16;

/// What tells one flow from another. The pod's own service and tag are those of the process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Labels {
    pub(crate) direction: Direction,
    /// Resource name. Empty: unknown.
    pub(crate) peer_service: Arc<str>,
    /// Of the caller's pod, or of the instance that was chosen.
    pub(crate) peer_tag: TagLabel,
    /// Resource name of the group whose tag this is.
    pub(crate) group: Arc<str>,
    /// That the request had when it was decided.
    pub(crate) lane: TagLabel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TagLabel {
    Unknown,
    Baseline,
    Tag(Tag),
    /// Neither of a lane nor of an instance, or one too many.
    Other,
}

impl TagLabel {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            TagLabel::Unknown => UNKNOWN,
            TagLabel::Baseline => BASELINE,
            TagLabel::Tag(tag) => tag.as_str(),
            TagLabel::Other => OTHER,
        }
    }
}

impl From<Option<Tag>> for TagLabel {
    fn from(tag: Option<Tag>) -> TagLabel {
        tag.map_or(TagLabel::Baseline, TagLabel::Tag)
    }
}

/// A service as a label: its id, and its namespace where that is not the pod's own.
pub(crate) fn service_label(resource_name: &str, own_namespace: &str) -> String {
    let (id, namespace) = (name::id_of(resource_name), name::namespace_of(resource_name));
    match resource_name.is_empty() {
        true => UNKNOWN.to_owned(),
        false if namespace == own_namespace || resource_name == OTHER => id.to_owned(),
        false => format!("{id}.{namespace}"),
    }
}

/// What was spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Spoken {
    Http1,
    Http2,
    Grpc,
    /// Not read: a connection, not a request.
    Opaque,
}

impl Spoken {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Spoken::Http1 => "http1",
            Spoken::Http2 => "http2",
            Spoken::Grpc => "grpc",
            Spoken::Opaque => "opaque",
        }
    }
}

/// How one request, or one connection that is not read, went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Outcome {
    pub spoken: Spoken,
    /// Status; of gRPC its own one, where it was said. 0: none, or one too many.
    pub code: u16,
    pub why: Why,
    pub source: TagSource,
}

impl Outcome {
    /// What finds no room is counted as this.
    const OTHER: Outcome =
        Outcome { spoken: Spoken::Http1, code: 0, why: Why::Unspecified, source: TagSource::Unspecified };

    /// Was it the fault of who answered, or of the mesh? (gRPC: as OpenTelemetry has it.)
    pub(crate) fn is_error(&self) -> bool {
        match self.spoken {
            Spoken::Grpc => matches!(self.code, 2 | 4 | 12 | 13 | 14 | 15 | 500..=599),
            Spoken::Http1 | Spoken::Http2 => matches!(self.code, 500..=599),
            Spoken::Opaque => false,
        }
    }
}

/// How many series there may be; one worker's share.
pub(super) struct Budget {
    pub(super) series_max: u64,
    used: AtomicU64,
    dropped: AtomicU64,
}

impl Budget {
    pub(super) fn new(series_max: u64) -> Budget {
        Budget { series_max, used: AtomicU64::new(0), dropped: AtomicU64::new(0) }
    }

    /// True: there is room, and it is taken.
    pub(super) fn take(&self, series: u64) -> bool {
        let has_room = self.used.load(Relaxed) + series <= self.series_max;
        add(if has_room { &self.used } else { &self.dropped }, if has_room { series } else { 1 });
        has_room
    }

    pub(super) fn give_back(&self, series: u64) {
        self.used.store(self.used.load(Relaxed).saturating_sub(series), Relaxed);
    }

    /// How often there was none.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// See the module.
pub struct Flow {
    pub(super) labels: Labels,
    budget: Arc<Budget>,
    outcomes: Chain<Outcome>,
    latency: Latency,
    /// Of messages, without heads and framing.
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
    ambiguous: AtomicU64,
    /// By the lane that was lost; `None`: one of several, or one too many.
    escapes: Chain<Option<Tag>>,
    opaque_closed: AtomicU64,
    /// Of connections that are not read, as this pod sees it.
    opaque_received_bytes: AtomicU64,
    opaque_sent_bytes: AtomicU64,
}

impl Flow {
    pub(super) fn new(labels: Labels, budget: Arc<Budget>) -> Flow {
        Flow {
            labels,
            budget,
            outcomes: Chain::new(),
            latency: Latency::new(),
            request_bytes: AtomicU64::new(0),
            response_bytes: AtomicU64::new(0),
            ambiguous: AtomicU64::new(0),
            escapes: Chain::new(),
            opaque_closed: AtomicU64::new(0),
            opaque_received_bytes: AtomicU64::new(0),
            opaque_sent_bytes: AtomicU64::new(0),
        }
    }

    /// A request has ended.
    pub fn request(&self, outcome: Outcome, took_us: u64, request_bytes: u64, response_bytes: u64) {
        self.outcome(outcome);
        self.latency.took(took_us);
        add(&self.request_bytes, request_bytes);
        add(&self.response_bytes, response_bytes);
    }

    /// A call left without a tag while requests of a lane were in flight.
    pub fn escaped(&self, from: InLane) {
        let lost = match from {
            InLane::None => return,
            InLane::One(tag) => Some(tag),
            InLane::Several => None,
        };
        self.escapes.count(lost, || lost.filter(|_| self.escapes.each().count() < LOST_MAX));
    }

    /// Nothing told the tag of a call for certain.
    pub fn doubted(&self) {
        add(&self.ambiguous, 1);
    }

    /// A connection that is not read was decided.
    pub fn opaque_opened(&self, why: Why, source: TagSource) {
        self.outcome(Outcome { spoken: Spoken::Opaque, code: 0, why, source });
    }

    pub fn opaque_closed(&self) {
        add(&self.opaque_closed, 1);
    }

    /// Bytes of such a connection went by.
    pub fn opaque_moved(&self, received: usize, sent: usize) {
        add(&self.opaque_received_bytes, received as u64);
        add(&self.opaque_sent_bytes, sent as u64);
    }

    fn outcome(&self, outcome: Outcome) {
        self.outcomes.count(outcome, || match self.budget.take(1) {
            true => outcome,
            false => Outcome { spoken: outcome.spoken, ..Outcome::OTHER },
        });
    }

    /// Outcomes that took a place in the budget.
    pub(super) fn outcome_count(&self) -> usize {
        self.outcomes.each().filter(|(outcome, _)| outcome.why != Why::Unspecified).count()
    }

    /// Grows with everything that happens.
    pub(super) fn progress(&self) -> u64 {
        let counted: u64 = self.outcomes.each().map(|(_, count)| count).sum();
        let moved = self.opaque_received_bytes.load(Relaxed) + self.opaque_sent_bytes.load(Relaxed);
        counted + moved + self.opaque_closed.load(Relaxed)
    }

    /// A copy of this moment is added to `total`.
    pub(super) fn add_to(&self, total: &mut Totals) {
        total.outcomes.extend(self.outcomes.each());
        total.latencies.add(&self.latency);
        total.request_bytes += self.request_bytes.load(Relaxed);
        total.response_bytes += self.response_bytes.load(Relaxed);
        total.ambiguous += self.ambiguous.load(Relaxed);
        total.escapes.extend(self.escapes.each());
        total.opaque_closed += self.opaque_closed.load(Relaxed);
        total.opaque_received_bytes += self.opaque_received_bytes.load(Relaxed);
        total.opaque_sent_bytes += self.opaque_sent_bytes.load(Relaxed);
    }
}

/// Flows of equal labels, of one or several workers, at one moment. An outcome may stand several times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) outcomes: Vec<(Outcome, u64)>,
    pub(crate) latencies: Latencies,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) ambiguous: u64,
    pub(crate) escapes: Vec<(Option<Tag>, u64)>,
    pub(crate) opaque_closed: u64,
    pub(crate) opaque_received_bytes: u64,
    pub(crate) opaque_sent_bytes: u64,
}
