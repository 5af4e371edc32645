//! Groups, lanes and policies, one by one and against each other.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use laneway_proto::contract::{BASELINE, CORRELATE_HEADERS_MAX, GROUP_DEFAULT, PASS_HEADERS_MAX, SALT_BYTES_MAX};
use laneway_proto::{admin, routing};

use super::{Report, code, conduct, rules, running, unsupported};
use crate::compile::{Catalog, Membership, Objects, lane_tag, members, policy_service};
use crate::name;
use crate::snapshot::EndpointState;
use crate::tag::Tag;

/// Services of a lane that may differ.
const OVERRIDES_MAX: usize = 256;

/// The whole, as one object sees it.
pub(super) struct Whole<'w> {
    pub(super) objects: &'w Objects,
    pub(super) catalog: &'w Catalog,
    pub(super) membership: Membership,
    /// By service: the policy that sends requests to tags.
    tagging: BTreeMap<String, &'w str>,
    /// Groups by the service, or the `*`, that they name.
    owners: BTreeMap<String, Vec<&'w str>>,
    /// Lanes by group and tag, and by group and priority where they have rules.
    tags: BTreeMap<(&'w str, &'w str), Vec<&'w str>>,
    priorities: BTreeMap<(&'w str, i32), Vec<&'w str>>,
    /// Groups and tags of ready instances.
    ready: HashSet<(String, Tag)>,
}

