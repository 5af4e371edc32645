//! Rules as a sidecar needs them: names and salts filled in, header names in lower case, lists sorted.

use std::collections::BTreeSet;

use laneway_proto::contract::BASELINE;
use laneway_proto::routing::{Condition, EntryRule, PolicyRule, Sticky, WeightedTag, condition, sticky_key};

/// `salt` stands in where a rule gives none.
pub(crate) fn entry_rules(rules: &[EntryRule], salt: &str) -> Vec<EntryRule> {
    rules.iter().enumerate().map(|(at, rule)| entry_rule(at, rule, salt)).collect()
}

/// `baseline_tag`: what else means baseline to the service's group.
pub(crate) fn policy_rules(rules: &[PolicyRule], salt: &str, baseline_tag: &str) -> Vec<PolicyRule> {
    rules.iter().enumerate().map(|(at, rule)| policy_rule(at, rule, salt, baseline_tag)).collect()
}

fn entry_rule(at: usize, rule: &EntryRule, salt: &str) -> EntryRule {
    let mut rule = rule.clone();
    name(&mut rule.name, at);
    if let Some(found) = &mut rule.r#match {
        condition(found);
    }
    if let Some(found) = &mut rule.sticky {
        sticky(found, salt);
    }
    rule
}

fn policy_rule(at: usize, rule: &PolicyRule, salt: &str, baseline_tag: &str) -> PolicyRule {
    let mut rule = rule.clone();
    name(&mut rule.name, at);
    if let Some(found) = &mut rule.r#match {
        condition(found);
    }
    for to in &mut rule.to {
        *to = WeightedTag { tag: tag(&to.tag, baseline_tag), weight: Some(to.weight.unwrap_or(1)) };
    }
    if let Some(found) = &mut rule.sticky {
        sticky(found, salt);
    }
    rule
}

/// A tag of a document on the wire: baseline is "".
pub(super) fn tag(written: &str, baseline_tag: &str) -> String {
    if written == BASELINE || written == baseline_tag { String::new() } else { written.to_owned() }
}

fn name(name: &mut String, at: usize) {
    if name.is_empty() {
        *name = at.to_string();
    }
}

fn sticky(sticky: &mut Sticky, salt: &str) {
    if sticky.salt.is_empty() {
        sticky.salt = salt.to_owned();
    }
    for key in &mut sticky.by {
        if let Some(sticky_key::Source::Header(header)) = &mut key.source {
            header.make_ascii_lowercase();
        }
    }
}

fn condition(condition: &mut Condition) {
    if let Some(condition::Source::Header(header)) = &mut condition.source {
        header.make_ascii_lowercase();
    }
    condition.r#in.sort_unstable();
    condition.r#in.dedup();
    if let Some(condition::Operator::Mod(modulo)) = &mut condition.operator {
        modulo.remainders.sort_unstable();
        modulo.remainders.dedup();
    }
    for inner in condition.all.iter_mut().chain(&mut condition.any) {
        self::condition(inner);
    }
    if let Some(inner) = &mut condition.not {
        self::condition(inner);
    }
}

/// Adds the headers that a policy's rules look at, in lower case.
pub(super) fn tested_headers(rules: &[PolicyRule], headers: &mut BTreeSet<String>) {
    for rule in rules {
        if let Some(condition) = &rule.r#match {
            tested_by(condition, headers);
        }
        for key in rule.sticky.iter().flat_map(|s| &s.by) {
            if let Some(sticky_key::Source::Header(header)) = &key.source {
                headers.insert(header.to_ascii_lowercase());
            }
        }
    }
}

fn tested_by(condition: &Condition, headers: &mut BTreeSet<String>) {
    if let Some(condition::Source::Header(header)) = &condition.source {
        headers.insert(header.to_ascii_lowercase());
    }
    for inner in condition.all.iter().chain(&condition.any).chain(condition.not.as_deref()) {
        tested_by(inner, headers);
    }
}
