//! Cases of decisions.md §2a for what a request carries.

use super::{TagRefusal, read};
use crate::facts::Headers;
use crate::snapshot::Group;
use crate::tag::{RequestTag, Tag};

struct Lines(&'static [(&'static str, &'static str)]);

impl Headers for Lines {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        self.0.iter().filter(|(n, _)| *n == name).nth(index).map(|(_, v)| v.as_bytes())
    }
}

fn check(headers: &'static [(&'static str, &'static str)], expected: &str) {
    let mut group = Group::default_of("default");
    group.aliases = vec!["x-tag".to_owned()];
    group.baseline_tag = Some(Tag::parse(b"base").expect("a tag"));
    let carried = read(&group, &Lines(headers));
    let said = match (carried.tag, carried.refused) {
        (RequestTag::None, None) => "none".to_owned(),
        (tag, None) => tag.wire().unwrap_or_default().to_owned(),
        (tag, Some(TagRefusal::CarriersDiffer)) => format!("{} differ", tag.wire().unwrap_or_default()),
        (RequestTag::None, Some(refusal)) => format!("{refusal:?}").to_lowercase(),
        (tag, refusal) => format!("{tag:?} beside {refusal:?}"),
    };
    assert_eq!(said, expected, "{headers:?}");
}

const PARENT: (&str, &str) = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");

#[test]
fn one_carrier_holds_one_value() {
    check(&[], "none");
    check(&[("x-mse-tag", "gray")], "gray");
    check(&[("x-mse-tag", " gray\t")], "gray");
    check(&[("x-tag", "gray")], "gray");
    check(&[("x-mse-tag", "gray"), ("x-mse-tag", "gray")], "gray");
    check(&[("x-mse-tag", "gray"), ("x-tag", "gray")], "gray");
    check(&[("x-mse-tag", "gray"), ("x-mse-tag", "blue")], "conflicting");
    check(&[("x-mse-tag", "gray"), ("x-tag", "blue")], "conflicting");
    check(&[("baggage", "x-mse-tag=gray,x-mse-tag=blue")], "conflicting");
    check(&[("baggage", "x-mse-tag=gray,a=b"), ("baggage", "x-mse-tag=gray")], "gray");
    check(&[PARENT, ("tracestate", "laneway=gray,laneway=blue")], "conflicting");
}

#[test]
fn a_bad_value_is_no_tag() {
    let long = "a".repeat(63);
    assert!(Tag::parse(long.as_bytes()).is_ok());
    for bad in ["", " ", "gray,blue", "gray,gray", "Gray", "gr_ay", "-gray", "gray-", "gr ay", "gr\u{e4}y"] {
        let lines: &'static [(&str, &str)] = Box::leak(Box::new([("x-mse-tag", &*bad.to_owned().leak())]));
        check(lines, "malformed");
    }
    let long: &'static str = "a".repeat(64).leak();
    check(Box::leak(Box::new([("x-mse-tag", long)])), "malformed");
    check(Box::leak(Box::new([("baggage", &*format!("x-mse-tag={long}").leak())])), "malformed");
}

#[test]
fn the_first_carrier_that_holds_anything_decides() {
    check(&[("x-mse-tag", "gray"), ("baggage", "x-mse-tag=blue")], "gray differ");
    check(&[("x-mse-tag", "gray"), ("baggage", "x-mse-tag=BAD")], "gray differ");
    check(&[("x-mse-tag", "gray"), ("baggage", "x-mse-tag=gray")], "gray");
    check(&[("x-mse-tag", "BAD"), ("baggage", "x-mse-tag=gray")], "malformed");
    check(&[("baggage", "x-mse-tag=blue"), PARENT, ("tracestate", "laneway=gray")], "blue differ");
}

#[test]
fn tracestate_counts_only_beside_a_traceparent() {
    check(&[("tracestate", "laneway=gray")], "none");
    check(&[PARENT, ("tracestate", "a=b, laneway=gray")], "gray");
    check(&[PARENT, ("tracestate", "mylaneway=gray")], "none");
}

#[test]
fn baggage_members_have_properties_spaces_and_encoding() {
    check(&[("baggage", "a=b, x-mse-tag = gray ;ttl=1")], "gray");
    check(&[("baggage", "x-mse-tag=gr%61y")], "gray");
    check(&[("baggage", "x-mse-tag=gr%6")], "malformed");
    check(&[("baggage", "X-MSE-TAG=gray")], "none");
    check(&[("baggage", "x-mse-tag")], "none");
}

#[test]
fn the_word_baseline_and_the_baseline_tag_are_one() {
    check(&[("x-mse-tag", "baseline")], "baseline");
    check(&[("x-mse-tag", "base")], "baseline");
    check(&[("x-mse-tag", "base"), ("baggage", "x-mse-tag=baseline")], "baseline");
    check(&[("x-mse-tag", "baseline"), ("x-mse-tag", "gray")], "conflicting");
}