impl<'w> Whole<'w> {
    pub(super) fn new(objects: &'w Objects, catalog: &'w Catalog) -> Whole<'w> {
        let mut whole = Whole {
            objects,
            catalog,
            membership: Membership::of(objects),
            tagging: BTreeMap::new(),
            owners: BTreeMap::new(),
            tags: BTreeMap::new(),
            priorities: BTreeMap::new(),
            ready: HashSet::new(),
        };
        for (group_name, group) in &objects.groups {
            let services: BTreeSet<String> = members(group_name, group)
                .into_iter()
                .map(|s| name::service_reference(name::namespace_of(group_name), s))
                .collect();
            for service in services {
                whole.owners.entry(service).or_default().push(group_name);
            }
        }
        for (lane_name, lane) in &objects.lanes {
            let group = name::parent_group(lane_name).unwrap_or_default();
            whole.tags.entry((group, lane_tag(lane_name, lane))).or_default().push(lane_name);
            if lane.entry.as_ref().is_some_and(|e| !e.rules.is_empty()) {
                whole.priorities.entry((group, lane.priority)).or_default().push(lane_name);
            }
        }
        for (policy_name, policy) in &objects.policies {
            let service = policy_service(policy_name, policy);
            let tags = policy.rules.iter().flat_map(|r| &r.to).any(|to| to.tag != BASELINE);
            if tags {
                whole.tagging.entry(service).or_insert(policy_name);
            }
        }
        for (service, document) in &catalog.services {
            let usable = |state| matches!(state, EndpointState::Ready | EndpointState::Warming);
            let ready = document.endpoints.iter().filter(|e| usable(e.state));
            let tags: HashSet<Tag> = ready.filter_map(|e| e.tag).collect();
            whole.ready.extend(tags.into_iter().map(|tag| (whole.membership.group_of(service), tag)));
        }
        whole
    }

    fn unknown_service(&self, report: &mut Report, field: &str, service: &str) {
        if !self.catalog.services.contains_key(service) {
            let message = format!("no service `{service}` is known");
            report.warning(code::NO_SERVICE, field, message, "check its name, or start an instance of it");
        }
    }

    pub(super) fn group(&self, group_name: &str, group: &admin::LaneGroup) -> Vec<admin::Diagnostic> {
        let mut report = Report::new(group_name);
        let namespace = name::namespace_of(group_name);
        unsupported::group_parts(&mut report, group);
        report.about(&group.description, group.labels.len());
        for (at, written) in group.services.iter().enumerate() {
            let field = format!("services[{at}]");
            let Some(service) = report.member(&field, namespace, written) else { continue };
            let others = self.owners.get(&service).into_iter().flatten();
            if let Some(other) = others.copied().find(|other| *other != group_name) {
                let message = format!("the group `{}` has `{written}` too", name::id_of(other));
                let help = "a service is in one group, and one group takes `*`: remove it from one of them";
                report.error(code::OVERLAP, &field, message, help);
            } else if !service.ends_with("/*") {
                self.unknown_service(&mut report, &field, &service);
            }
        }
        if group.services.is_empty() && name::id_of(group_name) != GROUP_DEFAULT {
            let all = name::service(namespace, "*");
            let others = self.owners.get(&all).into_iter().flatten();
            if let Some(other) = others.copied().find(|other| *other != group_name) {
                let message =
                    format!("the group `{}` takes every service too (no `services` is `*`)", name::id_of(other));
                report.error(code::OVERLAP, "services", message, "name the services of one of the two groups");
            }
        }
        let baseline = group.baseline.as_ref();
        let baseline_tag = baseline.map_or("", |b| b.tag.as_str());
        if let Some(baseline) = baseline {
            if !baseline.tag.is_empty() {
                report.tag("baseline.tag", &baseline.tag);
            }
            report.known::<routing::BaselineMode>("baseline.mode", baseline.mode);
        }
        let own = transport(&mut report, group.tag.as_ref());
        propagation(&mut report, group.propagate.as_ref(), &own);
        report.fallback("fallback", group.fallback.as_ref(), "", baseline_tag);
        report.known::<routing::PathHeader>("pathHeader", group.path_header);
        report.diagnostics
    }

    pub(super) fn lane(&self, lane_name: &'w str, lane: &'w admin::Lane) -> Vec<admin::Diagnostic> {
        let mut report = Report::new(lane_name);
        let group_name = name::parent_group(lane_name).unwrap_or_default();
        let group = self.objects.groups.get(group_name);
        let baseline_tag = self.baseline_tag(group_name);
        let tag = lane_tag(lane_name, lane);
        unsupported::lane_parts(&mut report, lane);
        report.about(&lane.description, lane.labels.len());
        report.expiration(lane);
        report.guard(lane.guard.as_ref());
        if group.is_none() && name::id_of(group_name) != GROUP_DEFAULT {
            let message = format!("there is no group `{}`", name::id_of(group_name));
            report.error(code::GROUP, "group", message, "create the LaneGroup, or leave `group` out for `default`");
        }
        report.tag("tag", tag);
        let other = |others: Option<&Vec<&'w str>>| {
            others.into_iter().flatten().find(|o| **o != lane_name).map(|o| name::id_of(o))
        };
        if let Some(other) = other(self.tags.get(&(group_name, tag))) {
            let message = format!("the lane `{other}` of this group has the tag `{tag}` too");
            report.error(code::TAG_TWICE, "tag", message, "give each lane of a group its own tag");
        }
        if tag == baseline_tag {
            let message = format!("`{tag}` is the group's baseline tag");
            report.error(code::TAG_TWICE, "tag", message, "another tag, or another `baseline.tag`");
        }
        let has_rules = lane.entry.as_ref().is_some_and(|e| !e.rules.is_empty());
        if let Some(other) = other(self.priorities.get(&(group_name, lane.priority)))
            && has_rules
        {
            let message = format!("the lane `{other}` has rules at priority {} too", lane.priority);
            let help = "each lane of a group that has rules needs its own priority; the larger comes first";
            report.error(code::PRIORITY, "priority", message, help);
        }
        if let Some(entry) = &lane.entry {
            self.entry(&mut report, lane_name, group_name, entry);
        }
        report.fallback("fallback", lane.fallback.as_ref(), tag, baseline_tag);
        if lane.service_overrides.len() > OVERRIDES_MAX {
            let message = format!("{} services are overridden", lane.service_overrides.len());
            report.error(code::TOO_MANY, "serviceOverrides", message, "at most 256");
        }
        for (written, other) in &lane.service_overrides {
            let field = format!("serviceOverrides.{written}");
            if let Some(service) = report.service(&field, name::namespace_of(lane_name), written) {
                self.unknown_service(&mut report, &field, &service);
            }
            report.fallback(&format!("{field}.fallback"), other.fallback.as_ref(), tag, baseline_tag);
        }
        if lane.enabled.unwrap_or(true) && !self.has_ready_instance(group_name, tag) {
            let message = format!("no ready instance has the tag `{tag}`: every request of the lane falls back");
            report.warning(code::NO_INSTANCE, "tag", message, "start instances with LANEWAY_TAG set to it");
        }
        report.diagnostics
    }

    fn entry(&self, report: &mut Report, lane_name: &str, group_name: &str, entry: &routing::Entry) {
        for (at, written) in entry.services.iter().enumerate() {
            let field = format!("entry.services[{at}]");
            let Some(service) = report.service(&field, name::namespace_of(lane_name), written) else { continue };
            self.unknown_service(report, &field, &service);
            let owner = self.membership.group_of(&service);
            if owner != group_name {
                let message = format!("`{written}` is in the group `{}`: it never sees this lane", name::id_of(&owner));
                report.warning(code::OTHER_GROUP, &field, message, "an entry service belongs to the lane's group");
            }
            if let Some(policy) = self.tagging.get(&service).filter(|_| entry.redirect) {
                let message =
                    format!("the ServicePolicy `{}` sends requests for `{written}` to tags", name::id_of(policy));
                let help = "with redirect the rules of the lane alone decide: drop one of the two";
                report.error(code::REDIRECT, "entry.redirect", message, help);
            }
        }
        if entry.services.is_empty() && !entry.rules.is_empty() {
            let message = "rules without entry services never run".to_owned();
            report.error(code::NO_ENTRY, "entry.services", message, "name the services where requests get in");
        }
        if entry.services.is_empty() && entry.redirect {
            let message = "redirect without entry services does nothing".to_owned();
            report.error(code::NO_ENTRY, "entry.redirect", message, "name the services where requests get in");
        }
        rules::entry(report, &entry.rules);
        let salts = entry.rules.iter().map(|r| r.sticky.as_ref());
        default_salts(report, lane_name, "entry.rules", salts);
    }

    /// What else means baseline in a group; empty where nothing does.
    pub(super) fn baseline_tag(&self, group: &str) -> &'w str {
        self.objects.groups.get(group).and_then(|g| g.baseline.as_ref()).map_or("", |baseline| &baseline.tag)
    }

    pub(super) fn has_lanes(&self, group: &str) -> bool {
        self.tags.keys().any(|(of, _)| *of == group)
    }

    pub(super) fn has_lane(&self, group: &str, tag: &str) -> bool {
        self.tags.contains_key(&(group, tag))
    }

    fn has_ready_instance(&self, group: &str, tag: &str) -> bool {
        // What is no tag is another finding.
        Tag::parse(tag.as_bytes()).map_or(true, |tag| self.ready.contains(&(group.to_owned(), tag)))
    }

    pub(super) fn policy(&self, policy_name: &str, policy: &admin::ServicePolicy) -> Vec<admin::Diagnostic> {
        let mut report = Report::new(policy_name);
        unsupported::policy_parts(&mut report, policy);
        report.about(&policy.description, policy.labels.len());
        let service = policy_service(policy_name, policy);
        if service != name::service(name::namespace_of(policy_name), name::id_of(policy_name)) {
            let message = format!("the policy `{}` is about `{}`", name::id_of(policy_name), policy.service);
            report.error(code::POLICY, "service", message, "a policy has the name of its service: leave `service` out");
        } else if report.service("service", name::namespace_of(policy_name), name::id_of(&service)).is_some() {
            self.unknown_service(&mut report, "service", &service);
        }
        rules::policy(&mut report, &policy.rules);
        running::policy_tags(&mut report, self, &service, &policy.rules);
        default_salts(&mut report, policy_name, "rules", policy.rules.iter().map(|r| r.sticky.as_ref()));
        conduct::policy(&mut report, policy);
        report.known::<routing::Reselect>("reselect", policy.reselect);
        report.diagnostics
    }
}

