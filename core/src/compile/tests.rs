//! What is compiled.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use laneway_proto::contract::{
    TYPE_ENDPOINTS, TYPE_LANE, TYPE_LANE_GROUP, TYPE_PEER, TYPE_SERVICE, TYPE_SERVICE_POLICY,
};
use laneway_proto::discovery;
use laneway_proto::routing::{Infer, NewTrace, TagCarrier};
use prost::Message;

use super::{Catalog, Compiled, Objects, WireResource, compile, sort};
use crate::document::{EndpointDocument, ServiceDocument, read};
use crate::name;
use crate::snapshot::{EndpointState, Identity};

fn objects(text: &str) -> (Objects, Catalog) {
    let documents = read(text).unwrap_or_else(|errors| panic!("{text}: {errors:#?}"));
    let (objects, catalog, _) = sort(documents).expect("no object is there twice");
    (objects, catalog)
}

fn compiled(text: &str) -> Compiled {
    let (objects, catalog) = objects(text);
    compile(&objects, &catalog)
}

fn node(service: &str) -> Identity {
    Identity { namespace: "default".into(), service: service.into(), tag: None }
}

fn message<M: Message + Default>(resource: &Arc<WireResource>) -> M {
    M::decode(resource.body.as_slice()).expect("it was encoded")
}

fn names(resources: &[Arc<WireResource>]) -> Vec<&str> {
    resources.iter().map(|r| r.name.trim_start_matches("namespaces/default/")).collect()
}

fn group_of(compiled: &Compiled, service: &str) -> (String, discovery::LaneGroup) {
    let found = compiled.subscribed(TYPE_LANE_GROUP, &node(service));
    assert_eq!(found.len(), 1, "each sidecar has one group");
    (names(&found)[0].to_owned(), message(&found[0]))
}

const MESH: &str = r#"
kind: Service
name: a
hosts: [sc-a]
addresses: [10.96.0.11]
ports: [{port: 80, name: http}]
endpoints: [{address: '10.1.0.11:8080', meshed: true}, {address: '10.1.0.21:8080', tag: gray, meshed: true}]
---
kind: Service
name: b
hosts: [sc-b]
addresses: [10.96.0.12, 'fd00:0::12']
endpoints: [{address: '[fd00:1::12]:80'}, {address: '10.1.0.12:80', state: warming, meshed: true}, {address: '9.1.0.12:80'}]
---
kind: Lane
name: gray
entry: {services: [a, a], rules: [{match: {header: X-User-Id, in: [b, a, b]}, sticky: {by: [{header: X-User-Id}]}}]}
---
kind: ServicePolicy
name: b
rules: [{match: {any: [{header: X-Vip, present: true}, {header: Authorization, present: true}]}, to: [{tag: gray}, {tag: baseline, weight: 0}]}]
"#;

#[test]
fn nothing_written_is_a_default_group() {
    let compiled = compiled("");
    let (name, group) = group_of(&compiled, "a");
    assert_eq!(name, "laneGroups/default");
    assert_eq!(
        (group.tag_header.as_str(), group.services),
        ("x-mse-tag", vec!["namespaces/default/services/*".to_owned()])
    );
    assert_eq!(group.tag_carriers, [TagCarrier::Header, TagCarrier::Baggage, TagCarrier::Tracestate].map(i32::from));
    assert_eq!((group.infer, group.new_trace), (Infer::Never.into(), NewTrace::Sampled.into()));
    assert_eq!(group.correlate_headers.len(), 10);
    assert_eq!(
        group.fallback,
        Some(discovery::Fallback { chain: vec!["".into()], min_healthy: 1, ..Default::default() })
    );
    assert!(compiled.subscribed(TYPE_LANE, &node("a")).is_empty());
    assert!(compiled.everything(&node("")).len() == 1);
}

