//! The pages by what they say and how they may be asked for.

use std::time::Instant;

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use laneway_core::compile::{compile, sort};
use laneway_core::decode::{Resources, decode};
use laneway_core::document;
use laneway_core::snapshot::{Identity, Snapshot};
use serde_json::{Value, json};
use tracing_subscriber::layer::SubscriberExt as _;

use super::{Admin, ENTRIES_MAX, PAGES};
use crate::current::{self, Publisher, Reader};
use crate::journal::Outlets;
use crate::logging::Logging;
use crate::status::{Held, State, Status, held};
use crate::telemetry::{Config, Telemetry};

const DOCUMENTS: &str = "
kind: Lane
name: gray
entry: {services: [a], rules: [{name: users, match: {header: x-user-id, in: ['100']}}]}
---
kind: Service
name: a
addresses: [10.96.0.1]
ports: [{port: 80, name: http}]
endpoints: [{address: '10.1.0.1:8080', portName: http}]
---
kind: Service
name: b
hosts: [sc-b.example]
addresses: [10.96.0.2]
ports: [{port: 80, name: http}]
endpoints: [{address: '10.1.1.1:8080', portName: http}, {address: '10.1.1.2:8080', portName: http, tag: gray}]
";

fn identity() -> Identity {
    Identity { namespace: "default".into(), service: "a".into(), tag: None }
}

fn resources(documents: &str) -> Resources {
    let (objects, catalog, _) = sort(document::read(documents).expect("good documents")).expect("different names");
    let mut resources = Resources::default();
    for wire in compile(&objects, &catalog).everything(&identity()) {
        resources.insert(decode(wire.type_url, &wire.name, &wire.version, &wire.body).expect("accepted"));
    }
    resources
}

pub(super) fn snapshot() -> Snapshot {
    resources(DOCUMENTS).snapshot(&identity(), 1)
}

/// The pages of a sidecar that holds what the documents say, and what keeps it so.
struct Sidecar {
    admin: Admin,
    publisher: Publisher,
    _readers: Vec<Reader>,
    _log: tracing::subscriber::DefaultGuard,
}

impl Sidecar {
    fn with(documents: &str) -> Sidecar {
        let (publisher, readers) = current::channel(1, Snapshot::empty(identity()));
        let status = Status::new(Telemetry::new(1, Config::FOR_TESTS), "file", publisher.view(), Outlets::default());
        let (logging, layer) = Logging::layer("info").expect("a level");
        let log = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let resources = resources(documents);
        publisher.publish(resources.snapshot(&identity(), 1));
        status.holds(Held { revision: 1, resources: held(&resources) });
        status.reached(State::Ready);
        let admin = Admin { status, logging, pod_name: "a-1".into(), started: Instant::now() };
        Sidecar { admin, publisher, _readers: readers, _log: log }
    }

    async fn ask(&self, method: Method, target: &str) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(target).header("host", "localhost:15400");
        let page = self.admin.page(&request.body(()).expect("a request").into_parts().0);
        let status = page.status();
        let body = page.into_body().collect().await.expect("it is whole").to_bytes();
        (status, serde_json::from_slice(&body).expect("every page is JSON"))
    }

    async fn get(&self, target: &str) -> Value {
        let (status, value) = self.ask(Method::GET, target).await;
        assert_eq!(status, StatusCode::OK, "{target}: {value}");
        value
    }

    async fn refusal(&self, method: Method, target: &str) -> (StatusCode, String) {
        let (status, value) = self.ask(method, target).await;
        (status, value["error"].as_str().expect("it says why").to_owned())
    }
}

#[tokio::test]
async fn lanes_are_shown_as_they_are_in_force() {
    let expected = json!({
        "revision": 1,
        "group": "namespaces/default/laneGroups/default",
        "tagHeader": "x-mse-tag",
        "stamps": null,
        "total": 1,
        "truncated": false,
        "lanes": [{
            "name": "namespaces/default/laneGroups/default/lanes/gray",
            "tag": "gray",
            "state": "enabled",
            "priority": 0,
            "entryServices": ["namespaces/default/services/a"],
            "redirect": false,
            "rules": ["users"],
            "strict": false,
            "fallback": ["baseline"],
            "serviceFallbacks": [],
        }],
    });
    assert_eq!(Sidecar::with(DOCUMENTS).get("/lanes").await, expected);
}

