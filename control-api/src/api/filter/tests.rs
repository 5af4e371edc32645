//! Which objects a filter takes, and which filters are refused.

use laneway_proto::admin::{Guard, Lane, ResourceChange, Revision, lane};
use laneway_proto::routing::Entry;

use super::Filter;

const REVISION: &str = "laneway.admin.v1.Revision";
const LANE: &str = "laneway.admin.v1.Lane";

fn revision() -> Revision {
    let change = |name: &str| ResourceChange { name: name.to_owned(), ..ResourceChange::default() };
    Revision {
        principal: "user:alice".to_owned(),
        method: "laneway.admin.v1.LaneAdmin/EnableLane".to_owned(),
        reason: "say \"go\" AND go".to_owned(),
        create_time: Some("2030-01-01T00:00:00Z".parse().expect("a moment")),
        changes: vec![change("namespaces/shop/laneGroups/web/lanes/gray"), change("namespaces/shop/laneGroups/web")],
        ..Revision::default()
    }
}

#[test]
fn a_filter_takes_what_all_its_comparisons_hold_for() {
    for (filter, takes) in [
        ("", true),
        ("  ", true),
        ("principal = \"user:alice\"", true),
        ("principal=user:alice", true),
        ("principal = user:bob", false),
        ("principal != user:bob", true),
        ("principal = \"user:*\" AND method = \"*/EnableLane\"", true),
        ("principal = \"user:*\" AND method = \"*/DisableLane\"", false),
        (r#"reason = "say \"go\" AND go""#, true),
        ("reason = *go*", true),
        ("changes.name = namespaces/shop/laneGroups/web", true),
        ("changes.name:namespaces/shop/laneGroups/web/lanes/gray", true),
        ("changes.name = namespaces/shop/laneGroups", false),
        ("changes.name = namespaces/shop/*", true),
        ("changes.name = namespaces/shop/laneGroups/*/lanes/gray", true),
        ("changes.name = namespaces/*/laneGroups/*/lanes/*y", true),
        ("changes.name = namespaces/*/lanes/*/gray", false),
        ("changes.name = *", true),
        ("reason = *go*go*", true),
        ("reason = *go*go*go*", false),
        ("changes.name != namespaces/shop/*", false),
        ("create_time >= 2030-01-01T00:00:00Z AND create_time <= \"2030-01-01T00:00:00Z\"", true),
        ("create_time > 2030-01-01T00:00:00Z", false),
        ("create_time < 2030-01-01T00:00:01Z", true),
    ] {
        let parsed = Filter::parse(filter, REVISION).expect("a good filter");
        assert_eq!(parsed.takes(&revision()), takes, "{filter}");
    }
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    for (filter, word) in [
        ("principal = a OR", "joined by"),
        ("AND principal = a", "AND"),
        ("(principal = a", "parenthesis"),
        ("principal = a)", ")"),
        ("principal.x = a", "principal"),
        ("principal = foo(a)", "functions"),
        ("\"principal\" = a", "begins with a field"),
        ("create_time:", "value"),
        ("colour = red", "colour"),
        ("principal", "one of ="),
        ("principal = ", "value"),
        ("principal = \"open", "quote"),
        ("create_time > yesterday", "yesterday"),
        ("principal = a principal = b", "AND"),
    ] {
        let refusal = Filter::parse(filter, REVISION).expect_err("it is refused");
        assert!(refusal.message().contains(word) && refusal.message().contains("filter"), "{filter}: {refusal}");
    }
    assert!(Filter::parse(&"x".repeat(5000), REVISION).is_err());
}

fn lane() -> Lane {
    Lane {
        tag: "gray".to_owned(),
        enabled: Some(true),
        priority: 7,
        owner: "alice@example.com".to_owned(),
        labels: [("team", "trade"), ("k8s.io/app", "x y")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        entry: Some(Entry { services: vec!["a".to_owned(), "b".to_owned()], ..Entry::default() }),
        guard: Some(Guard { max_p99_ratio: 1.5, ..Guard::default() }),
        expiration: Some(lane::Expiration::ExpireTime("2030-01-01T00:00:00Z".parse().expect("a moment"))),
        given_ttl: Some(prost_types::Duration { seconds: 90, nanos: 500_000_000 }),
        state: lane::State::Enabled.into(),
        ..Lane::default()
    }
}

#[test]
fn a_filter_is_read_as_aip_160_has_it() {
    for (filter, takes) in [
        ("enabled = true", true),
        (r#"enabled = true AND labels.team = "trade""#, true),
        (r#"enabled = true AND labels.team = "stock""#, false),
        ("enabled != true", false),
        ("dryRun = false", true),
        ("NOT enabled = true", false),
        ("-enabled = true", false),
        ("NOT (enabled = true AND tag = blue)", true),
        // OR binds closer than AND.
        ("tag = blue OR tag = gray AND enabled = false", false),
        ("tag = gray OR tag = blue AND enabled = true", true),
        ("enabled = false AND tag = blue OR tag = gray", false),
        ("(enabled = false AND tag = blue) OR tag = gray", true),
        ("priority > 6 AND priority >= 7 AND priority < 8 AND priority <= 7", true),
        ("priority = 8", false),
        ("guard.max_p99_ratio > 1.4e0", true),
        ("state = STATE_ENABLED", true),
        ("state != STATE_EXPIRED", true),
        ("given_ttl > 90s AND givenTtl < 91s", true),
        (r#"expire_time < "2030-01-01T01:00:01+01:00""#, true),
        (r#"owner = "*@example.com""#, true),
        ("owner > alice", true),
        ("entry.services:a", true),
        ("entry.services:c", false),
        ("entry.services:* AND entry:services", true),
        ("entry.rules:*", false),
        ("labels:team", true),
        ("labels:stage", false),
        ("labels.stage:*", false),
        ("labels.stage = x", false),
        ("labels.stage != x", true),
        (r#"labels."k8s.io/app" = "x y""#, true),
        ("guard:*", true),
        ("fallback:*", false),
        ("fallback.min_healthy = 0", false),
    ] {
        let parsed = Filter::parse(filter, LANE).unwrap_or_else(|refusal| panic!("{filter}: {refusal}"));
        assert_eq!(parsed.takes(&lane()), takes, "{filter}");
    }
    for (filter, word) in [
        ("enabled = yes", "true or false"),
        ("enabled > false", "= and !="),
        ("priority = high", "whole number"),
        ("state = ENABLED", "STATE_ENABLED"),
        ("state > STATE_ENABLED", "= and !="),
        ("given_ttl = long", "seconds"),
        ("entry = x", "entry:*"),
        ("entry:colour", "colour"),
        ("labels = x", "labels:*"),
        ("guard.max_p99_ratio = NaN", "number"),
        (&"(".repeat(17), "16"),
        (&"-".repeat(17), "16"),
    ] {
        let refusal = Filter::parse(filter, LANE).expect_err("it is refused");
        assert!(refusal.message().contains(word) && refusal.message().contains("filter"), "{filter}: {refusal}");
    }
}
