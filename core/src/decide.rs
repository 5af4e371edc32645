//! The two decisions about a request: which tag it has (inbound), and which instance it goes to (outbound).

use std::sync::Arc;

use crate::carry;
use crate::condition::Buffers;
use crate::context::{Context, WithPassed};
use crate::facts::{Facts, NoHeaders, Source};
use crate::hop::Hop;
use crate::ladder;
use crate::lane::{Fallback, LaneState};
use crate::share::Dice;
use crate::snapshot::{Destination, Endpoint, EndpointAddr, Service, Snapshot};
use crate::table::Among;
use crate::tag::{RequestTag, Tag};
use crate::why::{TagSource, Why};
use crate::witness::{Nobody, Passed, Step, Witness};
use laneway_proto::contract::FOLLOW_SECONDS_MAX;

pub use crate::carry::TagRefusal;
pub use crate::ladder::{Doubt, Evidence, InFlight};

mod route;

/// What a decision may scribble on: buffers, regex caches and dice of one worker. Reused, so that nothing is allocated.
pub struct Scratch {
    buffers: Buffers,
    dice: Dice,
}

impl Scratch {
    /// `seed` is the caller's randomness; equal seeds make equal choices.
    pub fn new(seed: u64) -> Scratch {
        Scratch { buffers: Buffers::new(), dice: Dice::new(seed) }
    }
}

/// What an inbound request is told.
#[derive(Clone, Copy, Debug)]
pub struct Inbound<'s> {
    /// Written to the application, kept for the life of the request.
    pub tag: RequestTag,
    pub source: TagSource,
    /// For so many seconds what the request causes stays in its lane, though that be switched off meanwhile. 0: it is in none.
    pub lane_seconds: u32,
    /// Lane and rule that coloured it (`source` is `Rule`), for counters.
    pub rule: Option<(&'s str, &'s str)>,
    /// The first dry-run rule that would have.
    pub dry_run: Option<(&'s str, &'s str)>,
    /// A carried value was refused.
    pub refused: Option<TagRefusal>,
    /// `redirect`: to be served by this instance of the same service, same port.
    pub hand_over: Option<HandOver<'s>>,
}

/// Where a request is handed over to. An endpoint with port 0 is called at the port that the request came to.
#[derive(Clone, Copy)]
pub struct HandOver<'s> {
    pub endpoint: &'s Endpoint,
}

impl std::fmt::Debug for HandOver<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HandOver({:?})", self.endpoint.address)
    }
}

/// Load and health of instances, as this worker sees them. Addresses have their port filled in.
pub trait Load {
    /// Requests outstanding.
    fn outstanding(&self, endpoint: EndpointAddr) -> u32;
    fn is_ejected(&self, endpoint: EndpointAddr) -> bool;
    /// Is any instance ejected? `false` saves asking for each of them.
    fn has_ejected(&self) -> bool {
        true
    }
    /// Is any tag remembered as one that was below its thresholds? `false` saves asking for each of them.
    fn has_recovering(&self) -> bool {
        false
    }
    /// The instances of a tag are above the thresholds, or below. Is it passed over, as it was below a moment ago? Whoever has a
    /// clock remembers.
    fn is_recovering(&self, _service: &Arc<str>, _tag: Tag, is_above: bool) -> bool {
        !is_above
    }
    /// Is any instance given less than its share? `false` saves asking for each of them.
    fn has_warming(&self) -> bool {
        false
    }
    /// Of 1024, how much of its share an instance is given.
    fn share(&self, _endpoint: EndpointAddr) -> u32 {
        WHOLE_SHARE
    }
}

/// All of what an instance's weight says.
pub const WHOLE_SHARE: u32 = 1024;

/// Where an outbound call goes.
#[derive(Clone)]
pub struct Outbound<'s> {
    /// Of the request.
    pub tag: RequestTag,
    /// Leaves with the request: its tag, or `baseline` where its lane is off, so that nobody further on decides otherwise.
    pub leaves: RequestTag,
    /// Told to the sidecar of the instance.
    pub hop: Option<Hop>,
    pub source: TagSource,
    pub why: Why,
    /// `None`: refused, and `why` says why.
    pub endpoint: Option<&'s Endpoint>,
    pub service: &'s Service,
    /// Tag of the instance that was chosen, or of the instances that were wanted.
    pub endpoint_tag: Option<Tag>,
    /// Of the request that the call belongs to, where that is known and the destination may hear its pass headers.
    pub context: Option<Arc<Context>>,
    /// Nothing told the tag for certain.
    pub doubt: Option<Doubt>,
    /// A carried value was refused.
    pub refused: Option<TagRefusal>,
}

