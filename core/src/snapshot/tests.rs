//! Which service was dialled, and what follows from who this pod is.

use std::net::SocketAddr;

use crate::compile::{compile, sort};
use crate::decode::{Resources, decode};
use crate::document;
use crate::snapshot::{Destination, Identity, Snapshot};

const WORLD: &str = "
kind: Service
name: b
hosts: [sc-b, b.shop.svc]
addresses: [10.96.0.12, 'fd00::12']
ports: [{port: 80, name: http, protocol: detect}, {port: 3306, name: db, protocol: tcp}, {port: 9000, name: grpc, protocol: grpc}]
endpoints:
  - {address: '10.1.0.12:20002', portName: http, tag: gray}
  - {address: '10.1.0.13:20002', portName: http, meshed: true}
  - {address: '10.1.0.13:3306', portName: db}
  - {address: '[fd00::1]:20002', portName: http}
---
kind: Service
name: c
hosts: [sc-c]
endpoints: [{address: '10.1.0.20:0'}, {address: '10.1.0.20:443', tag: gray}]
---
kind: Lane
name: dark
enabled: false
---
kind: Service
name: d
endpoints: [{address: '10.1.0.30:80', tag: dark}, {address: '10.1.0.31:80', state: draining}]
";

fn snapshot(service: &str) -> Snapshot {
    snapshot_of(WORLD, service)
}

