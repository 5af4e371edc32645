//! From a tag to an instance of one service: the tag's own instances, its fallback chain, the service policy, baseline.

use laneway_proto::contract::FOLLOW_SECONDS_MAX;

use super::{
    Among, Dice, Elsewhere, Endpoint, Evidence, Facts, Fallback, Load, Outbound, RequestTag, Scratch, Service,
    Snapshot, Tag,
};
use crate::facts::{NoHeaders, Source};
use crate::hop::Hop;
use crate::lane::Lane;
use crate::snapshot::Destination;
use crate::table::Health;
use crate::why::{TagSource, Why};
use crate::witness::{Nobody, Step, Witness};

/// The last step; a hand-over shares it.
pub(super) fn pick<'s>(
    among: Among<'s, '_>,
    dialled: Option<&'s Endpoint>,
    load: &dyn Load,
    dice: &mut Dice,
    witness: &mut impl Witness<'s>,
) -> Option<&'s Endpoint> {
    let chosen = among.pick(dialled, load, dice);
    witness.step(|| match (chosen, dialled) {
        (Some(chosen), Some(dialled)) if std::ptr::eq(chosen, dialled) => {
            Step::Candidates(vec![dialled.address.with_port(among.port)])
        }
        _ => Step::Candidates(among.candidates(load)),
    });
    chosen
}

/// What is to be routed.
#[derive(Clone, Copy)]
pub(super) struct Call<'r> {
    pub(super) tag: RequestTag,
    pub(super) facts: &'r Facts<'r>,
    pub(super) evidence: &'r dyn Evidence,
}

/// Routes a call. `None`: the destination is unknown. `source` and `refused` are the caller's to fill in.
pub(super) fn route<'s>(
    snapshot: &'s Snapshot,
    destination: &Destination<'s>,
    call: Call<'_>,
    load: &dyn Load,
    scratch: &mut Scratch,
    witness: &mut impl Witness<'s>,
) -> Option<Outbound<'s>> {
    let Destination::Known { service, port, port_name, instance, .. } = *destination else { return None };
    let Call { tag, facts, evidence } = call;
    let mut routing = Routing { snapshot, service, port, port_name, dialled: instance, facts, load, scratch, witness };
    let standing = routing.standing(tag, evidence);
    let keeps = service.policy.as_ref().is_some_and(|policy| policy.keeps_dialled);
    let choice = match instance {
        Some(dialled) if keeps => {
            routing.witness.step(|| Step::KeepsDialled(dialled));
            Choice { why: Why::Dialled, endpoint: Some(dialled), wanted: dialled.tag }
        }
        _ => routing.choose(tag, standing),
    };
    let is_meshed = choice.endpoint.is_some_and(|endpoint| endpoint.is_meshed);
    Some(Outbound {
        tag,
        leaves: if let Standing::Off = standing { RequestTag::Baseline } else { tag },
        hop: match standing {
            Standing::In { seconds, .. } if seconds > 0 && is_meshed => Some(Hop::InLane { seconds }),
            Standing::In { .. } | Standing::Off | Standing::Without => None,
        },
        source: TagSource::None,
        why: choice.why,
        endpoint: choice.endpoint,
        service,
        endpoint_tag: choice.endpoint.map_or(choice.wanted, |endpoint| endpoint.tag),
        context: None,
        doubt: None,
        refused: None,
    })
}

/// See [`super::decide_again`].
pub(super) fn again<'s>(
    snapshot: &'s Snapshot,
    destination: &Destination<'s>,
    tag: RequestTag,
    failed: Option<Tag>,
    load: &dyn Load,
    scratch: &mut Scratch,
) -> Option<Elsewhere<'s>> {
    let Destination::Known { service, port, port_name, .. } = *destination else { return None };
    if service.policy.as_ref().is_some_and(|policy| policy.keeps_dialled) {
        return None;
    }
    let source = Source { service: "", tag: None, address: None, is_meshed: true };
    let facts = &Facts { method: "", target: "", authority: "", headers: &NoHeaders, is_grpc: false, source };
    let witness = &mut Nobody;
    let mut routing = Routing { snapshot, service, port, port_name, dialled: None, facts, load, scratch, witness };
    routing.again(tag, failed)
}

