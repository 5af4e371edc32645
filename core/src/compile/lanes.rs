//! Groups, lanes and policies on the wire: no inheritance, no `auto`, no UNSPECIFIED.

use std::collections::{BTreeMap, BTreeSet};

use laneway_proto::contract::{GROUP_DEFAULT, PASS_HEADERS_MAX, TAG_HEADER};
use laneway_proto::routing::{self, Percent, RetryCause, TagCarrier};
use laneway_proto::{admin, discovery};
use prost_types::Duration;

use super::{Objects, rules};
use crate::name;

/// What `correlate: [auto]` stands for, in order.
pub const CORRELATE_AUTO: [&str; 10] = [
    "traceparent",
    "b3",
    "x-b3-traceid",
    "uber-trace-id",
    "sw8",
    "x-datadog-trace-id",
    "x-cloud-trace-context",
    "x-amzn-trace-id",
    "x-request-id",
    "grpc-trace-bin",
];

/// Which service is in which group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Membership {
    /// By resource name of the service.
    named: BTreeMap<String, String>,
    /// Groups that take every service of a namespace that no group names.
    stars: BTreeMap<String, String>,
}

impl Membership {
    pub(crate) fn of(objects: &Objects) -> Membership {
        let mut all = Membership::default();
        for (name, group) in &objects.groups {
            let namespace = name::namespace_of(name);
            for service in members(name, group) {
                let service = name::service_reference(namespace, service);
                let (owners, key) = match service.strip_suffix("/services/*") {
                    Some(of) => (&mut all.stars, name::namespace_of(of).to_owned()),
                    None => (&mut all.named, service),
                };
                owners.entry(key).or_insert_with(|| name.clone());
            }
        }
        all
    }

    /// The group of a service, by resource name.
    pub(crate) fn group_of(&self, service: &str) -> String {
        let namespace = name::namespace_of(service);
        match self.named.get(service).or_else(|| self.stars.get(namespace)) {
            Some(group) => group.clone(),
            None => name::group(namespace, GROUP_DEFAULT),
        }
    }

    /// What a group's wire form lists: its services, and what a `*` of it yields to other groups.
    fn listed(&self, group: &str) -> (Vec<String>, Vec<String>) {
        let mut services: BTreeSet<String> =
            self.named.iter().filter(|(_, g)| *g == group).map(|(s, _)| s.clone()).collect();
        let mut namespaces: BTreeSet<&str> =
            self.stars.iter().filter(|(_, g)| *g == group).map(|(n, _)| n.as_str()).collect();
        let own = name::namespace_of(group);
        if name::id_of(group) == GROUP_DEFAULT && !self.stars.contains_key(own) {
            namespaces.insert(own);
        }
        services.extend(namespaces.iter().map(|n| name::service(n, "*")));
        let excluded = self.named.iter().filter(|(s, g)| *g != group && namespaces.contains(name::namespace_of(s)));
        (services.into_iter().collect(), excluded.map(|(s, _)| s.clone()).collect())
    }
}

/// What a group names. The default group has what nobody names and needs not say so.
pub(crate) fn members<'g>(name: &str, group: &'g admin::LaneGroup) -> Vec<&'g str> {
    match group.services.as_slice() {
        [] if name::id_of(name) == GROUP_DEFAULT => Vec::new(),
        [] => vec!["*"],
        listed => listed.iter().map(String::as_str).collect(),
    }
}