fn snapshot_of(documents: &str, service: &str) -> Snapshot {
    let (objects, catalog, _) = sort(document::read(documents).expect("good documents")).expect("different names");
    let identity = Identity { namespace: "default".into(), service: service.into(), tag: None };
    let mut resources = Resources::default();
    for wire in compile(&objects, &catalog).everything(&identity) {
        resources.insert(decode(wire.type_url, &wire.name, &wire.version, &wire.body).expect("accepted"));
    }
    resources.snapshot(&identity, 7)
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// `service port port-name protocol [instance]`, or `unknown`.
fn check(original: Option<&str>, authority: Option<&str>, default: Option<&str>, expected: &str) {
    let snapshot = snapshot("a");
    let default = default.map(|id| crate::name::service("default", id));
    let found = match snapshot.destination(original.map(address), authority, default.as_deref()) {
        Destination::Unknown => "unknown".to_owned(),
        Destination::Known { service, port, port_name, protocol, instance } => {
            let instance = instance.map(|endpoint| format!(" {}", endpoint.address.0)).unwrap_or_default();
            format!("{} {port} {port_name:?} {protocol:?}{instance}", service.id)
        }
    };
    assert_eq!(found, expected, "{original:?} {authority:?} {default:?}");
}

#[test]
fn a_known_address_says_which_service() {
    check(Some("10.96.0.12:80"), None, None, "b 80 \"http\" Detect");
    check(Some("[::ffff:10.96.0.12]:80"), None, None, "b 80 \"http\" Detect");
    check(Some("[fd00::12]:9000"), None, None, "b 9000 \"grpc\" Http2");
    check(Some("10.96.0.12:3306"), None, None, "b 3306 \"db\" Opaque");
    check(Some("10.1.0.12:20002"), None, None, "b 20002 \"http\" Detect 10.1.0.12:20002");
    check(Some("[fd00::1]:20002"), None, None, "b 20002 \"http\" Detect [fd00::1]:20002");
    check(Some("10.96.0.12:81"), None, None, "unknown");
    check(Some("10.1.0.12:81"), None, None, "unknown");
    check(Some("192.0.2.1:80"), None, None, "unknown");
}

#[test]
fn an_exact_port_goes_before_port_0() {
    check(Some("10.1.0.20:7777"), None, None, "c 7777 \"\" Detect 10.1.0.20:0");
    check(Some("10.1.0.20:443"), None, None, "c 443 \"\" Detect 10.1.0.20:443");
}

#[test]
fn the_authority_never_overrides_a_known_address() {
    check(Some("10.96.0.12:80"), Some("sc-c"), None, "b 80 \"http\" Detect");
    check(Some("10.1.0.12:20002"), Some("sc-c"), None, "b 20002 \"http\" Detect 10.1.0.12:20002");
    check(Some("192.0.2.1:80"), Some("SC-B"), None, "b 80 \"http\" Detect");
    check(Some("192.0.2.1:9000"), Some("sc-b"), None, "b 9000 \"grpc\" Http2");
    check(Some("192.0.2.1:80"), Some("sc-b:9000"), None, "b 9000 \"grpc\" Http2");
    check(Some("192.0.2.1:80"), Some("example.org"), None, "unknown");
}

#[test]
fn a_connection_that_was_not_redirected_goes_by_authority_then_by_default() {
    check(None, Some("b.shop.svc."), None, "b 80 \"http\" Detect");
    check(None, Some("sc-b:15401"), None, "b 80 \"http\" Detect");
    check(None, Some("sc-c"), Some("b"), "c 80 \"\" Detect");
    check(None, Some("10.1.0.12:20002"), None, "b 20002 \"http\" Detect 10.1.0.12:20002");
    check(None, Some("[fd00::12]:9000"), None, "b 9000 \"grpc\" Http2");
    check(None, Some("localhost:15401"), Some("b"), "b 80 \"http\" Detect");
    check(None, None, Some("b"), "b 80 \"http\" Detect");
    check(None, None, Some("nobody"), "unknown");
    check(None, Some(&"x".repeat(300)), None, "unknown");
}

#[test]
fn idle_connections_stay_only_to_what_may_be_chosen() {
    let snapshot = snapshot("b");
    for (to, expected) in [
        ("10.1.0.12:20002", true),
        ("10.1.0.20:1234", true),
        ("10.1.0.30:80", false),
        ("10.1.0.31:80", false),
        ("192.0.2.1:80", false),
    ] {
        assert_eq!(snapshot.may_be_called(address(to)), expected, "{to}");
    }
}

#[test]
fn an_instance_goes_away_when_it_drains_or_its_service_has_it_no_more() {
    let snapshot = snapshot("b");
    for (service, at, expected) in [
        ("d", "10.1.0.31:80", true),
        ("b", "192.0.2.1:80", true),
        ("b", "10.1.0.12:20002", false),
        // Port 0 stands for all ports.
        ("c", "10.1.0.20:1234", false),
        // Its lane is off: it is not called, and stays.
        ("d", "10.1.0.30:80", false),
        // Who is unknown may have been given up.
        ("e", "192.0.2.1:80", false),
    ] {
        let service = crate::name::service("default", service);
        assert_eq!(snapshot.is_leaving(&service, address(at)), expected, "{service} {at}");
    }
}

#[test]
fn a_pod_knows_its_own_service() {
    let snapshot = snapshot("b");
    assert_eq!(snapshot.own_service_name(), "namespaces/default/services/b");
    assert!(snapshot.is_own_instance(address("[::ffff:10.1.0.13]:1").ip()));
    assert!(!snapshot.is_own_instance(address("10.1.0.20:1").ip()));
    // An instance without a sidecar hands nothing over, and its address may be its node's.
    assert!(!snapshot.is_own_instance(address("10.1.0.12:1").ip()));
    // Unless nobody is said to have one.
    assert!(self::snapshot("d").is_own_instance(address("10.1.0.30:1").ip()));
    assert!(snapshot.is_opaque_port(address("10.1.0.13:3306")));
    assert!(!snapshot.is_opaque_port(address("10.1.0.13:20002")));
    assert!(!snapshot.is_opaque_port(address("10.1.0.13:1")));
}

#[test]
fn who_calls_is_asked_where_it_makes_a_difference_and_nowhere_else() {
    let asks = |group: &str, lane: &str, service: &str| {
        let text = format!(
            "{{kind: LaneGroup, name: default, {group}}}\n---\n{{kind: Lane, name: gray, {lane}}}\n---\n\
             {{kind: Service, name: a}}\n---\n{{kind: Service, name: b}}"
        );
        snapshot_of(&text, service).asks_who_calls()
    };
    let rules = |rule: &str| format!("entry: {{services: [a], rules: [{rule}]}}");
    for source in ["sourceService", "sourceNamespace", "sourceTag"] {
        let test = rules(&format!("{{match: {{not: {{any: [{{attribute: {source}, exact: x}}]}}}}}}"));
        assert!(asks("", &test, "a"), "{source}");
        assert!(!asks("", &test, "b"), "{source}: b is no entry");
        assert!(!asks("", &format!("{test}, enabled: false"), "a"), "{source}: the rules do not run");
        assert!(asks("", &format!("{test}, dryRun: true"), "a"), "{source}: what is counted is as true");
        assert!(
            asks("", &rules(&format!("{{sticky: {{by: [{{attribute: {source}}}]}}, percent: 1%}}")), "a"),
            "{source}"
        );
    }
    let other = rules("{match: {all: [{attribute: sourceIp, exact: 10.0.0.0/8}, {header: x, present: true}]}}");
    assert!(!asks("", &other, "a"), "the connection tells the address");
    assert!(asks("tag: {trust: mesh}", "", "a") && asks("tag: {trust: none}", "", "b"));
    assert!(asks("pathHeader: mesh", "", "b") && !asks("pathHeader: any", "", "b"));
}

#[test]
fn an_empty_snapshot_knows_nobody_and_has_the_default_group() {
    let snapshot = Snapshot::empty(Identity::default());
    assert_eq!(snapshot.group().tag_header, "x-mse-tag");
    assert!(matches!(snapshot.destination(Some(address("10.96.0.12:80")), None, None), Destination::Unknown));
    assert_eq!(snapshot.own_service_wanted(), None);
}
