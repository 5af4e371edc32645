//! Which claims a token has, held against serde_json, and what hostile bytes come to.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::{CLAIMS_BYTES_MAX, Claims, read};
use crate::facts::Headers;

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

struct Authorization(Vec<Vec<u8>>);

impl Headers for Authorization {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        (name == "authorization").then(|| self.0.get(index)).flatten().map(Vec::as_slice)
    }
}

fn base64url(bytes: &[u8]) -> String {
    let letters = bytes.chunks(3).flat_map(|chunk| {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        (0..=chunk.len()).map(move |at| char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]))
    });
    letters.collect()
}

fn bearer(claims: &[u8]) -> String {
    format!("Bearer {}.{}.c2ln", base64url(br#"{"alg":"none"}"#), base64url(claims))
}

fn claim_of(lines: Vec<Vec<u8>>, claim: &str) -> Option<String> {
    let (mut claims, mut buffer) = (Claims::new(), Vec::new());
    let value = read(&Authorization(lines), claim, &mut claims, &mut buffer)?;
    Some(String::from_utf8(value.to_vec()).expect("claims are UTF-8"))
}

fn check(claims: &str, claim: &str, expected: Option<&str>) {
    let found = claim_of(vec![bearer(claims.as_bytes()).into_bytes()], claim);
    assert_eq!(found.as_deref(), expected, "{claim} of {claims}");
}

#[test]
fn a_value_is_its_text() {
    let claims = r#" {"sub" : "u-100", "n": -1.50e+2, "admin": true, "off": false, "none": null,
        "roles": ["a"], "tenant": {"id": 7}, "empty": "", "ü": "小明 \"\\\/\n\u00fc\ud83d\ude00\ud83d!\ude00"} "#;
    check(claims, "sub", Some("u-100"));
    check(claims, "n", Some("-1.50e+2"));
    check(claims, "admin", Some("true"));
    check(claims, "off", Some("false"));
    check(claims, "empty", Some(""));
    check(claims, "ü", Some("小明 \"\\/\nü😀\u{fffd}!\u{fffd}"));
    for absent in ["none", "roles", "tenant", "nobody", "su", "subs", ""] {
        check(claims, absent, None);
    }
}

#[test]
fn dots_lead_into_objects_and_the_longest_name_goes_first() {
    let claims = r#"{"tenant": {"id": "1", "plan": {"name": "gold"}}, "tenant.id": "2", "https://demo.com/role": "ops",
        "https://demo.com/t": {"a.b": "3"}, "x": 4, "l": [{"a": 1}], "t\u0065am": {"\u0069d": 5}}"#;
    check(claims, "tenant.id", Some("2"));
    check(claims, "tenant.plan.name", Some("gold"));
    check(claims, "tenant.plan", None);
    check(claims, "https://demo.com/role", Some("ops"));
    check(claims, "https://demo.com/t.a.b", Some("3"));
    check(claims, "team.id", Some("5"));
    check(claims, "x.y", None);
    check(claims, "l.0.a", None);
    check(claims, "tenant.", None);
}

