//! Keeps what a decision looked at as steps in words, and marks those that decided.
//!
//! Steps come in the order in which they were taken. A step is marked only when the decision has been made, by its outcome:
//! what looked decisive on the way may have been overtaken.

use laneway_proto::admin::ExplainRouteResponse;
use laneway_proto::contract::BASELINE;

use super::{CANDIDATES_MAX, STEPS_MAX, Step};
use crate::lane::Lane;
use crate::name;
use crate::rule::{EntryRule, PolicyRule};
use crate::share;
use crate::snapshot::{EndpointAddr, Snapshot};
use crate::tag::Tag;
use crate::why::{TagSource, Why};
use crate::witness::{self, Witness};

mod origin;
mod route;

/// What began in a lane ends there, though it be off.
const FOLLOWED: &str = "the lane is off, but a sidecar before had the request there: followed";
/// Tests of one rule that a step names.
const TESTS_MAX: usize = 8;

pub(super) struct Recorder<'s> {
    snapshot: &'s Snapshot,
    /// Resource name of the service whose instances are chosen from.
    service: &'s str,
    steps: Vec<Step>,
    left_out: usize,
    /// Positions in `steps`.
    told: Told,
    led: Led,
    rule: Option<Rule<'s>>,
    /// Field in the rule, and words.
    tests: Vec<(String, String)>,
    tests_left_out: usize,
    key: Option<String>,
    /// The lane of the request's tag.
    lane: Option<&'s Lane>,
    candidates: Vec<EndpointAddr>,
}

/// Steps that may have told the tag.
#[derive(Default)]
struct Told {
    carrier: Option<usize>,
    handed_over: Option<usize>,
    untrusted: Option<usize>,
    lane_off: Option<usize>,
    rule: Option<usize>,
    /// Stamping, or a rung of the ladder.
    below: Option<usize>,
}

/// Steps that may have led to the instance.
#[derive(Default)]
struct Led {
    doubt: Option<usize>,
    dialled: Option<usize>,
    lane_off: Option<usize>,
    pool: Option<usize>,
    chain: Option<usize>,
    chain_ends: Option<usize>,
    policy: Option<usize>,
    baseline: Option<usize>,
    any: Option<usize>,
    hand_over: Option<usize>,
}

/// The rule whose tests are coming.
#[derive(Clone, Copy)]
enum Rule<'s> {
    Entry { lane: &'s Lane, index: usize, rule: &'s EntryRule },
    Policy { index: usize, rule: &'s PolicyRule },
}

