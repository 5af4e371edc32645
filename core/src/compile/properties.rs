//! Of any objects: what the checker accepts compiles to what sidecars take, and a document is what was written.

use laneway_proto::routing::condition::{Operator, Source};
use laneway_proto::routing::{
    Condition, Entry, EntryRule, Percent, PolicyRule, Sticky, StickyKey, WeightedTag, sticky_key,
};
use laneway_proto::{admin, routing};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Catalog, Objects, compile};
use crate::check::check;
use crate::document::{Document, read, write_group, write_lane, write_policy};
use crate::snapshot::Identity;

const GROUP: &str = "namespaces/default/laneGroups/shop";

fn tag() -> impl Strategy<Value = String> {
    select(vec!["gray", "blue", "base", "baseline", "a_b", "x-1"]).prop_map(str::to_owned)
}

fn word() -> impl Strategy<Value = String> {
    select(vec!["x-user-id", "X-Vip", "1", "yes", "a b", "", "(", "[a-z]+", "10.0.0.0/8", "é: #"])
        .prop_map(str::to_owned)
}

fn condition() -> impl Strategy<Value = Condition> {
    let source = prop_oneof![
        word().prop_map(Source::Header),
        word().prop_map(Source::Cookie),
        word().prop_map(Source::Query),
        (0..12).prop_map(Source::Attribute),
    ];
    let operator = prop_oneof![
        word().prop_map(Operator::Exact),
        word().prop_map(Operator::Prefix),
        word().prop_map(Operator::Regex),
        any::<bool>().prop_map(Operator::Present),
        any::<i64>().prop_map(Operator::Gt),
        (-2..3i64, -2..3i64).prop_map(|(min, max)| Operator::Between(routing::IntRange { min, max })),
        (0..4u32, vec(0..4u32, 0..3))
            .prop_map(|(divisor, remainders)| Operator::Mod(routing::Modulo { divisor, remainders })),
    ];
    let test = (source, of(operator), vec(word(), 0..3), any::<bool>(), any::<bool>()).prop_map(
        |(source, operator, r#in, negate, ignore_case)| Condition {
            source: Some(source),
            // Mostly one of both, as it should be.
            r#in: if operator.is_some() { Vec::new() } else { r#in },
            operator,
            negate,
            ignore_case,
            ..Default::default()
        },
    );
    test.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(|all| Condition { all, ..Default::default() }),
            vec(inner.clone(), 1..3).prop_map(|any| Condition { any, ..Default::default() }),
            inner.prop_map(|not| Condition { not: Some(Box::new(not)), ..Default::default() }),
        ]
    })
}

fn sticky() -> impl Strategy<Value = Sticky> {
    let key = word().prop_map(|w| StickyKey { source: Some(sticky_key::Source::Header(w)) });
    (vec(key, 0..3), select(vec!["", "salt"])).prop_map(|(by, salt)| Sticky { by, salt: salt.into() })
}

fn percent() -> impl Strategy<Value = Percent> {
    (0..10_100u32).prop_map(|basis_points| Percent { basis_points })
}

fn fallback() -> impl Strategy<Value = admin::Fallback> {
    (0..3i32, vec(tag(), 0..3), of(percent()), 0..3u32, 0..3i32).prop_map(
        |(mode, chain, min_healthy_percent, min_healthy, no_baseline)| admin::Fallback {
            mode,
            chain,
            min_healthy_percent,
            min_healthy,
            no_baseline,
        },
    )
}

