//! The port, in clear: what is answered, what is not, and that each is counted once.

#[cfg(feature = "kubernetes")]
mod kubernetes;

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::inject::tests::settings;
use crate::{drain, listen};

const REVIEW: &str = r#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "1",
    "resource": {"group": "", "version": "v1", "resource": "pods"}, "operation": "CREATE", "namespace": "shop",
    "object": {"metadata": {"labels": {"app": "a", "laneway.io/inject": "SAID"}}, "spec": {"containers": [{"name": "a"}]}}}}"#;

/// Status line and body.
async fn asked(address: SocketAddr, head: &str, body: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let length = body.len();
    let head = format!("{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    // What is too large may be answered before all of it was read.
    let _ = stream.write_all(body).await;
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text).await;
    let text = String::from_utf8_lossy(&text).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

#[tokio::test]
async fn reviews_are_answered_and_counted_and_all_else_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (trigger, draining) = drain::channel();
    let counts = Counts::default();
    let connections = listen::connections(listener, None, CONNECTIONS);
    let serving = tokio::spawn(serve(connections, settings(&[]), counts.clone(), draining));

    let (status, body) = asked(address, "POST /inject?timeout=10s", REVIEW.replace("SAID", "enabled").as_bytes()).await;
    assert!(status.contains(" 200 ") && body.contains("\"patchType\":\"JSONPatch\""), "{status} {body}");
    let (status, body) = asked(address, "POST /inject", REVIEW.replace("SAID", "disabled").as_bytes()).await;
    assert!(
        status.contains(" 200 ") && body.contains("\"allowed\":true") && !body.contains("patch"),
        "{status} {body}"
    );
    let (status, body) = asked(address, "POST /inject", REVIEW.replace("SAID", "perhaps").as_bytes()).await;
    assert!(
        status.contains(" 200 ") && body.contains("\"allowed\":false") && body.contains("perhaps"),
        "{status} {body}"
    );
    assert_eq!(counts.counts(), [("injected", 1), ("skipped", 1), ("refused", 1), ("failed", 0)]);

    let (status, body) = asked(address, "POST /inject", b"{}").await;
    assert!(status.contains(" 400 ") && body.contains("not an AdmissionReview"), "{status} {body}");
    let (status, body) = asked(address, "POST /inject", REVIEW.replace("CREATE", "UPDATE").as_bytes()).await;
    assert!(status.contains(" 422 ") && body.contains("UPDATE of v1 pods"), "{status} {body}");
    let (status, _) = asked(address, "POST /inject", &vec![b' '; BODY_BYTES_MAX + 1]).await;
    // Where it hung up in the middle of so much there may be no answer to read.
    assert!(status.contains(" 413 ") || status.is_empty(), "{status}");
    assert_eq!(counts.counts()[3], ("failed", 3));
    for (head, code) in [("GET /inject", " 405 "), ("POST /", " 404 "), ("POST /inject/", " 404 ")] {
        let (status, _) = asked(address, head, b"").await;
        assert!(status.contains(code), "{head}: {status}");
    }
    trigger.start();
    serving.await.expect("no panic").expect("it ends well");
}
