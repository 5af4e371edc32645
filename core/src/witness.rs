//! What a decision looks at, one step after the other, for whoever asks why. `decide` tells its steps to a [`Witness`]: that
//! of a worker is [`Nobody`], so nothing is made and the calls are compiled away; that of `explain` keeps them.

use laneway_proto::routing::TagCarrier;

use crate::carry::TagRefusal;
use crate::condition::{Source, Test};
use crate::ladder::Doubt;
use crate::lane::{Fallback, Lane};
use crate::rule::{EntryRule, PolicyRule};
use crate::snapshot::{Endpoint, EndpointAddr, Service};
use crate::table::Health;
use crate::tag::{RequestTag, Tag};
use crate::why::{TagSource, Why};

/// Who is told. A step is made only if somebody wants it.
pub(crate) trait Witness<'s> {
    fn step(&mut self, step: impl FnOnce() -> Step<'s>);
}

/// Nobody.
pub(crate) struct Nobody;

impl<'s> Witness<'s> for Nobody {
    #[inline(always)]
    fn step(&mut self, _: impl FnOnce() -> Step<'s>) {}
}

/// One thing that was looked at, with what it came to.
pub(crate) enum Step<'s> {
    /// A carrier of the group that holds a value, or several.
    Carrier {
        carrier: TagCarrier,
        tag: Option<RequestTag>,
        refused: Option<TagRefusal>,
    },
    /// All carriers have been looked at.
    CarriersRead,
    /// Marked by the sidecar that handed the request over: its decision stands.
    HandedOver,
    /// The caller's word is not taken.
    Untrusted,
    /// Inbound: the lane of the carried tag is off; followed, where a sidecar before had the request there.
    CarriedLaneIsOff {
        lane: &'s Lane,
        is_followed: bool,
    },
    /// No rule is asked of a request that carries `baseline`.
    RulesSkipped,
    /// A lane whose rules are not drawn.
    LanePassed {
        lane: &'s Lane,
        reason: Passed,
    },
    /// A rule that does not beat a carried tag.
    RulePassed {
        lane: &'s Lane,
        index: usize,
    },
    /// From here to [`Step::EntryRuleDone`] the steps are those of this rule.
    EntryRule {
        lane: &'s Lane,
        index: usize,
        rule: &'s EntryRule,
    },
    Test {
        test: &'s Test,
        value: Option<Vec<u8>>,
        holds: bool,
    },
    /// The value that a sticky share hashes.
    Key {
        source: &'s Source,
        value: Vec<u8>,
    },
    /// Where the key, or the throw of the dice, falls. No hash: none of the keys has a value.
    Share {
        is_sticky: bool,
        hash: Option<u64>,
        basis_points: u32,
        is_in: bool,
    },
    EntryRuleDone {
        takes: bool,
        is_dry: bool,
    },
    /// Nothing coloured the request: the tag that this pod stamps.
    Stamp(Option<Tag>),
    /// `redirect`, to instances of a tag or of baseline.
    HandOver {
        tag: Option<Tag>,
        to: Option<&'s Endpoint>,
    },
    /// Outbound: the rung that answered.
    Ladder {
        tag: RequestTag,
        source: TagSource,
        doubt: Option<Doubt>,
    },
    /// `reselect: never`.
    KeepsDialled(&'s Endpoint),
    /// Bytes that are not read stay with the instance that was dialled, for it is one of those wanted.
    StaysDialled,
    OtherGroup(&'s Service),
    /// The lane that a tag has, or none; one that is off may be followed for a while.
    LaneOf {
        tag: Tag,
        lane: Option<&'s Lane>,
        is_followed: bool,
    },
    /// Instances of a tag against the thresholds of a fallback. No health: the service has no instance of that tag.
    Pool {
        tag: Tag,
        health: Option<Health>,
        fallback: &'s Fallback,
        verdict: Result<(), Why>,
    },
    /// A place of the fallback chain is reached.
    Chain {
        index: usize,
        tag: Option<Tag>,
    },
    /// A tag of the chain that is the request's own, or of a lane that is off.
    ChainSkips {
        tag: Tag,
    },
    /// Strict, or a chain that does not end in baseline.
    ChainEnds {
        is_strict: bool,
    },
    /// From here to [`Step::PolicyRuleDone`] the steps are those of this rule.
    PolicyRule {
        index: usize,
        rule: &'s PolicyRule,
    },
    /// The rule matches; its outcomes by weight. No hash: none of the keys has a value.
    Weights {
        is_sticky: bool,
        hash: Option<u64>,
        to: &'s [(Option<Tag>, u32)],
    },
    /// What the rule chose; `None`: it has not matched.
    PolicyRuleDone {
        chosen: Option<Option<Tag>>,
    },
    /// The policy chose a tag that cannot be had.
    PolicyVoid {
        tag: Tag,
        is_off: bool,
    },
    /// Instances that count as baseline.
    Baseline {
        found: bool,
    },
    /// `noBaseline: any`.
    Any {
        found: bool,
    },
    /// Which instances one was drawn from.
    Candidates(Vec<EndpointAddr>),
}

/// Why the rules of a lane are not drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    Off,
    /// This pod's service is no entry of it.
    NoEntry,
    NoRules,
    /// Another dry run has matched already.
    DryRunKnown,
}

impl Passed {
    /// `own`: resource name of this pod's service.
    pub(crate) fn by(lane: &Lane, own: &str) -> Passed {
        if !lane.is_entered_at(own) {
            return Passed::NoEntry;
        }
        if lane.rules.is_empty() { Passed::NoRules } else { Passed::DryRunKnown }
    }
}