/// `tested`: headers that the policies of the group's services look at.
pub(super) fn group(
    name: &str,
    group: &admin::LaneGroup,
    membership: &Membership,
    tested: &BTreeSet<String>,
) -> discovery::LaneGroup {
    let tag = group.tag.clone().unwrap_or_default();
    let propagate = group.propagate.clone().unwrap_or_default();
    let baseline = group.baseline.clone().unwrap_or_default();
    let tag_header = if tag.header.is_empty() { TAG_HEADER.to_owned() } else { tag.header.to_ascii_lowercase() };
    let mut tag_aliases: Vec<String> = Vec::new();
    for alias in tag.aliases.iter().map(|a| a.to_ascii_lowercase()) {
        if alias != tag_header && !tag_aliases.contains(&alias) {
            tag_aliases.push(alias);
        }
    }
    let mut pass_headers: BTreeSet<String> = propagate.headers.iter().map(|h| h.to_ascii_lowercase()).collect();
    if propagate.headers_from_rules.unwrap_or(true) {
        let free =
            |header: &str| may_be_carried(header) && header != tag_header && !tag_aliases.iter().any(|a| a == header);
        for header in tested.iter().filter(|h| free(h)) {
            if pass_headers.len() < PASS_HEADERS_MAX {
                pass_headers.insert(header.clone());
            }
        }
    }
    let (services, excluded_services) = membership.listed(name);
    // Of a tag without a lane: permissive, whatever the mode of the group.
    let mut fallback = fallback(group.fallback.as_ref(), &baseline.tag);
    if fallback.chain.is_empty() {
        fallback.chain.push(String::new());
    }
    discovery::LaneGroup {
        tag_header,
        tag_aliases,
        tag_carriers: if tag.carriers.is_empty() {
            [TagCarrier::Header, TagCarrier::Baggage, TagCarrier::Tracestate].map(i32::from).to_vec()
        } else {
            tag.carriers.clone()
        },
        tag_trust: or_default(tag.trust, routing::TagTrust::Any),
        pass_headers: pass_headers.into_iter().collect(),
        correlate_headers: correlate(&propagate.correlate),
        infer: or_default(propagate.infer, routing::Infer::Never),
        ambiguous: or_default(propagate.ambiguous, routing::Ambiguous::Baseline),
        stamp_pod_tag: or_default(propagate.stamp_pod_tag, routing::StampPodTag::Entry),
        baseline_mode: or_default(baseline.mode, routing::BaselineMode::Untagged),
        baseline_tag: baseline.tag,
        fallback: Some(fallback),
        services,
        new_trace: or_default(propagate.new_trace, routing::NewTrace::Sampled),
        path_header: or_default(group.path_header, routing::PathHeader::Never),
        excluded_services,
    }
}

fn or_default<E: Into<i32>>(value: i32, default: E) -> i32 {
    if value == 0 { default.into() } else { value }
}

/// Headers that no rule makes a pass header: credentials, and what a connection or the mesh itself owns.
fn may_be_carried(header: &str) -> bool {
    const NEVER: [&str; 16] = [
        "authorization",
        "baggage",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "set-cookie",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    ];
    !NEVER.contains(&header) && !header.starts_with("proxy-") && !header.starts_with("x-laneway-")
}

fn correlate(written: &[String]) -> Vec<String> {
    let mut headers: Vec<String> = Vec::new();
    let mut add = |header: String| {
        if !headers.contains(&header) {
            headers.push(header);
        }
    };
    match written {
        [] => CORRELATE_AUTO.iter().for_each(|h| add((*h).to_owned())),
        [none] if none == "none" => {}
        listed => {
            for header in listed {
                match header.as_str() {
                    "auto" => CORRELATE_AUTO.iter().for_each(|h| add((*h).to_owned())),
                    header => add(header.to_ascii_lowercase()),
                }
            }
        }
    }
    headers
}

pub(super) fn fallback(written: Option<&admin::Fallback>, baseline_tag: &str) -> discovery::Fallback {
    let Some(written) = written else {
        return discovery::Fallback { chain: vec![String::new()], min_healthy: 1, ..Default::default() };
    };
    let strict = written.mode() == admin::FallbackMode::Strict;
    let chain = match written.chain.as_slice() {
        _ if strict => Vec::new(),
        [] => vec![String::new()],
        chain => chain.iter().map(|tag| rules::tag(tag, baseline_tag)).collect(),
    };
    discovery::Fallback {
        chain,
        min_healthy_basis_points: written.min_healthy_percent.map_or(0, |p| p.basis_points),
        min_healthy: written.min_healthy.max(1),
        any_instance_last: !strict && written.no_baseline() == admin::NoBaseline::Any,
    }
}

/// The tag of a lane: its id unless it says another.
pub(crate) fn lane_tag<'l>(name: &'l str, lane: &'l admin::Lane) -> &'l str {
    if lane.tag.is_empty() { name::id_of(name) } else { &lane.tag }
}

