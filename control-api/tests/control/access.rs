//! Who may do what, over the real program: tokens, roles, limits, and what is recorded of those who may not.

use std::time::{Duration, Instant};

use laneway_proto::admin::lane_admin_client::LaneAdminClient;
use laneway_proto::admin::{DisableLaneRequest, ListAuditEventsRequest};
use laneway_proto::descriptors;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::program::{Control, channel};

const GRAY: &str = "namespaces/default/laneGroups/default/lanes/gray";
/// A token and its SHA-256 each: `printf %s alice-token | sha256sum`.
const ALICE: (&str, &str) = ("alice-token", "9c220f200955d76c0a38d308225e0ef10c5f971acaf2f8d1d8f732affa5bd1dc");
const OPAL: (&str, &str) = ("opal-token", "e53dc235abe337c9e3186e03bf316ed10ae28c209cdf0c7187f39bdca6b67166");
const VERA: (&str, &str) = ("vera-token", "e8634684693f147f3d593d3ace2dc53e542d4d8b4e2d61e128199b9e320307e0");
/// Of other-token.
const OTHER_HASH: &str = "6c67163bbed989f232b31acc4f04df54b31285bfc01bd022c735b71e041a4754";

/// With alice (admin), opal (operator) and vera (viewer).
fn rules() -> String {
    let entry =
        |name: &str, role: &str, (_, hash): (&str, &str)| format!("- {{name: {name}, role: {role}, sha256: {hash}}}\n");
    let people = [entry("alice", "admin", ALICE), entry("opal", "operator", OPAL), entry("vera", "viewer", VERA)];
    format!("people:\n{}", people.concat())
}

fn started(rules: &str, more: &[&str]) -> Control {
    let mut control = Control::prepared();
    control.write("access.yaml", rules);
    control.argue(&["--access-file", "access.yaml"]);
    control.argue(more);
    control.restart();
    control
}

fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if !token.is_empty() {
        let value = format!("Bearer {token}").parse().expect("it is ASCII");
        request.metadata_mut().insert("authorization", value);
    }
    request
}

/// Any method, with an empty message: the code of the refusal.
async fn call(control: &Control, method: &str, token: &str) -> Code {
    let mut client = tonic::client::Grpc::new(channel(&control.api).await);
    client.ready().await.expect("it is connected");
    let path = PathAndQuery::try_from(format!("/{method}")).expect("a path");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    // A unary answer is a stream of one.
    let called = client.server_streaming(with(token, ()), path, codec).await;
    called.map_or_else(|status: Status| status.code(), |_| Code::Ok)
}

#[tokio::test]
async fn each_role_may_do_what_it_may_over_every_method() {
    let control = started(&rules(), &[]);
    let pool = descriptors();
    let mut methods = 0;
    for service in pool.services() {
        if !["laneway.admin.v1", "laneway.status.v1"].contains(&service.package_name()) {
            continue;
        }
        for method in service.methods() {
            methods += 1;
            let path = format!("{}/{}", service.full_name(), method.name());
            let is_read =
                ["Get", "List", "Watch", "Query", "Explain", "Export"].iter().any(|it| method.name().starts_with(it));
            let is_switch = ["EnableLane", "DisableLane"].contains(&method.name());
            assert_eq!(call(&control, &path, "").await, Code::Unauthenticated, "{path}");
            assert_eq!(call(&control, &path, "nobody-token").await, Code::Unauthenticated, "{path}");
            for ((token, _), may) in [(ALICE, true), (OPAL, is_read || is_switch), (VERA, is_read)] {
                let code = call(&control, &path, token).await;
                // An empty message is refused for what it says; here it is about who says it.
                let is_let_in = code != Code::PermissionDenied && code != Code::Unauthenticated;
                assert_eq!(is_let_in, may, "{path} {token}: {code:?}");
                assert!(may || code == Code::PermissionDenied, "{path} {token}: {code:?}");
            }
        }
    }
    assert!(methods >= 34, "only {methods} methods were looked at");
    assert_eq!(call(&control, "laneway.admin.v1.LaneAdmin/DropEverything", ALICE.0).await, Code::PermissionDenied);
    for other in ["grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "some.Service/Method"] {
        assert_eq!(call(&control, other, "").await, Code::Unauthenticated, "{other}");
        assert_ne!(call(&control, other, VERA.0).await, Code::Unauthenticated, "{other}");
    }
    let log = control.log();
    assert!(log.contains("only those named in the access file") && log.contains("not let in"), "{log}");
    for secret in [ALICE.0, OPAL.0, VERA.0, "nobody-token"] {
        assert!(!log.contains(secret), "a token is in the log: {log}");
    }
}