#[test]
fn of_two_members_with_one_name_the_last_counts() {
    check(r#"{"a": "1", "\u0061": "2"}"#, "a", Some("2"));
    check(r#"{"a": "1", "a": null}"#, "a", None);
    check(r#"{"a": {"b": 1}, "a": {"c": 2}}"#, "a.b", None);
}

#[test]
fn only_one_bearer_token_of_three_parts_has_claims() {
    let good = bearer(br#"{"a":"1"}"#);
    let token = good["Bearer ".len()..].to_owned();
    let parts: Vec<&str> = token.split('.').collect();
    let (header, claims) = (parts[0], parts[1]);
    for line in [&good, &format!("  bEARER   {token} "), &format!("Bearer .{claims}.")] {
        assert_eq!(claim_of(vec![line.clone().into_bytes()], "a").as_deref(), Some("1"), "{line}");
    }
    for line in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer ..",
        &token,
        &format!("Bearer{token}"),
        &format!("Basic {token}"),
        &format!("Bearer {token}.x.y"),
        &format!("Bearer {header}.{claims}"),
        &format!("Bearer {header}.{claims}=.c2ln"),
        &format!("Bearer {header}.{claims}A.c2ln"),
        &format!("Bearer {header}.{claims}\u{e9}.c2ln"),
        &format!("{good},{good}"),
    ] {
        assert_eq!(claim_of(vec![line.as_bytes().to_vec()], "a"), None, "{line}");
    }
    assert_eq!(claim_of(vec![good.clone().into_bytes(), good.into_bytes()], "a"), None, "two lines");
    assert_eq!(claim_of(Vec::new(), "a"), None);
}

#[test]
fn what_is_no_object_of_json_has_no_claims() {
    for claims in [
        "",
        " ",
        "1",
        "\"a\"",
        "[]",
        "{",
        "}",
        "{}x",
        r#"{"a":"1",}"#,
        r#"{"a":"1"}{}"#,
        r#"{a:"1"}"#,
        r#"{"a" "1"}"#,
        r#"{"a":"1" "b":2}"#,
        r#"{"a":"1","b":01}"#,
        r#"{"a":"1","b":-}"#,
        r#"{"a":"1","b":1.}"#,
        r#"{"a":"1","b":.5}"#,
        r#"{"a":"1","b":1e}"#,
        r#"{"a":"1","b":+1}"#,
        r#"{"a":"1","b":tru}"#,
        r#"{"a":"1","b":"\x"}"#,
        r#"{"a":"1","b":"\u12g4"}"#,
        r#"{"a":"1","b":"\u12"#,
        "{\"a\":\"1\",\"b\":\"\n\"}",
        r#"{"a":"1","b":[1,]}"#,
    ] {
        check(claims, "a", None);
    }
    let not_utf8 = bearer(b"{\"a\":\"1\",\"b\":\"\xff\"}").into_bytes();
    assert_eq!(claim_of(vec![not_utf8], "a"), None);
}

#[test]
fn size_and_depth_are_bounded() {
    let padded = |bytes: usize| format!(r#"{{"a":"1","b":"{}"}}"#, "x".repeat(bytes - r#"{"a":"1","b":""}"#.len()));
    check(&padded(CLAIMS_BYTES_MAX), "a", Some("1"));
    check(&padded(CLAIMS_BYTES_MAX + 3), "a", None);
    let nested = |depth: usize| format!(r#"{{"a":"1","b":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    check(&nested(31), "a", Some("1"));
    check(&nested(32), "a", None);
    check(&nested(4_000), "a", None);
}

/// What is kept from one token to the next is never another token's.
#[test]
fn each_token_has_its_own_claims() {
    let (mut claims, mut buffer) = (Claims::new(), Vec::new());
    let long = "x".repeat(2 * CLAIMS_BYTES_MAX);
    let tokens = [
        bearer(br#"{"a":"1"}"#),
        bearer(b"{"),
        bearer(br#"{"a":"2\n"}"#),
        bearer(long.as_bytes()),
        "Bearer ..".to_owned(),
    ];
    for _ in 0..2 {
        for (token, expected) in tokens.iter().zip([Some("1"), None, Some("2\n"), None, None]) {
            let lines = Authorization(vec![token.clone().into_bytes()]);
            let found = read(&lines, "a", &mut claims, &mut buffer);
            assert_eq!(found, expected.map(str::as_bytes), "{token}");
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-c.]{0,4}", 1 => "\\PC{0,6}", 1 => "[\"\\\\\\x00-\\x1f/]{0,4}"]
}

/// Any claims with integers, whose text is one.
fn claims() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let nested = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::vec((text(), inner), 0..4).prop_map(|m| Value::from(Map::from_iter(m))),
        ]
    });
    prop::collection::vec((text(), nested), 0..6).prop_map(|members| Value::from(Map::from_iter(members)))
}

/// What the documents say, on a parsed value.
fn expected(object: &Value, wanted: &str) -> Option<String> {
    let leads = |name: &str| wanted.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let (name, value) =
        object.as_object()?.iter().filter(|(name, _)| leads(name)).max_by_key(|(name, _)| name.len())?;
    match value {
        inner if name.len() < wanted.len() => expected(inner, &wanted[name.len() + 1..]),
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Every way into a value, and some that lead nowhere.
fn ways(value: &Value, way: &str, found: &mut Vec<String>) {
    for (name, inner) in value.as_object().into_iter().flatten() {
        let way = if way.is_empty() { name.clone() } else { format!("{way}.{name}") };
        found.extend([way.clone(), format!("{way}.a"), format!("{way}x")]);
        ways(inner, &way, found);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_claim_is_what_a_parser_of_json_says(claims in claims(), pretty: bool) {
        let json = if pretty { serde_json::to_vec_pretty(&claims) } else { serde_json::to_vec(&claims) };
        let line = bearer(&json.expect("a value is JSON")).into_bytes();
        let mut wanted = vec![String::new(), "a".to_owned(), "a.b".to_owned()];
        ways(&claims, "", &mut wanted);
        for way in wanted {
            prop_assert_eq!(claim_of(vec![line.clone()], &way), expected(&claims, &way), "{:?} of {}", way, claims);
        }
    }

    /// What is accepted after bytes were changed is what serde_json accepts, but for what it limits beyond the grammar.
    #[test]
    fn json_with_an_error_has_no_claims(
        claims in claims(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
    ) {
        let mut claims = claims;
        claims["zz"] = Value::from("1");
        let mut json = serde_json::to_vec(&claims).expect("a value is JSON");
        for (at, byte) in changes {
            let at = at.index(json.len());
            json[at] = byte;
        }
        let ours = claim_of(vec![bearer(&json).into_bytes()], "zz");
        match serde_json::from_slice::<Value>(&json) {
            Ok(theirs) => prop_assert_eq!(ours, expected(&theirs, "zz")),
            Err(error) => {
                let is_limit = ["out of range", "surrogate", "hex escape"].iter().any(|l| error.to_string().contains(l));
                prop_assert!(ours.is_none() || is_limit, "{} in {}", error, String::from_utf8_lossy(&json));
            }
        }
    }

    #[test]
    fn no_bytes_do_harm(
        token in prop::collection::vec(any::<u8>(), 0..200),
        payload in prop::collection::vec(any::<u8>(), 0..200),
        brackets in "[\\[\\]{}\":,\\\\u0-9a-f.eE+-]{0,60}",
        claim in text(),
    ) {
        for line in [token.clone(), [b"Bearer ".to_vec(), token].concat(), bearer(&payload).into_bytes(), bearer(brackets.as_bytes()).into_bytes()] {
            let (mut claims, mut buffer) = (Claims::new(), Vec::with_capacity(CLAIMS_BYTES_MAX));
            let room = |claims: &Claims, buffer: &Vec<u8>| [claims.json.capacity(), claims.payload.capacity(), buffer.capacity()];
            let before = room(&claims, &buffer);
            let _ = read(&Authorization(vec![line]), &claim, &mut claims, &mut buffer);
            prop_assert_eq!(room(&claims, &buffer), before);
        }
    }
}
