//! A lane and where its requests go when it lacks a service, as decide needs them.

use std::collections::{BTreeMap, HashSet};

use laneway_proto::contract::{BASIS_POINTS, CHAIN_MAX};
use laneway_proto::discovery::{self, lane::State};

use crate::condition::Refusal;
use crate::rule::{self, EntryRule};
use crate::tag::Tag;

/// One lane of the group.
pub(crate) struct Lane {
    /// Resource name.
    pub(crate) name: String,
    /// Resource name of its group.
    pub(crate) group: String,
    pub(crate) tag: Tag,
    pub(crate) state: LaneState,
    pub(crate) priority: i32,
    /// Resource names. Empty: none is named.
    pub(crate) entry_services: HashSet<String, foldhash::fast::RandomState>,
    pub(crate) redirect: bool,
    pub(crate) rules: Vec<EntryRule>,
    /// One of the rules does.
    pub(crate) asks_who_calls: bool,
    fallback: Fallback,
    service_fallbacks: BTreeMap<String, Fallback>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneState {
    Enabled,
    /// Rules are evaluated and colour nothing.
    DryRun,
    Disabled,
}

/// Where requests go whose tag has too few usable instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fallback {
    /// `None` is baseline, and the last. Empty: strict.
    pub(crate) chain: Vec<Option<Tag>>,
    pub(crate) basis_points_min: u32,
    pub(crate) healthy_min: u32,
    /// Any usable instance rather than none.
    pub(crate) any_last: bool,
}

impl Lane {
    pub(crate) fn is_off(&self) -> bool {
        self.state == LaneState::Disabled
    }

    pub(crate) fn is_entered_at(&self, service: &str) -> bool {
        self.entry_services.contains(service)
    }

    pub(crate) fn fallback(&self, service: &str) -> &Fallback {
        self.service_fallbacks.get(service).unwrap_or(&self.fallback)
    }

    /// Tags that are tried in turn where a service says nothing else.
    pub(crate) fn chain(&self) -> &[Option<Tag>] {
        &self.fallback.chain
    }

    /// Services (resource names) with a chain of their own.
    pub(crate) fn service_chains(&self) -> impl Iterator<Item = (&str, &[Option<Tag>])> {
        self.service_fallbacks.iter().map(|(service, fallback)| (service.as_str(), fallback.chain.as_slice()))
    }

    pub(crate) fn has_own_fallback(&self, service: &str) -> bool {
        self.service_fallbacks.contains_key(service)
    }

    pub(crate) fn compile(name: &str, from: &discovery::Lane, refusals: &mut Vec<Refusal>) -> Option<Lane> {
        let before = refusals.len();
        let tag = Tag::parse(from.tag.as_bytes())
            .map_err(|error| refusals.push(Refusal::new("tag", "INVALID_TAG", error.to_string())));
        let state = match State::try_from(from.state) {
            Ok(State::Enabled) => LaneState::Enabled,
            Ok(State::DryRun) => LaneState::DryRun,
            Ok(State::Disabled) => LaneState::Disabled,
            Ok(State::Unspecified) | Err(_) => {
                refusals.push(Refusal::new("state", "UNKNOWN_ENUM", format!("unknown state {}", from.state)));
                LaneState::Disabled
            }
        };
        if from.lane_group.is_empty() {
            refusals.push(Refusal::new("lane_group", "MISSING_FIELD", "a lane names its group"));
        }
        let fallback = compile_fallback(from.fallback.as_ref(), "fallback", refusals);
        let service_fallbacks = from.service_fallbacks.iter().filter_map(|(service, fallback)| {
            let field = format!("service_fallbacks[{service:?}]");
            Some((service.clone(), Fallback::compile(fallback, &field, refusals)?))
        });
        let service_fallbacks = service_fallbacks.collect();
        let entry = from.entry.as_ref();
        let rules = entry.map_or(&[][..], |entry| &entry.rules);
        let rules = rule::compile_list(rules, "entry.rules", refusals, |rule| &rule.name, EntryRule::compile);
        if from.limits.is_some_and(|limits| limits.requests_per_second != 0) {
            refusals.push(Refusal::unsupported("limits", "limits"));
        }
        if from.messages.is_some() {
            refusals.push(Refusal::unsupported("messages", "messages"));
        }
        if refusals.len() > before {
            return None;
        }
        Some(Lane {
            name: name.to_owned(),
            group: from.lane_group.clone(),
            tag: tag.ok()?,
            state,
            priority: from.priority,
            entry_services: entry.map(|entry| entry.services.iter().cloned().collect()).unwrap_or_default(),
            redirect: entry.is_some_and(|entry| entry.redirect),
            asks_who_calls: rules.iter().any(EntryRule::asks_who_calls),
            rules,
            fallback: fallback?,
            service_fallbacks,
        })
    }
}

impl Fallback {
    /// {permissive, [baseline]}
    pub(crate) fn to_baseline() -> Fallback {
        Fallback { chain: vec![None], basis_points_min: 0, healthy_min: 1, any_last: false }
    }

    pub(crate) fn compile(from: &discovery::Fallback, field: &str, refusals: &mut Vec<Refusal>) -> Option<Fallback> {
        let before = refusals.len();
        if from.chain.len() > CHAIN_MAX {
            let message = format!("a chain has at most {CHAIN_MAX} tags, not {}", from.chain.len());
            refusals.push(Refusal::new(&format!("{field}.chain"), "TOO_LARGE", message));
        }
        let mut chain: Vec<Option<Tag>> = Vec::with_capacity(from.chain.len());
        for (index, text) in from.chain.iter().enumerate() {
            let field = format!("{field}.chain[{index}]");
            match rule::tag_or_baseline(text) {
                Ok(tag) if chain.contains(&tag) => {
                    refusals.push(Refusal::new(
                        &field,
                        "DUPLICATE_NAME",
                        format!("{text:?} stands twice in the chain"),
                    ));
                }
                Ok(_) if chain.last() == Some(&None) => {
                    refusals.push(Refusal::new(&field, "OUT_OF_RANGE", "nothing comes after baseline"));
                }
                Ok(tag) => chain.push(tag),
                Err(error) => refusals.push(Refusal::new(&field, "INVALID_TAG", error.to_string())),
            }
        }
        if from.min_healthy_basis_points > BASIS_POINTS {
            let message = format!("a percentage is 0 % to 100 %, not {} basis points", from.min_healthy_basis_points);
            refusals.push(Refusal::new(&format!("{field}.min_healthy_basis_points"), "OUT_OF_RANGE", message));
        }
        (refusals.len() == before).then_some(Fallback {
            chain,
            basis_points_min: from.min_healthy_basis_points,
            healthy_min: from.min_healthy.max(1),
            any_last: from.any_instance_last,
        })
    }
}

/// A fallback that must be there.
pub(crate) fn compile_fallback(
    from: Option<&discovery::Fallback>,
    field: &str,
    refusals: &mut Vec<Refusal>,
) -> Option<Fallback> {
    let Some(fallback) = from else {
        refusals.push(Refusal::new(field, "MISSING_FIELD", "no fallback is given"));
        return None;
    };
    Fallback::compile(fallback, field, refusals)
}