/// Decides the tag of an inbound request: carried (trusted) > entry rules > stamping > none.
/// `port`: of this pod, that the request came to. `hop`: what the sidecar before says; [`Hop::HandedOver`] only from an instance of
/// the same service.
pub fn decide_inbound<'s>(
    snapshot: &'s Snapshot,
    facts: &Facts<'_>,
    port: u16,
    hop: Option<Hop>,
    load: &dyn Load,
    scratch: &mut Scratch,
) -> Inbound<'s> {
    inbound(snapshot, facts, port, hop, load, scratch, &mut Nobody)
}

pub(crate) fn inbound<'s>(
    snapshot: &'s Snapshot,
    facts: &Facts<'_>,
    port: u16,
    hop: Option<Hop>,
    load: &dyn Load,
    scratch: &mut Scratch,
    witness: &mut impl Witness<'s>,
) -> Inbound<'s> {
    let carried = carry::read_before(&snapshot.group, facts.headers, witness);
    witness.step(|| Step::CarriersRead);
    let mut inbound = Inbound {
        tag: carried.tag,
        source: TagSource::Carried,
        lane_seconds: 0,
        rule: None,
        dry_run: None,
        refused: carried.refused,
        hand_over: None,
    };
    if hop == Some(Hop::HandedOver) {
        witness.step(|| Step::HandedOver);
        // The tag and the decision are those of the sidecar that handed it over.
        match carried.tag {
            RequestTag::Lane(_) => inbound.lane_seconds = FOLLOW_SECONDS_MAX,
            RequestTag::Baseline => {}
            RequestTag::None => inbound.source = TagSource::None,
        }
        return inbound;
    }
    if carried.tag != RequestTag::None && !is_trusted(snapshot, facts) {
        inbound.tag = RequestTag::None;
        inbound.refused = Some(TagRefusal::Untrusted);
        witness.step(|| Step::Untrusted);
    }
    if inbound.tag == RequestTag::Baseline {
        witness.step(|| Step::RulesSkipped);
    } else {
        let only_overrides = inbound.tag != RequestTag::None;
        let drawn = draw_rules(snapshot, facts, only_overrides, scratch, witness);
        inbound.dry_run = drawn.dry_run;
        if let Some((lane, rule)) = drawn.taken {
            inbound.tag = RequestTag::Lane(lane.tag);
            inbound.source = TagSource::Rule;
            inbound.lane_seconds = FOLLOW_SECONDS_MAX;
            inbound.rule = Some((&lane.name, rule));
            if lane.redirect && snapshot.own.tag != Some(lane.tag) {
                inbound.hand_over = hand_over(snapshot, Some(lane.tag), port, load, scratch, witness);
            }
            return inbound;
        }
    }
    match inbound.tag {
        RequestTag::Lane(tag) => {
            inbound.lane_seconds = seconds_in_lane(snapshot, tag, hop, witness);
            if inbound.lane_seconds == 0 {
                inbound.tag = RequestTag::Baseline;
            }
            return inbound;
        }
        RequestTag::Baseline => {}
        RequestTag::None => {
            witness.step(|| Step::Stamp(snapshot.own.stamp));
            match snapshot.own.stamp {
                Some(tag) => {
                    inbound.tag = RequestTag::Lane(tag);
                    inbound.source = TagSource::Pod;
                    inbound.lane_seconds = FOLLOW_SECONDS_MAX;
                    return inbound;
                }
                None => inbound.source = TagSource::None,
            }
        }
    }
    if snapshot.own.hands_over {
        inbound.hand_over = hand_over(snapshot, None, port, load, scratch, witness);
    }
    inbound
}

fn is_trusted(snapshot: &Snapshot, facts: &Facts<'_>) -> bool {
    use laneway_proto::routing::TagTrust;
    match snapshot.group.trust {
        TagTrust::Any => true,
        TagTrust::Mesh => facts.source.is_meshed,
        TagTrust::None => facts.source.is_meshed && !snapshot.own.is_entry,
        TagTrust::Unspecified => false,
    }
}