fn lane() -> impl Strategy<Value = admin::Lane> {
    let name = select(vec!["", "0", "rule"]).prop_map(str::to_owned);
    let rule = (name, of(condition()), of(percent()), of(sticky()), any::<bool>()).prop_map(
        |(name, r#match, percent, sticky, r#override)| EntryRule { name, r#match, percent, sticky, r#override },
    );
    let services = vec(select(vec!["a", "b", "*", "namespaces/x/services/y"]).prop_map(str::to_owned), 0..3);
    let entry = (services, any::<bool>(), vec(rule, 0..3)).prop_map(|(services, redirect, rules)| Entry {
        services,
        redirect,
        rules,
    });
    let overrides = btree_map("[a-c]", of(fallback()).prop_map(|fallback| admin::ServiceOverride { fallback }), 0..2);
    (tag(), of(any::<bool>()), any::<bool>(), any::<i32>(), of(entry), of(fallback()), overrides).prop_map(
        |(tag, enabled, dry_run, priority, entry, fallback, service_overrides)| admin::Lane {
            name: format!("{GROUP}/lanes/gray"),
            tag,
            enabled,
            dry_run,
            priority,
            entry,
            fallback,
            service_overrides,
            ..Default::default()
        },
    )
}

fn group() -> impl Strategy<Value = admin::LaneGroup> {
    let transport = (word(), vec(word(), 0..2), vec(0..4i32, 0..3), 0..4i32)
        .prop_map(|(header, aliases, carriers, trust)| admin::TagTransport { header, aliases, carriers, trust });
    let propagate = (vec(word(), 0..2), of(any::<bool>()), 0..4i32, 0..4i32).prop_map(
        |(headers, headers_from_rules, stamp_pod_tag, new_trace)| admin::Propagation {
            headers,
            headers_from_rules,
            stamp_pod_tag,
            new_trace,
            ..Default::default()
        },
    );
    let baseline = (tag(), 0..3i32).prop_map(|(tag, mode)| admin::Baseline { tag, mode });
    (of(transport), of(propagate), of(baseline), of(fallback())).prop_map(|(tag, propagate, baseline, fallback)| {
        admin::LaneGroup { name: GROUP.into(), tag, propagate, baseline, fallback, ..Default::default() }
    })
}

fn policy() -> impl Strategy<Value = admin::ServicePolicy> {
    let to = (tag(), of(0..3u32)).prop_map(|(tag, weight)| WeightedTag { tag, weight });
    let rule = (of(condition()), vec(to, 0..3), of(sticky())).prop_map(|(r#match, to, sticky)| PolicyRule {
        name: String::new(),
        r#match,
        to,
        sticky,
    });
    let connect = (0..100_000i64, select(vec![0, 1, 1_000, 500_000_000]))
        .prop_map(|(seconds, nanos)| prost_types::Duration { seconds, nanos });
    let time = connect;
    let paths = btree_map(select(vec!["/a", "/a/*", "/*", "a", "/a*"]).prop_map(str::to_owned), time.clone(), 0..3);
    let timeouts = (of(time.clone()), of(time.clone()), of(time.clone()), paths)
        .prop_map(|(connect, default, idle, paths)| routing::Timeouts { connect, default, paths, idle });
    let retry = (of(0..7u32), of(percent()), of(time.clone()), vec(1..4i32, 0..3)).prop_map(
        |(max_retries, budget, per_try_timeout, causes)| routing::Retry {
            max_retries,
            budget,
            per_try_timeout,
            causes,
        },
    );
    let outliers = (of(0..3u32), of(time.clone()), of(time.clone()), of(percent())).prop_map(
        |(consecutive_failures, base_ejection, max_ejection, max_ejected)| routing::OutlierDetection {
            consecutive_failures,
            base_ejection,
            max_ejection,
            max_ejected,
        },
    );
    let drain =
        (of(time.clone()), any::<bool>()).prop_map(|(grace, close_streams)| routing::Drain { grace, close_streams });
    let warmup = (of(time), 0..3i32).prop_map(|(window, curve)| routing::Warmup { window, curve });
    let limits = any::<[u32; 3]>().prop_map(|[max_connections, max_requests, max_queued]| routing::EndpointLimits {
        max_connections,
        max_requests,
        max_queued,
    });
    let conduct = (of(timeouts), of(retry), of(outliers), of(warmup), of(drain), of(limits));
    (vec(rule, 0..3), conduct, 0..3i32, of(any::<bool>())).prop_map(|(rules, conduct, reselect, enabled)| {
        let (timeouts, retry, outlier_detection, warmup, drain, limits) = conduct;
        admin::ServicePolicy {
            name: "namespaces/default/servicePolicies/a".into(),
            rules,
            timeouts,
            retry,
            outlier_detection,
            warmup,
            drain,
            limits,
            reselect,
            enabled,
            ..Default::default()
        }
    })
}

fn one(document: &serde_json::Value) -> Result<Vec<Document>, Vec<admin::Diagnostic>> {
    read(&serde_saphyr::to_string(document).expect("it can be written"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_is_taken(group in group(), lane in lane(), policy in policy()) {
        // One bad object must not hide what becomes of the others.
        for which in 0..3 {
            let mut objects = Objects::default();
            objects.groups.insert(GROUP.into(), if which == 0 { group.clone() } else {
                admin::LaneGroup { name: GROUP.into(), ..Default::default() }
            });
            match which {
                1 => drop(objects.lanes.insert(lane.name.clone(), lane.clone())),
                2 => drop(objects.policies.insert(policy.name.clone(), policy.clone())),
                _ => {}
            }
            let catalog = Catalog::default();
            let compiled = compile(&objects, &catalog);
            let is_accepted = check(&objects, &catalog).iter().all(|d| d.severity() != admin::diagnostic::Severity::Error);
            for service in ["a", "c"] {
                let node = Identity { namespace: "default".into(), service: service.into(), tag: None };
                for resource in compiled.everything(&node) {
                    let taken = crate::decode::decode(resource.type_url, &resource.name, &resource.version, &resource.body);
                    prop_assert!(taken.is_ok() || !is_accepted, "{:?}: {:#?}", taken.err(), objects);
                }
            }
        }
    }

    #[test]
    fn what_is_written_is_read(group in group(), lane in lane(), policy in policy()) {
        let written = [write_group(&group), write_lane(&lane), write_policy(&policy)];
        let objects = [Document::LaneGroup(group), Document::Lane(lane), Document::ServicePolicy(policy)];
        for (document, object) in written.iter().zip(objects) {
            match one(document) {
                Ok(read) => prop_assert_eq!(read, [object]),
                // Nothing but what this release does not do may stand in the way.
                Err(errors) => prop_assert!(errors.iter().all(|e| e.code == "LANE0900"), "{:#?}", errors),
            }
        }
    }
}