/// What is wrong with the end of a lane as it is written, whatever the time is.
pub fn expiration(lane: &admin::Lane) -> Vec<admin::Diagnostic> {
    let mut report = Report::new(&lane.name);
    report.expiration(lane);
    report.diagnostics
}

/// The resource name stands in for a salt that is not given, and may be longer than a salt.
fn default_salts<'s>(
    report: &mut Report,
    name: &str,
    path: &str,
    stickies: impl Iterator<Item = Option<&'s routing::Sticky>>,
) {
    for (at, sticky) in stickies.enumerate() {
        if name.len() > SALT_BYTES_MAX && sticky.is_some_and(|s| s.salt.is_empty()) {
            let message = "the resource name is too long to be the salt".to_owned();
            report.error(
                code::STICKY,
                &format!("{path}[{at}].sticky.salt"),
                message,
                "give a salt of at most 128 bytes",
            );
        }
    }
}

/// How the tag travels. The headers that carry it, in lower case.
fn transport(report: &mut Report, tag: Option<&admin::TagTransport>) -> Vec<String> {
    let default = laneway_proto::contract::TAG_HEADER.to_owned();
    let Some(tag) = tag else { return vec![default] };
    let header = if tag.header.is_empty() { default } else { report.header("tag.header", &tag.header) };
    let mut own = vec![header];
    for (at, alias) in tag.aliases.iter().enumerate() {
        let field = format!("tag.aliases[{at}]");
        let alias = report.header(&field, alias);
        if own.contains(&alias) {
            let message = format!("`{alias}` is read already");
            report.error(code::RESERVED, &field, message, "each header once");
        }
        own.push(alias);
    }
    for (at, carrier) in tag.carriers.iter().enumerate() {
        let field = format!("tag.carriers[{at}]");
        match routing::TagCarrier::try_from(*carrier) {
            Ok(routing::TagCarrier::Unspecified) | Err(_) => {
                report.error(code::ENUM, &field, format!("unknown value {carrier}"), "header, baggage or tracestate");
            }
            Ok(_) if tag.carriers[..at].contains(carrier) => {
                report.error(code::ENUM, &field, "the carrier is given twice".into(), "each carrier once");
            }
            Ok(_) => {}
        }
    }
    report.known::<routing::TagTrust>("tag.trust", tag.trust);
    own
}

