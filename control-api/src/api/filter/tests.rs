//! Which revisions a filter takes, and which filters are refused.

use laneway_proto::admin::{ResourceChange, Revision};

use super::Filter;

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
        let parsed = Filter::parse::<Revision>(filter).expect("a good filter");
        assert_eq!(parsed.takes(&revision()), takes, "{filter}");
    }
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    for (filter, word) in [
        ("principal = a OR principal = b", "OR"),
        ("NOT principal = a", "NOT"),
        ("(principal = a)", "(principal"),
        ("colour = red", "colour"),
        ("principal", "one of ="),
        ("principal = ", "value"),
        ("principal = \"open", "quote"),
        ("principal > a", "principal"),
        ("create_time > yesterday", "yesterday"),
        ("principal = a principal = b", "AND"),
    ] {
        let refusal = Filter::parse::<Revision>(filter).expect_err("it is refused");
        assert!(refusal.message().contains(word) && refusal.message().contains("filter"), "{filter}: {refusal}");
    }
    assert!(Filter::parse::<Revision>(&"x".repeat(5000)).is_err());
}
