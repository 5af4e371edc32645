//! What told the tag, in words.

use laneway_proto::contract::{BASELINE, TRACESTATE_MEMBER};
use laneway_proto::routing::{TagCarrier, TagTrust};

use super::{FOLLOWED, Recorder, Rule};
use crate::carry::TagRefusal;
use crate::ladder::Doubt;
use crate::lane::Lane;
use crate::name;
use crate::tag::{RequestTag, Tag};
use crate::why::TagSource;
use crate::witness::Passed;

impl Recorder<'_> {
    pub(super) fn carrier(&mut self, carrier: TagCarrier, tag: Option<RequestTag>, refused: Option<TagRefusal>) {
        let header = &self.snapshot.group.tag_header;
        let word = match carrier {
            TagCarrier::Header => {
                let names = std::iter::once(header).chain(&self.snapshot.group.aliases);
                format!("header {}", names.map(String::as_str).collect::<Vec<_>>().join(" or "))
            }
            TagCarrier::Baggage => format!("baggage member {header}"),
            TagCarrier::Tracestate => format!("tracestate member {TRACESTATE_MEMBER}"),
            TagCarrier::Mse | TagCarrier::Unspecified => carrier.as_str_name().to_owned(),
        };
        let mut message = match (refused, tag.and_then(|tag| tag.wire().map(str::to_owned))) {
            (Some(TagRefusal::Conflicting), _) => format!("{word} carries different tags: none of them counts"),
            (Some(_), _) | (None, None) => format!("{word} carries what is no tag"),
            (None, Some(tag)) => format!("{word} carries {tag}"),
        };
        if self.told.carrier.is_some() {
            message.push_str("; a carrier before it holds one already");
            return self.plain(self.group(), "tag.carriers", message);
        }
        self.told.carrier = self.weighty(self.group(), "tag.carriers", message);
    }

    pub(super) fn untrusted(&mut self) {
        let why = match self.snapshot.group.trust {
            TagTrust::None if self.snapshot.own.is_entry => "is not believed at an entry",
            TagTrust::None | TagTrust::Mesh => "is believed only from a caller with a sidecar",
            TagTrust::Any | TagTrust::Unspecified => "is not believed",
        };
        self.told.untrusted = self.weighty(self.group(), "tag.trust", format!("a tag {why}: dropped"));
    }

    pub(super) fn carried_lane_is_off(&mut self, lane: &Lane, is_followed: bool) {
        if is_followed {
            return self.plain(&lane.name, "enabled", FOLLOWED);
        }
        let message = format!("the lane is off: {BASELINE}, from here to the end");
        self.told.lane_off = self.weighty(&lane.name, "enabled", message);
    }

    pub(super) fn lane_passed(&mut self, lane: &Lane, reason: Passed) {
        let own = name::id_of(&self.snapshot.own.service);
        let (field, message) = match reason {
            Passed::Off => ("enabled", "the lane is off".to_owned()),
            Passed::NoEntry if lane.entry_services.is_empty() => ("entry", "the lane has no entry".to_owned()),
            Passed::NoEntry if own.is_empty() => ("entry.services", "a pod of no service is no entry".to_owned()),
            Passed::NoEntry => ("entry.services", format!("{own} is no entry of the lane")),
            Passed::NoRules => ("entry.rules", "the lane has no rules".to_owned()),
            Passed::DryRunKnown => ("dryRun", "another dry run has matched already".to_owned()),
        };
        self.plain(&lane.name, field, message);
    }

    pub(super) fn entry_rule_done(&mut self, takes: bool, is_dry: bool) {
        self.flush_tests();
        let Some(Rule::Entry { lane, index, rule }) = self.rule.take() else { return };
        let field = format!("entry.rules[{index}]");
        match (takes, is_dry) {
            (false, _) => {}
            (true, true) => {
                let message = format!("rule {} would colour it {}, but is a dry run", rule.name, lane.tag);
                self.plain(&lane.name, field, message);
            }
            (true, false) => {
                let message = format!("rule {} colours it {}", rule.name, lane.tag);
                self.told.rule = self.weighty(&lane.name, field, message);
            }
        }
    }

    pub(super) fn stamp(&mut self, tag: Option<Tag>) {
        let own = &self.snapshot.own;
        let message = match (tag, own.tag) {
            (Some(tag), _) => format!("nothing else tells a tag: the pod stamps its own, {tag}"),
            (None, None) => "nothing tells a tag, and the pod has none".to_owned(),
            (None, Some(tag)) => format!("nothing tells a tag, and the pod does not stamp its own, {tag}"),
        };
        self.told.below = self.weighty(self.group(), "propagate.stampPodTag", message);
    }

    pub(super) fn ladder(&mut self, tag: RequestTag, source: TagSource, doubt: Option<Doubt>) {
        let tag = tag.wire().unwrap_or("none");
        let (field, message) = match source {
            // The carrier has said so.
            TagSource::Carried => return,
            TagSource::Rule | TagSource::Unspecified => ("propagate", format!("the tag is {tag}")),
            TagSource::Correlated => {
                ("propagate.correlate", format!("a trace or request id joins it to a request: {tag}"))
            }
            TagSource::Kernel => ("propagate", format!("its thread serves a request: {tag}")),
            TagSource::Inferred => ("propagate.infer", format!("every request in flight has one tag: {tag}")),
            TagSource::Pod => ("propagate.stampPodTag", format!("nothing else tells a tag: the pod's own, {tag}")),
            TagSource::None => ("propagate", "nothing tells a tag: none".to_owned()),
        };
        self.told.below = self.weighty(self.group(), field, message);
        let (field, message) = match doubt {
            None => return,
            Some(Doubt::Conflict) => ("propagate.correlate", "its ids were seen on requests of different tags"),
            Some(Doubt::Ambiguous) => ("propagate.ambiguous", "requests of several tags are in flight: a guess"),
            Some(Doubt::Refused) => ("propagate.ambiguous", "requests of several tags are in flight: refused, 503"),
        };
        self.led.doubt = self.weighty(self.group(), field, message);
    }
}