/// Of a request that carries this tag. 0: its lane is off, and no sidecar before had it there.
fn seconds_in_lane<'s>(snapshot: &'s Snapshot, tag: Tag, hop: Option<Hop>, witness: &mut impl Witness<'s>) -> u32 {
    let Some(lane) = snapshot.lane(tag).filter(|lane| lane.is_off()) else { return FOLLOW_SECONDS_MAX };
    let seconds = match hop {
        Some(Hop::InLane { seconds }) => seconds,
        Some(Hop::HandedOver) | None => 0,
    };
    witness.step(|| Step::CarriedLaneIsOff { lane, is_followed: seconds > 0 });
    seconds
}

struct Drawn<'s> {
    taken: Option<(&'s crate::lane::Lane, &'s str)>,
    dry_run: Option<(&'s str, &'s str)>,
}

/// Lanes by priority, rules of a lane in their order; the first that takes the request wins.
fn draw_rules<'s>(
    snapshot: &'s Snapshot,
    facts: &Facts<'_>,
    only_overrides: bool,
    scratch: &mut Scratch,
    witness: &mut impl Witness<'s>,
) -> Drawn<'s> {
    let mut dry_run = None;
    for lane in &snapshot.lanes {
        let is_dry = match lane.state {
            LaneState::Enabled => false,
            LaneState::DryRun => true,
            LaneState::Disabled => {
                witness.step(|| Step::LanePassed { lane, reason: Passed::Off });
                continue;
            }
        };
        let own = snapshot.own.service.as_str();
        if lane.rules.is_empty() || (is_dry && dry_run.is_some()) || !lane.is_entered_at(own) {
            witness.step(|| Step::LanePassed { lane, reason: Passed::by(lane, own) });
            continue;
        }
        for (index, rule) in lane.rules.iter().enumerate() {
            if only_overrides && !rule.overrides {
                witness.step(|| Step::RulePassed { lane, index });
                continue;
            }
            witness.step(|| Step::EntryRule { lane, index, rule });
            let takes = rule.takes(facts, &mut scratch.buffers, &mut scratch.dice, witness);
            witness.step(|| Step::EntryRuleDone { takes, is_dry });
            if !takes {
                continue;
            }
            if !is_dry {
                return Drawn { taken: Some((lane, &rule.name)), dry_run };
            }
            dry_run = Some((lane.name.as_str(), rule.name.as_str()));
            break;
        }
    }
    Drawn { taken: None, dry_run }
}

/// A usable instance of this pod's own service, without thresholds; `None`: there is none, served here.
fn hand_over<'s>(
    snapshot: &'s Snapshot,
    tag: Option<Tag>,
    port: u16,
    load: &dyn Load,
    scratch: &mut Scratch,
    witness: &mut impl Witness<'s>,
) -> Option<HandOver<'s>> {
    let to = instance_to_serve(snapshot, tag, port, load, scratch, witness);
    witness.step(|| Step::HandOver { tag, to });
    to.map(|endpoint| HandOver { endpoint })
}

fn instance_to_serve<'s>(
    snapshot: &'s Snapshot,
    tag: Option<Tag>,
    port: u16,
    load: &dyn Load,
    scratch: &mut Scratch,
    witness: &mut impl Witness<'s>,
) -> Option<&'s Endpoint> {
    let service = snapshot.own_service()?;
    let port_name = service.table.port_name_of_instances(port)?;
    let pool = tag.and_then(|tag| service.table.pool_of(Some(tag)));
    let pools = match (tag, &pool) {
        (None, _) => service.baseline.as_slice(),
        (Some(_), Some(pool)) => std::slice::from_ref(pool),
        (Some(_), None) => return None,
    };
    let among = Among { table: &service.table, pools, port_name, port, is_last_resort: tag.is_none() };
    route::pick(among, None, load, &mut scratch.dice, witness)
}

/// Decides the instance of an outbound call to a known destination. `None` when `destination` is unknown.
pub fn decide_outbound<'s>(
    snapshot: &'s Snapshot,
    destination: &Destination<'s>,
    facts: &Facts<'_>,
    evidence: &dyn Evidence,
    load: &dyn Load,
    scratch: &mut Scratch,
) -> Option<Outbound<'s>> {
    outbound(snapshot, destination, facts, evidence, load, scratch, &mut Nobody)
}

