//! Traces of real sidecars, as a receiver of OTLP gets them; and a collector that is stopped, or was never there.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use crate::collector::{Alone, Collector, Received, text};
use crate::pods::{Pod, chain, free, get, wait_until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT_SPAN: &str = "b7ad6b7169203331";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn find<'r>(spans: &'r [Received], sender: &str, kind: SpanKind) -> &'r Received {
    let is_it = |received: &&Received| received.sender == sender && received.span.kind == kind as i32;
    let found: Vec<_> = spans.iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "one span {kind:?} of {sender} among {spans:?}");
    found[0]
}

/// The spans of one request to A along A, B, C, from the first to the last.
fn in_order(spans: &[Received]) -> [&Received; 5] {
    [
        ("a", SpanKind::Server),
        ("a", SpanKind::Client),
        ("b", SpanKind::Server),
        ("b", SpanKind::Client),
        ("c", SpanKind::Server),
    ]
    .map(|(sender, kind)| find(spans, sender, kind))
}

fn assert_one_chain(order: &[&Received]) {
    for pair in order.windows(2) {
        let (parent, child) = (&pair[0].span, &pair[1].span);
        assert_eq!(child.trace_id, parent.trace_id);
        assert_eq!(child.parent_span_id, parent.span_id, "{} of {} is the parent", parent.name, pair[0].sender);
        assert!(child.start_time_unix_nano >= parent.start_time_unix_nano, "a child begins after its parent");
    }
}

fn metric(pod: &Pod, outcome: &str) -> u64 {
    pod.metric(&format!("laneway_trace_spans_total{{outcome=\"{outcome}\"}}"))
}

#[test]
fn a_request_along_three_services_is_one_trace_of_parents_and_children() {
    let collector = Collector::start();
    let pods = chain("chain", 3, &["--otlp-endpoint", &collector.endpoint]);
    let unsampled = format!("traceparent: 00-{}-{CLIENT_SPAN}-00\r\n", TRACE.replace('0', "1"));
    assert!(get(pods[0].inbound, "/quiet", &unsampled).ends_with("end"), "whoever sampled it out is obeyed");
    assert!(get(pods[0].inbound, "/quiet", "").ends_with("end"), "and nobody is asked, nothing begins");
    let sampled = format!("traceparent: 00-{TRACE}-{CLIENT_SPAN}-01\r\nx-mse-tag: gray\r\n");
    assert!(get(pods[0].inbound, "/hello?token=secret", &sampled).ends_with("end"));
    let spans = collector.wait_for(5);
    assert_eq!(spans.len(), 5, "of the sampled request alone: {spans:?}");
    let order = in_order(&spans);
    assert_one_chain(&order);
    let first = &order[0].span;
    assert_eq!((hex(&first.trace_id), hex(&first.parent_span_id)), (TRACE.to_owned(), CLIENT_SPAN.to_owned()));
    for (received, (path, service, why)) in order.iter().zip([
        ("/hello", "a", "hit"),
        ("/next", "b", "fallback_absent"),
        ("/next", "b", "hit"),
        ("/next", "c", "fallback_absent"),
        ("/next", "c", "hit"),
    ]) {
        let said = |key: &str| text(&received.span.attributes, key);
        assert_eq!(received.span.name, format!("GET {service}"));
        assert_eq!((said("url.path"), said("http.request.method")), (path.to_owned(), "GET".to_owned()));
        assert_eq!(said("http.response.status_code"), "200");
        assert_eq!((said("lane.tag"), said("lane.source")), ("gray".to_owned(), "carried".to_owned()));
        assert_eq!((said("lane.why"), said("lane.service")), (why.to_owned(), service.to_owned()));
        assert_eq!(said("lane.fallback"), (why == "fallback_absent").to_string());
        assert_eq!(said("lane.endpoint.tag"), "baseline");
        assert!(
            received.span.status.is_none() && received.span.end_time_unix_nano > received.span.start_time_unix_nano
        );
    }
    assert_eq!(text(&order[1].span.attributes, "lane.endpoint"), pods[1].inbound.to_string());
    assert!(!format!("{spans:?}").contains("secret"));
    wait_until("counted", || metric(&pods[0], "exported") == 2);
}