#[test]
fn keys_stand_for_services() {
    let compiled = compiled(MESH);
    let cases = [
        (TYPE_SERVICE, "host/sc-a", "services/a"),
        (TYPE_SERVICE, "host/SC-A:8080", "services/a"),
        (TYPE_SERVICE, "ip/10.96.0.12", "services/b"),
        (TYPE_SERVICE, "ip/fd00::12", "services/b"),
        (TYPE_SERVICE, "ip/10.1.0.21", "services/a"),
        (TYPE_SERVICE, "namespaces/default/services/b", "services/b"),
        (TYPE_SERVICE, "ip/10.1.0.99", ""),
        (TYPE_SERVICE, "ip/nonsense", ""),
        (TYPE_SERVICE, "host/sc-c", ""),
        (TYPE_SERVICE_POLICY, "host/sc-b", "services/b"),
        (TYPE_SERVICE_POLICY, "host/sc-a", ""),
        (TYPE_ENDPOINTS, "ip/10.96.0.11", "services/a/tags/-/shards/0 services/a/tags/gray/shards/0"),
        (TYPE_PEER, "ip/10.1.0.11", "ip/10.1.0.11"),
        (TYPE_PEER, "ip/::ffff:10.1.0.11", "ip/10.1.0.11"),
        (TYPE_PEER, "ip/9.1.0.12", ""),
        (TYPE_LANE, "host/sc-a", ""),
    ];
    for (type_url, key, wanted) in cases {
        assert_eq!(names(&compiled.answer(type_url, key, &node("a"))).join(" "), wanted, "{type_url} {key}");
    }
    let peer: discovery::Peer = message(&compiled.answer(TYPE_PEER, "ip/10.1.0.21", &node("a"))[0]);
    assert_eq!((peer.service.as_str(), peer.tag.as_str()), ("namespaces/default/services/a", "gray"));
    // By address and port, IPv4 first; a file does not say since when an instance warms up.
    let shard: discovery::Endpoints = message(&compiled.answer(TYPE_ENDPOINTS, "host/sc-b", &node("a"))[0]);
    let addresses: Vec<usize> = shard.endpoints.iter().map(|e| e.address[0].into()).collect();
    assert_eq!(addresses, [9, 10, 0xfd]);
    assert!(shard.endpoints[1].start_time.is_some());
}

