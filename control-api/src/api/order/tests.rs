//! Which of two lanes comes first.

use laneway_proto::admin::Lane;

use super::Order;
use crate::api::field::{dynamic, message};

fn sorted(order_by: &str) -> Vec<&'static str> {
    let lane = |priority, tag: &str, team: Option<&str>| Lane {
        priority,
        tag: tag.to_owned(),
        labels: team.map(|team| ("team".to_owned(), team.to_owned())).into_iter().collect(),
        update_time: (priority > 1).then_some(prost_types::Timestamp { seconds: 10 - i64::from(priority), nanos: 0 }),
        ..Lane::default()
    };
    let lanes = [("a", lane(1, "x", Some("b"))), ("b", lane(2, "x", None)), ("c", lane(3, "w", Some("a")))];
    let kind = message("laneway.admin.v1.Lane");
    let order = Order::parse(order_by, &kind).expect("a good order");
    let mut places: Vec<_> =
        lanes.iter().map(|(name, lane)| (order.place(Some(&dynamic(&kind, lane)), name), *name)).collect();
    places.sort_by(|left, right| order.compare(&left.0, &right.0));
    places.into_iter().map(|(_, name)| name).collect()
}

#[test]
fn lists_are_ordered_by_the_fields_that_are_named_and_then_by_name() {
    for (order_by, expected) in [
        ("", ["a", "b", "c"]),
        ("  ", ["a", "b", "c"]),
        ("priority desc", ["c", "b", "a"]),
        ("priority asc", ["a", "b", "c"]),
        ("tag,  priority   desc", ["c", "b", "a"]),
        ("tag", ["c", "a", "b"]),
        ("updateTime", ["a", "c", "b"]),
        ("update_time desc", ["b", "c", "a"]),
        ("labels.team", ["b", "c", "a"]),
        ("labels.`team` desc", ["a", "c", "b"]),
    ] {
        assert_eq!(sorted(order_by), expected, "{order_by}");
    }
}

#[test]
fn what_has_no_order_is_refused_by_name() {
    let kind = message("laneway.admin.v1.Lane");
    for (order_by, word) in [
        ("colour", "colour"),
        ("priority upwards", "upwards"),
        ("entry", "entry"),
        ("labels", "labels"),
        ("entry.rules.name", "name"),
        ("coverage.service", "coverage"),
        ("priority.x", "priority"),
        ("priority,", "name"),
        ("priority.", "dot"),
        ("a,b,c,d,e,f,g,h,i", "a"),
        ("tag,tag,tag,tag,tag,tag,tag,tag,tag", "more than 8"),
    ] {
        let refusal = Order::parse(order_by, &kind).expect_err("it is refused");
        assert!(refusal.message().contains(word) && refusal.message().contains("order_by"), "{order_by}: {refusal}");
    }
}