#[test]
fn a_trace_begins_by_the_rate_and_an_error_is_marked() {
    let collector = Collector::start();
    let pods = chain("rate", 3, &["--otlp-endpoint", &collector.endpoint, "--trace-sample", "100%"]);
    get(pods[0].inbound, "/broken", "");
    let spans = collector.wait_for(5);
    let order = in_order(&spans);
    assert_one_chain(&order);
    assert!(order[0].span.parent_span_id.is_empty(), "it is the root");
    assert_eq!(order[0].span.status.as_ref().map(|status| status.code), Some(StatusCode::Error as i32));
    assert!(order[1].span.status.is_none(), "what B answered was well");
}

#[test]
fn a_lane_without_a_trace_gets_one_that_is_recorded_from_its_root() {
    let collector = Collector::start();
    let pods = chain("lane", 3, &["--otlp-endpoint", &collector.endpoint]);
    get(pods[0].inbound, "/x", "x-mse-tag: gray\r\n");
    let spans = collector.wait_for(5);
    let order = in_order(&spans);
    assert_one_chain(&order);
    assert!(order[0].span.parent_span_id.is_empty());
}

#[test]
fn the_last_spans_are_sent_when_the_program_ends() {
    let collector = Collector::start();
    let mut pods = chain("last", 1, &["--otlp-endpoint", &collector.endpoint, "--trace-sample", "100%"]);
    for _ in 0..3 {
        get(pods[0].inbound, "/x", "");
    }
    let sidecar = pods[0].sidecar();
    // SAFETY: the child is ours and not waited for yet, so its id cannot belong to another process.
    unsafe { libc::kill(i32::try_from(sidecar.id()).expect("an id"), libc::SIGTERM) };
    assert!(sidecar.wait().expect("it ends").success());
    assert_eq!(collector.received().len(), 3);
}

#[test]
fn a_collector_that_is_not_there_costs_its_spans_and_no_request() {
    let nowhere = format!("http://{}", free());
    let pods = chain("absent", 1, &["--otlp-endpoint", &nowhere, "--trace-sample", "100%"]);
    for _ in 0..200 {
        assert!(get(pods[0].inbound, "/x", "").starts_with("HTTP/1.1 200"));
    }
    wait_until("all are counted", || metric(&pods[0], "failed") == 200);
    assert_eq!(metric(&pods[0], "exported"), 0);
}

#[test]
fn a_collector_that_is_stopped_costs_its_spans_and_no_request() {
    let mut collector = Alone::start();
    let pods = chain("stopped", 1, &["--otlp-endpoint", &collector.endpoint, "--trace-sample", "100%"]);
    get(pods[0].inbound, "/first", "");
    collector.wait_for("GET a");
    collector.signal(libc::SIGSTOP);
    let mut asked = 1;
    // It holds what it got for as long as it likes; if a request waited for it, this would never end.
    while metric(&pods[0], "failed") == 0 {
        for _ in 0..100 {
            assert!(get(pods[0].inbound, "/x", "").starts_with("HTTP/1.1 200"));
            asked += 1;
        }
        assert!(asked < 200_000, "nothing is dropped");
    }
    collector.signal(libc::SIGCONT);
    let exported = metric(&pods[0], "exported");
    wait_until("it is sent to again", || {
        get(pods[0].inbound, "/x", "");
        asked += 1;
        metric(&pods[0], "exported") > exported
    });
    wait_until("every span is told of", || {
        ["exported", "failed", "dropped"].map(|outcome| metric(&pods[0], outcome)).iter().sum::<u64>() == asked
    });
}
