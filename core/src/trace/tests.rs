use std::collections::HashSet;

use super::*;

struct Lines<'a>(&'a [(&'a str, &'a str)]);

impl Headers for Lines<'_> {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        self.0.iter().filter(|(known, _)| *known == name).nth(index).map(|(_, value)| value.as_bytes())
    }
}

fn read(name: &str, value: &str) -> Option<Id> {
    let headers = IdHeaders::new(&[name.to_owned()]);
    headers.read(&Lines(&[(name, value)])).next()
}

#[test]
fn one_trace_id_is_one_id_in_every_format() {
    let bin = "AAAK92UZFs1D3YRI6yEcgDGcAbetnBaBv7pxAgE";
    let same = [
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-0000000000000001-00"),
        ("traceparent", "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"),
        ("b3", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1"),
        ("b3", "8448eb211c80319c-b7ad6b7169203331"),
        ("x-b3-traceid", "8448EB211C80319C"),
        ("x-b3-traceid", "0af7651916cd43dd8448eb211c80319c"),
        ("uber-trace-id", "af7651916cd43dd8448eb211c80319c:b7ad6b7169203331:0:1"),
        ("uber-trace-id", "8448eb211c80319c%3Ab7ad6b7169203331%3A0%3A1"),
        ("x-datadog-trace-id", "9532127138774266268"),
        ("x-cloud-trace-context", "0af7651916cd43dd8448eb211c80319c/123;o=1"),
        ("x-cloud-trace-context", "0af7651916cd43dd8448eb211c80319c"),
        ("x-amzn-trace-id", "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=53995c3f42cd8ad8;Sampled=1"),
        ("x-amzn-trace-id", "Self=1-67891234-12456789abcdef012345678;Root=1-0af76519-16cd43dd8448eb211c80319c"),
        ("grpc-trace-bin", bin),
    ];
    let ids: HashSet<Option<Id>> = same.iter().map(|(name, value)| read(name, value)).collect();
    assert_eq!(ids, HashSet::from([Id::of_trace(0x8448_eb21_1c80_319c)]), "{same:?}");
}

#[test]
fn what_is_no_id_is_none() {
    let none = [
        ("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01"),
        ("traceparent", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01"),
        ("traceparent", "0af7651916cd43dd8448eb211c80319c"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01"),
        ("b3", "0"),
        ("b3", "d"),
        ("b3", "8448eb211c80319-b7ad6b7169203331"),
        ("x-b3-traceid", ""),
        ("uber-trace-id", ":1:0:1"),
        ("uber-trace-id", "8448eb211c80319c"),
        ("sw8", "1"),
        ("sw8", "1--segment"),
        ("x-datadog-trace-id", "-1"),
        ("x-datadog-trace-id", "18446744073709551616"),
        ("x-datadog-trace-id", "0"),
        ("x-cloud-trace-context", "0af7/1"),
        ("x-amzn-trace-id", "Root=1-0af7-16cd"),
        ("grpc-trace-bin", "AAAK92UZFs1D3YRI6yEcgDG"),
        ("grpc-trace-bin", "AQAK92UZFs1D3YRI6yEcgDGcAbetnBaBv7pxAgE"),
        ("grpc-trace-bin", "????????????????????????"),
        ("x-request-id", ""),
        ("x-request-id", "  "),
    ];
    for (name, value) in none {
        assert_eq!(read(name, value), None, "{name}: {value}");
    }
}

#[test]
fn texts_are_equal_within_one_header_only() {
    let sw8 = "1-ZjYxZjQ3YmYtYTc=-c2VnbWVudA==-3-cGF5bWVudA==-x-y-z";
    let other_segment = "1-ZjYxZjQ3YmYtYTc=-b3RoZXI=-4-cGF5bWVudA==-x-y-z";
    assert!(read("sw8", sw8).is_some());
    assert_eq!(read("sw8", sw8), read("sw8", other_segment));
    assert_eq!(read("x-request-id", " abc "), read("x-request-id", "abc"));
    assert_ne!(read("x-request-id", "abc"), read("x-request-id", "abd"));
    assert_ne!(read("x-request-id", "abc"), read("x-session", "abc"));
    assert_ne!(read("x-request-id", "8448eb211c80319c"), read("x-b3-traceid", "8448eb211c80319c"));
}

#[test]
fn two_lines_of_one_name_are_no_id() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let lines = Lines(&[("traceparent", trace), ("traceparent", trace)]);
    let headers = IdHeaders::new(&["traceparent".to_owned()]);
    assert_eq!(headers.read(&lines).next(), None);
    assert!(headers.say_a_trace(&lines), "a third one would be no help");
}

#[test]
fn a_trace_is_said_whatever_requests_are_correlated_by() {
    for names in [&["sw8", "x-request-id", "x-own"][..], &[]] {
        let headers = IdHeaders::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert!(!headers.say_a_trace(&Lines(&[("x-request-id", "1"), ("x-own", "2")])), "a request id is no trace");
        for name in TRACE_HEADERS {
            assert!(headers.say_a_trace(&Lines(&[(name, "not even an id")])), "{name} among {names:?}");
        }
    }
}

#[test]
fn every_header_of_tracing_is_read_by_its_own_format() {
    for name in TRACE_HEADERS {
        assert!(!matches!(Format::of(name), Format::Text(_)), "{name}");
    }
}

#[test]
fn ids_come_in_the_order_of_the_names() {
    let names = ["x-request-id", "traceparent"].map(str::to_owned);
    let lines =
        Lines(&[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("x-request-id", "abc")]);
    let ids: Vec<Id> = IdHeaders::new(&names).read(&lines).collect();
    assert_eq!(ids, [read("x-request-id", "abc"), Id::of_trace(0x8448_eb21_1c80_319c)].map(|id| id.expect("an id")));
}
