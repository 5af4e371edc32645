//! The webhook of the real program, asked over TLS and HTTP/2 as an API server does it.

use std::process::Stdio;

use axum::body::Body;
use axum::http::Request;
use tonic::transport::{Channel, Endpoint};

use super::certificates::Authority;
use super::program::{Control, until};

const REVIEW: &str = r#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "1",
    "resource": {"group": "", "version": "v1", "resource": "pods"}, "operation": "CREATE", "namespace": "shop",
    "object": {"metadata": {"generateName": "a-", "labels": {"app": "a"}}, "spec": {"containers": [{"name": "a"}]}}}}"#;

#[tokio::test]
async fn a_pod_is_injected_over_tls_with_the_settings_that_were_given_and_counted() {
    let authority = Authority::new("mesh");
    let mut control = started(&authority, &["--inject", "proxy-image=example/proxy:7", "--inject", "drain-seconds=9"]);
    let said = ask(connected(&authority, &webhook_of(&control)).await, REVIEW).await;
    assert!(said.contains("\"uid\":\"1\"") && said.contains("\"allowed\":true"), "{said}");
    let patch: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let patch: k8s_openapi::ByteString =
        serde_json::from_value(patch["response"]["patch"].clone()).expect("a patch in base64");
    let patch = String::from_utf8(patch.0).expect("JSON is text");
    assert!(patch.contains("example/proxy:7") && patch.contains("\"9s\""), "{patch}");

    let log = control.log();
    assert!(log.contains("a sidecar was put into a pod") && log.contains("\"a-*\""), "{log}");
    let page = get(connected(&authority, &control.api).await, "/metrics").await;
    assert!(page.contains("laneway_control_webhook_requests_total{result=\"injected\"} 1\n"), "{page}");
    let (status, _) = control.terminate().await;
    assert_eq!(status, Some(0), "{}", control.log());
}

/// An API server goes on to ask until it has heard that we leave.
#[tokio::test]
async fn after_sigterm_it_serves_on_for_a_while_and_is_not_ready() {
    let authority = Authority::new("mesh");
    let mut control = started(&authority, &["--drain-min", "3000", "--drain-max", "3600"]);
    assert_eq!(get(connected(&authority, &control.api).await, "/ready").await, "ready\n");
    control.tell_to_end();
    // On new connections each time: the port is open.
    until("it says that it leaves", async || {
        get(connected(&authority, &control.api).await, "/ready").await == "leaving\n"
    })
    .await;
    let said = ask(connected(&authority, &webhook_of(&control)).await, REVIEW).await;
    assert!(said.contains("\"allowed\":true"), "{said}");
    assert_eq!(get(connected(&authority, &control.api).await, "/live").await, "live\n");
    // Whoever says it twice does not wait.
    let (status, _) = control.terminate().await;
    assert_eq!(status, Some(0), "{}", control.log());
}

#[test]
fn without_tls_it_does_not_start() {
    let control = Control::prepared();
    let output = control.command().args(["--webhook-listen", "127.0.0.1:0"]).stderr(Stdio::piped()).output();
    let output = output.expect("the program was built");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && words.contains("--tls-cert"), "{words}");
}

/// `printf %s vera-token | sha256sum`.
const VERA: &str = "e8634684693f147f3d593d3ace2dc53e542d4d8b4e2d61e128199b9e320307e0";

/// With a webhook, over TLS, and somebody who may look.
fn started(authority: &Authority, arguments: &[&str]) -> Control {
    let mut control = Control::prepared();
    authority.sign("127.0.0.1").write(&control, "server");
    control
        .write("access.yaml", "people:\n- {name: vera, role: viewer, sha256: TOKEN}\n".replace("TOKEN", VERA).as_str());
    control.argue(&["--tls-cert", "server.pem", "--tls-key", "server.key", "--access-file", "access.yaml"]);
    control.argue(&["--webhook-listen", "127.0.0.1:0"]);
    control.argue(arguments);
    control.restart();
    control
}

/// Its URL.
fn webhook_of(control: &Control) -> String {
    let ready = std::fs::read_to_string(control.path("ready.json")).expect("it is ready");
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
    format!("https://{}", ready["webhook"].as_str().expect("it names the webhook's address"))
}

async fn connected(authority: &Authority, url: &str) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL");
    let endpoint = endpoint.tls_config(authority.client(None)).expect("good PEM");
    endpoint.connect().await.expect("it speaks TLS, and asks for no certificate")
}

async fn ask(channel: Channel, review: &str) -> String {
    let request = Request::post("/inject?timeout=10s").header("content-type", "application/json");
    call(channel, request.body(review.to_owned()).expect("a request")).await
}

async fn get(channel: Channel, path: &str) -> String {
    let request = Request::get(path).header("authorization", "Bearer vera-token");
    call(channel, request.body(String::new()).expect("a request")).await
}

async fn call(mut channel: Channel, request: Request<String>) -> String {
    use tonic::client::GrpcService;

    let request = request.map(|body| tonic::body::Body::new(Body::from(body)));
    std::future::poll_fn(|cx| GrpcService::<tonic::body::Body>::poll_ready(&mut channel, cx)).await.expect("it is up");
    let response = GrpcService::<tonic::body::Body>::call(&mut channel, request).await.expect("an answer");
    let body = axum::body::to_bytes(Body::new(response.into_body()), 1 << 20).await.expect("a body");
    String::from_utf8(body.to_vec()).expect("text")
}
