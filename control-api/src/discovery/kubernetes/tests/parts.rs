//! Several Services over the pods of one service: which are addresses of it, and which stand for a part of it.

use serde_json::{Value, json};

use super::super::kind::Kind;
use super::super::registry::Registry;
use super::{add, check, front, pod, registry, shown, with};

fn postgres(labels: &Value) -> Vec<Value> {
    let of = |name: &str, ip: &str, role: &str| {
        let mut labels = labels.clone();
        labels["role"] = json!(role);
        pod(name, ip, labels)
    };
    let db = json!([{"port": 5432, "targetPort": 5432}]);
    vec![
        of("pg-0", "10.0.0.1", "primary"),
        of("pg-1", "10.0.0.2", "read"),
        of("pg-2", "10.0.0.3", "read"),
        front("pg-primary", "10.96.0.1", json!({"role": "primary"}), db.clone()),
        front("pg-read", "10.96.0.2", json!({"role": "read"}), db),
    ]
}

#[test]
fn services_over_different_pods_that_share_a_label_are_services_of_their_own() {
    let mut objects = postgres(&json!({"app.kubernetes.io/name": "postgresql"}));
    let pods = "postgresql [] {} 10.0.0.1:0 | 10.0.0.2:0 | 10.0.0.3:0";
    let primary = "pg-primary* [10.96.0.1] {} 10.0.0.1:0";
    let read = "pg-read* [10.96.0.2] {} 10.0.0.2:0 | 10.0.0.3:0";
    check(&objects, &[pods, primary, read]);
    // It is in the log, and nothing is wrong.
    let mut registry = registry(&objects);
    let told = registry.take_problems().told;
    assert!(told.len() == 2 && told[0].contains("pg-primary: it leads to some of the pods of postgresql"), "{told:?}");
    assert_eq!(registry.standing_problems().map_or(0, |problems| problems.count()), 0);
    // One that has them all is the address of the service.
    objects.push(front("pg-all", "10.96.0.3", json!({"app.kubernetes.io/name": "postgresql"}), json!([])));
    check(&objects, &["postgresql [10.96.0.3] {} 10.0.0.1:0 | 10.0.0.2:0 | 10.0.0.3:0", primary, read]);
    // As with the releases of one chart: the label is that of both.
    check(
        &[
            pod("r1", "10.0.0.1", json!({"app": "redis", "release": "one"})),
            pod("r2", "10.0.0.2", json!({"app": "redis", "release": "two"})),
            front("one-redis", "10.96.0.1", json!({"app": "redis", "release": "one"}), json!([])),
            front("two-redis", "10.96.0.2", json!({"app": "redis", "release": "two"}), json!([])),
        ],
        &[
            "redis [] {} 10.0.0.1:0 | 10.0.0.2:0",
            "one-redis* [10.96.0.1] {} 10.0.0.1:0",
            "two-redis* [10.96.0.2] {} 10.0.0.2:0",
        ],
    );
}

#[test]
fn pods_that_name_their_service_themselves_are_one_whatever_services_there_are() {
    let one = ["pg [10.96.0.1 10.96.0.2] {} 10.0.0.1:0 | 10.0.0.2:0 | 10.0.0.3:0"];
    check(&postgres(&json!({"laneway.io/service": "pg", "app": "postgresql"})), &one);
    let annotated = postgres(&json!({"app": "postgresql"})).into_iter().map(|object| match &object["kind"] {
        kind if *kind == json!("Pod") => with(object, "/metadata/annotations", json!({"msePilotCreateAppName": "pg"})),
        _ => object,
    });
    check(&annotated.collect::<Vec<_>>(), &one);
}

