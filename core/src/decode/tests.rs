//! What compile emits, decode accepts; what is broken is refused by field; what is held makes the snapshot.

use laneway_proto::contract::{
    TYPE_ENDPOINTS, TYPE_LANE, TYPE_LANE_GROUP, TYPE_PEER, TYPE_SERVICE, TYPE_SERVICE_POLICY,
};
use laneway_proto::{admin, discovery, routing};
use proptest::prelude::*;
use prost::Message;

use super::{Resources, decode};
use crate::check::check;
use crate::compile::{Catalog, Objects, compile, sort};
use crate::document;
use crate::name;
use crate::snapshot::Identity;
use crate::tag::Tag;

fn refused(type_url: &str, body: &impl Message, expected: &[(&str, &str)]) {
    let errors = decode(type_url, "n", "v", &body.encode_to_vec()).err().expect("refused");
    let found: Vec<_> = errors.iter().map(|error| (error.field.as_str(), error.reason.as_str())).collect();
    assert_eq!(found, expected);
    assert!(errors.iter().all(|error| error.name == "n" && error.version == "v" && !error.message.is_empty()));
}

#[test]
fn what_is_broken_is_refused_by_field() {
    let errors = decode(TYPE_LANE, "n", "v", &[0xff]).err().expect("refused");
    assert_eq!(errors[0].reason, "UNDECODABLE");
    let errors = decode("type.googleapis.com/other", "n", "v", &[]).err().expect("refused");
    assert_eq!(errors[0].reason, "UNKNOWN_TYPE");
    refused(
        TYPE_LANE,
        &discovery::Lane { tag: "gr_ay".into(), ..Default::default() },
        &[
            ("tag", "INVALID_TAG"),
            ("state", "UNKNOWN_ENUM"),
            ("lane_group", "MISSING_FIELD"),
            ("fallback", "MISSING_FIELD"),
        ],
    );
    let rule = |regex: &str| routing::EntryRule {
        name: "r".into(),
        r#match: Some(routing::Condition {
            all: vec![routing::Condition {
                source: Some(routing::condition::Source::Header("x".into())),
                operator: Some(routing::condition::Operator::Regex(regex.into())),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    refused(
        TYPE_LANE,
        &discovery::Lane {
            lane_group: "g".into(),
            tag: "gray".into(),
            state: discovery::lane::State::Enabled.into(),
            fallback: Some(discovery::Fallback { chain: vec!["".into(), "blue".into()], ..Default::default() }),
            entry: Some(routing::Entry { rules: vec![rule("a"), rule("(")], ..Default::default() }),
            ..Default::default()
        },
        &[
            ("fallback.chain[1]", "OUT_OF_RANGE"),
            ("entry.rules[1].name", "DUPLICATE_NAME"),
            ("entry.rules[1].match.all[0].regex", "INVALID_REGEX"),
        ],
    );
    let group = discovery::LaneGroup {
        tag_header: "x-mse-tag".into(),
        tag_aliases: vec!["x-lane".into()],
        tag_carriers: vec![routing::TagCarrier::Header.into()],
        pass_headers: ["x-user-id", "x-lane", "x-mse-tag", "baggage", "X-Shop"].map(str::to_owned).to_vec(),
        tag_trust: routing::TagTrust::Any.into(),
        stamp_pod_tag: routing::StampPodTag::Entry.into(),
        baseline_mode: routing::BaselineMode::Untagged.into(),
        new_trace: routing::NewTrace::Sampled.into(),
        path_header: routing::PathHeader::Never.into(),
        infer: routing::Infer::Never.into(),
        ambiguous: routing::Ambiguous::Baseline.into(),
        fallback: Some(discovery::Fallback { chain: vec![String::new()], ..Default::default() }),
        ..Default::default()
    };
    let refused_names = [4, 1, 2, 3].map(|at| format!("pass_headers[{at}]"));
    let refused_names: Vec<_> = refused_names.iter().map(|field| (field.as_str(), "INVALID_NAME")).collect();
    refused(TYPE_LANE_GROUP, &group, &refused_names);
    let endpoint = |address: Vec<u8>, weight| discovery::Endpoint {
        address,
        port: 80,
        weight,
        state: discovery::endpoint::State::Ready.into(),
        ..Default::default()
    };
    let mapped = [&[0_u8; 10][..], &[255, 255, 10, 0, 0, 1]].concat();
    refused(
        TYPE_ENDPOINTS,
        &discovery::Endpoints {
            service: "s".into(),
            endpoints: vec![endpoint(vec![10, 0, 0, 1], 0), endpoint(vec![1], 1), endpoint(mapped, 1)],
            ..Default::default()
        },
        &[
            ("endpoints[0].weight", "OUT_OF_RANGE"),
            ("endpoints[1].address", "OUT_OF_RANGE"),
            ("endpoints[2].address", "OUT_OF_RANGE"),
        ],
    );
    refused(TYPE_PEER, &discovery::Peer::default(), &[("", "INVALID_NAME")]);
}

const WORLD: &str = "
kind: Lane
name: gray
---
kind: ServicePolicy
name: b
timeouts: {connect: 300ms}
---
kind: Service
name: b
addresses: [10.96.0.2]
ports: [{port: 80, name: http, protocol: detect}]
endpoints: [{address: '10.1.0.1:8080', portName: http, meshed: true}, {address: '10.1.0.2:8080', portName: http, tag: gray}]
";

fn held(identity: &Identity) -> Resources {
    let (objects, catalog, _) = sort(document::read(WORLD).expect("good documents")).expect("different names");
    let mut resources = Resources::default();
    for wire in compile(&objects, &catalog).everything(identity) {
        resources.insert(decode(wire.type_url, &wire.name, &wire.version, &wire.body).expect("accepted"));
    }
    resources
}

#[test]
fn resources_come_and_go_and_clones_stay_as_they_were() {
    let identity = Identity { namespace: "default".into(), ..Identity::default() };
    let mut resources = held(&identity);
    let name = name::service("default", "b");
    let gray = Tag::parse(b"gray").expect("a tag");
    for type_url in [TYPE_ENDPOINTS, TYPE_SERVICE, TYPE_SERVICE_POLICY, TYPE_LANE_GROUP, TYPE_LANE, TYPE_PEER] {
        assert!(resources.versions(type_url).iter().all(|(_, version)| version.len() == 16), "{type_url}");
        assert!(!resources.versions(type_url).is_empty(), "{type_url}");
    }
    let whole = resources.snapshot(&identity, 1);
    let before = resources.clone();
    let service = whole.service(&name).expect("b is known");
    assert_eq!(whole.conduct(service).map(|conduct| conduct.connect_timeout.as_millis()), Some(300));
    assert!(whole.lane(gray).is_some());
    assert_eq!(whole.peer("10.1.0.1".parse().expect("an address")).map(|peer| &*peer.service), Some(&*name));
    assert!(whole.may_be_called("10.1.0.2:8080".parse().expect("an address")));

    resources.remove(TYPE_ENDPOINTS, &format!("{name}/tags/gray/shards/0"));
    resources.remove(TYPE_LANE, &name::lane("default", "default", "gray"));
    resources.remove(TYPE_PEER, "ip/10.1.0.1");
    resources.remove(TYPE_SERVICE_POLICY, &name);
    let less = resources.snapshot(&identity, 2);
    let service = less.service(&name).expect("b is known");
    assert!(less.conduct(service).is_none());
    assert!(less.lane(gray).is_none() && !less.knows_tag(gray));
    assert!(less.peer("10.1.0.1".parse().expect("an address")).is_none());
    assert!(!less.may_be_called("10.1.0.2:8080".parse().expect("an address")));
    assert!(less.may_be_called("10.1.0.1:8080".parse().expect("an address")));

    // Endpoints without their service have no effect until it is there.
    resources.remove(TYPE_SERVICE, &name);
    assert!(resources.snapshot(&identity, 3).service(&name).is_none());
    let again = before.snapshot(&identity, 4);
    assert!(again.may_be_called("10.1.0.2:8080".parse().expect("an address")));
}

fn tag() -> impl Strategy<Value = String> {
    prop_oneof![Just("gray".to_owned()), Just("blue".to_owned()), Just("baseline".to_owned()), Just("a-1".to_owned())]
}

fn condition() -> impl Strategy<Value = routing::Condition> {
    use routing::condition::{Operator, Source};
    let source = prop_oneof![
        "[a-zA-Z-]{1,12}".prop_map(Source::Header),
        "[a-z]{1,8}".prop_map(Source::Cookie),
        ".{1,8}".prop_map(Source::Query),
        (1..=9_i32).prop_filter("no dubbo", |n| !(5..=6).contains(n)).prop_map(Source::Attribute),
    ];
    let operator = prop_oneof![
        ".{0,8}".prop_map(Operator::Exact),
        ".{0,8}".prop_map(Operator::Prefix),
        "[a-z.*]{0,8}".prop_map(Operator::Regex),
        any::<bool>().prop_map(Operator::Present),
        any::<i64>().prop_map(Operator::Ge),
        (any::<i64>(), any::<i64>()).prop_map(|(min, max)| Operator::Between(routing::IntRange { min, max })),
        (0..5_u32, proptest::collection::vec(0..5_u32, 0..3))
            .prop_map(|(divisor, remainders)| Operator::Mod(routing::Modulo { divisor, remainders })),
    ];
    let words = proptest::collection::vec(".{0,4}", 0..3);
    let leaf = (source, proptest::option::of(operator), words, any::<bool>(), any::<bool>()).prop_map(
        |(source, operator, r#in, negate, ignore_case)| routing::Condition {
            source: Some(source),
            r#in: if operator.is_some() { Vec::new() } else { r#in },
            operator,
            negate,
            ignore_case,
            ..Default::default()
        },
    );
    leaf.prop_recursive(3, 8, 3, |inner| {
        let list = proptest::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            list.clone().prop_map(|all| routing::Condition { all, ..Default::default() }),
            list.prop_map(|any| routing::Condition { any, ..Default::default() }),
            inner.prop_map(|not| routing::Condition { not: Some(Box::new(not)), ..Default::default() }),
        ]
    })
}

prop_compose! {
    fn lane()(
        tag in tag(),
        enabled in proptest::option::of(any::<bool>()),
        dry_run: bool,
        condition in proptest::option::of(condition()),
        percent in proptest::option::of(0..10_100_u32),
        chain in proptest::collection::vec(tag(), 0..4),
        strict: bool,
        services in proptest::collection::vec("[a-c]", 0..3),
    ) -> admin::Lane {
        let mode = if strict { admin::FallbackMode::Strict } else { admin::FallbackMode::Unspecified };
        let rule = routing::EntryRule {
            r#match: condition,
            percent: percent.map(|basis_points| routing::Percent { basis_points }),
            ..Default::default()
        };
        admin::Lane {
            name: name::lane("default", "default", "l"),
            tag,
            enabled,
            dry_run,
            entry: Some(routing::Entry { rules: vec![rule; services.len().min(1)], services, redirect: false }),
            fallback: Some(admin::Fallback { mode: mode.into(), chain, ..Default::default() }),
            ..Default::default()
        }
    }
}

proptest! {
    /// What check lets through, compile turns into what decode accepts.
    #[test]
    fn what_compile_emits_decode_accepts(lane in lane(), weights in proptest::collection::vec((tag(), 0..3_u32), 1..4)) {
        let mut objects = Objects::default();
        let weighted = |(tag, weight)| routing::WeightedTag { tag, weight: Some(weight) };
        let policy = admin::ServicePolicy {
            name: name::policy("default", "b"),
            rules: vec![routing::PolicyRule {
                r#match: lane.entry.as_ref().and_then(|entry| entry.rules.first()).and_then(|rule| rule.r#match.clone()),
                to: weights.into_iter().map(weighted).collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        objects.lanes.insert(lane.name.clone(), lane);
        objects.policies.insert(policy.name.clone(), policy);
        let catalog = Catalog::default();
        let findings = check(&objects, &catalog);
        if findings.iter().all(|finding| finding.severity() != admin::diagnostic::Severity::Error) {
            let node = Identity { namespace: "default".into(), service: "a".into(), tag: None };
            for wire in compile(&objects, &catalog).everything(&node) {
                let decoded = decode(wire.type_url, &wire.name, &wire.version, &wire.body);
                prop_assert!(decoded.is_ok(), "{:?} of {:?}", decoded.err(), objects);
            }
        }
    }

    /// Bytes from outside never panic.
    #[test]
    fn any_bytes_are_refused_or_decoded(body: Vec<u8>, which in 0..6_usize) {
        let types = [TYPE_ENDPOINTS, TYPE_SERVICE, TYPE_SERVICE_POLICY, TYPE_LANE_GROUP, TYPE_LANE, TYPE_PEER];
        let _ = decode(types[which], "ip/10.0.0.1", "v", &body);
    }
}