#[tokio::test]
async fn json_asks_too_and_health_does_not() {
    let control = started(&rules(), &[]);
    let ask = |method: &str, target: &str, token: &str| {
        let header = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
        control.http_with(method, target, &header, "")
    };
    assert!(ask("GET", "/ready", "").starts_with("HTTP/1.1 200"));
    let unknown = ask("GET", "/v1/revisions", "");
    assert!(unknown.starts_with("HTTP/1.1 401") && unknown.contains("www-authenticate: Bearer"), "{unknown}");
    assert!(unknown.contains("\"UNAUTHENTICATED\""), "{unknown}");
    assert!(ask("GET", "/v1/revisions", "nobody-token").starts_with("HTTP/1.1 401"));
    assert!(ask("GET", "/v1/revisions", VERA.0).starts_with("HTTP/1.1 200"));
    for (token, expected) in [(VERA.0, "403"), (OPAL.0, "403"), (ALICE.0, "404")] {
        let answer = ask("POST", "/v1/revisions/9:rollback", token);
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer}");
    }
}

#[tokio::test]
async fn who_did_what_is_recorded_and_who_may_not_too() {
    let control = started(&rules(), &[]);
    let mut admin = LaneAdminClient::new(channel(&control.api).await);
    let disable = DisableLaneRequest { name: GRAY.to_owned(), allow_missing: true, ..Default::default() };
    let refusal = admin.disable_lane(with(VERA.0, disable.clone())).await.expect_err("she may not");
    assert_eq!(refusal.message(), "user:vera is viewer; DisableLane takes the role operator");
    // Not even as a trial; that somebody tried is worth knowing.
    let trial = DisableLaneRequest { validate_only: true, ..disable.clone() };
    admin.disable_lane(with(VERA.0, trial)).await.expect_err("she may not");
    admin.disable_lane(with(OPAL.0, disable)).await.expect("she may");
    let listed = admin.list_audit_events(with(VERA.0, ListAuditEventsRequest::default())).await.expect("listed");
    let events = listed.into_inner().audit_events;
    let found: Vec<_> = events.iter().map(|own| (own.principal.as_str(), own.status_code, own.revision)).collect();
    assert_eq!(found, [("user:opal", 0, 1), ("user:vera", Code::PermissionDenied as i32, 0)]);
    assert!(events[1].status_message.contains("1 more"), "{:?}", events[1]);
    let history = control.lanectl_with(&[("LANECTL_TOKEN", VERA.0)], &["history"]);
    let shown = String::from_utf8_lossy(&history.stdout).into_owned();
    assert!(shown.contains("user:opal"), "{shown}");
    let nobody = control.lanectl(&["history"]);
    let words = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(!nobody.status.success() && words.contains("LANECTL_TOKEN"), "{words}");
}

#[tokio::test]
async fn the_rules_are_read_again_when_they_change() {
    let control = started(&rules(), &[]);
    let read = "laneway.status.v1.MeshStatus/GetServerInfo";
    assert_eq!(call(&control, read, VERA.0).await, Code::Ok);
    control.write("access.yaml", &rules().replace("name: vera", "name: victor").replace(VERA.1, OTHER_HASH));
    until(async || call(&control, read, VERA.0).await == Code::Unauthenticated).await;
    assert_eq!(call(&control, read, "other-token").await, Code::Ok);
    // A bad file takes nobody's rights.
    control.write("access.yaml", "people: [{name: eve, role: root}]");
    until(async || control.log().contains("changed to something bad")).await;
    assert_eq!(call(&control, read, "other-token").await, Code::Ok);
    control.write("access.yaml", &rules());
    until(async || call(&control, read, VERA.0).await == Code::Ok).await;
    assert_eq!(control.log().matches("changed to something bad").count(), 1, "{}", control.log());
}

#[tokio::test]
async fn one_principal_that_writes_too_much_is_slowed_and_the_others_are_not() {
    let control = started(&rules(), &["--writes-per-second", "1"]);
    let mut admin = LaneAdminClient::new(channel(&control.api).await);
    let disable = DisableLaneRequest { name: GRAY.to_owned(), allow_missing: true, ..Default::default() };
    let begun = Instant::now();
    let refusal = loop {
        if let Err(refusal) = admin.disable_lane(with(ALICE.0, disable.clone())).await {
            break refusal;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "never refused");
    };
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");
    let retry = refusal.get_details_retry_info().and_then(|info| info.retry_delay).expect("it says when");
    assert!(retry > Duration::ZERO && retry <= Duration::from_secs(1), "{retry:?}");
    admin.disable_lane(with(OPAL.0, disable)).await.expect("she has her own limit");
    admin.list_audit_events(with(ALICE.0, ListAuditEventsRequest::default())).await.expect("reads are no writes");
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "still not so");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