fn propagation(report: &mut Report, propagate: Option<&admin::Propagation>, own: &[String]) {
    let Some(propagate) = propagate else { return };
    let mut seen = BTreeSet::new();
    for (at, header) in propagate.headers.iter().enumerate() {
        let field = format!("propagate.headers[{at}]");
        let header = report.header(&field, header);
        if own.contains(&header) {
            let message = format!("`{header}` carries the tag and always passes");
            report.error(code::RESERVED, &field, message, "leave it out");
        }
        if !seen.insert(header.clone()) {
            report.error(code::RESERVED, &field, format!("`{header}` is given twice"), "each header once");
        }
    }
    if propagate.headers.len() > PASS_HEADERS_MAX {
        let message = format!("{} pass headers", propagate.headers.len());
        report.error(code::TOO_MANY, "propagate.headers", message, "at most 32");
    }
    for (at, header) in propagate.correlate.iter().enumerate() {
        let field = format!("propagate.correlate[{at}]");
        match header.as_str() {
            "auto" => {}
            "none" if propagate.correlate.len() == 1 => {}
            "none" => {
                report.error(code::RESERVED, &field, "`none` stands alone".into(), "none, or auto, or header names");
            }
            name => {
                let name = report.header(&field, name);
                if own.contains(&name) {
                    let message = format!("`{name}` carries the tag");
                    report.error(code::RESERVED, &field, message, "the header of a trace or request id");
                }
            }
        }
    }
    if propagate.correlate.len() > CORRELATE_HEADERS_MAX {
        let message = format!("{} headers of ids", propagate.correlate.len());
        report.error(code::TOO_MANY, "propagate.correlate", message, "at most 32");
    }
    report.known::<routing::Infer>("propagate.infer", propagate.infer);
    report.known::<routing::Ambiguous>("propagate.ambiguous", propagate.ambiguous);
    report.known::<routing::StampPodTag>("propagate.stampPodTag", propagate.stamp_pod_tag);
    report.known::<routing::NewTrace>("propagate.newTrace", propagate.new_trace);
}
