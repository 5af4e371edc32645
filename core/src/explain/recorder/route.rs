//! What led to the instance, in words.

use laneway_proto::contract::BASELINE;

use super::{FOLLOWED, Recorder, tag_words};
use crate::lane::{Fallback, Lane};
use crate::snapshot::EndpointAddr;
use crate::table::Health;
use crate::tag::Tag;
use crate::why::Why;

impl<'s> Recorder<'s> {
    /// Who says what happens when the lane lacks a service: resource, and the field of its fallback.
    pub(super) fn fallback(&self) -> (&'s str, String) {
        match self.lane {
            None => (self.group(), "fallback".to_owned()),
            Some(lane) if lane.has_own_fallback(self.service) => {
                (&lane.name, format!("serviceOverrides.{}.fallback", self.service_id()))
            }
            Some(lane) => (&lane.name, "fallback".to_owned()),
        }
    }

    pub(super) fn hand_over(&mut self, tag: Option<Tag>, to: Option<EndpointAddr>) {
        let lane_tag = tag.or(self.snapshot.own.tag);
        let lane = lane_tag.and_then(|tag| self.snapshot.lane(tag));
        let resource = lane.map_or(self.group(), |lane| &lane.name);
        let service = self.service_id();
        let instances = tag_words(tag);
        let message = match to {
            Some(address) => format!("redirect: {service} {instances} at {} serves it", address.0),
            None => format!("redirect: {service} has no usable instance of {instances}; served here"),
        };
        self.led.hand_over = self.weighty(resource, "entry.redirect", message);
    }

    pub(super) fn lane_of(&mut self, tag: Tag, lane: Option<&'s Lane>, is_followed: bool) {
        self.lane = lane;
        match lane {
            None => self.plain(self.group(), "", format!("no lane has the tag {tag}: the group's fallback holds")),
            Some(lane) if is_followed => self.plain(&lane.name, "enabled", FOLLOWED),
            Some(lane) if lane.is_off() => {
                let message = "the lane is off: policy, then baseline, from here to the end";
                self.led.lane_off = self.weighty(&lane.name, "enabled", message);
            }
            Some(lane) => self.plain(&lane.name, "tag", format!("the lane of tag {tag}")),
        }
    }

    pub(super) fn pool(&mut self, tag: Tag, health: Option<Health>, fallback: &Fallback, verdict: Result<(), Why>) {
        let service = self.service_id();
        let message = match health {
            None => format!("{service} has no instance with tag {tag}"),
            Some(Health { counted: 0, .. }) => {
                format!("{service} has no instance with tag {tag} on this port that is not draining")
            }
            Some(Health { counted, usable }) => {
                let (healthy_min, percent_min) = (fallback.healthy_min, f64::from(fallback.basis_points_min) / 100.0);
                let enough = match verdict {
                    Ok(()) => "enough".to_owned(),
                    Err(_) => format!("too few (minHealthy {healthy_min}, minHealthyPercent {percent_min} %)"),
                };
                format!("{usable} of {counted} instances with tag {tag} are usable: {enough}")
            }
        };
        let step = self.weighty(self.service, "", message);
        self.led.pool = verdict.is_ok().then_some(step).flatten();
    }

    pub(super) fn chain(&mut self, index: usize, tag: Option<Tag>) {
        let (resource, field) = self.fallback();
        let message = format!("falls back to {}", tag_words(tag));
        self.led.chain = self.weighty(resource, format!("{field}.chain[{index}]"), message);
    }

    pub(super) fn chain_ends(&mut self, is_strict: bool) {
        let (resource, field) = self.fallback();
        let (field, message) = match is_strict {
            true => (format!("{field}.mode"), "strict: refused, 503"),
            false => (format!("{field}.chain"), "the chain ends without baseline: refused, 503"),
        };
        self.led.chain_ends = self.weighty(resource, field, message);
    }

    pub(super) fn baseline(&mut self, found: bool) {
        let service = self.service_id();
        let message = match found {
            true => format!("{} usable instances of {service} {BASELINE}", self.candidates.len()),
            false => format!("{service} has no usable instance of {BASELINE}"),
        };
        self.led.baseline = self.weighty(self.service, "", message);
    }

    pub(super) fn any(&mut self, found: bool) {
        let (resource, field) = self.fallback();
        let message = match found {
            true => format!("any: {} usable instances of any tag", self.candidates.len()),
            false => "any: no usable instance of any tag".to_owned(),
        };
        self.led.any = self.weighty(resource, format!("{field}.noBaseline"), message);
    }
}