/// `group`: the lane's group, `None` for the default one without an object.
pub(super) fn lane(name: &str, lane: &admin::Lane, group: Option<&admin::LaneGroup>) -> discovery::Lane {
    use discovery::lane::State;
    let namespace = name::namespace_of(name);
    let baseline_tag = group.and_then(|g| g.baseline.as_ref()).map_or("", |b| b.tag.as_str());
    let inherited = lane.fallback.as_ref().or_else(|| group.and_then(|g| g.fallback.as_ref()));
    let state = match (lane.enabled.unwrap_or(true), lane.dry_run) {
        (false, _) => State::Disabled,
        (true, true) => State::DryRun,
        (true, false) => State::Enabled,
    };
    let entry = lane.entry.as_ref().filter(|e| !e.services.is_empty()).map(|entry| routing::Entry {
        services: {
            let all = entry.services.iter().map(|s| name::service_reference(namespace, s));
            all.collect::<BTreeSet<_>>().into_iter().collect()
        },
        redirect: entry.redirect,
        rules: match state {
            State::Disabled => Vec::new(),
            _ => rules::entry_rules(&entry.rules, name),
        },
    });
    let overrides = lane.service_overrides.iter().filter_map(|(service, other)| {
        let written = other.fallback.as_ref()?;
        Some((name::service_reference(namespace, service), fallback(Some(written), baseline_tag)))
    });
    discovery::Lane {
        lane_group: name::parent_group(name).unwrap_or_default().to_owned(),
        tag: lane_tag(name, lane).to_owned(),
        state: state.into(),
        priority: lane.priority,
        entry,
        fallback: Some(fallback(inherited, baseline_tag)),
        service_fallbacks: overrides.collect(),
        // Refused by the checker until they do something.
        limits: None,
        messages: None,
    }
}

/// The service that a policy is about, as a resource name.
pub(crate) fn policy_service(name: &str, policy: &admin::ServicePolicy) -> String {
    let service = if policy.service.is_empty() { name::id_of(name) } else { &policy.service };
    name::service_reference(name::namespace_of(name), service)
}

pub(super) fn policy(name: &str, policy: &admin::ServicePolicy, baseline_tag: &str) -> discovery::ServicePolicy {
    let seconds = |seconds| Some(Duration { seconds, nanos: 0 });
    let percent = |basis_points| Some(Percent { basis_points });
    let mut timeouts = policy.timeouts.clone().unwrap_or_default();
    timeouts.connect = timeouts.connect.or(seconds(1));
    let mut retry = policy.retry.clone().unwrap_or_default();
    retry.max_retries = retry.max_retries.or(Some(1));
    retry.budget = retry.budget.or(percent(2_000));
    if retry.causes.is_empty() {
        retry.causes = vec![RetryCause::Connect.into(), RetryCause::Unprocessed.into()];
    }
    let mut outliers = policy.outlier_detection.unwrap_or_default();
    outliers.consecutive_failures = outliers.consecutive_failures.or(Some(5));
    outliers.base_ejection = outliers.base_ejection.or(seconds(10));
    outliers.max_ejection = outliers.max_ejection.or(seconds(300));
    outliers.max_ejected = outliers.max_ejected.or(percent(5_000));
    let mut drain = policy.drain.unwrap_or_default();
    drain.grace = drain.grace.or(seconds(30));
    let mut warmup = policy.warmup;
    if let Some(warmup) = &mut warmup {
        warmup.curve = or_default(warmup.curve, routing::WarmupCurve::Linear);
    }
    let rules = match policy.enabled.unwrap_or(true) {
        true => rules::policy_rules(&policy.rules, name, baseline_tag),
        false => Vec::new(),
    };
    discovery::ServicePolicy {
        service: policy_service(name, policy),
        rules,
        timeouts: Some(timeouts),
        retry: Some(retry),
        outlier_detection: Some(outliers),
        warmup,
        drain: Some(drain),
        reselect: or_default(policy.reselect, routing::Reselect::Auto),
        limits: Some(policy.limits.unwrap_or_default()),
        routes: policy.routes.clone(),
    }
}