impl<'s> Recorder<'s> {
    pub(super) fn new(snapshot: &'s Snapshot, service: &'s str) -> Recorder<'s> {
        Recorder {
            snapshot,
            service,
            steps: Vec::new(),
            left_out: 0,
            told: Told::default(),
            led: Led::default(),
            rule: None,
            tests: Vec::new(),
            tests_left_out: 0,
            key: None,
            lane: None,
            candidates: Vec::new(),
        }
    }

    /// Marks the step that gave the tag, or took it away.
    pub(super) fn tag_came_from(&mut self, source: TagSource) {
        let told = &self.told;
        let step = match source {
            TagSource::Carried => told.handed_over.or(told.lane_off).or(told.carrier),
            TagSource::Rule => told.rule,
            TagSource::Correlated | TagSource::Kernel | TagSource::Inferred | TagSource::Pod => told.below,
            // A carrier without a tag is one that was refused.
            TagSource::None => told.handed_over.or(told.untrusted).or(told.carrier).or(told.below),
            TagSource::Unspecified => None,
        };
        self.mark(step);
    }

    /// Marks the step that led to the instance, or to none.
    pub(super) fn went_there_because(&mut self, why: Why) {
        let led = &self.led;
        let step = match why {
            Why::Hit => led.pool,
            Why::Policy => led.policy,
            Why::FallbackAbsent | Why::FallbackUnhealthy => led.chain,
            Why::LaneOff => led.lane_off,
            Why::Any => led.any,
            Why::Dialled => led.dialled,
            Why::StrictReject => led.chain_ends,
            Why::Baseline | Why::NoEndpoint => led.baseline,
            Why::AmbiguousReject => led.doubt,
            Why::Unspecified | Why::Passthrough | Why::Limited => None,
        };
        self.mark(step);
    }

    pub(super) fn was_handed_over(&mut self) {
        self.mark(self.led.hand_over);
    }

    fn mark(&mut self, step: Option<usize>) {
        if let Some(step) = step.and_then(|at| self.steps.get_mut(at)) {
            step.decided = true;
        }
    }

    pub(super) fn finish(mut self) -> ExplainRouteResponse {
        if self.left_out > 0 {
            let message = format!("{} further steps decided nothing and are left out", self.left_out);
            self.steps.push(Step { message, ..Step::default() });
        }
        let candidates = self.candidates.iter().take(CANDIDATES_MAX).map(|address| address.0.to_string());
        ExplainRouteResponse {
            candidate_endpoints: candidates.collect(),
            steps: self.steps,
            ..ExplainRouteResponse::default()
        }
    }

    /// A step that cannot have decided anything; beyond the bound it is only counted.
    fn plain(&mut self, resource: &str, field: impl Into<String>, message: impl Into<String>) {
        if self.is_full() {
            self.left_out += 1;
            return;
        }
        self.weighty(resource, field, message);
    }

    /// A step that may turn out to have decided: kept whatever the bound; one decision has a handful. Its position.
    fn weighty(&mut self, resource: &str, field: impl Into<String>, message: impl Into<String>) -> Option<usize> {
        let (resource, field, message) = (resource.to_owned(), field.into(), message.into());
        self.steps.push(Step { resource, field, decided: false, message });
        Some(self.steps.len() - 1)
    }

    fn is_full(&self) -> bool {
        self.steps.len() >= STEPS_MAX
    }

    fn group(&self) -> &'s str {
        &self.snapshot.group.name
    }

    fn service_id(&self) -> &'s str {
        name::id_of(self.service)
    }

    /// A policy has the name of its service.
    fn policy(&self) -> String {
        name::policy(name::namespace_of(self.service), self.service_id())
    }

    /// The tests that a rule has made so far become one step.
    fn flush_tests(&mut self) {
        let Some(rule) = self.rule else { return };
        let mut tests = std::mem::take(&mut self.tests);
        let more = std::mem::take(&mut self.tests_left_out);
        if tests.is_empty() {
            self.left_out += usize::from(more > 0);
            return;
        }
        let field = if tests.len() == 1 { std::mem::take(&mut tests[0].0) } else { "match".to_owned() };
        let mut words: Vec<String> = tests.into_iter().map(|(_, words)| words).collect();
        if more > 0 {
            words.push(format!("{more} more tests"));
        }
        self.plain(&rule.resource(self), rule.field(&field), words.join("; "));
    }

    fn share(&mut self, is_sticky: bool, hash: Option<u64>, basis_points: u32, is_in: bool) {
        self.flush_tests();
        let Some(rule) = self.rule else { return };
        let Some(hash) = hash else { return self.no_key(rule) };
        let message = format!(
            "{}: bucket {} of 10000, {} {basis_points} ({} %)",
            self.drawn_by(is_sticky),
            share::bucket(hash),
            if is_in { "below" } else { "not below" },
            f64::from(basis_points) / 100.0
        );
        self.plain(&rule.resource(self), rule.field("percent"), message);
    }

    fn weights(&mut self, is_sticky: bool, hash: Option<u64>, to: &[(Option<Tag>, u32)]) {
        self.flush_tests();
        let Some(rule) = self.rule else { return };
        let Some(hash) = hash else { return self.no_key(rule) };
        let sum: u64 = to.iter().map(|(_, weight)| u64::from(*weight)).sum();
        if to.len() < 2 || sum == 0 {
            return;
        }
        let weights: Vec<String> = to.iter().map(|(tag, weight)| format!("{} {weight}", tag_words(*tag))).collect();
        let message = format!("{}: {} of {sum} among {}", self.drawn_by(is_sticky), hash % sum, weights.join(", "));
        self.plain(&rule.resource(self), rule.field("to"), message);
    }

    fn drawn_by(&mut self, is_sticky: bool) -> String {
        match self.key.take() {
            Some(key) if is_sticky => key,
            _ => "by chance, anew for each request".to_owned(),
        }
    }

    fn no_key(&mut self, rule: Rule<'s>) {
        self.plain(&rule.resource(self), rule.field("sticky.by"), "none of the keys has a value: not matched");
    }

    fn policy_rule_done(&mut self, chosen: Option<Option<Tag>>) {
        self.flush_tests();
        let Some(Rule::Policy { index, .. }) = self.rule.take() else { return };
        if let Some(tag) = chosen {
            let message = format!("chooses {}", tag_words(tag));
            self.led.policy = self.weighty(&self.policy(), format!("rules[{index}]"), message);
        }
    }
}