/// Refuses a call whose tag could not be told.
pub(super) fn refuse<'s>(destination: &Destination<'s>) -> Option<Outbound<'s>> {
    let Destination::Known { service, .. } = *destination else { return None };
    Some(Outbound {
        tag: RequestTag::None,
        leaves: RequestTag::None,
        hop: None,
        source: TagSource::None,
        why: Why::AmbiguousReject,
        endpoint: None,
        service,
        endpoint_tag: None,
        context: None,
        doubt: None,
        refused: None,
    })
}

struct Choice<'s> {
    why: Why,
    endpoint: Option<&'s Endpoint>,
    wanted: Option<Tag>,
}

/// Is a request in a lane?
#[derive(Clone, Copy)]
enum Standing<'s> {
    /// It says of none, or the service is of another group, whose lanes are others.
    Without,
    /// In that of its tag, which may have no `Lane`. What it causes stays there for so many seconds.
    In { tag: Tag, lane: Option<&'s Lane>, seconds: u32 },
    /// It says of one that is off.
    Off,
}

struct Routing<'s, 'r, T> {
    snapshot: &'s Snapshot,
    service: &'s Service,
    port: u16,
    port_name: &'s str,
    dialled: Option<&'s Endpoint>,
    facts: &'r Facts<'r>,
    load: &'r dyn Load,
    scratch: &'r mut Scratch,
    witness: &'r mut T,
}

