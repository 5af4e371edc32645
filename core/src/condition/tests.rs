//! Sources and operators, one table each.

use laneway_proto::routing;

use super::{Buffers, Condition};
use crate::document::{self, Document};
use crate::facts::{Facts, Headers, Source};
use crate::tag::Tag;
use crate::witness::Nobody;

struct Lines(&'static [(&'static str, &'static str)]);

impl Headers for Lines {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        self.0.iter().filter(|(n, _)| *n == name).nth(index).map(|(_, v)| v.as_bytes())
    }
}

/// Reads the condition as people write it.
fn parse(text: &str) -> routing::Condition {
    let text = format!("{{kind: Lane, name: gray, entry: {{services: [a], rules: [{{match: {text}}}]}}}}");
    let mut documents = document::read(&text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    let Some(Document::Lane(lane)) = documents.pop() else { panic!("a lane") };
    lane.entry.and_then(|entry| entry.rules.into_iter().next()).and_then(|rule| rule.r#match).expect("a condition")
}

const HEADERS: Lines = Lines(&[
    ("x-user-id", " 100 "),
    ("x-roles", "admin"),
    ("x-roles", "ops"),
    ("x-empty", ""),
    ("x-signed", "-7"),
    ("x-name", "Xiaoming"),
    ("cookie", "a=1; vip=2; vip=3"),
    ("cookie", "late=4"),
    // {"sub":"u-100","level":7,"admin":true,"tenant":{"id":"t1"},"roles":["ops"]}
    (
        "authorization",
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1LTEwMCIsImxldmVsIjo3LCJhZG1pbiI6dHJ1ZSwidGVuYW50Ijp7ImlkIjoidDEifSwicm9sZXMiOlsib3BzIl19.",
    ),
]);

fn check(condition: &str, expected: bool) {
    on("/a/b?name=xiao%20ming&q=a+b&flag&name=second", condition, expected);
}

fn on(target: &str, condition: &str, expected: bool) {
    let mut refusals = Vec::new();
    let compiled = Condition::compile(&parse(condition), "match", &mut refusals);
    let compiled = compiled.unwrap_or_else(|| panic!("{condition}: {refusals:?}"));
    let facts = Facts {
        method: "GET",
        target,
        authority: "WWW.Demo.com:8080",
        headers: &HEADERS,
        is_grpc: true,
        source: Source {
            service: "namespaces/shop/services/caller",
            tag: Tag::parse(b"gray").ok(),
            address: Some("10.2.3.4".parse().expect("an address")),
            is_meshed: true,
        },
    };
    assert_eq!(compiled.holds(&facts, &mut Buffers::new(), &mut Nobody), expected, "{condition} on {target}");
}

#[test]
fn headers() {
    check("{header: X-User-Id, exact: '100'}", true);
    check("{header: x-user-id, exact: '10'}", false);
    check("{header: x-roles, exact: 'admin,ops'}", true);
    check("{header: x-missing, exact: ''}", false);
    check("{header: x-empty, exact: ''}", true);
}

#[test]
fn cookies_and_queries() {
    check("{cookie: vip, exact: '2'}", true);
    check("{cookie: VIP, present: true}", false);
    check("{cookie: late, exact: '4'}", true);
    check("{query: name, exact: 'xiao ming'}", true);
    check("{query: q, exact: 'a b'}", true);
    check("{query: flag, exact: ''}", true);
    check("{query: none, present: false}", true);
    on("/a", "{query: name, present: true}", false);
    on("/a?%6eame=x", "{query: name, exact: x}", true);
    on("/a?x=%zz%4", "{query: x, exact: '%zz%4'}", true);
}

#[test]
fn claims_of_a_token_that_nobody_has_verified() {
    check("{jwtClaim: sub, exact: u-100}", true);
    check("{jwtClaim: sub, in: [u-99, u-100]}", true);
    check("{jwtClaim: sub, suffix: '-100'}", true);
    check("{jwtClaim: level, between: {min: 5, max: 7}}", true);
    check("{jwtClaim: level, exact: '7'}", true);
    check("{jwtClaim: admin, exact: 'true'}", true);
    check("{jwtClaim: tenant.id, regex: 't[0-9]'}", true);
    check("{jwtClaim: tenant.id, exact: T1, ignoreCase: true}", true);
    check("{jwtClaim: roles, present: true}", false);
    check("{jwtClaim: nobody, present: false}", true);
    check("{jwtClaim: Sub, present: true}", false);
}

#[test]
fn paths_are_normalised_for_the_test() {
    for (target, path) in [
        ("/a/b", "/a/b"),
        ("/a/./b/../c?x", "/a/c"),
        ("/a/%2e%2E/b", "/b"),
        ("/%7euser/%2f%c3%a9", "/~user/%2F%C3%A9"),
        ("/..", "/"),
        ("/../../a", "/a"),
        ("/a/..", "/"),
        ("/a/.", "/a/"),
        ("/a//b", "/a//b"),
        ("/%252e", "/%252e"),
        ("http://h:1/a?x", "/a"),
        ("http://h", "/"),
        ("*", "*"),
        ("/a%", "/a%"),
    ] {
        on(target, &format!("{{attribute: path, exact: '{path}'}}"), true);
    }
    on("h:443", "{attribute: path, present: true}", false);
    on("", "{attribute: path, present: true}", false);
}

#[test]
fn attributes() {
    check("{attribute: method, exact: GET}", true);
    check("{attribute: method, exact: get}", false);
    check("{attribute: host, exact: www.demo.com}", true);
    on("/shop.Order/Create", "{attribute: grpcMethod, exact: shop.Order/Create}", true);
    check("{attribute: sourceService, exact: caller}", true);
    check("{attribute: sourceNamespace, exact: shop}", true);
    check("{attribute: sourceTag, exact: gray}", true);
    check("{attribute: sourceIp, exact: 10.2.0.0/16}", true);
    check("{attribute: sourceIp, in: [10.3.0.0/16, 10.2.3.4]}", true);
    check("{attribute: sourceIp, exact: 10.2.3.5}", false);
    check("{attribute: sourceIp, in: ['::ffff:10.2.3.4']}", true);
    check("{attribute: sourceIp, exact: '::ffff:10.2.0.0/112'}", true);
    check("{attribute: sourceIp, exact: '::ffff:10.3.0.0/112'}", false);
    check("{attribute: sourceIp, exact: 0.0.0.0/0}", true);
    check("{attribute: sourceIp, exact: '::/0'}", false);
}

#[test]
fn operators() {
    check("{header: x-name, prefix: Xiao}", true);
    check("{header: x-name, suffix: ming}", true);
    check("{header: x-name, prefix: xiao}", false);
    check("{header: x-name, prefix: xiao, ignoreCase: true}", true);
    check("{header: x-name, suffix: MING, ignoreCase: true}", true);
    check("{header: x-name, exact: xIAOMING, ignoreCase: true}", true);
    check("{header: x-name, regex: 'xiao.*', ignoreCase: true}", true);
    check("{header: x-name, regex: 'Xiao'}", false);
    check("{header: x-name, in: [a, XIAOMING], ignoreCase: true}", true);
    check("{header: x-name, in: [a, Xiaoming]}", true);
    check("{header: x-name, in: [a, xiaoming]}", false);
    check("{header: x-user-id, gt: 99}", true);
    check("{header: x-user-id, gt: 100}", false);
    check("{header: x-user-id, ge: 100}", true);
    check("{header: x-user-id, lt: 100}", false);
    check("{header: x-user-id, le: 100}", true);
    check("{header: x-user-id, between: {min: 100, max: 100}}", true);
    check("{header: x-user-id, mod: {divisor: 100, remainders: [7, 0]}}", true);
    check("{header: x-signed, mod: {divisor: 5, remainders: [3]}}", true);
    check("{header: x-name, gt: 0}", false);
}

#[test]
fn what_is_absent_fails_all_but_present_false_and_what_is_negated() {
    check("{header: x, exact: '1'}", false);
    check("{header: x, exact: '1', negate: true}", true);
    check("{header: x, present: false}", true);
    check("{header: x, present: true, negate: true}", true);
    check("{header: x-user-id, present: false, negate: true}", true);
    check("{header: x-name, gt: 0, negate: true}", true);
}

#[test]
fn combinations() {
    let (yes, no) = ("{header: x-user-id, present: true}", "{header: x, present: true}");
    check(&format!("{{all: [{yes}, {yes}]}}"), true);
    check(&format!("{{all: [{yes}, {no}]}}"), false);
    check(&format!("{{any: [{no}, {yes}]}}"), true);
    check(&format!("{{any: [{no}, {no}]}}"), false);
    check(&format!("{{not: {{any: [{no}, {no}]}}}}"), true);
}

fn refused(condition: &routing::Condition, field: &str, reason: &str) {
    let mut refusals = Vec::new();
    assert!(Condition::compile(condition, "match", &mut refusals).is_none(), "{condition:?}");
    let found: Vec<_> = refusals.iter().map(|refusal| (refusal.field.as_str(), refusal.reason)).collect();
    assert!(found.contains(&(field, reason)), "{found:?}");
}

#[test]
fn bad_conditions_are_refused_by_path() {
    use routing::condition::{Operator, Source as From};
    let test = |operator: Option<Operator>| routing::Condition {
        source: Some(From::Header("x".into())),
        operator,
        ..Default::default()
    };
    let exact = || test(Some(Operator::Exact("1".into())));
    refused(&routing::Condition::default(), "match", "INVALID_CONDITION");
    refused(&test(None), "match", "INVALID_CONDITION");
    refused(&test(Some(Operator::Regex("(".into()))), "match.regex", "INVALID_REGEX");
    let both = routing::Condition { r#in: vec!["1".into()], ..exact() };
    refused(&both, "match", "INVALID_CONDITION");
    let two_forms = routing::Condition { all: vec![exact()], ..exact() };
    refused(&two_forms, "match", "INVALID_CONDITION");
    let nested = routing::Condition { all: vec![exact(), test(None)], ..Default::default() };
    refused(&nested, "match.all[1]", "INVALID_CONDITION");
    let pseudo = routing::Condition { source: Some(From::Header(":path".into())), ..exact() };
    refused(&pseudo, "match.header", "INVALID_CONDITION");
    let between = routing::IntRange { min: 2, max: 1 };
    refused(&test(Some(Operator::Between(between))), "match.between", "OUT_OF_RANGE");
    let modulo = routing::Modulo { divisor: 1, remainders: vec![0] };
    refused(&test(Some(Operator::Mod(modulo))), "match.mod.divisor", "OUT_OF_RANGE");
    let case = routing::Condition { ignore_case: true, ..test(Some(Operator::Gt(1))) };
    refused(&case, "match", "INVALID_CONDITION");
    let claim = routing::Condition { source: Some(From::JwtClaim(String::new())), ..exact() };
    refused(&claim, "match.jwt_claim", "INVALID_CONDITION");
    let body = routing::Condition { source: Some(From::Body("/a".into())), ..exact() };
    refused(&body, "match.body", "INVALID_CONDITION");
    let wide = routing::Condition { any: vec![exact(); 257], ..Default::default() };
    refused(&wide, "match", "TOO_LARGE");
    let mut deep = exact();
    for _ in 0..8 {
        deep = routing::Condition { not: Some(Box::new(deep)), ..Default::default() };
    }
    refused(&deep, "match.not.not.not.not.not.not.not.not", "TOO_LARGE");
}
