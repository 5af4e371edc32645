//! When a lane ends by itself. Pure.
//!
//! ```text
//!   ttl --settle--> expire_time, given_ttl        expire_time <= now, enabled --overdue--> an edit that disables
//! ```
//! A lane is stored with its `expire_time`, however it was said; `given_ttl` remembers the ttl, to count it anew when the
//! lane is enabled, and to know it again when the same is applied. `state` is stored for expired and tripped lanes alone: it
//! tells them from those that somebody switched off.

use std::time::SystemTime;

use laneway_core::compile::Objects;
use laneway_proto::admin::lane::{Expiration, State};
use laneway_proto::admin::{Diagnostic, Lane};
use prost_types::{Duration, Timestamp};

use super::{CODE_OVER, Cause, Edit, Occasion, finding};

#[cfg(test)]
mod tests;

/// Works out the end of a lane whose `enabled` is settled and whose expiration is in range.
pub(super) fn settle(lane: &mut Lane, before: Option<&Lane>, occasion: Occasion) -> Option<Diagnostic> {
    let now = occasion.stamp.time;
    let was_on = before.is_some_and(is_enabled);
    let is_on = is_enabled(lane);
    let begins = before.is_none() || (is_on && (!was_on || occasion.cause == Cause::Enabled));
    let end_before = before.and_then(expire_time);
    let ttl_before = before.and_then(|before| before.given_ttl);

    let (end, given_ttl, field) = match lane.expiration {
        None => (None, None, ""),
        // The same again extends nothing.
        Some(Expiration::Ttl(ttl)) if !begins && ttl_before == Some(ttl) => (end_before, ttl_before, "ttl"),
        Some(Expiration::Ttl(ttl)) => (Some(after(now, ttl)), Some(ttl), "ttl"),
        // As it was read: the ttl behind it is still known.
        Some(Expiration::ExpireTime(end)) if end_before == Some(end) => (end_before, ttl_before, "expireTime"),
        Some(Expiration::ExpireTime(end)) => (Some(end), None, "expireTime"),
    };
    lane.expiration = end.map(Expiration::ExpireTime);
    lane.given_ttl = given_ttl;
    lane.state = match before {
        _ if is_on => 0,
        _ if occasion.cause == Cause::Expired => State::Expired.into(),
        _ if occasion.cause == Cause::Tripped => State::Tripped.into(),
        Some(before) if !was_on => before.state,
        _ => 0,
    };

    let end = end.filter(|end| is_on && is_over(end, now) && (begins || end_before != Some(*end)))?;
    let message = format!("the time of the lane was over at {end}");
    let help = "A later time, or a ttl such as 48h; a lane that is to stay off takes `enabled: false`";
    Some(finding(CODE_OVER, &lane.name, field, &message, help))
}

/// The edit that disables lanes whose time is over: so many of them.
pub fn overdue(objects: &Objects, now: SystemTime, count_max: usize) -> Edit {
    let over = objects.lanes.values().filter(|lane| is_enabled(lane));
    let over = over.filter(|lane| expire_time(lane).is_some_and(|end| is_over(&end, now)));
    let lanes = over.take(count_max).map(|lane| Lane { enabled: Some(false), ..lane.clone() }).collect();
    Edit { lanes, cause: Cause::Expired, ..Edit::default() }
}

/// When the next lane ends, perhaps in the past.
pub fn next(objects: &Objects) -> Option<SystemTime> {
    let ends = objects.lanes.values().filter(|lane| is_enabled(lane)).filter_map(expire_time);
    ends.filter_map(|end| SystemTime::try_from(end).ok()).min()
}

/// The end of a lane that is stored.
pub fn expire_time(lane: &Lane) -> Option<Timestamp> {
    match lane.expiration {
        Some(Expiration::ExpireTime(end)) => Some(end),
        // Never stored: a lane keeps the time that its ttl came to.
        Some(Expiration::Ttl(_)) | None => None,
    }
}

/// True when `end` has come.
pub fn is_over(end: &Timestamp, now: SystemTime) -> bool {
    SystemTime::try_from(*end).is_ok_and(|end| end <= now)
}

fn is_enabled(lane: &Lane) -> bool {
    lane.enabled.unwrap_or(true)
}

/// `now` and a ttl that is in range, rounded up: a time that people read, and nobody gets less than was said.
fn after(now: SystemTime, ttl: Duration) -> Timestamp {
    const SECOND: i64 = 1_000_000_000;
    let now = Timestamp::from(now);
    let nanos = i64::from(now.nanos) + i64::from(ttl.nanos);
    let seconds = now.seconds.saturating_add(ttl.seconds).saturating_add((nanos + SECOND - 1).div_euclid(SECOND));
    Timestamp { seconds, nanos: 0 }
}