pub(crate) fn outbound<'s>(
    snapshot: &'s Snapshot,
    destination: &Destination<'s>,
    facts: &Facts<'_>,
    evidence: &dyn Evidence,
    load: &dyn Load,
    scratch: &mut Scratch,
    witness: &mut impl Witness<'s>,
) -> Option<Outbound<'s>> {
    let carried = carry::read_before(&snapshot.group, facts.headers, witness);
    witness.step(|| Step::CarriersRead);
    let rung = ladder::climb(snapshot, carried.tag, evidence);
    let source = rung.source.unwrap_or(TagSource::None);
    witness.step(|| Step::Ladder { tag: rung.tag, source, doubt: rung.doubt });
    // Pass headers go to services of the group only.
    let context = rung.context.filter(|_| destination.is_of_group());
    let mut outbound = match (rung.doubt, context.as_deref()) {
        (Some(Doubt::Refused), _) => route::refuse(destination)?,
        (_, Some(context)) if !context.passed.is_empty() => {
            let headers = &WithPassed { headers: facts.headers, context };
            let call = route::Call { tag: rung.tag, facts: &Facts { headers, ..*facts }, evidence };
            route::route(snapshot, destination, call, load, scratch, witness)?
        }
        _ => {
            route::route(snapshot, destination, route::Call { tag: rung.tag, facts, evidence }, load, scratch, witness)?
        }
    };
    outbound.source = source;
    outbound.context = context;
    outbound.doubt = rung.doubt;
    outbound.refused = carried.refused;
    Some(outbound)
}

/// Where a request goes whose instance failed.
#[derive(Clone, Copy)]
pub struct Elsewhere<'s> {
    pub endpoint: &'s Endpoint,
    /// `None`: as before.
    pub why: Option<Why>,
}

/// Another instance for a request that left with that tag, whose instance had the tag `failed`: of the same tag, else along the
/// fallback of its lane, which may be off by now, else of baseline. `load` calls ejected what was tried already; no policy is asked again. `None`: there is none.
pub fn decide_again<'s>(
    snapshot: &'s Snapshot,
    destination: &Destination<'s>,
    tag: RequestTag,
    failed: Option<Tag>,
    load: &dyn Load,
    scratch: &mut Scratch,
) -> Option<Elsewhere<'s>> {
    route::again(snapshot, destination, tag, failed, load, scratch)
}

/// Decides a whole connection whose bytes we do not read: the tag is the pod's where stamping applies, else none. `None`
/// when `destination` is unknown.
pub fn decide_connection<'s>(
    snapshot: &'s Snapshot,
    destination: &Destination<'s>,
    load: &dyn Load,
    scratch: &mut Scratch,
) -> Option<Outbound<'s>> {
    connection(snapshot, destination, load, scratch, &mut Nobody)
}

pub(crate) fn connection<'s>(
    snapshot: &'s Snapshot,
    destination: &Destination<'s>,
    load: &dyn Load,
    scratch: &mut Scratch,
    witness: &mut impl Witness<'s>,
) -> Option<Outbound<'s>> {
    let source = Source { service: &snapshot.own.service, tag: snapshot.own.tag, address: None, is_meshed: true };
    let facts = Facts { method: "", target: "", authority: "", headers: &NoHeaders, is_grpc: false, source };
    let (tag, source) = match snapshot.own.stamp {
        Some(tag) => (RequestTag::Lane(tag), TagSource::Pod),
        None => (RequestTag::None, TagSource::None),
    };
    witness.step(|| Step::Ladder { tag, source, doubt: None });
    // A lane that is off is not stamped, so nothing is to be followed.
    let call = route::Call { tag, facts: &facts, evidence: &InFlight::default() };
    let mut outbound = route::route(snapshot, destination, call, load, scratch, witness)?;
    outbound.source = source;
    if let (Some(chosen), Destination::Known { instance: Some(dialled), .. }) = (outbound.endpoint, destination)
        && std::ptr::eq(chosen, *dialled)
        && outbound.why != Why::Dialled
    {
        witness.step(|| Step::StaysDialled);
        outbound.why = Why::Dialled;
    }
    Some(outbound)
}
