//! Rules that do nothing: no request can match, or an earlier rule takes all that would. Warnings: what is odd today may be
//! the first half of a change.

use laneway_proto::contract::BASIS_POINTS;
use laneway_proto::routing::{Attribute, Condition, EntryRule, PolicyRule, condition};

use super::{Report, code};

/// `judged`: the path of each rule that is none the less right, and why no request can match it.
pub(super) fn entry(report: &mut Report, rules: &[EntryRule], judged: Vec<(String, Option<String>)>) {
    never(report, judged);
    for (at, rule) in rules.iter().enumerate() {
        let path = format!("entry.rules[{at}]");
        let takes_all = |earlier: &&EntryRule| {
            let is_whole = earlier.percent.is_none_or(|percent| percent.basis_points == BASIS_POINTS);
            // A rule that overrides is asked about tagged requests too.
            let is_asked_as_often = earlier.r#override || !rule.r#override;
            is_whole
                && is_asked_as_often
                && earlier.sticky.is_none()
                && covers(earlier.r#match.as_ref(), rule.r#match.as_ref())
        };
        behind(report, &path, rules[..at].iter().find(takes_all).map(|earlier| &*earlier.name));
        odd_values(report, rule.r#match.as_ref(), &format!("{path}.match"));
    }
}

/// As [`entry`].
pub(super) fn policy(report: &mut Report, rules: &[PolicyRule], judged: Vec<(String, Option<String>)>) {
    never(report, judged);
    for (at, rule) in rules.iter().enumerate() {
        let path = format!("rules[{at}]");
        let takes_all =
            |earlier: &&PolicyRule| earlier.sticky.is_none() && covers(earlier.r#match.as_ref(), rule.r#match.as_ref());
        behind(report, &path, rules[..at].iter().find(takes_all).map(|earlier| &*earlier.name));
        odd_values(report, rule.r#match.as_ref(), &format!("{path}.match"));
    }
}

fn never(report: &mut Report, judged: Vec<(String, Option<String>)>) {
    for (path, why) in judged {
        if let Some(why) = why {
            report.warning(code::NEVER, &path, why, "correct the rule, or leave it out");
        }
    }
}

fn covers(earlier: Option<&Condition>, later: Option<&Condition>) -> bool {
    earlier.is_none() || earlier == later
}

fn behind(report: &mut Report, path: &str, earlier: Option<&str>) {
    if let Some(earlier) = earlier {
        let message = format!("the rule `{earlier}` before it takes every request that this one could");
        report.warning(code::BEHIND, path, message, "put it before that rule, or leave it out");
    }
}

/// Values that a request may have by the letter, and none has that anybody sends.
fn odd_values(report: &mut Report, condition: Option<&Condition>, path: &str) {
    let Some(condition) = condition else { return };
    if !condition.ignore_case
        && let Some((value, help)) = values(condition).find_map(|value| Some((value, odd(condition, value)?)))
    {
        let message = format!("no ordinary request has the value `{value}`");
        report.warning(code::ODD_VALUE, path, message, help);
    }
    for (at, inner) in condition.all.iter().enumerate() {
        odd_values(report, Some(inner), &format!("{path}.all[{at}]"));
    }
    for (at, inner) in condition.any.iter().enumerate() {
        odd_values(report, Some(inner), &format!("{path}.any[{at}]"));
    }
    odd_values(report, condition.not.as_deref(), &format!("{path}.not"));
}

fn values(condition: &Condition) -> impl Iterator<Item = &String> {
    let exact = match &condition.operator {
        Some(condition::Operator::Exact(value)) => Some(value),
        _ => None,
    };
    exact.into_iter().chain(&condition.r#in)
}

fn odd(condition: &Condition, value: &str) -> Option<&'static str> {
    let Some(condition::Source::Attribute(attribute)) = &condition.source else { return None };
    match Attribute::try_from(*attribute) {
        Ok(Attribute::Method) => {
            const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
            let is_one = METHODS.iter().any(|method| method.eq_ignore_ascii_case(value) && *method != value);
            is_one.then_some("methods are in capitals, and compared with regard to case")
        }
        Ok(Attribute::GrpcMethod) => {
            let is_one = value
                .split_once('/')
                .is_some_and(|(service, method)| !service.is_empty() && !method.is_empty() && !method.contains('/'));
            (!is_one).then_some("package.Service/Method, with no / before it")
        }
        _ => None,
    }
}
