//! Events in any order come to what a fresh list says, and cost what they touch.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::kind::Kind;
use super::super::registry::Registry;
use super::{add, front, pod, registry, shown, with};

/// One of a small world, so that everything meets everything.
fn any_object() -> impl Strategy<Value = (Kind, &'static str, Option<Value>)> {
    let pods = ("p[1-4]", (prop::option::of("a|b|all"), any::<bool>()), prop::option::of("gray|Gray"), "x|y", 0..5_u8)
        .prop_map(|(name, (service, is_said), tag, selected, variant)| {
            let ip = format!("10.0.0.{}", name.trim_start_matches('p'));
            let mut labels = json!({"x": selected});
            labels[if is_said { "laneway.io/service" } else { "app" }] = json!(service.unwrap_or_default());
            labels["laneway.io/tag"] = json!(tag.unwrap_or_default());
            let object = pod(&name, &ip, labels);
            let object = match variant {
                0 => None,
                1 => Some(with(object, "/status/conditions", json!([]))),
                2 => Some(with(object, "/spec/hostNetwork", json!(true))),
                3 => Some(with(object, "/spec/containers/0/ports/0/containerPort", json!(9090))),
                _ => Some(object),
            };
            (Kind::Pods, name, object)
        });
    let fronts = ("a|b|all|part", 0..5_u8, 0..4_u8, 0..4_u8).prop_map(|(name, selector, ports, headless)| {
        let ip = if headless == 0 { "None".to_owned() } else { format!("10.96.0.{}", name.len()) };
        let ports = match ports {
            0 => json!([]),
            1 => json!([{"name": "web", "port": 80, "targetPort": 8080}]),
            2 => json!([{"name": "web", "port": 80, "targetPort": "http"}]),
            _ => json!([{"name": "web", "port": 80, "targetPort": 80}]),
        };
        let object = match selector {
            0 => None,
            1 => Some(json!({"x": "x"})),
            2 => Some(json!({"x": "y"})),
            3 => Some(json!({"app": "a"})),
            _ => Some(json!({})),
        };
        let object = object.map(|selector| front(&name, &ip, selector, ports));
        let object = object.map(|object| with(object, "/spec/publishNotReadyAddresses", json!(headless == 1)));
        (Kind::Services, name, object)
    });
    let slices = ("s[1-2]", "a|all", prop::collection::vec("p[1-4]|", 0..3), any::<bool>()).prop_map(
        |(name, of, pods, is_there)| {
            let endpoint = |pod: &String| match pod.as_str() {
                "" => json!({"addresses": ["192.168.0.1"], "conditions": {}}),
                pod => json!({"addresses": ["10.0.0.1"], "conditions": {}, "targetRef": {"kind": "Pod", "name": pod}}),
            };
            let object = json!({
                "kind": "EndpointSlice",
                "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": of}},
                "ports": [{"name": "web", "port": 8081}],
                "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
            });
            (Kind::Slices, name, is_there.then_some(object))
        },
    );
    // Names live as long as the test.
    prop_oneof![4 => pods, 2 => fronts, 1 => slices]
        .prop_map(|(kind, name, object)| (kind, &*Box::leak(name.into_boxed_str()), object))
}

fn apply(registry: &mut Registry, (kind, name, object): &(Kind, &str, Option<Value>)) {
    match object {
        Some(object) => add(registry, object.clone()),
        None => registry.remove(*kind, "shop", name),
    }
}

proptest! {
    #[test]
    fn any_order_of_events_comes_to_what_a_fresh_list_says(
        events in prop::collection::vec((any_object(), any::<bool>()), 1..40),
    ) {
        let mut followed = Registry::default();
        let mut there: BTreeMap<(u8, &str), Value> = BTreeMap::new();
        for (event, is_flushed) in &events {
            apply(&mut followed, event);
            if *is_flushed {
                followed.flush();
            }
            let key = (event.0 as u8, event.1);
            match &event.2 {
                Some(object) => drop(there.insert(key, object.clone())),
                None => drop(there.remove(&key)),
            }
        }
        followed.flush();
        // In both directions: what comes last must not matter either.
        let objects: Vec<Value> = there.into_values().collect();
        let backwards: Vec<Value> = objects.iter().rev().cloned().collect();
        prop_assert_eq!(followed.catalogue(), registry(&objects).catalogue());
        let mut fresh = registry(&backwards);
        prop_assert_eq!(shown(&followed), shown(&fresh));
        let found = |registry: &mut Registry| registry.standing_problems().unwrap_or_default();
        prop_assert_eq!(found(&mut followed), found(&mut fresh));
    }
}

