//! Rules with their shares: an entry rule colours a request, a policy rule chooses a tag for one hop. Compiled by decode,
//! judged by check, drawn by decide.

use laneway_proto::contract::{
    BASIS_POINTS, RULES_MAX, SALT_BYTES_MAX, STICKY_KEYS_MAX, WEIGHT_MAX, WEIGHTED_TAGS_MAX,
};
use laneway_proto::routing;

use crate::condition::{Buffers, Condition, Refusal, Source, Test, contradiction};
use crate::facts::Facts;
use crate::share::{self, Dice};
use crate::tag::Tag;
use crate::witness::{Step, Witness};

/// Colours the requests that match.
pub(crate) struct EntryRule {
    pub(crate) name: String,
    condition: Option<Condition>,
    basis_points: u32,
    sticky: Option<Sticky>,
    /// Beats a carried tag.
    pub(crate) overrides: bool,
}

/// Chooses the tag of the instance for one call.
pub(crate) struct PolicyRule {
    condition: Option<Condition>,
    /// `None` is baseline.
    to: Vec<(Option<Tag>, u32)>,
    sticky: Option<Sticky>,
}

/// Keeps a caller on one side of a share.
struct Sticky {
    by: Vec<Source>,
    salt: Vec<u8>,
}

impl EntryRule {
    pub(crate) fn compile(from: &routing::EntryRule, field: &str, refusals: &mut Vec<Refusal>) -> Option<EntryRule> {
        let before = refusals.len();
        let condition =
            from.r#match.as_ref().map(|match_| Condition::compile(match_, &format!("{field}.match"), refusals));
        let basis_points = from.percent.as_ref().map_or(BASIS_POINTS, |percent| percent.basis_points);
        if basis_points > BASIS_POINTS {
            let message = format!("a percentage is 0 % to 100 %, not {} %", f64::from(basis_points) / 100.0);
            refusals.push(Refusal::new(&format!("{field}.percent"), "OUT_OF_RANGE", message));
        }
        let sticky = from.sticky.as_ref().map(|sticky| Sticky::compile(sticky, &format!("{field}.sticky"), refusals));
        (refusals.len() == before).then(|| EntryRule {
            name: from.name.clone(),
            condition: condition.flatten(),
            basis_points,
            sticky: sticky.flatten(),
            overrides: from.r#override,
        })
    }

    /// Why no request can match, where that is certain.
    pub(crate) fn contradiction(&self, from: &routing::EntryRule) -> Option<String> {
        if self.basis_points == 0 {
            return Some("no request can match: the share is 0 %".to_owned());
        }
        contradiction(self.condition.as_ref().zip(from.r#match.as_ref()), keys(self.sticky.as_ref()))
    }

    /// Does it look at more of the caller than the address?
    pub(crate) fn asks_who_calls(&self) -> bool {
        self.condition.as_ref().is_some_and(Condition::asks_who_calls)
            || keys(self.sticky.as_ref()).iter().any(Source::is_who_calls)
    }

    /// Does the rule take this request? The share is its last condition.
    pub(crate) fn takes<'s>(
        &'s self,
        facts: &Facts<'_>,
        buffers: &mut Buffers,
        dice: &mut Dice,
        witness: &mut impl Witness<'s>,
    ) -> bool {
        if self.condition.as_ref().is_some_and(|condition| !condition.holds(facts, buffers, witness)) {
            return false;
        }
        let (hash, is_sticky) = match &self.sticky {
            None if self.basis_points == BASIS_POINTS => return true,
            None => (Some(dice.throw()), false),
            Some(sticky) => (sticky.hash(facts, buffers, witness), true),
        };
        let basis_points = self.basis_points;
        let is_in = hash.is_some_and(|hash| share::is_in(hash, basis_points));
        witness.step(|| Step::Share { is_sticky, hash, basis_points, is_in });
        is_in
    }

    /// Where a test of this rule stands in it: `match.all[1]`.
    pub(crate) fn field_of(&self, test: &Test) -> String {
        field_of(self.condition.as_ref(), test)
    }
}

impl PolicyRule {
    pub(crate) fn compile(from: &routing::PolicyRule, field: &str, refusals: &mut Vec<Refusal>) -> Option<PolicyRule> {
        let before = refusals.len();
        let condition =
            from.r#match.as_ref().map(|match_| Condition::compile(match_, &format!("{field}.match"), refusals));
        if from.to.is_empty() || from.to.len() > WEIGHTED_TAGS_MAX {
            let message = format!("a rule names 1 to {WEIGHTED_TAGS_MAX} tags, not {}", from.to.len());
            refusals.push(Refusal::new(&format!("{field}.to"), "OUT_OF_RANGE", message));
        }
        let mut to = Vec::with_capacity(from.to.len());
        for (index, outcome) in from.to.iter().enumerate() {
            let field = format!("{field}.to[{index}]");
            let weight = outcome.weight.unwrap_or(1);
            if weight > WEIGHT_MAX {
                let message = format!("a weight is at most {WEIGHT_MAX}, not {weight}");
                refusals.push(Refusal::new(&format!("{field}.weight"), "OUT_OF_RANGE", message));
            }
            match tag_or_baseline(&outcome.tag) {
                Ok(tag) => to.push((tag, weight)),
                Err(error) => refusals.push(Refusal::new(&format!("{field}.tag"), "INVALID_TAG", error.to_string())),
            }
        }
        if !to.is_empty() && to.iter().all(|(_, weight)| *weight == 0) {
            let message = "all weights are 0, so nothing could be chosen";
            refusals.push(Refusal::new(&format!("{field}.to"), "OUT_OF_RANGE", message));
        }
        let sticky = from.sticky.as_ref().map(|sticky| Sticky::compile(sticky, &format!("{field}.sticky"), refusals));
        (refusals.len() == before).then(|| PolicyRule { condition: condition.flatten(), to, sticky: sticky.flatten() })
    }

