//! The ladder: whose tag an outbound call has. The first rung that answers wins, and its name is the answer's source.
//!
//! ```text
//!  carried > correlated > kernel > inferred > pod > none
//! ```
//! Every rung but the pod's answers with the whole context of a request, and so with its pass headers.

use std::sync::Arc;

use laneway_proto::routing::{Ambiguous, Infer};

use crate::context::Context;
use crate::correlation::Known;
use crate::snapshot::Snapshot;
use crate::tag::{RequestTag, Tag};
use crate::why::TagSource;

/// What a pod's inbound requests tell about an outbound call. Asked rung by rung: what is not needed costs nothing.
pub trait Evidence {
    /// By the trace and request ids that the call carries.
    fn correlated(&self) -> Known {
        Known::Unknown
    }

    /// By the thread or goroutine that makes the call.
    fn kernel(&self) -> Known {
        Known::Unknown
    }

    /// By what is in flight in the pod.
    fn in_flight(&self) -> InFlight;

    /// Asked of a lane that is off: for how many seconds more do calls stay in it, because a request that was in it came not long
    /// ago? 0: no longer.
    fn followed(&self, _tag: Tag) -> u32 {
        0
    }
}

/// The pod's inbound requests in flight.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    /// Requests in flight.
    pub total: u32,
    /// Of these, those with the pod's own tag.
    pub own_tag: u32,
    /// Of these, those with another tag or `baseline`. What is left has none.
    pub other: u32,
    /// They have more than one tag, no tag being one too.
    pub is_mixed: bool,
    /// The context that every one of them has.
    pub sole: Option<Arc<Context>>,
}

impl Evidence for InFlight {
    fn in_flight(&self) -> InFlight {
        self.clone()
    }
}

/// Where the ladder was left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rung {
    pub(crate) tag: RequestTag,
    pub(crate) source: Option<TagSource>,
    /// Of the request that the call belongs to, where that is known.
    pub(crate) context: Option<Arc<Context>>,
    pub(crate) doubt: Option<Doubt>,
}

/// Why the sidecar says "unknown".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The ids of the call were seen with two contexts, and nothing else told.
    Conflict,
    /// Nothing told, while requests of several tags are in flight.
    Ambiguous,
    /// The same, and the group would rather refuse (`ambiguous: reject`).
    Refused,
}

/// Climbs until a rung answers.
pub(crate) fn climb(snapshot: &Snapshot, carried: RequestTag, evidence: &dyn Evidence) -> Rung {
    let group = snapshot.group();
    if carried != RequestTag::None {
        // Its pass headers may be known all the same.
        let context = if group.pass_headers.is_empty() { None } else { belongs_to(snapshot, evidence) };
        return Rung { tag: carried, source: Some(TagSource::Carried), context, doubt: None };
    }
    let is_conflicting = match evidence.correlated() {
        Known::Context(context) => return Rung::of(context, TagSource::Correlated),
        Known::Conflict => true,
        Known::Unknown => false,
    };
    if let Known::Context(context) = evidence.kernel() {
        return Rung::of(context, TagSource::Kernel);
    }
    let in_flight = evidence.in_flight();
    if group.infer == Infer::Unanimous && in_flight.sole.is_some() {
        return Rung::of(in_flight.sole, TagSource::Inferred);
    }
    let own = snapshot.own.tag.map(RequestTag::Lane);
    if let Some(tag) = own.filter(|_| pod_answers(snapshot, &in_flight)) {
        return Rung { tag, source: Some(TagSource::Pod), ..Rung::default() };
    }
    if !in_flight.is_mixed {
        let doubt = is_conflicting.then_some(Doubt::Conflict);
        return Rung { doubt, ..Rung::default() };
    }
    match (group.ambiguous, own) {
        (Ambiguous::Reject, _) => Rung { doubt: Some(Doubt::Refused), ..Rung::default() },
        (Ambiguous::Pod, Some(tag)) => {
            Rung { tag, source: Some(TagSource::Pod), doubt: Some(Doubt::Ambiguous), ..Rung::default() }
        }
        _ => Rung { doubt: Some(Doubt::Ambiguous), ..Rung::default() },
    }
}

impl Rung {
    fn of(context: Option<Arc<Context>>, source: TagSource) -> Rung {
        let tag = context.as_ref().map_or(RequestTag::None, |context| context.tag);
        Rung { tag, source: Some(source), context, doubt: None }
    }
}

/// The request that a call with a tag of its own belongs to.
fn belongs_to(snapshot: &Snapshot, evidence: &dyn Evidence) -> Option<Arc<Context>> {
    if let Known::Context(context) = evidence.correlated() {
        return context;
    }
    if let Known::Context(context) = evidence.kernel() {
        return context;
    }
    let infers = snapshot.group().infer == Infer::Unanimous;
    infers.then(|| evidence.in_flight().sole).flatten()
}

/// Does the pod's own tag answer? (a) Where stamping applies to this pod and nothing in flight carries anything else, or
/// (b) while something is in flight and all of it carries the pod's own tag.
fn pod_answers(snapshot: &Snapshot, in_flight: &InFlight) -> bool {
    let stamps = snapshot.own.stamp.is_some() && in_flight.other == 0;
    let unanimous = in_flight.total > 0 && in_flight.own_tag == in_flight.total;
    stamps || unanimous
}

#[cfg(test)]
mod tests;
