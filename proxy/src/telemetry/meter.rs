//! Where one worker finds what it counts in. A request asks once, by numbers and tags that it has at hand; only a flow that is new,
//! or was not asked for of late, is looked for by name. Bounded: slots, series, and idle flows are forgotten.
//!
//! ```text
//!  flow(snapshot, party, tag) ─ slot ─▶ handle          (every request)
//!                                 └─ labels ─ table ─▶ handle ─ new: published to the scrape
//! ```

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use laneway_core::snapshot::{Peer, Service, Snapshot};
use laneway_core::tag::{RequestTag, Tag};

use super::flow::{Flow, Labels, OTHER, TagLabel};
use super::{Direction, Worker};

/// A power of two. Parties and tags that take turns on one connection, with room to spare.
const SLOTS: usize = 64;
/// Lanes that have a label of their own.
const LANES_MAX: usize = 256;
/// A flow in which nothing happened for so long is forgotten, seconds.
const IDLE_SECONDS: u32 = 600;
/// Series of one flow beside its outcomes: the histogram and what else is shown, rounded up.
const FLOW_SERIES: u64 = 28;

/// What one request counts in.
pub type Handle = Rc<Arc<Flow>>;

/// Who is at the other end.
#[derive(Clone, Copy)]
pub enum Party<'s> {
    Unknown,
    /// The destination, and the tag of the instance that was chosen, or of those that were wanted.
    Callee(&'s Service, Option<Tag>),
    Caller(&'s Peer),
}

/// One worker's.
pub struct Meter {
    worker: Worker,
    slots: RefCell<Vec<Option<Slot>>>,
    flows: RefCell<HashMap<Labels, Live>>,
}

/// A handle and what it was asked for by. A snapshot of one revision has its services and peers at fixed places.
struct Slot {
    revision: u64,
    place: usize,
    direction: Direction,
    party_tag: Option<Tag>,
    tag: RequestTag,
    handle: Handle,
}

struct Live {
    handle: Handle,
    progress: u64,
    idle_since: u32,
}

impl Meter {
    pub fn new(worker: Worker) -> Meter {
        let mut slots = Vec::new();
        slots.resize_with(SLOTS, || None);
        Meter { worker, slots: RefCell::new(slots), flows: RefCell::default() }
    }

    /// `None`: nothing is to be counted by lane.
    #[inline]
    pub fn flow(&self, snapshot: &Snapshot, direction: Direction, party: Party<'_>, tag: RequestTag) -> Option<Handle> {
        if !self.worker.counts_lanes() {
            return None;
        }
        let (place, party_tag) = match party {
            Party::Unknown => (0, None),
            Party::Callee(service, tag) => (std::ptr::from_ref(service).addr(), tag),
            Party::Caller(peer) => (std::ptr::from_ref(peer).addr(), None),
        };
        let index = slot_of(place, party_tag, tag);
        if let Some(slot) = &self.slots.borrow()[index]
            && slot.revision == snapshot.revision
            && slot.place == place
            && slot.direction == direction
            && slot.tag == tag
            && slot.party_tag == party_tag
        {
            return Some(Rc::clone(&slot.handle));
        }
        let handle = self.by_name(snapshot, direction, party, tag);
        let slot = Slot { revision: snapshot.revision, place, direction, party_tag, tag, handle: Rc::clone(&handle) };
        self.slots.borrow_mut()[index] = Some(slot);
        Some(handle)
    }

    #[cold]
    fn by_name(&self, snapshot: &Snapshot, direction: Direction, party: Party<'_>, tag: RequestTag) -> Handle {
        let (peer_service, peer_tag) = match party {
            Party::Unknown => (Arc::from(""), TagLabel::Unknown),
            Party::Callee(service, tag) => (Arc::clone(&service.name), tag.into()),
            Party::Caller(peer) => (Arc::from(&*peer.service), peer.tag.into()),
        };
        let lane = match tag {
            RequestTag::None | RequestTag::Baseline => TagLabel::Baseline,
            RequestTag::Lane(tag) if snapshot.knows_tag(tag) => TagLabel::Tag(tag),
            RequestTag::Lane(_) => TagLabel::Other,
        };
        let group = Arc::from(&*snapshot.group().name);
        let mut flows = self.flows.borrow_mut();
        let mut labels = Labels { direction, peer_service, peer_tag, group, lane };
        if !flows.contains_key(&labels) {
            let lanes: HashSet<TagLabel> = flows.keys().map(|labels| labels.lane).collect();
            if lanes.len() >= LANES_MAX && !lanes.contains(&lane) {
                labels.lane = TagLabel::Other;
            }
        }
        if !flows.contains_key(&labels) && !self.worker.budget().take(FLOW_SERIES) {
            // One for each direction and group, whatever else there is.
            labels.peer_service = Arc::from(OTHER);
            (labels.peer_tag, labels.lane) = (TagLabel::Other, TagLabel::Other);
        }
        if let Some(live) = flows.get(&labels) {
            return Rc::clone(&live.handle);
        }
        let flow = Arc::new(Flow::new(labels.clone(), Arc::clone(self.worker.budget())));
        let handle = Rc::new(flow);
        let idle_since = self.worker.seconds();
        flows.insert(labels, Live { handle: Rc::clone(&handle), progress: 0, idle_since });
        self.worker.publish(flows.values().map(|live| Arc::clone(&live.handle)).collect());
        handle
    }

    /// Once a second or so: forgets flows that are idle.
    pub fn sweep(&self, now: u32) {
        self.worker.tick(now);
        self.slots.borrow_mut().fill_with(|| None);
        let mut flows = self.flows.borrow_mut();
        let before = flows.len();
        flows.retain(|labels, live| {
            let progress = live.handle.progress();
            let is_in_use = progress != live.progress || Rc::strong_count(&live.handle) > 1;
            if is_in_use {
                (live.progress, live.idle_since) = (progress, now);
            }
            let keep = now.saturating_sub(live.idle_since) < IDLE_SECONDS;
            if !keep {
                let own = if *labels.peer_service == *OTHER { 0 } else { FLOW_SERIES };
                self.worker.budget().give_back(own + live.handle.outcome_count() as u64);
            }
            keep
        });
        if flows.len() < before {
            self.worker.publish(flows.values().map(|live| Arc::clone(&live.handle)).collect());
        }
    }
}

fn slot_of(place: usize, party_tag: Option<Tag>, tag: RequestTag) -> usize {
    let mut hasher = foldhash::fast::FixedState::default().build_hasher();
    hasher.write_usize(place);
    if let Some(tag) = &party_tag {
        hasher.write(tag.as_bytes());
    }
    if let RequestTag::Lane(tag) = &tag {
        hasher.write(tag.as_bytes());
    }
    hasher.finish() as usize % SLOTS
}

#[cfg(test)]
mod tests;