#[test]
fn rules_go_to_entries_alone() {
    let compiled = compiled(MESH);
    let [at_a, at_b] = ["a", "b"].map(|s| compiled.subscribed(TYPE_LANE, &node(s)).remove(0));
    assert_eq!(at_a.version, at_b.version);
    assert_eq!(compiled.version_of(TYPE_LANE, &at_a.name), Some(at_a.version.as_str()));
    let (whole, plain): (discovery::Lane, discovery::Lane) = (message(&at_a), message(&at_b));
    let entry = whole.entry.clone().expect("it is the entry");
    assert_eq!(entry.services, ["namespaces/default/services/a"]);
    let rule = &entry.rules[0];
    assert_eq!(rule.name, "0");
    assert_eq!(rule.r#match.as_ref().map(|m| m.r#in.clone()), Some(vec!["a".into(), "b".into()]));
    assert_eq!(rule.sticky.as_ref().map(|s| s.salt.as_str()), Some("namespaces/default/laneGroups/default/lanes/gray"));
    assert!(plain.entry.expect("the services stay").rules.is_empty());
    assert_eq!((whole.tag.as_str(), whole.state()), ("gray", discovery::lane::State::Enabled));

    assert_eq!(names(&compiled.subscribed(TYPE_SERVICE_POLICY, &node("b"))), ["services/b"]);
    assert!(compiled.subscribed(TYPE_SERVICE_POLICY, &node("a")).is_empty());
    let policy: discovery::ServicePolicy = message(&compiled.answer(TYPE_SERVICE_POLICY, "host/sc-b", &node("a"))[0]);
    let to: Vec<_> = policy.rules[0].to.iter().map(|t| (t.tag.as_str(), t.weight)).collect();
    assert_eq!(to, [("gray", Some(1)), ("", Some(0))]);
    assert!(policy.retry.is_some() && policy.drain.is_some() && policy.limits.is_some() && policy.reselect != 0);
    // Headers of policies are pass headers, credentials never, those of entry rules neither.
    assert_eq!(group_of(&compiled, "a").1.pass_headers, ["x-vip"]);
}

const SCOPES: &str = r#"
{kind: LaneGroup, name: shop, services: [a, b]}
---
{kind: LaneGroup, name: bank, namespace: bank, services: ['*']}
---
{kind: Lane, name: gray, group: shop, entry: {services: [a], rules: [{match: {header: x, exact: y}}]}}
---
{kind: Lane, name: blue}
---
{kind: Lane, name: gold, namespace: bank, group: bank}
---
{kind: ServicePolicy, name: vault, namespace: bank}
---
{kind: Service, name: vault, namespace: bank, hosts: [vault], addresses: [10.96.9.1], visibleTo: [audit], endpoints: [{address: '10.9.0.1:80', meshed: true}]}
---
{kind: Service, name: teller, namespace: bank, hosts: [teller], addresses: [10.96.9.2], endpoints: [{address: '10.9.0.2:80'}]}
"#;

/// All that a sidecar can get of it, whatever it asks for.
fn reach(compiled: &Compiled, node: &Identity) -> Vec<String> {
    let types = [TYPE_ENDPOINTS, TYPE_SERVICE, TYPE_SERVICE_POLICY, TYPE_LANE_GROUP, TYPE_LANE];
    let keys = ["host/vault", "host/teller", "ip/10.96.9.1", "ip/10.9.0.1", "ip/10.96.9.2", "ip/10.9.0.2"];
    let keys = keys.iter().map(|key| (*key).to_owned());
    let names = compiled.everything(node).into_iter().map(|resource| resource.name.clone());
    let all = ["vault", "teller"].map(|service| name::service("bank", service));
    let keys: Vec<String> = keys.chain(names).chain(all).collect();
    let mut found: BTreeSet<String> = BTreeSet::new();
    for type_url in types {
        let answers = keys.iter().flat_map(|key| compiled.answer(type_url, key, node));
        let all = compiled.subscribed(type_url, node).into_iter().chain(answers);
        found.extend(all.map(|resource| resource.name.trim_start_matches("namespaces/").to_owned()));
    }
    found.into_iter().collect()
}

#[test]
fn a_sidecar_reaches_its_own_group_and_the_services_that_its_namespace_may_see_and_nothing_else() {
    let compiled = compiled(SCOPES);
    let node =
        |namespace: &str, service: &str| Identity { namespace: namespace.into(), service: service.into(), tag: None };
    let teller = ["bank/services/teller", "bank/services/teller/tags/-/shards/0"];
    let vault = ["bank/services/vault", "bank/services/vault/tags/-/shards/0"];
    let check = |node: Identity, group: &str, lanes: &[&str], services: &[&str]| {
        let mut all = [&[group], lanes, services].concat();
        all.sort_unstable();
        assert_eq!(reach(&compiled, &node), all, "{node:?}");
    };
    let shop = "default/laneGroups/shop";
    check(node("default", "a"), shop, &["default/laneGroups/shop/lanes/gray"], &teller);
    check(node("default", "c"), "default/laneGroups/default", &["default/laneGroups/default/lanes/blue"], &teller);
    check(node("default", ""), "default/laneGroups/default", &["default/laneGroups/default/lanes/blue"], &teller);
    let all = [teller, vault].concat();
    check(node("audit", "x"), "audit/laneGroups/default", &[], &all);
    check(node("bank", "teller"), "bank/laneGroups/bank", &["bank/laneGroups/bank/lanes/gold"], &all);
    // The same name elsewhere is not the same service.
    check(node("other", "a"), "other/laneGroups/default", &[], &teller);
}

#[test]
fn a_service_that_changes_groups_gets_the_other_group_and_lanes() {
    let before = compiled(SCOPES);
    let after = compiled(&SCOPES.replace("[a, b]", "[b]"));
    let told = |compiled: &Compiled, service: &str| {
        [TYPE_LANE_GROUP, TYPE_LANE].map(|type_url| names(&compiled.subscribed(type_url, &node(service))).join(" "))
    };
    assert_eq!(told(&before, "a"), ["laneGroups/shop", "laneGroups/shop/lanes/gray"]);
    assert_eq!(told(&after, "a"), ["laneGroups/default", "laneGroups/default/lanes/blue"]);
    assert_eq!(told(&before, "b"), told(&after, "b"));
}

#[test]
fn a_switch_changes_one_resource() {
    let (mut objects, catalog) = objects(MESH);
    let before = compile(&objects, &catalog);
    let lane = objects.lanes.values_mut().next().expect("there is one");
    lane.enabled = Some(false);
    let after = before.with_objects(&objects);
    let versions = |c: &Compiled| -> Vec<(String, String)> {
        c.everything(&node("a")).iter().map(|r| (format!("{} {}", r.type_url, r.name), r.version.clone())).collect()
    };
    let (old, new) = (versions(&before), versions(&after));
    assert_eq!(new, versions(&compile(&objects, &catalog)), "the catalogue that is kept is the catalogue");
    let changed: Vec<_> = new.iter().filter(|r| !old.contains(r)).map(|(name, _)| name.clone()).collect();
    assert_eq!(changed, [format!("{TYPE_LANE} namespaces/default/laneGroups/default/lanes/gray")]);
    let disabled: discovery::Lane = message(&after.subscribed(TYPE_LANE, &node("a"))[0]);
    assert_eq!(disabled.state(), discovery::lane::State::Disabled);
    assert!(disabled.entry.expect("trust and redirect still ask for it").rules.is_empty());
}

#[test]
fn groups_share_the_services() {
    let compiled = compiled(
        "{kind: LaneGroup, name: shop, services: [a, namespaces/other/services/x]}\n---\n{kind: LaneGroup, name: rest}\n---\n\
         {kind: Lane, name: gray, group: shop}\n---\n{kind: Lane, name: gray, group: rest}",
    );
    let (name, shop) = group_of(&compiled, "a");
    assert_eq!(name, "laneGroups/shop");
    assert_eq!(shop.services, ["namespaces/default/services/a", "namespaces/other/services/x"]);
    let (name, rest) = group_of(&compiled, "b");
    assert_eq!(name, "laneGroups/rest");
    assert_eq!(rest.services, ["namespaces/default/services/*"]);
    assert_eq!(rest.excluded_services, ["namespaces/default/services/a"]);
    assert_eq!(names(&compiled.subscribed(TYPE_LANE, &node("b"))), ["laneGroups/rest/lanes/gray"]);
    // `*` leaves the default group nothing but those without a service.
    let (name, default) = group_of(&compiled, "");
    assert_eq!((name.as_str(), default.services.len()), ("laneGroups/default", 0));
    let other = Identity { namespace: "other".into(), service: "y".into(), tag: None };
    let found: discovery::LaneGroup = message(&compiled.subscribed(TYPE_LANE_GROUP, &other)[0]);
    assert_eq!(found.services, ["namespaces/other/services/*"]);
    assert_eq!(found.excluded_services, ["namespaces/other/services/x"]);
}

#[test]
fn fallback_is_resolved() {
    let group = "{kind: LaneGroup, name: g, baseline: {tag: base}, fallback: {mode: strict}}\n---\n";
    let compiled = compiled(&format!(
        "{group}{{kind: Lane, name: one, group: g}}\n---\n\
         {{kind: Lane, name: two, group: g, fallback: {{chain: [x, base], minHealthyPercent: 50%, noBaseline: any}}, serviceOverrides: {{b: {{fallback: {{mode: strict}}}}}}}}"
    ));
    let lanes: Vec<discovery::Lane> = compiled.subscribed(TYPE_LANE, &node("a")).iter().map(message).collect();
    assert_eq!(lanes[0].fallback.as_ref().map(|f| f.chain.len()), Some(0), "strict by its group");
    let two = lanes[1].fallback.clone().expect("it is always set");
    assert_eq!(
        (two.chain, two.min_healthy_basis_points, two.any_instance_last),
        (vec!["x".into(), "".into()], 5000, true)
    );
    let b = lanes[1].service_fallbacks.get("namespaces/default/services/b").expect("it is overridden");
    assert!(b.chain.is_empty());
    let fallback = group_of(&compiled, "a").1.fallback.expect("it is always set");
    assert_eq!(fallback.chain, [""], "permissive for tags without a lane");
}

fn big(endpoints: u32) -> Catalog {
    let endpoint = |n: u32| EndpointDocument {
        address: std::net::SocketAddr::new(std::net::Ipv4Addr::from(0x0a00_0000 + n).into(), 8080),
        port_name: String::new(),
        tag: None,
        weight: 1,
        state: EndpointState::Ready,
        meshed: true,
    };
    let service = ServiceDocument {
        namespace: "default".into(),
        name: "big".into(),
        hosts: vec!["big".into()],
        addresses: Vec::new(),
        ports: Vec::new(),
        endpoints: (0..endpoints).map(endpoint).collect(),
        visible_to: Vec::new(),
        secondary: false,
    };
    Catalog { services: [(service.resource_name(), service)].into() }
}

#[test]
fn who_names_a_port_of_anothers_instance_does_not_take_it_away() {
    let Catalog { mut services } = big(1);
    let pod = services.values().next().expect("one").endpoints[0].clone();
    let whole = |name: &str, ports: &[u16]| {
        let mut service = services_of_one(&pod, ports);
        service.name = name.into();
        service.hosts = vec![name.into()];
        (service.resource_name(), service)
    };
    // Its own: at whatever port is dialled, and where a port leads to another number. The other is first by name.
    services = [whole("victim", &[0, 8080]), whole("evil", &[8080])].into();
    let compiled = compile(&Objects::default(), &Catalog { services });
    let secondary = |host: &str| -> Vec<bool> {
        let shard = compiled.answer(TYPE_ENDPOINTS, host, &node("a"));
        message::<discovery::Endpoints>(&shard[0]).endpoints.iter().map(|e| e.secondary).collect()
    };
    assert_eq!(secondary("host/evil"), [true]);
    assert_eq!(secondary("host/victim"), [false, false]);
}

/// One instance, once for each port.
fn services_of_one(pod: &EndpointDocument, ports: &[u16]) -> ServiceDocument {
    let mut service = big(1).services.into_values().next().expect("one");
    service.endpoints = ports
        .iter()
        .map(|port| EndpointDocument { address: (pod.address.ip(), *port).into(), ..pod.clone() })
        .collect();
    service
}

#[test]
fn shards_are_bounded_and_stable() {
    let shards =
        |catalog: &Catalog| compile(&Objects::default(), catalog).answer(TYPE_ENDPOINTS, "host/big", &node("a"));
    let all = shards(&big(10_000));
    let sizes: Vec<usize> = all.iter().map(|s| message::<discovery::Endpoints>(s).endpoints.len()).collect();
    assert!(sizes.iter().all(|size| *size <= 500) && sizes.iter().sum::<usize>() == 10_000, "{sizes:?}");
    // One more instance changes one shard.
    let more = shards(&big(10_001));
    assert_eq!(more.iter().filter(|s| !all.contains(s)).count(), 1);
}

#[test]
fn ten_thousand_endpoints_compile_quickly() {
    let catalog = big(10_000);
    let begun = Instant::now();
    let compiled = compile(&Objects::default(), &catalog);
    let whole = begun.elapsed();
    let begun = Instant::now();
    let _ = compiled.with_objects(&Objects::default());
    let switch = begun.elapsed();
    // Far above what it takes: for machines that do much else.
    assert!(whole < Duration::from_secs(2) && switch < Duration::from_millis(50), "{whole:?}, {switch:?}");
}

/// What a sidecar is sent it can read.
#[test]
fn what_compile_makes_decode_takes() {
    let all = [MESH, "", "{kind: Lane, name: gray, fallback: {mode: strict}, dryRun: true}"];
    for text in all {
        let compiled = compiled(text);
        for resource in compiled.everything(&node("a")) {
            let read = crate::decode::decode(resource.type_url, &resource.name, &resource.version, &resource.body);
            assert!(read.is_ok(), "{resource:?}: {:?}", read.err());
        }
    }
}

#[test]
fn a_sidecar_is_of_its_own_namespace_whatever_it_calls_its_service() {
    let compiled = compiled(
        "{kind: LaneGroup, namespace: payments, name: cards, services: [cards]}\n---\n\
         {kind: Lane, namespace: payments, name: gray, group: cards, entry: {services: [cards], rules: [{match: {header: x, in: [alice]}}]}}",
    );
    let own = Identity { namespace: "payments".into(), service: "cards".into(), tag: None };
    assert_eq!(compiled.group_of(&own), "namespaces/payments/laneGroups/cards");
    assert_eq!(compiled.subscribed(TYPE_LANE, &own).len(), 1);
    let other = node("namespaces/payments/services/cards");
    assert_eq!(compiled.group_of(&other), "namespaces/default/laneGroups/default");
    assert!(compiled.subscribed(TYPE_LANE, &other).is_empty());
}

#[test]
fn an_address_that_was_given_to_somebody_new_is_theirs_whatever_the_one_before_is_called() {
    let compiled_of = |a: &str, b: &str, more: &str| {
        compiled(&format!(
            "{{kind: Service, name: a, hosts: [a], endpoints: [{{address: '10.0.0.9:0', state: {a}, meshed: true}}{more}]}}\n---\n\
             {{kind: Service, name: b, hosts: [b], endpoints: [{{address: '10.0.0.9:0', state: {b}, meshed: true}}]}}"
        ))
    };
    let secondary = |compiled: &Compiled, host: &str| {
        let shard = compiled.answer(TYPE_ENDPOINTS, host, &node("x"));
        message::<discovery::Endpoints>(&shard[0]).endpoints[0].secondary
    };
    let peer = |compiled: &Compiled| -> String {
        message::<discovery::Peer>(&compiled.answer(TYPE_PEER, "ip/10.0.0.9", &node("x"))[0]).service
    };
    for (a, b, owner) in [
        ("draining", "ready", "b"),
        ("draining", "unhealthy", "b"),
        ("unhealthy", "warming", "b"),
        ("ready", "draining", "a"),
        ("unhealthy", "draining", "a"),
    ] {
        let compiled = compiled_of(a, b, "");
        let is_secondary = (secondary(&compiled, "host/a"), secondary(&compiled, "host/b"));
        assert_eq!(is_secondary, (owner != "a", owner != "b"), "a is {a}, b is {b}");
        assert_eq!(peer(&compiled), format!("namespaces/default/services/{owner}"), "a is {a}, b is {b}");
    }
    // Every port of it, also one that only the one before has.
    let named =
        compiled_of("draining", "ready", ", {address: '10.0.0.9:8080', portName: http, state: draining, meshed: true}");
    let of_a = &named.answer(TYPE_ENDPOINTS, "host/a", &node("x"))[0];
    assert!(message::<discovery::Endpoints>(of_a).endpoints.iter().all(|endpoint| endpoint.secondary));
    assert_eq!(peer(&named), "namespaces/default/services/b");
    // Nobody can tell: the first has it, and of the peer nothing is said that may be wrong.
    let compiled = compiled_of("ready", "ready", "");
    assert_eq!((secondary(&compiled, "host/a"), secondary(&compiled, "host/b")), (false, true));
    assert_eq!(peer(&compiled), "");
}
