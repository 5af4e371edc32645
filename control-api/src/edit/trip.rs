//! A lane that its guard switches off. Pure.

use laneway_core::compile::Objects;
use laneway_proto::admin::Lane;
use laneway_proto::admin::lane::State;

use super::{Cause, Edit};

#[cfg(test)]
mod tests;

/// The edit that switches a lane off for what was seen of it as it was at this etag. Nothing where it is another by now, or off:
/// whoever changed it has the last word.
pub fn trip(objects: &Objects, name: &str, etag: &str, reason: &str) -> Edit {
    let judged = objects.lanes.get(name).filter(|lane| lane.etag == etag && lane.enabled.unwrap_or(true));
    let off = judged.map(|lane| Lane { enabled: Some(false), tripped_reason: reason.to_owned(), ..lane.clone() });
    Edit { lanes: off.into_iter().collect(), cause: Cause::Tripped, ..Edit::default() }
}

/// Keeps the reason as long as the lane is tripped, and lets nobody write it. The state is settled.
pub(super) fn settle(lane: &mut Lane, before: Option<&Lane>, cause: Cause) {
    if cause == Cause::Tripped {
        return;
    }
    let kept = before.filter(|_| lane.state() == State::Tripped).map(|before| before.tripped_reason.clone());
    lane.tripped_reason = kept.unwrap_or_default();
}
