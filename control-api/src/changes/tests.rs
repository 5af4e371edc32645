//! What watchers are told, and how much of it is held.

use laneway_core::compile::Objects;
use laneway_proto::admin::{Lane, LaneGroup};

use super::{Bound, Change, Changes, FellBehind, Object};

fn objects(lanes: &[(&str, i64)]) -> Objects {
    let mut objects = Objects::default();
    for (name, revision) in lanes {
        let lane = Lane { name: (*name).to_owned(), revision: *revision, ..Lane::default() };
        objects.lanes.insert((*name).to_owned(), lane);
    }
    objects
}

fn told(changes: &Changes, revision: i64) -> Result<Vec<(i64, Vec<String>)>, FellBehind> {
    let word = |change: &Change| match change {
        Change::Put(object) => format!("+{}", object.name()),
        Change::Deleted(object) => format!("-{}", object.name()),
    };
    let commits = changes.after(revision)?;
    Ok(commits.iter().map(|commit| (commit.revision, commit.changes.iter().map(word).collect())).collect())
}

#[test]
fn a_watcher_is_told_what_came_after_the_revision_that_it_knows() {
    let changes = Changes::new(4, Bound { commits: 10, bytes: 1000 });
    let states = [objects(&[("a", 4)]), objects(&[("a", 5), ("b", 5)]), objects(&[("b", 5)]), objects(&[("b", 7)])];
    let mut latest = changes.latest();
    for (number, step) in states.windows(2).enumerate() {
        changes.note(5 + i64::try_from(number).expect("small"), &step[0], &step[1]);
    }
    assert_eq!(*latest.borrow_and_update(), 7);
    let all = [(5, vec!["+a", "+b"]), (6, vec!["-a"]), (7, vec!["+b"])];
    let all = all.map(|(revision, words)| (revision, words.into_iter().map(str::to_owned).collect::<Vec<_>>()));
    for (revision, expected) in [(4, &all[..]), (5, &all[1..]), (7, &[]), (9, &[])] {
        assert_eq!(told(&changes, revision).expect("held"), expected, "after {revision}");
    }
    assert_eq!(told(&changes, 3), Err(FellBehind));
    // What was deleted is told as it last was.
    let commits = changes.after(5).expect("held");
    assert!(matches!(&commits[0].changes[0], Change::Deleted(Object::Lane(lane)) if lane.revision == 5));
}

#[test]
fn the_oldest_commits_are_let_go() {
    let few = Changes::new(0, Bound { commits: 2, bytes: 1000 });
    let bytes = Changes::new(0, Bound { commits: 100, bytes: 100 });
    let large = |revision| {
        let mut objects = Objects::default();
        let group = LaneGroup { description: "x".repeat(60), revision, ..LaneGroup::default() };
        objects.groups.insert("g".to_owned(), group);
        objects
    };
    for revision in 1..=3 {
        few.note(revision, &large(revision - 1), &large(revision));
        bytes.note(revision, &large(revision - 1), &large(revision));
    }
    assert_eq!((few.after(0).err(), few.after(1).expect("held").len()), (Some(FellBehind), 2));
    assert_eq!((bytes.after(1).err(), bytes.after(2).expect("held").len()), (Some(FellBehind), 1));
    // A commit that is larger than the bound is told to nobody, and everybody knows it.
    let one = Changes::new(0, Bound { commits: 10, bytes: 10 });
    one.note(1, &Objects::default(), &large(1));
    assert_eq!((one.after(0).err(), one.after(1).expect("held").len()), (Some(FellBehind), 0));
}