#[test]
fn a_service_over_some_of_the_pods_that_another_has_is_a_service_of_its_own() {
    let vault =
        |name: &str, ip: &str, is_active: bool| pod(name, ip, json!({"app": "vault", "active": is_active.to_string()}));
    let active = front("vault-active", "10.96.0.2", json!({"app": "vault", "active": "true"}), json!([]));
    let mut registry = registry(&[
        vault("v-0", "10.0.0.1", true),
        vault("v-1", "10.0.0.2", false),
        front("vault", "10.96.0.1", json!({"app": "vault"}), json!([])),
        front("vault-headless", "None", json!({"app": "vault"}), json!([])),
        active,
    ]);
    let all = "vault [10.96.0.1] {} 10.0.0.1:0 | 10.0.0.2:0";
    assert_eq!(shown(&registry), [all, "vault-active* [10.96.0.2] {} 10.0.0.1:0"]);
    // Another leads. Meanwhile nobody may.
    add(&mut registry, vault("v-0", "10.0.0.1", false));
    registry.flush();
    assert_eq!(shown(&registry), [all]);
    add(&mut registry, vault("v-1", "10.0.0.2", true));
    registry.flush();
    assert_eq!(shown(&registry), [all, "vault-active* [10.96.0.2] {} 10.0.0.2:0"]);
    // Who is ready changes nothing, nor who goes away.
    let not_ready = json!([{"type": "Ready", "status": "False"}]);
    add(&mut registry, with(vault("v-1", "10.0.0.2", true), "/status/conditions", not_ready));
    registry.flush();
    let all = "vault [10.96.0.1] {} 10.0.0.1:0 | 10.0.0.2:0 unhealthy";
    assert_eq!(shown(&registry), [all, "vault-active* [10.96.0.2] {} 10.0.0.2:0 unhealthy"]);
    // All of them are what is active: there is no difference any more.
    registry.remove(Kind::Pods, "shop", "v-0");
    registry.flush();
    assert_eq!(shown(&registry), ["vault [10.96.0.1 10.96.0.2] {} 10.0.0.2:0 unhealthy"]);
}

#[test]
fn the_service_that_has_the_name_of_its_pods_is_its_address_and_its_lanes_hold_for_it() {
    let part = |name: &str, ip: &str, part: &str| pod(name, ip, json!({"app": "shop", "part": part}));
    let gray = pod("gray", "10.0.0.9", json!({"app": "shop", "laneway.io/tag": "gray"}));
    let web = json!([{"name": "web", "port": 80, "targetPort": 8080}]);
    let mut objects = vec![
        part("web-1", "10.0.0.1", "web"),
        part("api-1", "10.0.0.2", "api"),
        part("worker-1", "10.0.0.3", "worker"),
        gray,
        front("shop", "10.96.0.1", json!({"part": "web"}), web.clone()),
        front("shop-api", "10.96.0.2", json!({"part": "api"}), web),
    ];
    // Workers, which nothing selects, take nothing of what is for the web server; who dials one finds others of them. The gray pod, which
    // nothing selects either, is the gray version of what the address stands for.
    let shop = "shop [10.96.0.1] {80=web} 10.0.0.1:0 | 10.0.0.2:0/aside.fronts | 10.0.0.3:0/aside.fronts | 10.0.0.9:0 gray | \
                10.0.0.1:8080/web | 10.0.0.9:8080/web gray";
    check(&objects, &[shop, "shop-api* [10.96.0.2] {80=web} 10.0.0.2:0 | 10.0.0.2:8080/web"]);
    // Both of them are gray now, and told apart likewise.
    objects[3] = pod("gray-web", "10.0.0.9", json!({"app": "shop", "part": "web", "laneway.io/tag": "gray"}));
    objects.push(pod("gray-api", "10.0.0.8", json!({"app": "shop", "part": "api", "laneway.io/tag": "gray"})));
    let shop = "shop [10.96.0.1] {80=web} 10.0.0.1:0 | 10.0.0.2:0/aside.fronts | 10.0.0.3:0/aside.fronts | \
                10.0.0.8:0/aside.fronts gray | 10.0.0.9:0 gray | 10.0.0.1:8080/web | 10.0.0.9:8080/web gray";
    let api =
        "shop-api* [10.96.0.2] {80=web} 10.0.0.2:0 | 10.0.0.8:0 gray | 10.0.0.2:8080/web | 10.0.0.8:8080/web gray";
    check(&objects, &[shop, api]);
}

