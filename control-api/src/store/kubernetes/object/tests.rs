use laneway_proto::admin::Lane;
use prost::Message;
use serde_json::json;

use super::super::super::{Kind, Record};
use super::super::in_force;
use super::{Place, Proposal, Standing, Theirs, as_proposal, merged, noted, read};

const NAME: &str = "namespaces/shop/laneGroups/default/lanes/gray";

fn record(revision: i64) -> Record {
    let lane = Lane {
        name: NAME.to_owned(),
        uid: "u".to_owned(),
        tag: "gray".to_owned(),
        enabled: Some(true),
        priority: 7,
        revision,
        ..Lane::default()
    };
    Record { name: NAME.to_owned(), kind: Kind::Lane, body: lane.encode_to_vec() }
}

fn place() -> Place {
    Place { namespace: "shop".to_owned(), name: "gray".to_owned() }
}

#[test]
fn only_what_says_the_record_word_for_word_is_noted_and_nothing_else_is_written() {
    let live = merged(&place(), None, None, &record(3), 3, Theirs::Awaited).expect("it is an object");
    let mut lane = Lane::decode(record(4).body.as_slice()).expect("it is one");
    lane.priority = 20;
    let twenty = Record { body: lane.encode_to_vec(), ..record(4) };
    let with = |priority: i32, description: &str| {
        let mut object = live.clone();
        object.data["spec"]["priority"] = json!(priority);
        if !description.is_empty() {
            object.data["spec"]["description"] = json!(description);
        }
        noted(&object, &twenty, 4).map(|noted| (noted.data == object.data, read(Kind::Lane, &noted).revision))
    };
    assert_eq!(with(20, ""), Some((true, 4)));
    assert_eq!(with(7, ""), None, "it was put back in time");
    assert_eq!(with(7, "and more"), None);
    assert_eq!(with(20, "and more"), None, "that has not been judged");
}

#[test]
fn a_field_that_somebody_else_changes_too_waits_or_stays_theirs() {
    let live = merged(&place(), None, None, &record(3), 3, Theirs::Awaited).expect("it is an object");
    let mut proposed = live.clone();
    proposed.data["spec"]["priority"] = json!(9);
    let mut lane = Lane::decode(record(4).body.as_slice()).expect("it is one");
    lane.priority = 5;
    let ours = Record { body: lane.encode_to_vec(), ..record(4) };
    merged(&place(), Some(&proposed), Some(&record(3)), &ours, 4, Theirs::Awaited).expect_err("it is contested");
    let kept = merged(&place(), Some(&proposed), Some(&record(3)), &ours, 4, Theirs::Kept).expect("it is written");
    assert_eq!(kept.data["spec"]["priority"], 9);
    let read = read(Kind::Lane, &kept);
    assert_eq!(read.revision, 4);
    assert!(matches!(read.standing, Standing::Proposed(_)), "{read:?}");
}

#[test]
fn what_says_to_be_accepted_can_be_read_as_a_proposal() {
    let object = merged(&place(), None, None, &record(3), 3, Theirs::Awaited).expect("it is an object");
    let proposal = as_proposal(Kind::Lane, &object);
    assert!(matches!(&proposal, Some(Proposal::Lane(own)) if own.uid.is_empty() && own.priority == 7), "{proposal:?}");
}

#[test]
fn the_status_gives_back_what_is_in_force_to_the_byte() {
    let mut object = merged(&place(), None, None, &record(3), 3, Theirs::Awaited).expect("it is an object");
    assert_eq!(in_force::read(Kind::Lane, &object), None);
    let text = in_force::text(&record(3)).expect("it is small");
    object.data["status"] = json!({ "revision": 3, in_force::FIELD: text });
    assert_eq!(in_force::read(Kind::Lane, &object), Some((3, record(3))));
    assert_eq!(in_force::held(&object.data["status"], 3), Some(text));
    assert_eq!(in_force::held(&object.data["status"], 4), None);
    // Of no use: as if it were not there.
    for wrong in [json!("{"), json!(7), json!("{\"nonsense\": 1}")] {
        object.data["status"][in_force::FIELD] = wrong;
        assert_eq!(in_force::read(Kind::Lane, &object), None);
    }
}

#[test]
fn a_label_that_somebody_writes_stays_when_we_change_another() {
    let labelled = |revision: i64, team: &str| {
        let mut lane = Lane::decode(record(revision).body.as_slice()).expect("it is one");
        lane.labels.insert("team".to_owned(), team.to_owned());
        Record { body: lane.encode_to_vec(), ..record(revision) }
    };
    let live = merged(&place(), None, None, &labelled(3, "red"), 3, Theirs::Awaited).expect("it is an object");
    let mut proposed = live.clone();
    proposed.metadata.labels.get_or_insert_default().insert("cost".to_owned(), "7".to_owned());
    let old = labelled(3, "red");
    let on_top = merged(&place(), Some(&proposed), Some(&old), &labelled(4, "blue"), 4, Theirs::Awaited);
    let labels = on_top.expect("nothing is contested").metadata.labels.expect("there are some");
    assert_eq!((labels["team"].as_str(), labels["cost"].as_str()), ("blue", "7"));
    proposed.metadata.labels.get_or_insert_default().insert("team".to_owned(), "green".to_owned());
    let both = merged(&place(), Some(&proposed), Some(&old), &labelled(4, "blue"), 4, Theirs::Awaited);
    both.expect_err("it is contested");
}