impl<'s, T: Witness<'s>> Routing<'s, '_, T> {
    /// A lane that is off has nobody, save what began in it: a request goes through one version to its end.
    fn standing(&mut self, tag: RequestTag, evidence: &dyn Evidence) -> Standing<'s> {
        let RequestTag::Lane(tag) = tag else { return Standing::Without };
        if !self.service.is_of_group {
            return Standing::Without;
        }
        let lane = self.snapshot.lane(tag).map(|lane| &**lane);
        let followed = lane.filter(|lane| lane.is_off()).map(|_| evidence.followed(tag));
        self.witness.step(|| Step::LaneOf { tag, lane, is_followed: followed.is_some_and(|seconds| seconds > 0) });
        match followed {
            None => Standing::In { tag, lane, seconds: FOLLOW_SECONDS_MAX },
            Some(0) => Standing::Off,
            Some(seconds) => Standing::In { tag, lane, seconds: seconds - 1 },
        }
    }

    fn choose(&mut self, tag: RequestTag, standing: Standing<'s>) -> Choice<'s> {
        let group_fallback = &self.snapshot.group.fallback;
        let (tag, lane) = match standing {
            Standing::In { tag, lane, .. } => (tag, lane),
            Standing::Off => {
                return self.by_policy_or_baseline(Why::LaneOff, Why::LaneOff, None, group_fallback.any_last);
            }
            Standing::Without if matches!(tag, RequestTag::Lane(_)) => {
                self.witness.step(|| Step::OtherGroup(self.service));
                // Its policies apply to untagged requests only; the tag is carried on.
                return self.baseline(Why::Baseline, group_fallback.any_last);
            }
            Standing::Without => {
                return self.by_policy_or_baseline(Why::Baseline, Why::Policy, None, group_fallback.any_last);
            }
        };
        let fallback = lane.map_or(group_fallback, |lane| lane.fallback(&self.service.name));
        let reason = match self.above_thresholds(tag, fallback) {
            Ok(endpoint) => return Choice { why: Why::Hit, endpoint: Some(endpoint), wanted: Some(tag) },
            Err(reason) => reason,
        };
        let elsewhere = self.along_the_chain(tag, fallback, reason);
        if elsewhere.endpoint.is_none()
            && let Some(endpoint) = self.recovering(tag, fallback)
        {
            // It is well again, and better than nobody.
            return Choice { why: Why::Hit, endpoint: Some(endpoint), wanted: Some(tag) };
        }
        elsewhere
    }

    /// The lane of this tag has too few usable instances here.
    fn along_the_chain(&mut self, tag: Tag, fallback: &'s Fallback, reason: Why) -> Choice<'s> {
        for (index, &next) in fallback.chain.iter().enumerate() {
            self.witness.step(|| Step::Chain { index, tag: next });
            let Some(next) = next else {
                return self.by_policy_or_baseline(reason, Why::Policy, Some(tag), fallback.any_last);
            };
            if next == tag || self.snapshot.lane(next).is_some_and(|lane| lane.is_off()) {
                self.witness.step(|| Step::ChainSkips { tag: next });
                continue;
            }
            if let Ok(endpoint) = self.above_thresholds(next, fallback) {
                return Choice { why: reason, endpoint: Some(endpoint), wanted: Some(next) };
            }
        }
        self.witness.step(|| Step::ChainEnds { is_strict: fallback.chain.is_empty() });
        // Strict, or a chain that does not end in baseline: no policy is asked.
        Choice { why: Why::StrictReject, endpoint: None, wanted: Some(tag) }
    }

    fn again(&mut self, tag: RequestTag, failed: Option<Tag>) -> Option<Elsewhere<'s>> {
        let pool = self.service.table.pool_of(failed);
        let was_baseline = pool.is_some_and(|pool| self.service.baseline.contains(&pool));
        if !was_baseline && let Some(endpoint) = pool.and_then(|pool| self.pick_of_pool(pool)) {
            return Some(Elsewhere { endpoint, why: None });
        }
        let lane = match tag {
            RequestTag::Lane(tag) if self.service.is_of_group => Some(tag),
            RequestTag::Lane(_) | RequestTag::None | RequestTag::Baseline => None,
        };
        if let Some(tag) = lane
            && !was_baseline
        {
            // It left in its lane, so it stays there whatever became of that since.
            let lane = self.snapshot.lane(tag);
            let fallback = lane.map_or(&self.snapshot.group.fallback, |lane| lane.fallback(&self.service.name));
            let why = Some(Why::FallbackUnhealthy);
            for next in fallback.chain.iter().map_while(|next| *next) {
                let is_off = self.snapshot.lane(next).is_some_and(|lane| lane.is_off());
                if next != tag
                    && Some(next) != failed
                    && !is_off
                    && let Ok(endpoint) = self.above_thresholds(next, fallback)
                {
                    return Some(Elsewhere { endpoint, why });
                }
            }
            // Strict, or a chain that does not end in baseline.
            fallback.chain.last().filter(|last| last.is_none())?;
            return self.pick_of_baseline().map(|endpoint| Elsewhere { endpoint, why });
        }
        let why = (!was_baseline).then_some(Why::Baseline);
        self.pick_of_baseline().map(|endpoint| Elsewhere { endpoint, why })
    }

    /// None that `load` calls ejected.
    fn pick_of_baseline(&mut self) -> Option<&'s Endpoint> {
        let service = self.service;
        let among = self.among(&service.baseline, false);
        pick(among, None, self.load, &mut self.scratch.dice, self.witness)
    }

    /// An instance with that tag, if enough of them are usable; else why not.
    fn above_thresholds(&mut self, tag: Tag, fallback: &'s Fallback) -> Result<&'s Endpoint, Why> {
        let Some(pool) = self.service.table.pool_of(Some(tag)) else {
            self.witness.step(|| Step::Pool { tag, health: None, fallback, verdict: Err(Why::FallbackAbsent) });
            return Err(Why::FallbackAbsent);
        };
        let (health, is_above) = self.health(pool, fallback);
        let verdict = if health.counted == 0 {
            Err(Why::FallbackAbsent)
        } else if self.is_passed_over(tag, is_above) {
            Err(Why::FallbackUnhealthy)
        } else {
            Ok(())
        };
        self.witness.step(|| Step::Pool { tag, health: Some(health), fallback, verdict });
        verdict?;
        self.pick_of_pool(pool).ok_or(Why::FallbackUnhealthy)
    }

    /// Those of a pool, and whether they are enough.
    fn health(&self, pool: u32, fallback: &Fallback) -> (Health, bool) {
        let pools = [pool];
        let health = self.among(&pools, false).health(self.load);
        let share = u64::from(health.usable) * u64::from(laneway_proto::contract::BASIS_POINTS);
        let share_min = u64::from(health.counted) * u64::from(fallback.basis_points_min);
        (health, health.counted > 0 && health.usable >= fallback.healthy_min && share >= share_min)
    }

    /// An instance of a tag that is passed over for nothing but having been below its thresholds a moment ago.
    fn recovering(&mut self, tag: Tag, fallback: &Fallback) -> Option<&'s Endpoint> {
        let pool = self.service.table.pool_of(Some(tag)).filter(|_| self.load.has_recovering())?;
        self.health(pool, fallback).1.then(|| self.pick_of_pool(pool))?
    }

    fn is_passed_over(&self, tag: Tag, is_above: bool) -> bool {
        let is_usual = is_above && !self.load.has_recovering();
        !is_usual && self.load.is_recovering(&self.service.name, tag, is_above)
    }

    /// `own`: the lane that the request is in.
    fn by_policy_or_baseline(&mut self, otherwise: Why, chosen: Why, own: Option<Tag>, any_last: bool) -> Choice<'s> {
        let policy = self.service.policy.as_deref();
        let Scratch { buffers, dice } = &mut *self.scratch;
        let tag = policy.and_then(|policy| policy.choose(self.facts, buffers, dice, self.witness));
        match tag {
            None => self.baseline(otherwise, any_last),
            Some(None) => self.baseline(chosen, any_last),
            Some(Some(tag)) => {
                let is_off = own != Some(tag) && self.snapshot.lane(tag).is_some_and(|lane| lane.is_off());
                let pool = self.service.table.pool_of(Some(tag)).filter(|_| !is_off);
                // Thresholds do not hold for a policy's choice.
                match pool.and_then(|pool| self.pick_of_pool(pool)) {
                    Some(endpoint) => Choice { why: chosen, endpoint: Some(endpoint), wanted: Some(tag) },
                    None => {
                        self.witness.step(|| Step::PolicyVoid { tag, is_off });
                        self.baseline(otherwise, any_last)
                    }
                }
            }
        }
    }

    fn baseline(&mut self, why: Why, any_last: bool) -> Choice<'s> {
        let service = self.service;
        let among = self.among(&service.baseline, true);
        let endpoint = pick(among, self.dialled, self.load, &mut self.scratch.dice, self.witness);
        self.witness.step(|| Step::Baseline { found: endpoint.is_some() });
        if let Some(endpoint) = endpoint {
            return Choice { why, endpoint: Some(endpoint), wanted: None };
        }
        if any_last {
            let among = self.among(&service.any, true);
            let endpoint = pick(among, self.dialled, self.load, &mut self.scratch.dice, self.witness);
            self.witness.step(|| Step::Any { found: endpoint.is_some() });
            if let Some(endpoint) = endpoint {
                return Choice { why: Why::Any, endpoint: Some(endpoint), wanted: None };
            }
        }
        Choice { why: Why::NoEndpoint, endpoint: None, wanted: None }
    }

    fn pick_of_pool(&mut self, pool: u32) -> Option<&'s Endpoint> {
        let pools = [pool];
        let among = self.among(&pools, false);
        pick(among, self.dialled, self.load, &mut self.scratch.dice, self.witness)
    }

    fn among<'p>(&self, pools: &'p [u32], is_last_resort: bool) -> Among<'s, 'p>
    where
        's: 'p,
    {
        Among { table: &self.service.table, pools, port_name: self.port_name, port: self.port, is_last_resort }
    }
}