#[test]
fn services_over_some_gray_pods_cut_off_neither_the_others_nor_the_baseline() {
    let gray = |name: &str, ip: &str| pod(name, ip, json!({"app": "cart", "laneway.io/tag": "gray", "pod": name}));
    let mut objects = vec![
        pod("base", "10.0.0.1", json!({"app": "cart", "version": "base"})),
        gray("g1", "10.0.0.8"),
        gray("g2", "10.0.0.9"),
        front("prod-cart", "10.96.0.1", json!({"version": "base"}), json!([])),
        // Of one of them, as `kubectl expose pod` makes it.
        front("g1", "10.96.0.2", json!({"pod": "g1"}), json!([])),
    ];
    let all = "cart [10.96.0.1 10.96.0.2] {} 10.0.0.1:0 | 10.0.0.8:0 gray | 10.0.0.9:0 gray";
    check(&objects, &[all]);
    objects.push(front("g2", "10.96.0.3", json!({"pod": "g2"}), json!([])));
    check(&objects, &["cart [10.96.0.1 10.96.0.2 10.96.0.3] {} 10.0.0.1:0 | 10.0.0.8:0 gray | 10.0.0.9:0 gray"]);
}

#[test]
fn a_service_by_slices_stands_for_a_part_as_well() {
    // As Patroni keeps the Service of its leader.
    let leader = json!({
        "kind": "EndpointSlice",
        "metadata": {"name": "pg-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "pg"}},
        "ports": [{"name": "db", "port": 5432}],
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {}, "targetRef": {"kind": "Pod", "name": "pg-0"}}],
    });
    let db = json!([{"name": "db", "port": 5432}]);
    let objects = [
        pod("pg-0", "10.0.0.1", json!({"app": "spilo"})),
        pod("pg-1", "10.0.0.2", json!({"app": "spilo", "role": "replica"})),
        front("pg", "10.96.0.1", json!({}), db.clone()),
        front("pg-repl", "10.96.0.2", json!({"role": "replica"}), db),
        leader,
    ];
    check(
        &objects,
        &["spilo [] {} 10.0.0.1:0 | 10.0.0.2:0", "pg* [10.96.0.1] {} 10.0.0.1:0", "pg-repl* [10.96.0.2] {} 10.0.0.2:0"],
    );
}

#[test]
fn where_a_port_leads_is_not_for_a_part_to_say() {
    // By name before the others, but it does not stand for the service.
    let objects = [
        pod("p1", "10.0.0.1", json!({"app": "a", "is": "first"})),
        pod("p2", "10.0.0.2", json!({"app": "a"})),
        front("a-0", "10.96.0.1", json!({"is": "first"}), json!([{"port": 80, "targetPort": 9090}])),
        front("a-all", "10.96.0.2", json!({"app": "a"}), json!([{"port": 80, "targetPort": 8080}])),
    ];
    check(
        &objects,
        &[
            "a [10.96.0.2] {80=80.tcp} 10.0.0.1:0 | 10.0.0.2:0 | 10.0.0.1:8080/80.tcp | 10.0.0.2:8080/80.tcp",
            "a-0* [10.96.0.1] {80=80.tcp} 10.0.0.1:0 | 10.0.0.1:9090/80.tcp",
        ],
    );
}

#[test]
fn a_lane_that_no_address_leads_to_is_a_problem_until_something_says_what_is_one() {
    let hashed = |name: &str, ip: &str, hash: &str| pod(name, ip, json!({"app": "a", "hash": hash}));
    let mut registry = registry(&[
        hashed("p1", "10.0.0.1", "1"),
        hashed("p2", "10.0.0.2", "2"),
        front("a-stable", "10.96.0.1", json!({"hash": "1"}), json!([])),
        front("a-canary", "10.96.0.2", json!({"hash": "2"}), json!([])),
    ]);
    let problems = |registry: &mut Registry| registry.standing_problems().unwrap_or_default().told;
    assert_eq!(problems(&mut registry), [] as [&str; 0]);
    add(&mut registry, pod("gray", "10.0.0.9", json!({"app": "a", "laneway.io/tag": "gray"})));
    registry.flush();
    let told = problems(&mut registry);
    assert!(told.len() == 1 && told[0].contains("tag gray") && told[0].contains("(a-canary, a-stable)"), "{told:?}");
    add(&mut registry, front("a", "10.96.0.3", json!({"app": "a"}), json!([])));
    registry.flush();
    assert_eq!(problems(&mut registry), [] as [&str; 0]);
}
