use kube::api::DynamicObject;
use laneway_proto::admin::Lane;
use prost::Message;
use serde_json::json;

use super::super::super::{Kind, Record};
use super::super::object::{Place, Proposal, Standing, Theirs, merged, read};
use super::{Undone, is_kept, undone};

const NAME: &str = "namespaces/shop/laneGroups/default/lanes/gray";

fn record(revision: i64, priority: i32) -> Record {
    let lane = Lane {
        name: NAME.to_owned(),
        tag: "gray".to_owned(),
        enabled: Some(true),
        priority,
        revision,
        ..Lane::default()
    };
    Record { name: NAME.to_owned(), kind: Kind::Lane, body: lane.encode_to_vec() }
}

/// As it is written over what is there.
fn written(live: Option<&DynamicObject>, revision: i64, priority: i32) -> DynamicObject {
    let place = Place { namespace: "shop".to_owned(), name: "gray".to_owned() };
    let merged = merged(&place, live, None, &record(revision, priority), revision, Theirs::Awaited);
    merged.expect("nothing is contested")
}

#[test]
fn what_an_old_definition_does_not_keep_is_seen() {
    let sent = written(None, 3, 7);
    assert!(is_kept(&sent, &sent));
    let mut kept = sent.clone();
    kept.data["spec"].as_object_mut().expect("a spec").remove("priority").expect("it was there");
    assert!(!is_kept(&sent, &kept));
    // No labels are not written as none.
    let mut bare = sent.clone();
    bare.metadata.labels = None;
    assert!(is_kept(&sent, &bare));
    // Without our note it would be judged again and again.
    bare.metadata.annotations = None;
    assert!(!is_kept(&sent, &bare));
    // A policy adds some.
    let mut more = sent.clone();
    more.data["spec"]["priority"] = json!(7.0);
    more.data["spec"]["description"] = json!("added");
    more.metadata.labels = Some([("team".to_owned(), "a".to_owned())].into());
    assert!(is_kept(&sent, &more), "what is added is a proposal");
    assert!(!is_kept(&more, &sent));
    assert!(matches!(read(Kind::Lane, &more).standing, Standing::Proposed(_)));
}

#[test]
fn what_is_undone_is_as_it_was_and_takes_away_nothing_of_others() {
    let was = written(None, 3, 7);
    let is = written(Some(&was), 4, 20);
    let back = |was, live: &DynamicObject| match undone(Kind::Lane, was, &is, live) {
        Undone::Becomes(object) => Some(read(Kind::Lane, &object)),
        Undone::Goes | Undone::Theirs => None,
    };
    // A status was written since.
    let mut live = is.clone();
    live.data["status"] = json!({"acked": "1/1"});
    live.metadata.resource_version = Some("9".to_owned());
    let read_back = back(Some(&was), &live).expect("it is put back");
    assert!(matches!(read_back.standing, Standing::Accepted(own) if own == record(3, 7)));
    assert!(matches!(undone(Kind::Lane, None, &is, &live), Undone::Goes));
    // People wrote on top: that is a proposal to what was accepted before.
    live.data["spec"]["description"] = json!("theirs");
    let read_back = back(Some(&was), &live).expect("our note goes back");
    assert_eq!(read_back.revision, 3);
    let Standing::Proposed(proposal) = read_back.standing else { panic!("nobody has accepted it") };
    assert!(matches!(&*proposal, Proposal::Lane(own) if (own.priority, own.description.as_str()) == (20, "theirs")));
    assert_eq!(back(None, &live).expect("our note goes").revision, 0);
    // Another replica has done it once more, or something else; or it is another object.
    let carried_on = ("laneway.io/carried-on".to_owned(), "now".to_owned());
    let mut theirs = is.clone();
    theirs.metadata.annotations.get_or_insert_default().extend([carried_on]);
    let later = written(Some(&is), 5, 7);
    let mut another = is.clone();
    another.metadata.uid = Some("another".to_owned());
    for live in [theirs, later, another] {
        assert!(matches!(undone(Kind::Lane, Some(&was), &is, &live), Undone::Theirs));
    }
}
