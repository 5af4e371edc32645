//! Objects in, services out: what each shape of a cluster is for the lanes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use laneway_core::document::{EndpointDocument, ServiceDocument};
use laneway_core::snapshot::EndpointState;
use laneway_core::tag::Tag;
use laneway_proto::discovery::AppProtocol;
use serde_json::{Value, json};

use super::super::{PodService, PodTag};
use super::kind::Kind;
use super::objects::{Pod, Service, Slice, front_fact, pod_fact, slice_fact};
use super::registry::Registry;

mod live;
mod order;
mod parts;
mod watching;

/// Reads objects as the API server writes them.
fn add(registry: &mut Registry, object: Value) {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or("shop").to_owned();
    let (kind, namespace, name) = (text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
    let bad = "as the API server writes it";
    match kind.as_str() {
        "Pod" => registry.pod(&namespace, &name, pod_fact(serde_json::from_value::<Pod>(object).expect(bad))),
        "Service" => {
            registry.front(&namespace, &name, front_fact(serde_json::from_value::<Service>(object).expect(bad)))
        }
        _ => registry.slice(&namespace, &name, slice_fact(serde_json::from_value::<Slice>(object).expect(bad))),
    }
}

fn registry(objects: &[Value]) -> Registry {
    let mut registry = Registry::default();
    objects.iter().for_each(|object| add(&mut registry, object.clone()));
    registry.flush();
    registry
}

fn pod(name: &str, ip: &str, labels: Value) -> Value {
    json!({
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": labels, "managedFields": [{"manager": "kubelet"}]},
        "spec": {"containers": [{"name": "app", "image": "x", "ports": [{"name": "http", "containerPort": 8080}]}], "nodeName": "n"},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn with(mut object: Value, path: &str, value: Value) -> Value {
    let (parent, key) = path.rsplit_once('/').expect("a pointer");
    object.pointer_mut(parent).expect("it is there")[key] = value;
    object
}

fn front(name: &str, ip: &str, selector: Value, ports: Value) -> Value {
    json!({
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "selector": selector, "ports": ports},
    })
}

/// "a: 10.0.0.1:0 gray ready | 10.0.0.2:8080/http" and what else there is of each service.
fn shown(registry: &Registry) -> Vec<String> {
    let endpoint = |e: &EndpointDocument| {
        let name = if e.port_name.is_empty() { String::new() } else { format!("/{}", e.port_name) };
        let tag = e.tag.map(|tag| format!(" {tag}")).unwrap_or_default();
        let state = match e.state {
            EndpointState::Ready => "",
            EndpointState::Warming => " warming",
            EndpointState::Draining => " draining",
            EndpointState::Unhealthy => " unhealthy",
        };
        format!("{}{name}{tag}{state}{}", e.address, if e.meshed { " meshed" } else { "" })
    };
    let line = |service: &ServiceDocument| {
        let ports = service
            .ports
            .iter()
            .filter(|port| port.number_is_declared())
            .map(|port| format!("{}={}", port.port, port.name));
        let ports = ports.collect::<Vec<_>>().join(" ");
        let addresses = service.addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ");
        let endpoints = service.endpoints.iter().map(endpoint).collect::<Vec<_>>().join(" | ");
        let own = if service.secondary { "*" } else { "" };
        format!("{}{own} [{addresses}] {{{ports}}} {endpoints}", service.name)
    };
    registry.catalogue().iter().map(line).collect()
}

trait Declared {
    fn number_is_declared(&self) -> bool;
}

impl Declared for laneway_core::document::PortDocument {
    fn number_is_declared(&self) -> bool {
        self.port != 0
    }
}

#[track_caller]
fn check(objects: &[Value], expected: &[&str]) {
    assert_eq!(shown(&registry(objects)), expected);
}

#[test]
fn the_service_of_a_pod_is_the_first_that_something_says() {
    let labels = json!({"laneway.io/service": "one", "app.kubernetes.io/name": "three", "app": "four"});
    let annotated =
        with(pod("p", "10.0.0.1", labels), "/metadata/annotations", json!({"msePilotCreateAppName": "two"}));
    check(std::slice::from_ref(&annotated), &["one [] {} 10.0.0.1:0"]);
    let without = |object: &Value, keys: &[&str]| {
        let mut object = object.clone();
        for key in keys {
            object["metadata"]["labels"].as_object_mut().expect("labels").remove(*key);
        }
        object
    };
    check(&[without(&annotated, &["laneway.io/service"])], &["two [] {} 10.0.0.1:0"]);
    let third = with(without(&annotated, &["laneway.io/service"]), "/metadata/annotations", json!({}));
    check(std::slice::from_ref(&third), &["three [] {} 10.0.0.1:0"]);
    let fourth = without(&third, &["app.kubernetes.io/name"]);
    check(std::slice::from_ref(&fourth), &["four [] {} 10.0.0.1:0"]);
    // An empty label says nothing.
    check(
        &[with(fourth.clone(), "/metadata/labels", json!({"laneway.io/service": "", "app": "four"}))],
        &["four [] {} 10.0.0.1:0"],
    );
    let last = with(fourth, "/metadata/labels", json!({"x": "y"}));
    check(std::slice::from_ref(&last), &[]);
    check(
        &[last.clone(), front("five", "10.96.0.5", json!({"x": "y"}), json!([]))],
        &["five [10.96.0.5] {} 10.0.0.1:0"],
    );
    // Several over the same pods are one, by the name that comes first.
    let both = [
        last,
        front("six", "10.96.0.6", json!({"x": "y"}), json!([])),
        front("five", "10.96.0.5", json!({"x": "y"}), json!([])),
    ];
    check(&both, &["five [10.96.0.5 10.96.0.6] {} 10.0.0.1:0"]);
    let mut registry = registry(&both);
    assert_eq!(registry.take_problems().told, [] as [&str; 0]);
    assert_eq!(registry.standing_problems().map_or(0, |problems| problems.count()), 0);
}

#[test]
fn which_service_a_silent_pod_is_of_is_told_as_a_problem_where_only_names_decide() {
    let (x, both) = (json!({"x": "y"}), json!({"x": "y", "tier": "web"}));
    let objects = [
        pod("p1", "10.0.0.1", both.clone()),
        pod("p2", "10.0.0.2", x.clone()),
        front("narrow", "10.96.0.5", json!({"tier": "web"}), json!([])),
        front("wide", "10.96.0.6", x, json!([])),
    ];
    let mut registry = registry(&objects);
    assert_eq!(registry.service_of("shop", "p1", ""), PodService::Of("narrow".to_owned()));
    assert_eq!(registry.service_of("shop", "p2", ""), PodService::Of("wide".to_owned()));
    let told = registry.take_problems().told;
    let ours: Vec<&String> = told.iter().filter(|told| told.contains("do not say which service")).collect();
    assert!(
        ours.len() == 1
            && ours[0].starts_with("service shop/narrow: pods ")
            && ours[0].contains("(narrow, wide)")
            && ours[0].contains("laneway.io/service"),
        "{told:?}"
    );
    let problems = registry.standing_problems().expect("they are others now");
    assert!(problems.told.contains(ours[0]), "{problems:?}");
    assert_eq!(registry.standing_problems(), None, "nothing has changed since");
    // Another pod in its place is the same problem.
    registry.remove(Kind::Pods, "shop", "p1");
    add(&mut registry, pod("p3", "10.0.0.3", both.clone()));
    registry.flush();
    assert_eq!((registry.standing_problems(), registry.take_problems().told.len()), (None, 0));
    registry.remove(Kind::Pods, "shop", "p3");
    add(&mut registry, pod("p1", "10.0.0.1", both.clone()));
    registry.flush();
    assert_eq!(registry.standing_problems(), None);
    // It says so itself, or the two are over the same pods: nothing is odd.
    let labelled = pod("p1", "10.0.0.1", json!({"x": "y", "tier": "web", "laneway.io/service": "narrow"}));
    add(&mut registry, labelled);
    registry.flush();
    let is_ours = |told: &String| told.contains("do not say which service");
    let left = registry.standing_problems().expect("one is gone");
    assert!(!left.told.iter().any(is_ours), "{left:?}");
    add(&mut registry, pod("p1", "10.0.0.1", both.clone()));
    registry.flush();
    assert!(registry.standing_problems().expect("it is back").told.iter().any(is_ours));
    add(&mut registry, pod("p2", "10.0.0.2", both));
    registry.flush();
    let left = registry.standing_problems().expect("one is gone");
    assert!(!left.told.iter().any(is_ours), "{left:?}");
}

#[test]
fn a_pod_that_nobody_can_place_is_a_problem_for_as_long_as_it_is_there() {
    let odd = pod("odd", "10.0.0.8", json!({"app": "a", "laneway.io/tag": "Gray"}));
    let mut registry = registry(std::slice::from_ref(&odd));
    let problems = registry.standing_problems().expect("there is one");
    assert!(problems.count() == 1 && problems.told[0].starts_with("pod shop/odd is nobody's instance"), "{problems:?}");
    registry.remove(Kind::Pods, "shop", "odd");
    registry.flush();
    assert_eq!(registry.standing_problems().map(|problems| problems.count()), Some(0));
    // A Service that is a service of its own is well.
    for object in [
        pod("p1", "10.0.0.1", json!({"app": "a", "tier": "web"})),
        pod("p2", "10.0.0.2", json!({"app": "b", "tier": "web"})),
        front("all", "10.96.0.9", json!({"tier": "web"}), json!([])),
    ] {
        add(&mut registry, object);
    }
    registry.flush();
    assert_eq!(registry.take_problems().told.len(), 2, "both are in the log");
    assert_eq!(registry.standing_problems().map_or(0, |problems| problems.count()), 0);
}

#[test]
fn a_pod_that_is_not_known_is_another_thing_than_one_of_no_service() {
    let without_address = json!({"phase": "Pending"});
    let mut registry = registry(&[
        pod("of-a", "10.0.0.1", json!({"app": "a"})),
        pod("of-none", "10.0.0.2", json!({"x": "y"})),
        with(pod("starting", "", json!({"app": "a"})), "/status", without_address),
    ]);
    let of = |registry: &Registry, name: &str| registry.service_of("shop", name, "");
    assert_eq!(of(&registry, "of-a"), PodService::Of("a".to_owned()));
    assert_eq!(of(&registry, "of-none"), PodService::OfNone);
    assert_eq!(of(&registry, "starting"), PodService::Unknown);
    assert_eq!(registry.service_of("test", "of-a", ""), PodService::Unknown);
    add(&mut registry, front("five", "10.96.0.5", json!({"x": "y"}), json!([])));
    assert_eq!(of(&registry, "of-none"), PodService::Of("five".to_owned()));
    registry.remove(Kind::Pods, "shop", "of-a");
    assert_eq!(of(&registry, "of-a"), PodService::Unknown);
}

#[test]
fn a_pod_of_a_stateful_set_that_was_made_anew_is_another_by_the_same_name() {
    let made = |uid: &str, service: &str| {
        with(pod("cart-0", "10.0.0.1", json!({"app": service})), "/metadata/uid", json!(uid))
    };
    let mut registry = registry(&[made("first", "cart")]);
    let of = |registry: &Registry, uid: &str| registry.service_of("shop", "cart-0", uid);
    assert_eq!(of(&registry, "first"), PodService::Of("cart".to_owned()));
    // Of the one to come nothing is known, whatever the one before it was.
    assert_eq!(of(&registry, "second"), PodService::Unknown);
    add(&mut registry, made("second", "order"));
    assert_eq!(of(&registry, "second"), PodService::Of("order".to_owned()));
    assert_eq!(of(&registry, "first"), PodService::Unknown);
}

#[test]
fn the_tag_of_a_pod_is_that_of_its_labels_now() {
    let gray = Tag::parse(b"gray").expect("a tag");
    let labelled = |tag: &str| {
        let object = pod("cart-0", "10.0.0.1", json!({"app": "cart", "laneway.io/tag": tag}));
        with(object, "/metadata/uid", json!("first"))
    };
    let mut registry = registry(&[labelled("gray")]);
    let of = |registry: &Registry, uid: Option<&str>| registry.tag_of("shop", "cart-0", uid);
    assert_eq!((of(&registry, None), of(&registry, Some("first"))), (PodTag::Of(gray), PodTag::Of(gray)));
    assert_eq!(of(&registry, Some("second")), PodTag::Unknown);
    add(&mut registry, labelled(""));
    assert_eq!(of(&registry, Some("first")), PodTag::Baseline);
    // Nobody can tell.
    add(&mut registry, labelled("Gray"));
    assert_eq!(of(&registry, Some("first")), PodTag::Unknown);
}

#[test]
fn tag_state_and_sidecar_are_those_of_the_pod() {
    let a = |name: &str, ip: &str, labels: Value| {
        let mut labels = labels;
        labels["app"] = json!("a");
        pod(name, ip, labels)
    };
    let not_ready = json!([{"type": "Ready", "status": "False"}]);
    let objects = [
        a("gray", "10.0.0.1", json!({"laneway.io/tag": "gray", "laneway.io/injected": "true"})),
        with(a("mse", "10.0.0.2", json!({})), "/metadata/annotations", json!({"alicloud.service.tag": "blue"})),
        with(a("slow", "10.0.0.3", json!({})), "/status/conditions", not_ready.clone()),
        with(a("going", "10.0.0.4", json!({})), "/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z")),
        with(a("done", "10.0.0.5", json!({})), "/status/phase", json!("Succeeded")),
        with(a("failed", "10.0.0.6", json!({})), "/status/phase", json!("Failed")),
        with(a("pending", "10.0.0.7", json!({})), "/status", json!({"phase": "Pending"})),
        // Nobody knows what it is, so it is neither in a lane nor baseline.
        a("odd", "10.0.0.8", json!({"laneway.io/tag": "Gray"})),
    ];
    let mut registry = registry(&objects);
    let expected = "a [] {} 10.0.0.1:0 gray meshed | 10.0.0.2:0 blue | 10.0.0.3:0 unhealthy | 10.0.0.4:0 draining";
    assert_eq!(shown(&registry), [expected]);
    let problems = registry.take_problems();
    assert_eq!(problems.told.len(), 1, "{problems:?}");
    assert!(problems.told[0].starts_with("pod shop/odd is nobody's instance: label laneway.io/tag: `Gray` is no tag"));
    // Once, however often it is seen.
    add(&mut registry, with(objects[7].clone(), "/status/conditions", not_ready));
    registry.flush();
    assert_eq!(registry.take_problems().told, [] as [&str; 0]);
}

#[test]
fn every_service_over_the_pods_of_one_service_is_an_address_of_it_whatever_it_selects() {
    let objects = [
        pod("base", "10.0.0.1", json!({"app": "a"})),
        pod("gray", "10.0.0.2", json!({"app": "a", "laneway.io/tag": "gray"})),
        front("a-base", "10.96.0.1", json!({"app": "a"}), json!([{"port": 80, "targetPort": 8080, "name": "web"}])),
        front("a-gray", "10.96.0.2", json!({"laneway.io/tag": "gray"}), json!([{"port": 8080, "targetPort": 8080}])),
        front("nothing", "10.96.0.3", json!({"app": "nobody"}), json!([{"port": 80}])),
        with(front("outside", "", json!({"app": "a"}), json!([{"port": 80}])), "/spec/type", json!("ExternalName")),
    ];
    let mut objects = objects.to_vec();
    check(
        &objects,
        &["a [10.96.0.1 10.96.0.2] {80=web} 10.0.0.1:0 | 10.0.0.2:0 gray | 10.0.0.1:8080/web | 10.0.0.2:8080/web gray"],
    );
    let registry = registry(&objects);
    assert_eq!(
        registry.catalogue()[0].hosts,
        [
            "a-base.shop",
            "a-base.shop.svc",
            "a-base.shop.svc.cluster.local",
            "a-gray.shop",
            "a-gray.shop.svc",
            "a-gray.shop.svc.cluster.local"
        ]
    );
    // A gray pod that no Service selects is called by the address of all, at the port that this stands for.
    objects[1] =
        with(objects[1].clone(), "/metadata/labels", json!({"laneway.io/service": "a", "laneway.io/tag": "gray"}));
    objects.remove(3);
    check(
        &objects,
        &["a [10.96.0.1] {80=web} 10.0.0.1:0 | 10.0.0.2:0 gray | 10.0.0.1:8080/web | 10.0.0.2:8080/web gray"],
    );
}

#[test]
fn a_port_leads_where_each_pod_listens() {
    let other = |object| with(object, "/spec/containers/0/ports/0/containerPort", json!(9090));
    let none = |object| with(object, "/spec/containers/0/ports", json!([]));
    let ports = json!([
        {"name": "web", "port": 80, "targetPort": "http", "protocol": "TCP"},
        {"name": "same", "port": 7000, "targetPort": 7000},
        {"name": "db", "port": 3306, "targetPort": 3306, "appProtocol": "tcp"},
        {"name": "dns", "port": 53, "protocol": "UDP"},
    ]);
    let objects = [
        pod("p1", "10.0.0.1", json!({"app": "a"})),
        other(pod("p2", "10.0.0.2", json!({"app": "a"}))),
        // It declares no port of that name: the cluster does not call it there, and we do not guess.
        none(pod("p3", "10.0.0.3", json!({"app": "a"}))),
        front("a", "10.96.0.1", json!({"app": "a"}), ports),
    ];
    check(
        &objects,
        &[
            "a [10.96.0.1] {80=web 3306=db} 10.0.0.1:0 | 10.0.0.2:0 | 10.0.0.3:0 | 10.0.0.1:3306/db | 10.0.0.2:3306/db | \
           10.0.0.3:3306/db | 10.0.0.1:8080/web | 10.0.0.2:9090/web",
        ],
    );
    let catalogue = registry(&objects).catalogue();
    let protocols: Vec<AppProtocol> = catalogue[0].ports.iter().map(|port| port.protocol).collect();
    assert_eq!(protocols, [AppProtocol::Detect, AppProtocol::Detect, AppProtocol::Tcp]);
    // Two ports of one name, by two Services: names stay unique.
    let ports = |number: u16| json!([{"name": "web", "port": number, "targetPort": 8080}]);
    let objects = [
        pod("p1", "10.0.0.1", json!({"app": "a"})),
        front("a", "10.96.0.1", json!({"app": "a"}), ports(80)),
        front("b", "10.96.0.2", json!({"app": "a"}), ports(81)),
    ];
    check(
        &objects,
        &["a [10.96.0.1 10.96.0.2] {80=web 81=81.tcp} 10.0.0.1:0 | 10.0.0.1:8080/81.tcp | 10.0.0.1:8080/web"],
    );
}

#[test]
fn a_headless_service_is_a_name_and_its_pods_are_dialled() {
    let objects = [
        pod("p1", "10.0.0.1", json!({"app": "a"})),
        front("a", "None", json!({"app": "a"}), json!([{"port": 80, "targetPort": 8080}])),
    ];
    check(&objects, &["a [] {} 10.0.0.1:0"]);
    assert_eq!(registry(&objects).catalogue()[0].hosts, ["a.shop", "a.shop.svc", "a.shop.svc.cluster.local"]);
}

#[test]
fn a_service_over_several_services_is_one_of_its_own_unless_its_name_is_taken() {
    let objects = [
        pod("p1", "10.0.0.1", json!({"app": "a", "tier": "web"})),
        pod("p2", "10.0.0.2", json!({"app": "b", "tier": "web", "laneway.io/tag": "gray"})),
        front("all", "10.96.0.9", json!({"tier": "web"}), json!([{"port": 80, "targetPort": 8080}])),
    ];
    let all =
        "all* [10.96.0.9] {80=80.tcp} 10.0.0.1:0 | 10.0.0.2:0 gray | 10.0.0.1:8080/80.tcp | 10.0.0.2:8080/80.tcp gray";
    check(&objects, &["a [] {} 10.0.0.1:0", "b [] {} 10.0.0.2:0 gray", all]);
    let mut named = objects.clone();
    named[0] = with(named[0].clone(), "/metadata/labels", json!({"app": "all", "tier": "web"}));
    let mut registry = registry(&named);
    assert_eq!(shown(&registry), ["all [] {} 10.0.0.1:0", "b [] {} 10.0.0.2:0 gray"]);
    let problems = registry.take_problems().told;
    assert!(
        problems.len() == 1 && problems[0].contains("left to the cluster") && problems[0].contains("all, b"),
        "{problems:?}"
    );
    // And back again, by one event.
    add(&mut registry, objects[0].clone());
    registry.flush();
    assert_eq!(shown(&registry), ["a [] {} 10.0.0.1:0", "b [] {} 10.0.0.2:0 gray", all]);
}

#[test]
fn two_services_that_disagree_about_a_port_are_two() {
    let objects = [
        pod("p1", "10.0.0.1", json!({"app": "a"})),
        front("a", "10.96.0.1", json!({"app": "a"}), json!([{"port": 80, "targetPort": 8080}])),
        front("a-admin", "10.96.0.2", json!({"app": "a"}), json!([{"port": 80, "targetPort": 9090}])),
    ];
    check(
        &objects,
        &[
            "a [10.96.0.1] {80=80.tcp} 10.0.0.1:0 | 10.0.0.1:8080/80.tcp",
            "a-admin* [10.96.0.2] {80=80.tcp} 10.0.0.1:0 | 10.0.0.1:9090/80.tcp",
        ],
    );
    // Of different pods they may say different things.
    let objects = [
        pod("p1", "10.0.0.1", json!({"laneway.io/service": "a", "v": "1"})),
        pod("p2", "10.0.0.2", json!({"laneway.io/service": "a", "v": "2"})),
        front("a", "10.96.0.1", json!({"v": "1"}), json!([{"port": 80, "targetPort": 8080}])),
        front("a-two", "10.96.0.2", json!({"v": "2"}), json!([{"port": 80, "targetPort": 9090}])),
    ];
    check(
        &objects,
        &["a [10.96.0.1 10.96.0.2] {80=80.tcp} 10.0.0.1:0 | 10.0.0.2:0 | 10.0.0.1:8080/80.tcp | 10.0.0.2:9090/80.tcp"],
    );
}

#[test]
fn slices_of_others_say_what_is_behind_a_service_without_a_selector() {
    let slice = |endpoints: Value| {
        json!({
            "kind": "EndpointSlice",
            "metadata": {"name": "legacy-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "legacy"}},
            "addressType": "IPv4",
            "ports": [{"name": "web", "port": 8081, "protocol": "TCP"}],
            "endpoints": endpoints,
        })
    };
    let fronts = front("legacy", "10.96.0.1", Value::Null, json!([{"name": "web", "port": 80, "targetPort": 80}]));
    let fronts = with(fronts, "/spec/selector", json!({}));
    // Machines are baseline, pods are gray: a lane over both.
    let machines = slice(json!([
        {"addresses": ["192.168.0.1"], "conditions": {"ready": true}},
        {"addresses": ["192.168.0.2"], "conditions": {"ready": false}},
        {"addresses": ["192.168.0.3"], "conditions": {"ready": false, "serving": true, "terminating": true}},
        {"addresses": ["192.168.0.4"], "conditions": {}},
    ]));
    let gray = pod("gray", "10.0.0.1", json!({"laneway.io/service": "legacy", "laneway.io/tag": "gray"}));
    let expected = "legacy [10.96.0.1] {80=web} 10.0.0.1:0 gray | 10.0.0.1:80/web gray | 192.168.0.1:8081/web | \
                    192.168.0.2:8081/web unhealthy | 192.168.0.3:8081/web draining | 192.168.0.4:8081/web";
    check(&[fronts.clone(), machines.clone(), gray.clone()], &[expected]);
    // The API server takes any number for a port; one that is none is left out, and costs nothing else.
    let odd = json!([{"name": "web", "port": 8081}, {"name": "odd", "port": 70_000}, {"name": "none", "port": 0}]);
    check(&[fronts.clone(), with(machines.clone(), "/ports", odd), gray], &[expected]);
    // It may name pods too; what they are, they say themselves.
    let of_pod = slice(
        json!([{"addresses": ["10.0.0.2"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "p"}}]),
    );
    let unready = with(pod("p", "10.0.0.2", json!({"app": "a"})), "/status/conditions", json!([]));
    check(
        &[fronts.clone(), of_pod, unready],
        &["a [10.96.0.1] {80=web} 10.0.0.2:0 unhealthy | 10.0.0.2:8081/web unhealthy"],
    );
    // Nobody is there.
    check(&[fronts, with(machines, "/endpoints", Value::Null)], &[]);
}

#[test]
fn a_headless_service_of_machines_and_of_pods_on_nodes_is_called_at_its_ports() {
    let headless = |selector: Value, ports: Value| front("legacy", "None", selector, ports);
    let web = json!([{"name": "web", "port": 80, "targetPort": 8080}]);
    let machines = json!({
        "kind": "EndpointSlice",
        "metadata": {"name": "legacy-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "legacy"}},
        "ports": [{"name": "web", "port": 8081}],
        "endpoints": [
            {"addresses": ["192.168.0.1"], "conditions": {"ready": true}},
            {"addresses": ["192.168.0.2"], "conditions": {"ready": false}},
        ],
    });
    let without_selector = with(headless(json!({}), web.clone()), "/spec/selector", json!({}));
    check(
        &[without_selector.clone(), machines.clone()],
        &["legacy [] {80=web} 192.168.0.1:8081/web | 192.168.0.2:8081/web unhealthy"],
    );
    // Their gray version is in a pod: it can be called by who dials a machine, and who dials it can be led back.
    let gray = pod("gray", "10.0.0.1", json!({"laneway.io/service": "legacy", "laneway.io/tag": "gray"}));
    let expected = "legacy [] {80=web} 10.0.0.1:0 gray | 10.0.0.1:8080/web gray | 192.168.0.1:8081/web | \
                    192.168.0.2:8081/web unhealthy";
    check(&[without_selector.clone(), machines.clone(), gray.clone()], &[expected]);
    assert_eq!(registry(&[without_selector.clone(), machines]).catalogue()[0].hosts[0], "legacy.shop");
    // Without machines it is as any headless Service.
    check(&[without_selector, gray], &["legacy [] {} 10.0.0.1:0 gray"]);
    let on_node =
        |name: &str, ip: &str| with(pod(name, ip, json!({"app": "legacy"})), "/spec/hostNetwork", json!(true));
    check(
        &[on_node("p1", "192.168.0.1"), headless(json!({"app": "legacy"}), web.clone())],
        &["legacy [] {80=web} 192.168.0.1:8080/web"],
    );
    check(
        &[
            on_node("p1", "192.168.0.1"),
            pod("p2", "10.0.0.2", json!({"app": "legacy"})),
            headless(json!({"app": "legacy"}), web),
        ],
        &["legacy [] {80=web} 10.0.0.2:0 | 10.0.0.2:8080/web | 192.168.0.1:8080/web"],
    );
    // It declares no port of that name, or none that is TCP: nobody knows where to call it.
    let nowhere = json!([{"port": 80, "targetPort": "grpc"}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
    check(&[on_node("p1", "192.168.0.1"), headless(json!({"app": "legacy"}), nowhere)], &[]);
}

#[test]
fn pods_on_the_network_of_their_node_are_called_at_the_ports_of_services_alone() {
    let objects = [
        with(pod("p1", "192.168.0.1", json!({"app": "a"})), "/spec/hostNetwork", json!(true)),
        with(pod("p2", "192.168.0.1", json!({"app": "b"})), "/spec/hostNetwork", json!(true)),
        front("a", "10.96.0.1", json!({"app": "a"}), json!([{"port": 9100, "targetPort": 9100}])),
    ];
    check(&objects, &["a [10.96.0.1] {9100=9100.tcp} 192.168.0.1:9100/9100.tcp"]);
}

#[test]
fn where_a_port_of_an_address_leads_is_for_no_headless_service_to_say() {
    // As databases have them: one Service for the names of the pods, one to call.
    let mut objects = vec![
        front(
            "db",
            "None",
            json!({"app": "db"}),
            json!([{"name": "raw", "port": 80, "targetPort": 80, "appProtocol": "tcp"}]),
        ),
        front("db-web", "10.96.0.1", json!({"app": "db"}), json!([{"name": "web", "port": 80, "targetPort": 8080}])),
    ];
    objects.extend(
        (1..=100).map(|number| pod(&format!("p{number:03}"), &format!("10.0.0.{number}"), json!({"app": "db"}))),
    );
    let web = |registry: &Registry| {
        let service = registry.catalogue().remove(0);
        let ports = service.ports.iter().filter(|port| port.port == 80);
        let ports: Vec<_> = ports.map(|port| (port.name.clone(), port.protocol)).collect();
        let called =
            service.endpoints.iter().filter(|endpoint| endpoint.port_name == "web" || endpoint.port_name == "raw");
        let called: BTreeSet<u16> = called.map(|endpoint| endpoint.address.port()).collect();
        (ports, called.into_iter().collect::<Vec<_>>())
    };
    let expected = (vec![("web".to_owned(), AppProtocol::Detect)], vec![8080]);
    let mut registry = registry(&objects);
    assert_eq!(web(&registry), expected);
    // One pod on the network of its node, or a machine behind the headless one, changes nothing of that.
    add(&mut registry, with(pod("node", "192.168.0.1", json!({"app": "db"})), "/spec/hostNetwork", json!(true)));
    registry.flush();
    assert_eq!(web(&registry), expected);
    registry.remove(Kind::Pods, "shop", "node");
    add(&mut registry, with(objects[0].clone(), "/spec/selector", json!({})));
    add(
        &mut registry,
        json!({
            "kind": "EndpointSlice",
            "metadata": {"name": "db-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "db"}},
            "ports": [{"name": "raw", "port": 80}],
            "endpoints": [{"addresses": ["192.168.0.1"], "conditions": {"ready": true}}],
        }),
    );
    registry.flush();
    assert_eq!(web(&registry), expected);
}

#[test]
fn families_do_not_mix_and_a_new_pod_has_the_address_of_one_that_goes_away() {
    let dual = json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]);
    let old =
        with(pod("old", "10.0.0.9", json!({"app": "b"})), "/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"));
    let objects = [
        with(pod("p1", "10.0.0.1", json!({"app": "a"})), "/status/podIPs", dual),
        old,
        pod("young", "10.0.0.9", json!({"app": "b"})),
    ];
    check(&objects, &["a [] {} 10.0.0.1:0 | [fd00::1]:0/second.family", "b [] {} 10.0.0.9:0"]);
}

#[test]
fn a_service_id_that_cannot_be_one_is_told() {
    let odd = with(
        pod("p1", "10.0.0.1", json!({"x": "y"})),
        "/metadata/annotations",
        json!({"msePilotCreateAppName": "a/b"}),
    );
    let mut registry = registry(&[odd, front("s", "10.96.0.1", json!({"x": "y"}), json!([]))]);
    assert_eq!(shown(&registry), [] as [&str; 0]);
    let problems = registry.take_problems().told;
    assert!(problems[0].contains("annotation msePilotCreateAppName: `a/b` is no name of a service"), "{problems:?}");
}

#[test]
fn members_of_a_quorum_dial_each_other_before_they_are_ready_and_nobody_else_is_led_to_them() {
    let not_ready = json!([{"type": "Ready", "status": "False"}]);
    let unready =
        |name: &str, ip: &str| with(pod(name, ip, json!({"app": "etcd"})), "/status/conditions", not_ready.clone());
    let peers = front("etcd-peers", "None", json!({"app": "etcd"}), json!([{"port": 2380}]));
    let peers = with(peers, "/spec/publishNotReadyAddresses", json!(true));
    let clients =
        front("etcd", "10.96.0.1", json!({"app": "etcd"}), json!([{"name": "client", "port": 80, "targetPort": 2379}]));
    // Nobody is ready before they have met: each can be dialled. By the address of all nobody is called.
    let mut registry =
        registry(&[unready("etcd-0", "10.0.0.1"), unready("etcd-1", "10.0.0.2"), peers, clients.clone()]);
    let none = "etcd [10.96.0.1] {80=client} 10.0.0.1:0/aside.unready.10.0.0.1 | 10.0.0.2:0/aside.unready.10.0.0.2 | \
                10.0.0.1:2379/client unhealthy | 10.0.0.2:2379/client unhealthy";
    assert_eq!(shown(&registry), [none]);
    // The first is: whoever dials the second still means that one.
    add(&mut registry, pod("etcd-0", "10.0.0.1", json!({"app": "etcd"})));
    registry.flush();
    let one = "etcd [10.96.0.1] {80=client} 10.0.0.1:0 | 10.0.0.2:0/aside.unready.10.0.0.2 | 10.0.0.1:2379/client | \
               10.0.0.2:2379/client unhealthy";
    assert_eq!(shown(&registry), [one]);
    // One that is going away is not dialled anew.
    add(
        &mut registry,
        with(unready("etcd-1", "10.0.0.2"), "/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z")),
    );
    registry.flush();
    let going = "etcd [10.96.0.1] {80=client} 10.0.0.1:0 | 10.0.0.2:0 draining | 10.0.0.1:2379/client | 10.0.0.2:2379/client draining";
    assert_eq!(shown(&registry), [going]);
    // Without such a Service it is as any pod that is not ready.
    check(
        &[unready("etcd-0", "10.0.0.1"), clients],
        &["etcd [10.96.0.1] {80=client} 10.0.0.1:0 unhealthy | 10.0.0.1:2379/client unhealthy"],
    );
}
