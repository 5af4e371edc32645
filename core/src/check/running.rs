//! What is written beside what runs: tags without a lane, callers without a sidecar, sockets of two services.

use std::collections::{BTreeMap, BTreeSet};

use laneway_proto::routing::{BaselineMode, TagTrust};
use laneway_proto::{admin, routing};

use super::objects::Whole;
use super::{Report, code};
use crate::compile::Catalog;
use crate::name;
use crate::tag::Tag;

/// Instances whose tag no lane of their group has, one finding for each group and tag. A group without any lane is one that
/// works without configuration.
pub(super) fn tags_without_lane(whole: &Whole<'_>) -> Vec<admin::Diagnostic> {
    let mut counts: BTreeMap<(String, Tag), usize> = BTreeMap::new();
    for (service, document) in &whole.catalog.services {
        let group = whole.membership.group_of(service);
        let baseline = whole.objects.groups.get(&group).and_then(|group| group.baseline.as_ref());
        // With that mode such instances are meant to be baseline.
        if baseline.is_some_and(|baseline| baseline.mode() == BaselineMode::NotInEnabledLanes)
            || !whole.has_lanes(&group)
        {
            continue;
        }
        let baseline_tag = whole.baseline_tag(&group);
        for tag in document.endpoints.iter().filter_map(|endpoint| endpoint.tag) {
            let tag_text = tag.to_string();
            if tag_text != baseline_tag && !whole.has_lane(&group, &tag_text) {
                *counts.entry((group.clone(), tag)).or_default() += 1;
            }
        }
    }
    let mut found = Vec::new();
    for ((group, tag), count) in counts {
        let mut report = Report::new(&group);
        let instances = if count == 1 { "1 instance has".to_owned() } else { format!("{count} instances have") };
        let message = format!("{instances} the tag `{tag}`, which no lane of the group `{}` has", name::id_of(&group));
        let help = "correct the tag, or create the Lane; until then it is routed as a permissive lane";
        report.warning(code::NO_LANE, "services", message, help);
        found.append(&mut report.diagnostics);
    }
    found
}

/// Tags that a policy chooses and no instance of its service has.
pub(super) fn policy_tags(report: &mut Report, whole: &Whole<'_>, service: &str, rules: &[routing::PolicyRule]) {
    let Some(document) = whole.catalog.services.get(service) else { return };
    let tags: BTreeSet<String> = document.endpoints.iter().filter_map(|e| e.tag).map(|tag| tag.to_string()).collect();
    let baseline_tag = whole.baseline_tag(&whole.membership.group_of(service));
    for (at, rule) in rules.iter().enumerate() {
        for (position, to) in rule.to.iter().enumerate().filter(|(_, to)| to.weight != Some(0)) {
            let is_tag = Tag::parse(to.tag.as_bytes()).is_ok() && to.tag != baseline_tag;
            if is_tag && !tags.contains(&to.tag) {
                let message = format!("no instance of `{}` has the tag `{}`", name::id_of(service), to.tag);
                let help = "such calls go to baseline; start instances with LANEWAY_TAG set to it";
                report.warning(code::NO_TAG, &format!("rules[{at}].to[{position}].tag"), message, help);
            }
        }
    }
}

/// Groups that believe tags from anybody, although their lanes have entries and some who may call have no sidecar that
/// would vouch for them. Where nobody has one, discovery does not know of sidecars, and nothing is said.
pub(super) fn trust(whole: &Whole<'_>) -> Vec<admin::Diagnostic> {
    let services = whole.catalog.services.iter();
    let instances = || services.clone().flat_map(|(name, d)| d.endpoints.iter().map(move |endpoint| (name, endpoint)));
    let unmeshed = instances().find(|(_, endpoint)| !endpoint.meshed);
    let Some((service, unmeshed)) = unmeshed.filter(|_| instances().any(|(_, endpoint)| endpoint.meshed)) else {
        return Vec::new();
    };
    let mut entered = BTreeMap::new();
    for (name, lane) in &whole.objects.lanes {
        let is_entered = lane.entry.as_ref().is_some_and(|entry| !entry.services.is_empty());
        if let Some(group) = name::parent_group(name).filter(|_| is_entered && lane.enabled.unwrap_or(true)) {
            entered.entry(group).or_insert(name);
        }
    }
    let mut found = Vec::new();
    for (group, lane) in entered {
        let trust = whole.objects.groups.get(group).and_then(|group| group.tag.as_ref()).map(|tag| tag.trust());
        if !matches!(trust, None | Some(TagTrust::Unspecified | TagTrust::Any)) {
            continue;
        }
        let mut report = Report::new(group);
        let message = format!(
            "who has no sidecar, such as {} of `{}`, can send any tag to the entry services of the lane `{}`",
            unmeshed.address,
            name::id_of(service),
            name::id_of(lane),
        );
        let help =
            "`mesh` believes callers with a sidecar, `none` the rules alone; `any` is right where testers send the tag";
        report.warning(code::TRUST, "tag.trust", message, help);
        found.append(&mut report.diagnostics);
    }
    found
}

/// Sockets of two services: only one of them can be who is there.
pub(super) fn sockets(catalog: &Catalog) -> Vec<admin::Diagnostic> {
    let mut owners = BTreeMap::new();
    let mut found = Vec::new();
    for (service, document) in &catalog.services {
        for (at, endpoint) in document.endpoints.iter().enumerate() {
            let first = *owners.entry(endpoint.address).or_insert(service);
            if first != service {
                let mut report = Report::new(service);
                let message = format!("{} is an instance of `{}` too", endpoint.address, name::id_of(first));
                let help = "an instance is of one service; here it is taken for one of the other";
                report.warning(code::SOCKET_TWICE, &format!("endpoints[{at}].address"), message, help);
                found.append(&mut report.diagnostics);
            }
        }
    }
    found
}
