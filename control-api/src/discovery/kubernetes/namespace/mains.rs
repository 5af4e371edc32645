//! What of the pods of a service its addresses stand for, and which fronts stand for a part of that. Pure.
//!
//! Labels as `app` are shared by all that a chart makes, so fronts over pods of one service may mean different things: the one that writes
//! and those that only read, a web server and its workers. Fronts of pods with different tags (`a-base`, `a-gray`) mean the same, the
//! lanes tell them apart. So of each tag one *main* front says which pods are meant: the one that is named like the service, else the
//! one that has all that any of them has. A front over others of a tag is a part; without a main one each is.
//! It is what fronts select that counts, not who is ready: a rollout changes nothing as long as labels stay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use laneway_core::tag::Tag;

/// Tag and fronts of pods that have both in common.
pub(super) type Group<'a> = (Option<Tag>, &'a [Arc<str>]);

#[derive(Debug, Default)]
pub(super) struct Mains<'a> {
    /// Of pods with a tag.
    main: BTreeMap<Option<Tag>, &'a str>,
    parts: BTreeSet<&'a str>,
}

impl<'a> Mains<'a> {
    /// Of the service `id`. Fronts that stand for other services too say nothing of it.
    pub(super) fn of(
        id: &str,
        groups: &BTreeSet<Group<'a>>,
        mut stands_alone: impl FnMut(&'a str) -> bool,
    ) -> Mains<'a> {
        let mut tags: BTreeMap<Option<Tag>, Vec<Vec<&'a str>>> = BTreeMap::new();
        for (tag, fronts) in groups {
            let fronts: Vec<&str> = fronts.iter().map(|front| &**front).filter(|front| stands_alone(front)).collect();
            if !fronts.is_empty() {
                tags.entry(*tag).or_default().push(fronts);
            }
        }
        let mut mains = Mains::default();
        for (tag, groups) in tags {
            let counts = counts(groups.iter());
            let named = counts.get_key_value(id);
            let main = named.or_else(|| counts.iter().find(|(_, count)| **count == groups.len()));
            let Some((main, size)) = main else {
                mains.parts.extend(counts.keys());
                continue;
            };
            // Whoever is over the same groups is over the same pods.
            let shared = self::counts(groups.iter().filter(|fronts| fronts.contains(main)));
            let is_part = |front: &&str| counts.get(front) != Some(size) || shared.get(front) != Some(size);
            mains.parts.extend(counts.keys().copied().filter(is_part));
            mains.main.insert(tag, main);
        }
        mains
    }

    /// Does a front stand for a part?
    pub(super) fn is_part(&self, front: &str) -> bool {
        self.parts.contains(front)
    }

    /// Are pods of this tag and behind these fronts others than those that the addresses of the service stand for? Pods of a tag of which no
    /// front has any are called by the addresses of the others.
    pub(super) fn is_beside(&self, tag: Option<Tag>, fronts: &[Arc<str>]) -> bool {
        self.main.get(&tag).is_some_and(|main| !fronts.iter().any(|front| **front == **main))
    }
}

/// How many of the groups each front is over.
fn counts<'a, 'g>(groups: impl Iterator<Item = &'g Vec<&'a str>>) -> BTreeMap<&'a str, usize>
where
    'a: 'g,
{
    let mut counts = BTreeMap::new();
    groups.flatten().for_each(|front| *counts.entry(*front).or_default() += 1);
    counts
}
