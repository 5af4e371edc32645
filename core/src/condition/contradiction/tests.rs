//! Which conditions are known never to hold, and that none of these ever does.

use std::net::IpAddr;

use laneway_proto::routing::condition::{Operator, Source as From};
use laneway_proto::routing::{self, Attribute, IntRange, Modulo};
use proptest::prelude::*;

use super::contradiction;
use crate::condition::{Buffers, Condition, Source};
use crate::document::{self, Document};
use crate::facts::{Facts, Headers, Source as Caller};
use crate::tag::Tag;

fn compile(from: &routing::Condition) -> Condition {
    let mut refusals = Vec::new();
    Condition::compile(from, "match", &mut refusals).unwrap_or_else(|| panic!("{from:?}: {refusals:?}"))
}

fn parse(text: &str) -> routing::Condition {
    let text = format!("{{kind: Lane, name: gray, entry: {{services: [a], rules: [{{match: {text}}}]}}}}");
    let mut documents = document::read(&text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    let Some(Document::Lane(lane)) = documents.pop() else { panic!("a lane") };
    lane.entry.and_then(|entry| entry.rules.into_iter().next()).and_then(|rule| rule.r#match).expect("a condition")
}

fn never(text: &str, why: &str) {
    let from = parse(text);
    let found = contradiction(Some((&compile(&from), &from)), &[]);
    assert!(found.as_ref().is_some_and(|found| found.contains(why)), "{text}: {found:?}");
}

fn perhaps(text: &str) {
    let from = parse(text);
    assert_eq!(contradiction(Some((&compile(&from), &from)), &[]), None, "{text}");
}

#[test]
fn tests_that_exclude_each_other() {
    for both in [
        "{header: x, exact: a}, {header: X, exact: b}",
        "{header: x, exact: a}, {header: x, exact: a, negate: true}",
        "{header: x, exact: a}, {not: {header: x, exact: a}}",
        "{header: x, regex: 'a+'}, {not: {header: x, regex: 'a+'}}",
        "{header: x, regex: 'a+'}, {header: x, exact: b}",
        "{header: x, exact: a}, {header: x, present: false}",
        "{header: x, gt: 1}, {header: x, present: true, negate: true}",
        "{header: x, present: true}, {header: x, present: false}",
        "{header: x, in: [a, b]}, {header: x, in: [c, d]}",
        "{header: x, in: [a, b]}, {header: x, in: [c, b]}, {header: x, in: [a, d]}",
        "{header: x, in: [ab, b]}, {header: x, prefix: c}",
        "{header: x, exact: abc}, {header: x, suffix: b}",
        "{header: x, exact: ABC, ignoreCase: true}, {header: x, prefix: b}",
        "{header: x, exact: ABC, ignoreCase: true}, {header: x, exact: abd}",
        "{header: x, exact: 'abc'}, {header: x, gt: 1}",
        "{header: x, in: ['1', '5']}, {header: x, between: {min: 2, max: 4}}",
        "{header: x, gt: 5}, {header: x, lt: 6}",
        "{header: x, gt: 5}, {header: x, lt: 8}, {header: x, mod: {divisor: 10, remainders: [1, 8]}}",
        "{header: x, between: {min: 1, max: 3}}, {not: {header: x, between: {min: 0, max: 9}}}",
        "{header: x, prefix: ab}, {header: x, prefix: ac}",
        "{header: x, suffix: ab}, {header: x, suffix: bb}",
        "{header: x, prefix: ab}, {header: x, prefix: a, negate: true}",
        "{header: x, suffix: aB}, {header: x, suffix: b, ignoreCase: true, negate: true}",
        "{attribute: sourceIp, exact: 10.0.0.0/8}, {attribute: sourceIp, in: [11.0.0.0/8, '::/0']}",
        "{attribute: sourceIp, exact: 10.1.0.0/16}, {attribute: sourceIp, exact: 10.0.0.0/8, negate: true}",
        "{any: [{header: x, exact: a}, {header: x, exact: b}]}, {header: x, exact: c}",
        "{any: [{header: x, exact: a}, {cookie: c, exact: b}]}, {not: {any: [{header: x, exact: a}, {cookie: c, exact: b}]}}",
        "{not: {all: [{header: x, present: true}, {header: y, present: true}]}}, {header: x, exact: a}, {header: y, gt: 1}",
    ] {
        never(&format!("{{all: [{both}]}}"), "cannot be all that is asked of it");
    }
    never("{all: [{cookie: c, exact: a}, {header: x, exact: a}, {header: x, exact: b}]}", "header x");
}

#[test]
fn values_that_a_source_never_has() {
    never("{header: x, exact: ' a'}", "blanks");
    never("{header: x, in: ['a ', ' b']}", "blanks");
    never("{cookie: c, suffix: 'a '}", "blanks");
    never("{cookie: c, exact: 'a;b'}", "`;`");
    never("{attribute: path, exact: a}", "begins with /");
    never("{attribute: path, prefix: a/}", "begins with /");
    never("{attribute: path, exact: '/a?x=1'}", "query");
    never("{attribute: path, exact: /a/../b}", "dot segments");
    never("{attribute: host, exact: WWW.Demo.com}", "lower case");
    never("{attribute: host, exact: 'demo.com:8080'}", "port");
    never("{attribute: sourceTag, exact: baseline}", "is a tag");
    never("{attribute: sourceTag, prefix: Gray}", "is a tag");
    never("{attribute: sourceService, exact: namespaces/default/services/a}", "an id");
    never("{any: [{attribute: path, exact: a}, {attribute: host, exact: A}]}", "begins with /");
}

#[test]
fn what_may_hold_is_not_told_to_be_impossible() {
    for text in [
        "{all: [{header: x, exact: a}, {header: y, exact: b}]}",
        "{all: [{header: x, exact: a, negate: true}, {header: x, exact: b, negate: true}]}",
        "{all: [{header: x, present: false}, {header: x, exact: b, negate: true}]}",
        "{all: [{header: x, in: [a, b]}, {header: x, in: [b, c]}]}",
        "{all: [{header: x, exact: aBc, ignoreCase: true}, {header: x, exact: Abc, negate: true}, {header: x, prefix: A}]}",
        "{all: [{header: x, prefix: ab}, {header: x, prefix: a}, {header: x, suffix: b}]}",
        "{all: [{header: x, prefix: a}, {header: x, prefix: ab, negate: true}]}",
        "{all: [{header: x, prefix: a, ignoreCase: true}, {header: x, prefix: a, negate: true}]}",
        "{all: [{header: x, gt: 5}, {header: x, lt: 7}, {header: x, mod: {divisor: 10, remainders: [6]}}]}",
        "{all: [{attribute: sourceIp, exact: 10.0.0.0/8}, {attribute: sourceIp, exact: 10.1.0.0/16, negate: true}]}",
        "{any: [{header: x, exact: ' a'}, {header: x, exact: a}]}",
        "{not: {all: [{header: x, exact: a}, {header: x, exact: b}]}}",
        "{attribute: path, exact: '*'}",
        "{attribute: path, suffix: .html}",
        "{attribute: host, exact: WWW.Demo.com, ignoreCase: true}",
        "{attribute: host, exact: '[::1]'}",
        "{attribute: sourceTag, exact: ''}",
        "{attribute: method, exact: get}",
        "{header: x, exact: ' a', negate: true}",
    ] {
        perhaps(text);
    }
}

#[test]
fn a_key_that_the_condition_excludes() {
    let from = parse("{header: x, present: false}");
    let condition = compile(&from);
    let [x, y] = ["x", "y"].map(|name| Source::Header(name.to_owned()));
    assert!(contradiction(Some((&condition, &from)), std::slice::from_ref(&x)).is_some());
    assert_eq!(contradiction(Some((&condition, &from)), &[x.clone(), y]), None);
    assert_eq!(contradiction(None, &[x]), None);
}

/// A condition without end for a search without a budget.
#[test]
fn the_search_ends() {
    let choice = |at: usize| format!("{{any: [{{header: h{at}, exact: a}}, {{header: h{at}, exact: b}}]}}");
    let choices: Vec<String> = (0..120).map(choice).collect();
    let both =
        "{any: [{header: z, exact: a}, {header: z, exact: b}]}, {any: [{header: z, exact: c}, {header: z, exact: d}]}";
    let from = parse(&format!("{{all: [{both}, {}]}}", choices.join(", ")));
    let condition = compile(&from);
    let start = std::time::Instant::now();
    let _ = contradiction(Some((&condition, &from)), &[]);
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

const TEXTS: [&str; 12] = ["", "a", "A", "ab", "aB", "b", "1", "12", "-3", " a", "a;", "007"];
const PATHS: [&str; 9] = ["/a", "/a/b", "/A", "/./a", "/a?x", "*", "/", "a", "/a/.."];
const HOSTS: [&str; 7] = ["a", "A.b", "a.b:80", "a:x", "a.b", "", "[::1]"];
const TAGS: [&str; 5] = ["", "gray", "Gray", "baseline", "g"];
const NETWORKS: [&str; 6] = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "11.0.0.0/8", "::/0", "::ffff:10.1.2.3"];

fn value(texts: &'static [&'static str]) -> impl Strategy<Value = (Option<Operator>, Vec<String>, bool)> {
    let text = || prop::sample::select(texts).prop_map(str::to_owned);
    let plain = prop_oneof![
        3 => text().prop_map(Operator::Exact),
        2 => text().prop_map(Operator::Prefix),
        2 => text().prop_map(Operator::Suffix),
        1 => prop::sample::select(&["a.*", "[0-9]+", ".*b", ""][..]).prop_map(|r| Operator::Regex(r.to_owned())),
    ];
    let number = prop_oneof![
        (-4_i64..14).prop_map(Operator::Gt),
        (-4_i64..14).prop_map(Operator::Lt),
        (-4_i64..14, 0_i64..4).prop_map(|(min, more)| Operator::Between(IntRange { min, max: min + more })),
        (2_u32..5, 0_u32..2).prop_map(|(divisor, one)| Operator::Mod(Modulo { divisor, remainders: vec![one] })),
    ];
    prop_oneof![
        4 => (plain, any::<bool>()).prop_map(|(operator, fold)| (Some(operator), Vec::new(), fold)),
        2 => (prop::collection::btree_set(text(), 1..4), any::<bool>()).prop_map(|(set, fold)| (None, set.into_iter().collect(), fold)),
        2 => number.prop_map(|operator| (Some(operator), Vec::new(), false)),
        1 => any::<bool>().prop_map(|present| (Some(Operator::Present(present)), Vec::new(), false)),
    ]
}

fn test() -> impl Strategy<Value = routing::Condition> {
    let attribute = |attribute: Attribute| Just(From::Attribute(attribute.into()));
    let networks = prop_oneof![
        prop::collection::btree_set(prop::sample::select(&NETWORKS[..]).prop_map(str::to_owned), 1..3)
            .prop_map(|set| (None, set.into_iter().collect(), false)),
        any::<bool>().prop_map(|present| (Some(Operator::Present(present)), Vec::new(), false)),
    ];
    let parts = prop_oneof![
        4 => (prop_oneof![3 => Just(From::Header("x".into())), 1 => Just(From::Cookie("c".into()))], value(&TEXTS)),
        1 => (attribute(Attribute::Path), value(&PATHS)),
        1 => (attribute(Attribute::Host), value(&HOSTS)),
        1 => (attribute(Attribute::SourceTag), value(&TAGS)),
        1 => (attribute(Attribute::SourceIp), networks),
    ];
    (parts, any::<bool>()).prop_map(|((source, (operator, r#in, ignore_case)), negate)| routing::Condition {
        source: Some(source),
        operator,
        r#in,
        ignore_case,
        negate,
        ..Default::default()
    })
}

fn condition() -> impl Strategy<Value = routing::Condition> {
    test().prop_recursive(3, 10, 4, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 1..5).prop_map(|all| routing::Condition { all, ..Default::default() }),
            1 => prop::collection::vec(inner.clone(), 1..4).prop_map(|any| routing::Condition { any, ..Default::default() }),
            1 => inner.prop_map(|not| routing::Condition { not: Some(Box::new(not)), ..Default::default() }),
        ]
    })
}