#[tokio::test]
async fn services_are_shown_with_their_instances_by_tag() {
    let sidecar = Sidecar::with(DOCUMENTS);
    let one = json!({
        "name": "namespaces/default/services/b",
        "hosts": ["sc-b.example"],
        "addresses": ["10.96.0.2"],
        "ports": [{"port": 80, "name": "http", "protocol": "detect"}],
        "inGroup": true,
        "hasPolicy": false,
        "tags": [
            {"tag": "baseline", "endpoints": 1, "usable": 1},
            {"tag": "gray", "endpoints": 1, "usable": 1},
        ],
    });
    let expected = json!({"revision": 1, "total": 1, "truncated": false, "services": [one]});
    assert_eq!(sidecar.get("/services?service=b").await, expected);
    assert_eq!(sidecar.get("/services").await["total"], 2);
    assert_eq!(sidecar.get("/services?service=nobody").await["services"], json!([]));
}

#[tokio::test]
async fn endpoints_can_be_asked_for_by_service_and_tag() {
    let sidecar = Sidecar::with(DOCUMENTS);
    let gray = json!({
        "service": "namespaces/default/services/b",
        "address": "10.1.1.2:8080",
        "portName": "http",
        "tag": "gray",
        "weight": 1,
        "state": "ready",
        "usable": true,
    });
    let expected = json!({"revision": 1, "total": 1, "truncated": false, "endpoints": [gray]});
    assert_eq!(sidecar.get("/endpoints?service=b&tag=gray").await, expected);
    assert_eq!(sidecar.get("/endpoints?tag=gray").await, expected);
    assert_eq!(sidecar.get("/endpoints").await["total"], 3);
    assert_eq!(sidecar.get("/endpoints?tag=baseline").await["total"], 2);
    let (status, error) = sidecar.refusal(Method::GET, "/endpoints?tag=Gray").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(error.contains("nor baseline"), "{error}");
}

#[tokio::test]
async fn a_long_answer_is_cut_and_says_how_long_it_would_be() {
    let endpoint = |index: usize| format!("{{address: '10.{}.{}.1:80'}}, ", index / 250, index % 250);
    let endpoints: String = (0..ENTRIES_MAX + 1).map(endpoint).collect();
    let sidecar = Sidecar::with(&format!("kind: Service\nname: b\nports: [{{port: 80}}]\nendpoints: [{endpoints}]\n"));
    let shown = sidecar.get("/endpoints").await;
    assert_eq!(shown["endpoints"].as_array().map(Vec::len), Some(ENTRIES_MAX));
    assert_eq!((&shown["total"], &shown["truncated"]), (&json!(ENTRIES_MAX + 1), &json!(true)));
}

#[tokio::test]
async fn config_dump_tells_what_is_held_with_versions() {
    let sidecar = Sidecar::with(DOCUMENTS);
    let shown = sidecar.get("/config_dump").await;
    for (key, expected) in [
        ("state", json!("ready")),
        ("source", json!("file")),
        ("connected", json!(false)),
        ("revision", json!(1)),
        ("refusals", json!(0)),
        ("identity", json!({"namespace": "default", "service": "a", "tag": "baseline", "podName": "a-1"})),
    ] {
        assert_eq!(shown[key], expected, "{key}");
    }
    let resources = shown["resources"].as_array().expect("a list");
    assert_eq!(shown["total"], resources.len());
    let lane = resources.iter().find(|resource| resource["type"] == "Lane").expect("the lane is held");
    assert_eq!(lane["name"], "namespaces/default/laneGroups/default/lanes/gray");
    assert!(lane["version"].as_str().is_some_and(|version| !version.is_empty()));
}

#[tokio::test]
async fn explain_answers_by_the_snapshot_in_force() {
    let sidecar = Sidecar::with("kind: Service\nname: z\n");
    assert_eq!(sidecar.get("/explain?to=b").await["why"], "WHY_PASSTHROUGH");
    sidecar.publisher.publish(snapshot());
    let after = sidecar.get("/explain?to=b&header=x-mse-tag:%20gray&path=/x%3Fy=1").await;
    assert_eq!(after["why"], "WHY_HIT");
    assert!(after.to_string().contains("10.1.1.2:8080"), "{after}");
    let inbound = sidecar.get("/explain?header=x-user-id:+100").await.to_string();
    assert!(inbound.contains("TAG_SOURCE_RULE") && inbound.contains("in [100]"), "{inbound}");
    let (status, error) = sidecar.refusal(Method::GET, "/explain?colour=red").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(error.contains("unknown parameter \"colour\"; there are direction"), "{error}");
}