impl<'s> Witness<'s> for Recorder<'s> {
    fn step(&mut self, step: impl FnOnce() -> witness::Step<'s>) {
        use witness::Step;
        match step() {
            Step::Carrier { carrier, tag, refused } => self.carrier(carrier, tag, refused),
            Step::CarriersRead if self.told.carrier.is_some() => {}
            Step::CarriersRead => {
                let message = format!("no tag is carried ({})", self.snapshot.group.tag_header);
                self.plain(self.group(), "tag.carriers", message);
            }
            Step::HandedOver => {
                let message = "handed over by another instance of the service, whose decision stands";
                self.told.handed_over = self.weighty(self.service, "", message);
            }
            Step::Untrusted => self.untrusted(),
            Step::CarriedLaneIsOff { lane, is_followed } => self.carried_lane_is_off(lane, is_followed),
            Step::RulesSkipped => {
                self.plain(self.group(), "", format!("{BASELINE} is carried: no rule is asked"));
            }
            Step::LanePassed { lane, reason } => self.lane_passed(lane, reason),
            Step::RulePassed { lane, index } => {
                let field = format!("entry.rules[{index}].override");
                self.plain(&lane.name, field, "the rule does not beat a carried tag");
            }
            Step::EntryRule { lane, index, rule } => self.rule = Some(Rule::Entry { lane, index, rule }),
            Step::PolicyRule { index, rule } => self.rule = Some(Rule::Policy { index, rule }),
            Step::Test { .. } if self.is_full() || self.tests.len() >= TESTS_MAX => self.tests_left_out += 1,
            Step::Test { test, value, holds } => {
                let Some(rule) = self.rule else { return };
                let field = rule.field_of(test);
                let under = if field.contains(".not") { "under not: " } else { "" };
                let words = format!("{under}{}", test.in_words(value.as_deref(), holds));
                self.tests.push((field, words));
            }
            Step::Key { source, value } => self.key = Some(source.is_value(Some(&value))),
            Step::Share { is_sticky, hash, basis_points, is_in } => self.share(is_sticky, hash, basis_points, is_in),
            Step::Weights { is_sticky, hash, to } => self.weights(is_sticky, hash, to),
            Step::EntryRuleDone { takes, is_dry } => self.entry_rule_done(takes, is_dry),
            Step::PolicyRuleDone { chosen } => self.policy_rule_done(chosen),
            Step::PolicyVoid { tag, is_off } => {
                let message = match is_off {
                    true => format!("the lane of {tag} is off: baseline"),
                    false => format!("{} has no usable instance with tag {tag}: baseline", self.service_id()),
                };
                self.plain(&self.policy(), "rules", message);
            }
            Step::Stamp(tag) => self.stamp(tag),
            Step::Ladder { tag, source, doubt } => self.ladder(tag, source, doubt),
            Step::HandOver { tag, to } => self.hand_over(tag, to.map(|endpoint| endpoint.address)),
            Step::KeepsDialled(endpoint) => {
                self.candidates = vec![endpoint.address];
                let message = format!("never: {}, which was dialled, is kept", endpoint.address.0);
                self.led.dialled = self.weighty(&self.policy(), "reselect", message);
            }
            Step::StaysDialled => {
                let message = "the instance that was dialled is one of these: bytes that are not read stay with it";
                self.led.dialled = self.weighty(self.service, "", message);
            }
            Step::OtherGroup(service) => {
                let message = format!("not of group {}: its {BASELINE}; the tag goes on", name::id_of(self.group()));
                self.plain(&service.name, "", message);
            }
            Step::LaneOf { tag, lane, is_followed } => self.lane_of(tag, lane, is_followed),
            Step::Pool { tag, health, fallback, verdict } => self.pool(tag, health, fallback, verdict),
            Step::Chain { index, tag } => self.chain(index, tag),
            Step::ChainSkips { tag } => {
                let (resource, field) = self.fallback();
                self.plain(resource, format!("{field}.chain"), format!("{tag} is the own tag, or its lane is off"));
            }
            Step::ChainEnds { is_strict } => self.chain_ends(is_strict),
            Step::Baseline { found } => self.baseline(found),
            Step::Any { found } => self.any(found),
            Step::Candidates(candidates) => self.candidates = candidates,
        }
    }
}

impl Rule<'_> {
    fn resource(self, recorder: &Recorder<'_>) -> String {
        match self {
            Rule::Entry { lane, .. } => lane.name.clone(),
            Rule::Policy { .. } => recorder.policy(),
        }
    }

    fn field(self, within: &str) -> String {
        match self {
            Rule::Entry { index, .. } => format!("entry.rules[{index}].{within}"),
            Rule::Policy { index, .. } => format!("rules[{index}].{within}"),
        }
    }

    fn field_of(self, test: &crate::condition::Test) -> String {
        match self {
            Rule::Entry { rule, .. } => rule.field_of(test),
            Rule::Policy { rule, .. } => rule.field_of(test),
        }
    }
}

fn tag_words(tag: Option<Tag>) -> String {
    tag.map_or_else(|| BASELINE.to_owned(), |tag| tag.to_string())
}
