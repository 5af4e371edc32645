use std::collections::BTreeMap;
use std::time::SystemTime;

use super::super::super::{Commit, Kind, Record, Revision};
use super::super::journal::Entry;
use super::{Found, Unproven};

fn record(name: &str, body: u8) -> Record {
    Record { name: name.to_owned(), kind: Kind::Lane, body: vec![body] }
}

fn revision(number: i64, puts: &[Record], deletes: &[&str]) -> Entry {
    let revision = Revision {
        number,
        time: SystemTime::UNIX_EPOCH,
        principal: String::new(),
        reason: String::new(),
        method: String::new(),
        rollback_revision: 0,
        changes: String::new(),
    };
    let deletes = deletes.iter().map(|name| (*name).to_owned()).collect();
    Entry::of(&Commit { revision, puts: puts.to_vec(), deletes, audit: Vec::new() })
}

/// Of one object that says to have come with revision 5.
fn in_force(is_refused: bool, known: &[Record], revisions: &[Entry]) -> Option<u8> {
    let known: BTreeMap<String, Record> = known.iter().map(|own| (own.name.clone(), own.clone())).collect();
    let mut found = Found::default();
    found.records.insert("gray".to_owned(), record("gray", 5));
    found.unproven.insert("gray".to_owned(), Unproven::new(5, is_refused));
    assert!(found.asks(5) && !found.asks(4));
    for entry in revisions {
        found.compare(entry, &known);
    }
    found.into_records(9, &known).get("gray").map(|own| own.body[0])
}

#[test]
fn the_revisions_say_whether_an_object_is_what_is_in_force_or_a_copy() {
    let [five, seven, nine] = [5, 7, 9].map(|number| revision(number, &[record("gray", number as u8)], &[]));
    let (gone, other) = (revision(8, &[], &["gray"]), revision(6, &[record("blue", 6)], &[]));
    let of = |revisions: &[&Entry]| {
        let revisions: Vec<Entry> = revisions.iter().map(|own| (*own).clone()).collect();
        in_force(false, &[], &revisions)
    };
    assert_eq!(of(&[&five, &other]), Some(5), "it is");
    assert_eq!(of(&[&five, &other, &seven]), Some(7), "a copy of before a change");
    assert_eq!(of(&[&five, &seven, &gone]), None, "of something that is deleted");
    assert_eq!(of(&[&five, &gone, &nine]), Some(9), "and was made anew");
    assert_eq!(of(&[&other]), Some(5), "no Revision is held that could tell");
}

#[test]
fn a_note_of_another_cluster_and_what_was_refused_are_not_in_force() {
    let other = revision(5, &[record("blue", 1)], &[]);
    assert_eq!(in_force(false, &[], std::slice::from_ref(&other)), None);
    assert_eq!(in_force(false, &[record("gray", 3)], &[other]), Some(3), "who knows better goes on");
    assert_eq!(in_force(true, &[], &[]), None);
    let mut ahead = Found::default();
    ahead.records.insert("gray".to_owned(), record("gray", 90));
    ahead.unproven.insert("gray".to_owned(), Unproven::new(90, false));
    assert_eq!(ahead.into_records(9, &BTreeMap::new()), BTreeMap::new());
    // It was accepted after all, and nobody has reported that yet.
    assert_eq!(in_force(true, &[], &[revision(5, &[record("gray", 5)], &[])]), Some(5));
}
