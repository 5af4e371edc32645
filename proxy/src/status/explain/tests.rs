//! The page over a socket, and its refusals.

use laneway_core::compile::{compile, sort};
use laneway_core::decode::{Resources, decode};
use laneway_core::document;
use laneway_core::snapshot::{Identity, Snapshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::answer;
use crate::current;
use crate::status::{Pages, Status, bind, serve};
use crate::telemetry::Telemetry;

const DOCUMENTS: &str = "
kind: Lane
name: gray
entry: {services: [a], rules: [{match: {header: x-user-id, in: ['100']}}]}
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

fn snapshot() -> Snapshot {
    let (objects, catalog, _) = sort(document::read(DOCUMENTS).expect("good documents")).expect("different names");
    let identity = Identity { namespace: "default".into(), service: "a".into(), tag: None };
    let mut resources = Resources::default();
    for wire in compile(&objects, &catalog).everything(&identity) {
        resources.insert(decode(wire.type_url, &wire.name, &wire.version, &wire.body).expect("accepted"));
    }
    resources.snapshot(&identity, 1)
}

#[tokio::test]
async fn the_page_answers_by_the_snapshot_in_force() {
    let (publisher, _readers) = current::channel(1, Snapshot::empty(Identity::default()));
    let status = Status::new(Telemetry::new(1), "file", publisher.view());
    let listener = bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let serving = tokio::spawn(serve(status, listener, Pages::Private));
    let ask = async |target: &str| {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("it answers");
        text
    };
    let before = ask("/explain?to=b").await;
    assert!(before.starts_with("HTTP/1.1 200") && before.contains("\"WHY_PASSTHROUGH\""), "{before}");
    publisher.publish(snapshot());
    let after = ask("/explain?to=b&header=x-mse-tag:%20gray&path=/x%3Fy=1").await;
    assert!(after.contains("content-type: application/json") && after.contains("\"WHY_HIT\""), "{after}");
    assert!(after.contains("\"10.1.1.2:8080\""), "{after}");
    let inbound = ask("/explain?header=x-user-id:+100").await;
    assert!(inbound.contains("\"TAG_SOURCE_RULE\"") && inbound.contains("in [100]"), "{inbound}");
    let refused = ask("/explain?colour=red").await;
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    assert!(refused.contains("unknown parameter \"colour\"; there are direction"), "{refused}");
    serving.abort();
}

#[test]
fn a_destination_is_a_service_a_host_or_an_address() {
    let snapshot = snapshot();
    let why = |query: &str| answer(&snapshot, query).expect(query)["why"].clone();
    for to in ["b", "namespaces/default/services/b", "sc-b.example", "SC-B.example:80", "10.96.0.2:80"] {
        assert_eq!(why(&format!("to={to}")), "WHY_BASELINE", "{to}");
    }
    assert_eq!(why("to=b&port=http"), "WHY_BASELINE");
    assert_eq!(why("to=nobody"), "WHY_PASSTHROUGH");
    assert_eq!(why("to=10.9.9.9:80"), "WHY_PASSTHROUGH");
}

#[test]
fn a_bad_question_says_what_is_wrong() {
    let snapshot = snapshot();
    for (query, words) in [
        ("direction=up", "inbound or outbound"),
        ("direction=outbound", "needs `to`"),
        ("direction=inbound&to=b", "`to` goes with outbound"),
        ("to=b&from=10.1.1.1", "`from` goes with inbound"),
        ("to=b&to=c", "to stands twice"),
        ("to=b&path=/x&path=/y", "path stands twice"),
        ("to=b&path=x", "begins with `/`"),
        ("to=b&header=x", "has no `:`"),
        ("to=b&header=x%20y:1", "is no header name"),
        ("to=b&port=grpc", "has no port"),
        ("port=x", "is no number"),
        ("from=x", "is no address"),
    ] {
        let wrong = answer(&snapshot, query).expect_err(query);
        assert!(wrong.contains(words), "{query}: {wrong}");
    }
}
