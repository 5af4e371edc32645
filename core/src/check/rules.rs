//! Rules, judged by the very code that sidecars decode them with, in the form in which they would be sent.

use laneway_proto::routing;

use super::{Report, code, reach, unsupported};
use crate::compile::{wire_entry_rules, wire_policy_rules};
use crate::condition::Refusal;
use crate::rule::{self, EntryRule, PolicyRule};

pub(super) fn entry(report: &mut Report, rules: &[routing::EntryRule]) {
    let mut refusals = Vec::new();
    let rules = wire_entry_rules(rules, "");
    let compile = |from, field: &str, refusals: &mut Vec<Refusal>| {
        EntryRule::compile(from, field, refusals).map(|rule| (field.to_owned(), rule.contradiction(from)))
    };
    let judged = rule::compile_list(&rules, "entry.rules", &mut refusals, |rule| &rule.name, compile);
    refusals.into_iter().for_each(|refusal| report.refusal(refusal));
    reach::entry(report, &rules, judged);
}

pub(super) fn policy(report: &mut Report, rules: &[routing::PolicyRule]) {
    let mut refusals = Vec::new();
    let rules = wire_policy_rules(rules, "", "");
    let compile = |from, field: &str, refusals: &mut Vec<Refusal>| {
        PolicyRule::compile(from, field, refusals).map(|rule| (field.to_owned(), rule.contradiction(from)))
    };
    let judged = rule::compile_list(&rules, "rules", &mut refusals, |rule| &rule.name, compile);
    refusals.into_iter().for_each(|refusal| report.refusal(refusal));
    reach::policy(report, &rules, judged);
}

impl Report {
    fn refusal(&mut self, refusal: Refusal) {
        let field = json_path(&refusal.field);
        if refusal.is_unsupported {
            // Most are known from the document alone, and reported.
            if !self.unsupported.contains(&field) {
                self.error(unsupported::CODE, &field, refusal.message, "leave it out");
            }
            return;
        }
        let in_sticky = field.contains(".sticky");
        let code = match refusal.reason {
            "INVALID_REGEX" => code::REGEX,
            "INVALID_TAG" => code::TAG,
            "INVALID_NAME" | "DUPLICATE_NAME" => code::RULE_NAME,
            "UNKNOWN_ENUM" => code::ENUM,
            _ if in_sticky => code::STICKY,
            "TOO_LARGE" if field.contains(".match") => code::CONDITION_SIZE,
            "TOO_LARGE" => code::TOO_MANY,
            _ if field.ends_with(".percent") => code::PERCENT,
            _ if field.contains(".to") && !field.contains(".match") => code::WEIGHTS,
            _ => code::CONDITION,
        };
        let help = match refusal.help.as_str() {
            "" => help(code),
            help => help,
        };
        self.error(code, &field, refusal.message, help);
    }
}

fn help(code: &str) -> &'static str {
    match code {
        code::REGEX => "the syntax of Rust's regex crate: no look-around, no back-references; at most 1 KiB",
        code::TAG => crate::document::ID_HELP,
        code::RULE_NAME => "a name of its own for each rule: a-z, 0-9 and '-', at most 63 bytes; unnamed, its position",
        code::STICKY => {
            "1 to 4 keys, each a header, cookie, query parameter, JWT claim or attribute; a salt of at most 128 bytes"
        }
        code::CONDITION_SIZE => "at most 8 levels, 256 tests, and in a rule 100,000 values of 4 MiB; split the rule",
        code::TOO_MANY => "at most 256 rules",
        code::PERCENT => "0% to 100%",
        code::WEIGHTS => "1 to 16 tags, weights 0 to 1,000,000, not all 0",
        code::ENUM => "a value of the contract",
        _ => "one source with one operator, or one of all, any, not",
    }
}

/// `rules[0].match.dubbo_argument` as documents name it: `rules[0].match.dubboArgument`.
pub(super) fn json_path(path: &str) -> String {
    let mut json = String::with_capacity(path.len());
    let mut upper = false;
    for c in path.chars() {
        if c == '_' {
            upper = true;
        } else {
            json.push(if upper { c.to_ascii_uppercase() } else { c });
            upper = false;
        }
    }
    json
}