#[tokio::test]
async fn what_is_logged_is_shown_by_get_and_changed_by_post() {
    let sidecar = Sidecar::with(DOCUMENTS);
    assert_eq!(sidecar.get("/logging").await, json!({"filter": "info"}));
    let changed = sidecar.ask(Method::POST, "/logging?level=debug,h2%3Derror").await;
    assert_eq!(changed, (StatusCode::OK, json!({"filter": "debug,h2=error", "before": "info"})));
    assert_eq!(sidecar.get("/logging").await, json!({"filter": "debug,h2=error"}));
    for (target, words) in
        [("/logging?level=loud", "is no level"), ("/logging", "say ?level="), ("/logging?to=x", "there are level")]
    {
        let (status, error) = sidecar.refusal(Method::POST, target).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(error.contains(words), "{target}: {error}");
    }
    let (status, _) = sidecar.refusal(Method::GET, "/logging?level=info").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "GET changes nothing");
    assert_eq!(sidecar.admin.logging.filter(), "debug,h2=error");
}

#[tokio::test]
async fn a_drain_is_asked_for_by_post_alone() {
    let sidecar = Sidecar::with(DOCUMENTS);
    let (status, error) = sidecar.refusal(Method::GET, "/drain").await;
    assert_eq!((status, error.as_str()), (StatusCode::METHOD_NOT_ALLOWED, "/drain takes POST only"));
    let asked = sidecar.admin.status.drain_asked();
    let (status, _) = sidecar.ask(Method::POST, "/drain").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    asked.await;
}

#[tokio::test]
async fn an_end_is_announced_by_post_alone_and_is_no_drain() {
    let sidecar = Sidecar::with(DOCUMENTS);
    let (status, error) = sidecar.refusal(Method::GET, "/announce").await;
    assert_eq!((status, error.as_str()), (StatusCode::METHOD_NOT_ALLOWED, "/announce takes POST only"));
    let (status, _) = sidecar.ask(Method::POST, "/announce").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    tokio::select! {
        biased;
        () = sidecar.admin.status.drain_asked() => panic!("nobody asked for a drain"),
        () = sidecar.admin.status.announcement_asked() => {}
    }
}

#[tokio::test]
async fn every_page_takes_its_methods_and_no_other_and_is_documented() {
    let sidecar = Sidecar::with(DOCUMENTS);
    let documented = include_str!("../../../docs/admin.md");
    let index = sidecar.get("/").await;
    for (known, listed) in PAGES.iter().zip(index["pages"].as_array().expect("a list")) {
        assert_eq!(listed["path"], known.path);
        for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let is_taken = match method {
                Method::GET | Method::HEAD => known.reads.is_some(),
                Method::POST => known.changes.is_some(),
                _ => false,
            };
            let (status, _) = sidecar.ask(method.clone(), known.path).await;
            assert_eq!(status != StatusCode::METHOD_NOT_ALLOWED, is_taken, "{method} {}", known.path);
        }
        let row = format!("| `{}` | {} |", known.path, known.methods());
        assert!(documented.contains(&row), "docs/admin.md has no row that begins {row}");
    }
    let (status, error) = sidecar.refusal(Method::GET, "/nothing").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(error.contains("/ lists them"), "{error}");
}

#[tokio::test]
async fn a_rebound_name_is_refused_on_every_page() {
    let sidecar = Sidecar::with(DOCUMENTS);
    for known in &PAGES {
        for method in [Method::GET, Method::POST] {
            let request = Request::builder().method(method).uri(known.path).header("host", "evil.example:15400");
            let page = sidecar.admin.page(&request.body(()).expect("a request").into_parts().0);
            assert_eq!(page.status(), StatusCode::FORBIDDEN, "{}", known.path);
            assert!(!page.headers().keys().any(|name| name.as_str().starts_with("access-control")));
        }
    }
}

#[tokio::test]
async fn the_version_says_which_process_answers() {
    let shown = Sidecar::with(DOCUMENTS).get("/version").await;
    assert_eq!((&shown["name"], &shown["pid"]), (&json!("laneway-proxy"), &json!(std::process::id())));
    assert_eq!(shown["version"], env!("CARGO_PKG_VERSION"));
}
