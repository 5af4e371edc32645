//! A span as it goes over the wire; a collector that takes, refuses, hangs (tests/observed has real ones).

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use laneway_core::snapshot::Identity;
use laneway_core::tag::{RequestTag, Tag};
use laneway_core::why::{TagSource, Why};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use super::{Exporting, resource, wire};
use crate::journal::context::{SpanIds, TraceContext};
use crate::journal::spans::{Queues, Span};
use crate::journal::{Ended, Flag, Head, Seen};

fn span(is_inbound: bool, method: &str, status: u16) -> Span {
    let parent = TraceContext { trace: 0xabc, parent: 0xdef, flags: 1 };
    Span {
        ids: parent.child(7),
        seen: Seen {
            is_inbound,
            head: Head::of(method, "b:80", "/x"),
            tag: RequestTag::Lane(Tag::parse(b"gray").expect("a tag")),
            endpoint_tag: None,
            source: TagSource::Rule,
            why: Why::FallbackUnhealthy,
            service: Arc::from("b"),
            upstream: Some(([10, 1, 1, 1], 8080).into()),
            trace: Some(0xabc),
        },
        at: UNIX_EPOCH + Duration::from_secs(5),
        ended: Ended { status, response_bytes: 12, took: Duration::from_millis(3), flag: Some(Flag::UpstreamClosed) },
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.clone()?.value
}

#[test]
fn a_span_says_what_is_known_of_the_request() {
    let sent = wire(&span(false, "GET", 503));
    assert_eq!(sent.trace_id, 0xabc_u128.to_be_bytes());
    assert_eq!((sent.span_id, sent.parent_span_id), (7_u64.to_be_bytes().to_vec(), 0xdef_u64.to_be_bytes().to_vec()));
    assert_eq!((sent.name.as_str(), sent.kind, sent.flags), ("GET b", SpanKind::Client as i32, 0x301));
    assert_eq!((sent.start_time_unix_nano, sent.end_time_unix_nano), (5_000_000_000, 5_003_000_000));
    for (key, text) in [
        ("http.request.method", "GET"),
        ("url.path", "/x"),
        ("server.address", "b:80"),
        ("lane.tag", "gray"),
        ("lane.source", "rule"),
        ("lane.why", "fallback_unhealthy"),
        ("lane.service", "b"),
        ("lane.endpoint", "10.1.1.1:8080"),
        ("lane.endpoint.tag", "baseline"),
        ("lane.flags", "UC"),
    ] {
        assert_eq!(attribute(&sent.attributes, key), Some(Value::StringValue(text.into())), "{key}");
    }
    assert_eq!(attribute(&sent.attributes, "lane.fallback"), Some(Value::BoolValue(true)));
    assert_eq!(attribute(&sent.attributes, "http.response.status_code"), Some(Value::IntValue(503)));
    assert_eq!(attribute(&sent.attributes, "http.response.body.size"), Some(Value::IntValue(12)));
}

#[test]
fn an_error_is_what_the_conventions_take_for_one() {
    let is_error = |is_inbound, status| {
        wire(&span(is_inbound, "GET", status)).status.is_some_and(|status| status.code == StatusCode::Error as i32)
    };
    for (status, of_server, of_client) in [(200, false, false), (404, false, true), (500, true, true), (0, true, true)]
    {
        assert_eq!((is_error(true, status), is_error(false, status)), (of_server, of_client), "{status}");
    }
}

#[test]
fn methods_that_nobody_registered_make_no_names() {
    let sent = wire(&span(true, "EVIL", 200));
    assert_eq!(sent.name, "HTTP");
    assert_eq!(attribute(&sent.attributes, "http.request.method"), Some(Value::StringValue("_OTHER".into())));
    assert_eq!(attribute(&sent.attributes, "http.request.method_original"), Some(Value::StringValue("EVIL".into())));
}

#[test]
fn the_sender_is_the_pod() {
    let identity = Identity { namespace: "shop".into(), service: String::new(), tag: None };
    let attributes = resource(&identity, "").attributes;
    assert_eq!(attribute(&attributes, "service.name"), Some(Value::StringValue("unknown_service".into())));
    assert_eq!(attribute(&attributes, "lane.pod.tag"), Some(Value::StringValue("baseline".into())));
    assert_eq!(attribute(&attributes, "k8s.pod.name"), None);
    let root = Span { ids: SpanIds::root(1, 2), ..span(true, "GET", 200) };
    assert!(wire(&root).parent_span_id.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_hangs_holds_neither_the_queue_nor_the_end() {
    // It takes connections, and never says a word.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
    let queues = Queues::new(1);
    let exporting = Exporting::start(&endpoint, &Identity::default(), "", queues.clone()).expect("an address");
    for _ in 0..3 {
        queues.worker(0).push(span(true, "GET", 200));
    }
    while queues.counts().failed < 3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    queues.worker(0).push(span(true, "GET", 200));
    exporting.finish().await;
    assert_eq!(queues.counts().exported, 0);
}

#[test]
fn an_address_that_is_none_is_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    assert!(Exporting::start("http://[", &Identity::default(), "", Queues::new(1)).is_err());
}