#[test]
fn an_event_that_says_nothing_new_changes_nothing_and_one_that_does_changes_its_service_alone() {
    let pods =
        (0..50).map(|at| pod(&format!("p{at}"), &format!("10.0.0.{at}"), json!({"app": format!("s{}", at % 5)})));
    let pods: Vec<Value> = pods.collect();
    let mut followed = registry(&pods);
    // What a kubelet writes without end.
    add(&mut followed, with(pods[7].clone(), "/status/startTime", json!("2026-01-01T00:00:00Z")));
    assert!(!followed.flush());
    let before = followed.catalogue();
    add(&mut followed, with(pods[7].clone(), "/status/conditions", json!([])));
    assert!(followed.flush());
    let after = followed.catalogue();
    let changed: Vec<&str> =
        before.iter().zip(&after).filter(|(old, new)| old != new).map(|(_, new)| new.name.as_str()).collect();
    assert_eq!(changed, ["s2"]);
    // All gone: nothing is kept.
    for pod in &pods {
        followed.remove(Kind::Pods, "shop", pod["metadata"]["name"].as_str().expect("a name"));
    }
    assert!(followed.flush());
    assert_eq!(followed.catalogue(), []);
    assert!(followed.is_empty());
}

#[test]
fn pods_of_one_template_share_it_and_the_last_one_takes_it_along() {
    let mut followed = Registry::default();
    for at in 0..1_000 {
        add(
            &mut followed,
            pod(&format!("p{at}"), &format!("10.0.{}.{}", at / 250, at % 250), json!({"app": format!("s{}", at % 10)})),
        );
    }
    followed.flush();
    assert_eq!(followed.templates_count(), 10);
    for at in (0..1_000).filter(|at| at % 10 == 3) {
        followed.remove(Kind::Pods, "shop", &format!("p{at}"));
    }
    assert_eq!(followed.templates_count(), 9);
}

/// As large as pods are: 10 KB each, of 200 services.
fn large(number: usize) -> Value {
    let (service, hash) = (format!("service-{}", number % 200), format!("7c5ddbdf{}", number % 200));
    let ip = format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255);
    let labels = json!({"app": service, "pod-template-hash": hash, "tier": "backend"});
    let object = pod(&format!("{service}-{hash}-{number}"), &ip, labels);
    let env: Vec<Value> =
        (0..60).map(|at| json!({"name": format!("VARIABLE_{at}"), "value": "x".repeat(64)})).collect();
    let object = with(object, "/spec/containers/0/env", json!(env));
    with(object, "/metadata/managedFields", json!([{"manager": "kubelet", "fieldsV1": {"f:status": "x".repeat(4000)}}]))
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it is told");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
#[ignore = "measures the memory of its process: run it alone"]
fn of_ten_thousand_pods_little_is_kept() {
    let before = resident_kib();
    let mut bytes = 0;
    let mut followed = Registry::default();
    for number in 0..200 {
        let (name, ip) = (format!("service-{number}"), format!("10.96.0.{number}"));
        let ports = json!([{"name": "web", "port": 80, "targetPort": "http"}]);
        add(&mut followed, front(&name, &ip, json!({"app": name}), ports));
    }
    for number in 0..10_000 {
        let pod = large(number);
        bytes += pod.to_string().len();
        add(&mut followed, pod);
    }
    followed.flush();
    let kept = resident_kib() - before;
    let catalogue = followed.catalogue();
    let with_catalogue = resident_kib() - before;
    assert_eq!(catalogue.iter().map(|service| service.endpoints.len()).sum::<usize>(), 20_000);
    #[allow(clippy::print_stdout, reason = "the figure of the documentation")]
    {
        println!(
            "{bytes} bytes of pods: {kept} KiB kept, {with_catalogue} KiB with one catalogue that was handed over"
        );
    }
    assert!(with_catalogue < 32 << 10, "{with_catalogue} KiB");
}

#[test]
fn hundreds_of_services_over_the_same_pods_are_placed_while_others_wait() {
    // An edit right in one namespace is enough for as much; whoever asks of which service a pod is waits for it.
    const PODS: usize = 200;
    const FRONTS: usize = 300;
    let mut followed = Registry::default();
    for at in 0..PODS {
        add(&mut followed, pod(&format!("p{at}"), &format!("10.0.{}.{}", at / 250, at % 250), json!({"app": "a"})));
    }
    let service = |at: usize, target: usize| {
        let ports = json!([{"port": 80, "targetPort": target}]);
        front(&format!("f{at:03}"), &format!("10.96.{}.{}", at / 250, at % 250), json!({"app": "a"}), ports)
    };
    for at in 0..FRONTS {
        add(&mut followed, service(at, 8080));
    }
    followed.flush();
    let names = |followed: &Registry| followed.catalogue().iter().map(|made| made.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&followed), ["a"]);
    // The last leads elsewhere, and back again, as often as somebody likes.
    for _ in 0..10 {
        add(&mut followed, service(FRONTS - 1, 9090));
        followed.flush();
        assert_eq!(names(&followed), ["a", "f299"]);
        add(&mut followed, service(FRONTS - 1, 8080));
        followed.flush();
        assert_eq!(names(&followed), ["a"]);
    }
}
