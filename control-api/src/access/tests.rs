//! Who comes in as whom, and which files are refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::{Access, Denied, Door, Pass, Refusal, Role, Rules, Shown};

// printf %s WORD | sha256sum
const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
const OTHER: &str = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn access(text: &str) -> Access {
    Access::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

fn named(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn token(token: &str) -> Shown<'_> {
    Shown { token: Some(token), names: &[] }
}

#[test]
fn people_are_known_by_a_token_or_a_certificate_and_nobody_else_is() {
    let access = access(&format!(
        "people:\n\
         - {{name: alice, role: admin, sha256: {SECRET}}}\n\
         - {{certificate: bob.corp.example, role: viewer}}\n\
         - {{certificate: 'spiffe://corp/ns/ops/*', role: operator}}\n\
         - {{certificate: 'spiffe://corp/ns/ops/sa/root', role: admin}}\n\
         sidecars:\n\
         - {{namespace: shop, service: b, sha256: {OTHER}}}\n"
    ));
    let by_name = |names: &[&str]| access.person(Shown { token: None, names: &named(names) });
    let is = |principal: &str, role| Ok((principal.to_owned(), role));
    assert_eq!(access.person(token("secret")), is("user:alice", Role::Admin));
    assert_eq!(by_name(&["bob.corp.example"]), is("dns:bob.corp.example", Role::Viewer));
    assert_eq!(by_name(&["spiffe://corp/ns/ops/sa/ci"]), is("spiffe://corp/ns/ops/sa/ci", Role::Operator));
    // The highest role of those that fit.
    assert_eq!(by_name(&["spiffe://corp/ns/ops/sa/root"]), is("spiffe://corp/ns/ops/sa/root", Role::Admin));
    assert_eq!(access.person(Shown::default()), Err(Refusal::Nothing));
    assert_eq!(access.person(token("Secret")), Err(Refusal::Token));
    assert_eq!(access.person(token("")), Err(Refusal::Token));
    // A sidecar's token is no person's.
    assert_eq!(access.person(token("other")), Err(Refusal::Token));
    for unknown in ["eve.corp.example", "bob.corp.example.evil", "spiffe://corp/ns/op", "BOB.corp.example"] {
        assert_eq!(by_name(&[unknown]), Err(Refusal::Certificate(named(&[unknown]))), "{unknown}");
    }
    // A bad token is refused whatever the certificate says.
    let names = named(&["bob.corp.example"]);
    assert_eq!(access.person(Shown { token: Some("bad"), names: &names }), Err(Refusal::Token));
}

#[test]
fn a_sidecar_is_what_its_credentials_say() {
    let access = access(&format!(
        "people: [{{name: alice, role: admin, sha256: {SECRET}}}]\n\
         sidecars:\n\
         - {{namespace: shop, service: b, sha256: {OTHER}}}\n\
         - {{namespace: shop, service: c, sha256: {OTHER}}}\n\
         - {{namespace: test, service: '*', certificate: 'spiffe://corp/ns/test/sa/default'}}\n"
    ));
    let by_name = |name: &str| access.sidecar(Shown { token: None, names: &named(&[name]) });
    let admits = |pass: &Pass, cases: &[(&str, &str, bool)]| {
        for (namespace, service, expected) in cases {
            assert_eq!(pass.admits(namespace, service), *expected, "{} {namespace}/{service}", pass.places());
        }
    };
    let pass = access.sidecar(token("other")).expect("it is known");
    admits(
        &pass,
        &[("shop", "b", true), ("shop", "c", true), ("shop", "a", false), ("test", "b", false), ("shop", "", false)],
    );
    let pass = by_name("spiffe://corp/ns/test/sa/default").expect("the file names it");
    admits(&pass, &[("test", "a", true), ("test", "", true), ("shop", "a", false)]);
    // One that the file does not name speaks for itself.
    let pass = by_name("spiffe://corp/ns/shop/sa/a").expect("it has a SPIFFE id");
    admits(&pass, &[("shop", "a", true), ("shop", "b", false), ("test", "a", false)]);
    for bad in [
        "spiffe://corp/ns/*/sa/a",
        "spiffe://corp/ns/shop/sa/*",
        "spiffe://corp/ns/shop/sa/",
        "spiffe:///ns/shop/sa/a",
        "spiffe://corp/ns/shop/sa/a/x",
        "spiffe://corp/ns/shop",
        "https://corp/ns/shop/sa/a",
        "a.shop.svc",
    ] {
        assert_eq!(by_name(bad), Err(Refusal::Certificate(named(&[bad]))), "{bad}");
    }
    assert_eq!(access.sidecar(token("secret")), Err(Refusal::Token));
    assert_eq!(access.sidecar(Shown::default()), Err(Refusal::Nothing));
    assert!(Pass::any().admits("anywhere", "any"));
}

#[test]
fn a_bad_file_is_refused_by_the_entry_at_fault() {
    let person = |rest: &str| format!("people: [{{name: alice, role: admin, {rest}}}]");
    let sidecar = |rest: &str| format!("sidecars: [{{namespace: a, service: b, {rest}}}]");
    for (text, word) in [
        (person("sha256: abc"), "people[0].sha256"),
        (person(&format!("sha256: {EMPTY}")), "empty token"),
        (person(&format!("sha256: {SECRET}, certificate: x")), "people[0]: has one of"),
        ("people: [{name: alice, role: admin}]".to_owned(), "people[0]: has one of"),
        (person("certificate: x"), "people[0].name"),
        (format!("people: [{{role: admin, sha256: {SECRET}}}]"), "people[0].name"),
        (format!("people: [{{name: 'a b', role: admin, sha256: {SECRET}}}]"), "people[0].name"),
        (format!("people: [{{name: a, role: root, sha256: {SECRET}}}]"), "root"),
        (format!("people: [{{name: a, sha256: {SECRET}}}]"), "role"),
        (person(&format!("sha256: {SECRET}, colour: red")), "colour"),
        ("persons: []".to_owned(), "persons"),
        (sidecar("certificate: '*'"), "sidecars[0].certificate"),
        (sidecar("certificate: 'a*b'"), "sidecars[0].certificate"),
        (format!("sidecars: [{{namespace: '', service: b, sha256: {SECRET}}}]"), "sidecars[0]: namespace"),
        (format!("sidecars: [{{service: b, sha256: {SECRET}}}]"), "namespace"),
        (
            format!(
                "people: [{{name: a, role: viewer, sha256: {SECRET}}}, {{name: b, role: admin, sha256: {SECRET}}}]"
            ),
            "people[1].sha256",
        ),
        (format!("{}\n{}", person(&format!("sha256: {SECRET}")), sidecar(&format!("sha256: {SECRET}"))), "of a person"),
    ] {
        let refusal = Access::parse(text.as_bytes()).expect_err("it is refused").to_string();
        assert!(refusal.contains(word), "{text}: {refusal}");
    }
    assert!(Access::parse(b"\xff").is_err());
}

#[tokio::test]
async fn the_door_is_open_without_rules_closed_with_them_and_obeys_the_newest() {
    let remote: SocketAddr = "10.0.0.1:5".parse().expect("an address");
    let now = Instant::now();
    let open = Door::new("api", Rules::default()).person(remote, &[], None, now).await.expect("nobody is asked");
    assert_eq!((open.principal.as_str(), open.role), ("anonymous", Role::Admin));

    let rules = |name: &str| Arc::new(access(&format!("people: [{{name: {name}, role: viewer, sha256: {SECRET}}}]")));
    let (current, followed) = watch::channel(rules("alice"));
    let door = Door::new("api", Rules { access: Some(followed), cluster: None });
    let ask = async |authorization: Option<&str>| door.person(remote, &[], authorization, now).await;
    let alice = ask(Some("Bearer secret")).await.expect("she is known");
    assert_eq!((alice.principal.as_str(), alice.remote_address.as_str()), ("user:alice", "10.0.0.1:5"));
    assert!(ask(Some("bearer  secret")).await.is_ok());
    assert_eq!(ask(None).await, Err(Denied::Refused(Refusal::Nothing)));
    assert_eq!(ask(Some("Basic secret")).await, Err(Denied::Refused(Refusal::Scheme)));
    assert_eq!(ask(Some("secret")).await, Err(Denied::Refused(Refusal::Scheme)));
    assert_eq!(ask(Some("")).await, Err(Denied::Refused(Refusal::Scheme)));
    current.send_replace(rules("bob"));
    assert_eq!(ask(Some("Bearer secret")).await.expect("he has the token now").principal, "user:bob");
    current.send_replace(Arc::default());
    assert_eq!(ask(Some("Bearer secret")).await, Err(Denied::Refused(Refusal::Token)));
}

#[tokio::test]
async fn failures_beyond_ten_a_second_are_told_nothing_and_good_credentials_are_taken_all_the_same() {
    let remote: SocketAddr = "10.0.0.1:5".parse().expect("an address");
    let now = Instant::now();
    let rules = access(&format!("people: [{{name: alice, role: viewer, sha256: {SECRET}}}]"));
    let (_current, followed) = watch::channel(Arc::new(rules));
    let door = Door::new("api", Rules { access: Some(followed), cluster: None });
    let mut told = 0;
    for number in 0..100 {
        let denied = door.person(remote, &[], Some(&format!("Bearer {number}")), now).await;
        told += usize::from(denied == Err(Denied::Refused(Refusal::Token)));
    }
    assert_eq!(told, 10);
    assert_eq!(door.person(remote, &[], None, now).await, Err(Denied::Flood));
    assert!(door.person(remote, &[], Some("Bearer secret"), now).await.is_ok());
    let later = now + std::time::Duration::from_secs(1);
    assert_eq!(door.person(remote, &[], None, later).await, Err(Denied::Refused(Refusal::Nothing)));
    assert_eq!(door.denied(), 102, "every one is counted");
}
