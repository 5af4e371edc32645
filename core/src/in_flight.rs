//! The contexts of the pod's inbound requests in flight, and what they say together.

use std::sync::Arc;

use crate::context::Context;
use crate::ladder::InFlight;
use crate::tag::{RequestTag, Tag};

/// Different contexts that are told apart. Beyond, requests are counted and nothing is concluded from them.
const CONTEXTS_MAX: usize = 64;
/// Lanes whose requests are remembered. Beyond, those go that would be forgotten first.
const LANES_MAX: usize = 64;

/// Requests with a context; those without are the caller's to count.
#[derive(Debug, Default)]
pub struct Contexts {
    listed: Vec<(Arc<Context>, u32)>,
    unlisted: u32,
    /// Lanes that requests came in, and until which second what these cause stays there, though the lane be off meanwhile.
    lanes: Vec<(Tag, u32)>,
}

/// Of which lanes requests are in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InLane {
    None,
    One(Tag),
    Several,
}

/// Where a request was counted; to be given back when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Listed,
    Unlisted,
}

impl Contexts {
    /// `until`: for which what it causes stays in its lane ([`Inbound::lane_seconds`](crate::decide::Inbound::lane_seconds)).
    pub fn begin(&mut self, context: &Arc<Context>, until: u32) -> Place {
        if let RequestTag::Lane(tag) = context.tag {
            self.came_in(tag, until);
        }
        if let Some((_, count)) = self.listed.iter_mut().find(|(listed, _)| listed == context) {
            *count += 1;
        } else if self.listed.len() < CONTEXTS_MAX {
            self.listed.push((Arc::clone(context), 1));
        } else {
            self.unlisted += 1;
            return Place::Unlisted;
        }
        Place::Listed
    }

    pub fn end(&mut self, context: &Arc<Context>, place: Place) {
        if place == Place::Unlisted {
            self.unlisted -= 1;
            return;
        }
        let Some(at) = self.listed.iter().position(|(listed, _)| listed == context) else { return };
        self.listed[at].1 -= 1;
        if self.listed[at].1 == 0 {
            self.listed.swap_remove(at);
        }
    }

    fn came_in(&mut self, tag: Tag, until: u32) {
        if let Some((_, known)) = self.lanes.iter_mut().find(|(known, _)| *known == tag) {
            *known = until.max(*known);
            return;
        }
        if self.lanes.len() < LANES_MAX {
            self.lanes.push((tag, until));
        } else if let Some(oldest) = self.lanes.iter_mut().min_by_key(|(_, until)| *until)
            && oldest.1 <= until
        {
            *oldest = (tag, until);
        }
    }

    /// For how many seconds more a call stays in a lane that is off; see [`decide::Evidence::followed`](crate::decide::Evidence).
    pub fn followed(&self, tag: Tag, now: u32) -> u32 {
        let known = self.lanes.iter().find(|(known, _)| *known == tag);
        known.map_or(0, |(_, until)| until.saturating_sub(now))
    }

    /// The lane that a call without a tag may have lost: that of the requests in flight which have one.
    pub fn lane(&self) -> InLane {
        let mut found = if self.unlisted > 0 { InLane::Several } else { InLane::None };
        for (context, _) in &self.listed {
            let RequestTag::Lane(tag) = context.tag else { continue };
            found = match found {
                InLane::None => InLane::One(tag),
                InLane::One(other) if other == tag => found,
                InLane::One(_) | InLane::Several => InLane::Several,
            };
        }
        found
    }

    /// `plain`: requests in flight without a context. `own`: the pod's tag.
    pub fn view(&self, plain: u32, own: Option<Tag>) -> InFlight {
        let mut seen = InFlight { total: plain + self.unlisted, other: self.unlisted, ..InFlight::default() };
        let mut first = (plain > 0).then_some(RequestTag::None);
        seen.is_mixed = self.unlisted > 0;
        for (context, count) in &self.listed {
            seen.total += count;
            match context.tag {
                RequestTag::None => {}
                RequestTag::Lane(tag) if own == Some(tag) => seen.own_tag += count,
                RequestTag::Lane(_) | RequestTag::Baseline => seen.other += count,
            }
            seen.is_mixed |= *first.get_or_insert(context.tag) != context.tag;
        }
        if let ([(sole, _)], 0) = (self.listed.as_slice(), plain + self.unlisted) {
            seen.sole = Some(Arc::clone(sole));
        }
        seen
    }
}

#[cfg(test)]
mod tests;
