//! What of an object an update changes.

use laneway_proto::admin::{Fallback, Lane, LaneGroup, Propagation, ServiceOverride, TagTransport, lane};
use laneway_proto::routing::Entry;
use prost_types::{Duration, FieldMask, Timestamp};
use tonic_types::StatusExt;

use super::Mask;

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

fn updated(current: &Lane, given: &Lane, paths: Option<FieldMask>) -> Lane {
    Mask::parse(paths.as_ref(), "Lane").expect("a good mask").applied(current, given, "Lane")
}

fn chain(tags: &[&str]) -> Option<Fallback> {
    Some(Fallback { chain: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..Fallback::default() })
}

fn current() -> Lane {
    Lane {
        name: "n".to_owned(),
        uid: "u".to_owned(),
        etag: "e".to_owned(),
        revision: 7,
        description: "old".to_owned(),
        owner: "me".to_owned(),
        labels: [("team", "trade"), ("stage", "one")].map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        enabled: Some(true),
        priority: 5,
        entry: Some(Entry { services: vec!["a".to_owned()], ..Entry::default() }),
        fallback: chain(&["x", "baseline"]),
        expiration: Some(lane::Expiration::ExpireTime(Timestamp { seconds: 100, nanos: 0 })),
        given_ttl: Some(Duration { seconds: 60, nanos: 0 }),
        ..Lane::default()
    }
}

fn given() -> Lane {
    Lane { name: "n".to_owned(), etag: "given".to_owned(), ..Lane::default() }
}

#[test]
fn without_a_mask_what_is_given_is_changed() {
    let change = Lane { description: "new".to_owned(), enabled: Some(false), fallback: chain(&["y"]), ..given() };
    let expected = Lane {
        description: "new".to_owned(),
        enabled: Some(false),
        fallback: chain(&["y"]),
        etag: "given".to_owned(),
        ..current()
    };
    assert_eq!(updated(&current(), &change, None), expected);
    assert_eq!(updated(&current(), &change, mask(&[])), expected);
    assert_eq!(updated(&current(), &change, mask(&["*"])), change);
}

#[test]
fn a_mask_changes_what_it_names_and_nothing_else() {
    let change = Lane {
        description: "new".to_owned(),
        owner: "not meant".to_owned(),
        labels: [("team".to_owned(), "stock".to_owned()), ("more".to_owned(), "x".to_owned())].into(),
        fallback: chain(&["y"]),
        ..given()
    };
    let base = Lane { etag: "given".to_owned(), ..current() };
    let labels = |team: Option<&str>| {
        let mut labels = current().labels;
        match team {
            Some(team) => labels.insert("team".to_owned(), team.to_owned()),
            None => labels.remove("team"),
        };
        labels
    };
    for (paths, change, expected) in [
        (&["description"][..], change.clone(), Lane { description: "new".to_owned(), ..base.clone() }),
        // Named and not given: back to its default.
        (&["priority", "entry"], change.clone(), Lane { priority: 0, entry: None, ..base.clone() }),
        (&["enabled"], change.clone(), Lane { enabled: None, ..base.clone() }),
        // A list is replaced, not appended to, also deep inside.
        (&["fallback.chain"], change.clone(), Lane { fallback: chain(&["y"]), ..base.clone() }),
        (&["fallback.chain"], given(), Lane { fallback: chain(&[]), ..base.clone() }),
        (&["fallback.minHealthy"], change.clone(), base.clone()),
        (&["labels"], change.clone(), Lane { labels: change.labels.clone(), ..base.clone() }),
        (&["labels.team"], change.clone(), Lane { labels: labels(Some("stock")), ..base.clone() }),
        (&["labels.`team`"], given(), Lane { labels: labels(None), ..base.clone() }),
        // What only the server writes is never taken.
        (&["uid", "revision", "state", "etag", "name"], change.clone(), base.clone()),
    ] {
        assert_eq!(updated(&current(), &change, mask(paths)), expected, "{paths:?}");
    }

    let overrides = |services: &[(&str, Option<Fallback>)]| Lane {
        service_overrides: services
            .iter()
            .map(|(service, fallback)| ((*service).to_owned(), ServiceOverride { fallback: fallback.clone() }))
            .collect(),
        ..base.clone()
    };
    let was = overrides(&[("a", chain(&["x"])), ("b", None)]);
    let change = Lane { name: "n".to_owned(), ..overrides(&[("b", chain(&["y"])), ("c.d", chain(&["z"]))]) };
    let done =
        updated(&was, &change, mask(&["service_overrides.b.fallback.chain", "service_overrides.`c.d`.fallback"]));
    assert_eq!(done, overrides(&[("a", chain(&["x"])), ("b", chain(&["y"])), ("c.d", chain(&["z"]))]));
}

#[test]
fn the_end_of_a_lane_is_one_thing_however_it_is_said() {
    let ttl = Lane { expiration: Some(lane::Expiration::Ttl(Duration { seconds: 90, nanos: 0 })), ..given() };
    for paths in [&["ttl"][..], &["ttl", "expire_time"], &["expire_time", "ttl"]] {
        assert_eq!(updated(&current(), &ttl, mask(paths)).expiration, ttl.expiration, "{paths:?}");
        assert_eq!(updated(&current(), &given(), mask(paths)).expiration, None, "{paths:?}");
    }
    assert_eq!(updated(&current(), &ttl, None).expiration, ttl.expiration);
    assert_eq!(updated(&current(), &ttl, mask(&["description"])).expiration, current().expiration);
}

#[test]
fn a_message_that_is_not_there_yet_is_made() {
    let tag = |header: &str| Some(TagTransport { header: header.to_owned(), ..TagTransport::default() });
    let given = LaneGroup { tag: tag("x-tag"), propagate: Some(Propagation::default()), ..LaneGroup::default() };
    let parsed = Mask::parse(mask(&["tag.header", "baseline.tag"]).as_ref(), "LaneGroup").expect("a good mask");
    let expected = LaneGroup { tag: tag("x-tag"), ..LaneGroup::default() };
    assert_eq!(parsed.applied(&LaneGroup::default(), &given, "LaneGroup"), expected);
}

#[test]
fn a_path_that_leads_nowhere_is_refused_and_all_of_them_are_named() {
    let refusal = Mask::parse(mask(&["colour", "priority", "entry.rules.name", "tag.x", "a b"]).as_ref(), "Lane");
    let refusal = refusal.expect_err("it is refused");
    let found = refusal.get_details_bad_request().expect("fields are named").field_violations;
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.iter().all(|violation| violation.field == "update_mask"));
    for (violation, word) in found.iter().zip(["colour", "rules", "tag.x", "a b"]) {
        assert!(violation.description.contains(word), "{violation:?}");
    }
    assert!(Mask::parse(mask(&["*", "priority"]).as_ref(), "Lane").is_err());
    assert!(Mask::parse(mask(&["labels."]).as_ref(), "Lane").is_err());
}