    /// Why no request can match, where that is certain.
    pub(crate) fn contradiction(&self, from: &routing::PolicyRule) -> Option<String> {
        contradiction(self.condition.as_ref().zip(from.r#match.as_ref()), keys(self.sticky.as_ref()))
    }

    /// The tag (`Some(None)` is baseline) that the rule chooses; `None`: it has not matched.
    pub(crate) fn choose<'s>(
        &'s self,
        facts: &Facts<'_>,
        buffers: &mut Buffers,
        dice: &mut Dice,
        witness: &mut impl Witness<'s>,
    ) -> Option<Option<Tag>> {
        if self.condition.as_ref().is_some_and(|condition| !condition.holds(facts, buffers, witness)) {
            return None;
        }
        let (hash, is_sticky) = match &self.sticky {
            Some(sticky) => (sticky.hash(facts, buffers, witness), true),
            None if self.to.len() == 1 => (Some(0), false),
            None => (Some(dice.throw()), false),
        };
        witness.step(|| Step::Weights { is_sticky, hash, to: &self.to });
        share::choose(hash?, self.to.iter().map(|(_, weight)| *weight)).map(|index| self.to[index].0)
    }

    /// Where a test of this rule stands in it: `match.all[1]`.
    pub(crate) fn field_of(&self, test: &Test) -> String {
        field_of(self.condition.as_ref(), test)
    }
}

impl Sticky {
    fn compile(from: &routing::Sticky, field: &str, refusals: &mut Vec<Refusal>) -> Option<Sticky> {
        let before = refusals.len();
        if from.by.is_empty() || from.by.len() > STICKY_KEYS_MAX {
            let message = format!("sticky names 1 to {STICKY_KEYS_MAX} keys, not {}", from.by.len());
            refusals.push(Refusal::new(&format!("{field}.by"), "OUT_OF_RANGE", message));
        }
        let mut by = Vec::with_capacity(from.by.len());
        for (index, key) in from.by.iter().enumerate() {
            match Source::of_key(key, &format!("{field}.by[{index}]")) {
                Ok(source) => by.push(source),
                Err(refusal) => refusals.push(refusal),
            }
        }
        if from.salt.len() > SALT_BYTES_MAX || from.salt.contains('\0') {
            let message = format!("a salt has at most {SALT_BYTES_MAX} bytes and no NUL");
            refusals.push(Refusal::new(&format!("{field}.salt"), "OUT_OF_RANGE", message));
        }
        (refusals.len() == before).then(|| Sticky { by, salt: from.salt.as_bytes().to_vec() })
    }

    /// Hash of the first key that yields a value which is not empty.
    fn hash<'s>(&'s self, facts: &Facts<'_>, buffers: &mut Buffers, witness: &mut impl Witness<'s>) -> Option<u64> {
        self.by.iter().find_map(|source| {
            let value = buffers.read(source, facts).filter(|value| !value.is_empty())?;
            witness.step(|| Step::Key { source, value: value.to_vec() });
            Some(share::hash(&self.salt, value))
        })
    }
}

fn keys(sticky: Option<&Sticky>) -> &[Source] {
    sticky.map_or(&[], |sticky| &sticky.by)
}

fn field_of(condition: Option<&Condition>, test: &Test) -> String {
    let path = condition.and_then(|condition| condition.path_of(test));
    format!("match{}", path.unwrap_or_default())
}

/// A tag; `baseline` and the empty text are baseline.
pub(crate) fn tag_or_baseline(text: &str) -> Result<Option<Tag>, crate::tag::TagError> {
    if text.is_empty() || text == laneway_proto::contract::BASELINE {
        return Ok(None);
    }
    Tag::parse(text.as_bytes()).map(Some)
}

/// Compiles a list of rules with unique names.
pub(crate) fn compile_list<'f, From, To>(
    from: &'f [From],
    field: &str,
    refusals: &mut Vec<Refusal>,
    name: impl Fn(&From) -> &str,
    compile: impl Fn(&'f From, &str, &mut Vec<Refusal>) -> Option<To>,
) -> Vec<To> {
    if from.len() > RULES_MAX {
        let message = format!("at most {RULES_MAX} rules, not {}", from.len());
        refusals.push(Refusal::new(field, "TOO_LARGE", message));
        return Vec::new();
    }
    let mut seen = std::collections::HashSet::new();
    let mut rules = Vec::with_capacity(from.len());
    for (index, rule) in from.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let name = name(rule);
        if !name.is_empty() && !seen.insert(name.to_owned()) {
            let message = format!("a second rule is named {name:?}");
            refusals.push(Refusal::new(&format!("{field}.name"), "DUPLICATE_NAME", message));
        }
        if !name.is_empty() && !is_rule_name(name) {
            let message = format!("{name:?} is no name of a rule");
            let help = "a-z, 0-9 and '-', at most 63 bytes";
            refusals.push(Refusal::new(&format!("{field}.name"), "INVALID_NAME", message).help(help));
        }
        rules.extend(compile(rule, &field, refusals));
    }
    rules
}

/// The grammar of a tag; here `baseline` is a word like any other.
fn is_rule_name(name: &str) -> bool {
    matches!(Tag::parse(name.as_bytes()), Ok(_) | Err(crate::tag::TagError::Reserved))
}
