//! What of the pods of a service its addresses stand for, and which fronts stand for a part of that. Pure.
//!
//! Labels as `app` are shared by all that a chart makes, so fronts over pods of one service may mean different things: the one that writes
//! and those that only read, a web server and its workers. Of the pods without a tag one *main* front says which are meant: the one that
//! is named like the service, else the one that has all that any of them has. A front over others of them is a part; without a main one
//! each is. Lanes tell pods with a tag apart, so their fronts (`a-gray`) mean the same as the others; but where the main one has some pods of
//! a tag, those of the same tag that it has not are no more meant than its like without a tag.
//! It is what fronts select that counts, not who is ready: a rollout changes nothing as long as labels stay and some pod is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use laneway_core::tag::Tag;

/// Tag and fronts of pods that have both in common.
pub(super) type Group<'a> = (Option<Tag>, &'a [Arc<str>]);

#[derive(Debug, Default)]
pub(super) struct Mains<'a> {
    main: Option<&'a str>,
    parts: BTreeSet<&'a str>,
    /// Tags of which the main one has pods.
    lanes: BTreeSet<Tag>,
}

impl<'a> Mains<'a> {
    /// Of the service `id`. Fronts that stand for other services too say nothing of it.
    pub(super) fn of(
        id: &str,
        groups: &BTreeSet<Group<'a>>,
        mut stands_alone: impl FnMut(&'a str) -> bool,
    ) -> Mains<'a> {
        let mut of_groups: Vec<(Option<Tag>, Vec<&'a str>)> = Vec::new();
        for (tag, fronts) in groups {
            let fronts = fronts.iter().map(|front| &**front).filter(|front| stands_alone(front));
            of_groups.push((*tag, fronts.collect()));
        }
        let baseline = || of_groups.iter().filter(|(tag, fronts)| tag.is_none() && !fronts.is_empty());
        let counts = counts(baseline().map(|(_, fronts)| fronts));
        let named = counts.get_key_value(id);
        let main = named.or_else(|| counts.iter().find(|(_, count)| **count == baseline().count()));
        let Some((main, size)) = main else {
            return Mains { parts: counts.into_keys().collect(), ..Mains::default() };
        };
        // Whoever is over the same groups is over the same pods.
        let shared = self::counts(baseline().map(|(_, fronts)| fronts).filter(|fronts| fronts.contains(main)));
        let is_part = |front: &&str| counts.get(front) != Some(size) || shared.get(front) != Some(size);
        Mains {
            main: Some(main),
            parts: counts.keys().copied().filter(is_part).collect(),
            lanes: of_groups.iter().filter(|(_, fronts)| fronts.contains(main)).filter_map(|(tag, _)| *tag).collect(),
        }
    }

    /// Does a front stand for a part?
    pub(super) fn is_part(&self, front: &str) -> bool {
        self.parts.contains(front)
    }

    /// Are pods of this tag and behind these fronts others than those that the addresses of the service stand for? Pods of a tag of which the
    /// main one has none are called by the addresses of the service.
    pub(super) fn is_beside(&self, tag: Option<Tag>, fronts: &[Arc<str>]) -> bool {
        let is_told = tag.is_none_or(|tag| self.lanes.contains(&tag));
        self.main.is_some_and(|main| is_told && !fronts.iter().any(|front| **front == *main))
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
