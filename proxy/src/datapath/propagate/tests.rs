//! What stands in the carriers after a tag was written.

use http::{HeaderMap, HeaderName, HeaderValue};
use laneway_core::tag::{RequestTag, Tag};

use super::{Names, start_trace, write};
use laneway_proto::routing::NewTrace;

fn names() -> Names {
    Names {
        revision: 1,
        tag: HeaderName::from_static("x-mse-tag"),
        aliases: vec![HeaderName::from_static("x-lane")],
        correlate: vec![HeaderName::from_static("b3")],
        writes_header: true,
        writes_baggage: true,
        writes_tracestate: true,
        new_trace: NewTrace::Sampled,
    }
}

fn gray() -> RequestTag {
    RequestTag::Lane(Tag::parse(b"gray").expect("test tag"))
}

fn written(lines: &[(&'static str, &'static str)], tag: RequestTag) -> Vec<String> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    write(&mut headers, &names(), tag);
    headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("test value"))).collect()
}

#[test]
fn exactly_one_value_leaves() {
    assert_eq!(written(&[], gray()), ["x-mse-tag: gray", "baggage: x-mse-tag=gray"]);
    assert_eq!(
        written(&[("x-mse-tag", "blue"), ("x-mse-tag", "red"), ("x-lane", "green")], gray()),
        ["x-mse-tag: gray", "baggage: x-mse-tag=gray"]
    );
    assert_eq!(written(&[("x-mse-tag", "a_b"), ("x-lane", "x"), ("a", "1")], RequestTag::None), ["a: 1"]);
    assert_eq!(written(&[], RequestTag::Baseline), ["x-mse-tag: baseline", "baggage: x-mse-tag=baseline"]);
}

#[test]
fn other_members_of_baggage_stay() {
    assert_eq!(
        written(&[("baggage", "k=v;p=1, x-mse-tag=blue"), ("baggage", "z=1")], gray()),
        ["baggage: k=v;p=1,z=1,x-mse-tag=gray", "x-mse-tag: gray"]
    );
    assert_eq!(written(&[("baggage", "k=v,x-mse-tag=blue")], RequestTag::None), ["baggage: k=v"]);
    assert_eq!(written(&[("baggage", "x-mse-tag=blue")], RequestTag::None), Vec::<String>::new());
    assert_eq!(written(&[("baggage", "k = v")], RequestTag::None), ["baggage: k = v"]);
}

#[test]
fn tracestate_is_written_only_beside_a_traceparent() {
    assert_eq!(
        written(&[("traceparent", "t"), ("tracestate", "a=1,laneway=blue,b=2")], gray()),
        ["traceparent: t", "tracestate: laneway=gray,a=1,b=2", "x-mse-tag: gray", "baggage: x-mse-tag=gray"]
    );
    assert_eq!(
        written(&[("tracestate", "a=1,laneway=blue")], gray()),
        ["tracestate: a=1", "x-mse-tag: gray", "baggage: x-mse-tag=gray"]
    );
}

#[test]
fn what_is_right_already_is_left_alone() {
    let lines = [("x-mse-tag", "gray"), ("baggage", "x-mse-tag=gray , k=v")];
    assert_eq!(written(&lines, gray()), ["x-mse-tag: gray", "baggage: x-mse-tag=gray , k=v"]);
}

#[test]
fn a_full_baggage_makes_room_for_the_tag() {
    let full = vec!["k=v"; 70].join(",");
    let mut headers = HeaderMap::new();
    headers.insert("baggage", HeaderValue::try_from(full).expect("test value"));
    write(&mut headers, &names(), gray());
    let list = headers["baggage"].to_str().expect("text").to_owned();
    assert_eq!(list.split(',').count(), 64);
    assert!(list.ends_with(",x-mse-tag=gray"));
}

#[test]
fn only_a_lane_request_without_any_trace_id_gets_one() {
    let traced = |lines: &[(&'static str, &'static str)], tag| {
        let mut headers: HeaderMap =
            lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
        start_trace(&mut headers, &names(), tag, || [1, 0, 0]);
        headers.get("traceparent").map(|value| value.to_str().expect("text").to_owned())
    };
    let fresh = Some("00-00000000000000010000000000000001-0000000000000001-01".to_owned());
    assert_eq!(traced(&[], gray()), fresh);
    assert_eq!(traced(&[], RequestTag::Baseline), fresh);
    assert_eq!(traced(&[], RequestTag::None), None);
    assert_eq!(traced(&[("b3", "1")], gray()), None);
    assert_eq!(traced(&[("traceparent", "mine")], gray()), Some("mine".to_owned()));
}
