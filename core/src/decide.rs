//! The two decisions about a request: which tag it has (inbound), and which instance it goes to (outbound).

use crate::facts::Facts;
use crate::snapshot::{Destination, Endpoint, EndpointAddr, Service, Snapshot};
use crate::tag::{RequestTag, Tag};
use crate::why::{TagSource, Why};

/// What a decision may scribble on: buffers, regex caches and dice of one worker. Reused, so that nothing is allocated.
pub struct Scratch {}

impl Scratch {
    /// `seed` is the caller's randomness; equal seeds make equal choices.
    pub fn new(seed: u64) -> Scratch {
        let _ = seed;
        Scratch {}
    }
}

/// What an inbound request is told.
#[derive(Clone, Copy, Debug)]
pub struct Inbound<'s> {
    /// Written to the application, kept for the life of the request.
    pub tag: RequestTag,
    pub source: TagSource,
    /// Lane and rule that coloured it (`source` is `Rule`), for counters.
    pub rule: Option<(&'s str, &'s str)>,
    /// The first dry-run rule that would have.
    pub dry_run: Option<(&'s str, &'s str)>,
    /// A carried value was refused.
    pub refused: Option<TagRefusal>,
    /// `redirect`: to be served by an instance of this tag (`None`: baseline) of the same service, same port.
    pub hand_over: Option<HandOver<'s>>,
}

#[derive(Clone, Copy)]
pub struct HandOver<'s> {
    pub endpoint: &'s Endpoint,
}

impl std::fmt::Debug for HandOver<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HandOver({:?})", self.endpoint.address)
    }
}

/// Why what a request carried is no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagRefusal {
    /// Bad character, empty, comma list, or more than 63 bytes.
    Malformed,
    /// Two different values in one carrier.
    Conflicting,
    /// Not believed: `trust`.
    Untrusted,
    /// Carriers differ; the first won.
    CarriersDiffer,
}

/// What the pod's inbound requests in flight tell about an outbound call that carries nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct InFlight {
    /// Requests in flight.
    pub total: u32,
    /// Of these, those with the pod's own tag.
    pub own_tag: u32,
    /// Of these, those with another tag or `baseline`. What is left has none.
    pub other: u32,
}

/// Load and health of instances, as this worker sees them.
pub trait Load {
    /// Requests outstanding.
    fn outstanding(&self, endpoint: EndpointAddr) -> u32;
    fn is_ejected(&self, endpoint: EndpointAddr) -> bool;
    /// Is any instance ejected? `false` saves asking for each of them.
    fn has_ejected(&self) -> bool {
        true
    }
}

/// Where an outbound call goes.
#[derive(Clone, Copy)]
pub struct Outbound<'s> {
    /// Leaves with the request.
    pub tag: RequestTag,
    pub source: TagSource,
    pub why: Why,
    /// `None`: refused, and `why` says why.
    pub endpoint: Option<&'s Endpoint>,
    pub service: &'s Service,
    /// Tag of the instances that were chosen from.
    pub endpoint_tag: Option<Tag>,
    /// A carried value was refused.
    pub refused: Option<TagRefusal>,
}

/// Decides the tag of an inbound request: carried (trusted) > entry rules > stamping > none.
/// `port`: of this pod, that the request came to. `handed_over`: `x-laneway-hop` from an instance of the same service: rules
/// are not drawn again.
pub fn decide_inbound<'s>(
    snapshot: &'s Snapshot,
    facts: &Facts<'_>,
    port: u16,
    handed_over: bool,
    load: &dyn Load,
    scratch: &mut Scratch,
) -> Inbound<'s> {
    let _ = (snapshot, facts, port, handed_over, load, scratch);
    Inbound {
        tag: RequestTag::None,
        source: TagSource::None,
        rule: None,
        dry_run: None,
        refused: None,
        hand_over: None,
    }
}

/// Decides the instance of an outbound call to a known destination. `None` when `destination` is unknown.
pub fn decide_outbound<'s>(
    snapshot: &'s Snapshot,
    destination: &Destination<'s>,
    facts: &Facts<'_>,
    in_flight: InFlight,
    load: &dyn Load,
    scratch: &mut Scratch,
) -> Option<Outbound<'s>> {
    let _ = (snapshot, destination, facts, in_flight, load, scratch);
    None
}

/// Decides a whole connection whose bytes we do not read: the tag is the pod's where stamping applies, else none. `None`
/// when `destination` is unknown.
pub fn decide_connection<'s>(
    snapshot: &'s Snapshot,
    destination: &Destination<'s>,
    load: &dyn Load,
    scratch: &mut Scratch,
) -> Option<Outbound<'s>> {
    let _ = (snapshot, destination, load, scratch);
    None
}