#[derive(Debug)]
struct Request {
    x: Vec<&'static str>,
    cookie: Option<&'static str>,
    target: &'static str,
    authority: &'static str,
    tag: Option<Option<Tag>>,
    address: Option<IpAddr>,
}

impl Headers for Request {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        match name {
            "x" => self.x.get(index).map(|value| value.as_bytes()),
            "cookie" => self.cookie.filter(|_| index == 0).map(str::as_bytes),
            _ => None,
        }
    }
}

fn request() -> impl Strategy<Value = Request> {
    const COOKIES: [&str; 5] = ["c=a", "c= a", "c=a;b", "c=ab", "d=1; c=12"];
    let tag = prop::sample::select(&TAGS[..]).prop_map(|tag| Tag::parse(tag.as_bytes()).ok());
    let address =
        prop::sample::select(&["10.1.2.3", "10.1.0.0", "10.9.9.9", "11.0.0.1", "fd00::1", "::ffff:10.1.2.3"][..]);
    (
        prop::collection::vec(prop::sample::select(&TEXTS[..]), 0..3),
        prop::option::of(prop::sample::select(&COOKIES[..])),
        prop::sample::select(&PATHS[..]),
        prop::sample::select(&HOSTS[..]),
        prop::option::of(tag),
        prop::option::of(address.prop_map(|address| address.parse().expect("an address"))),
    )
        .prop_map(|(x, cookie, target, authority, tag, address)| Request {
            x,
            cookie,
            target,
            authority,
            tag,
            address,
        })
}

fn holds(condition: &Condition, request: &Request) -> bool {
    let source =
        Caller { service: "", tag: request.tag.flatten(), address: request.address, is_meshed: request.tag.is_some() };
    let facts = Facts {
        method: "GET",
        target: request.target,
        authority: request.authority,
        headers: request,
        is_grpc: false,
        source,
    };
    condition.holds(&facts, &mut Buffers::new(), &mut crate::witness::Nobody)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_told_never_to_hold_never_does(from in condition(), requests in prop::collection::vec(request(), 40)) {
        let condition = compile(&from);
        if let Some(why) = contradiction(Some((&condition, &from)), &[]) {
            for request in requests {
                prop_assert!(!holds(&condition, &request), "{why}: {from:?} holds for {request:?}");
            }
        }
    }

    #[test]
    fn a_condition_and_its_own_not_never_hold(one in condition()) {
        let not = routing::Condition { not: Some(Box::new(one.clone())), ..Default::default() };
        let from = routing::Condition { all: vec![one, not], ..Default::default() };
        let condition = compile(&from);
        prop_assert!(contradiction(Some((&condition, &from)), &[]).is_some());
    }
}
