//! Instances that were taken out of the choice, and those that are out, by service and tag. Rare events: a lock that only the scrape
//! contends for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use laneway_core::snapshot::Snapshot;
use laneway_core::tag::Tag;

use super::flow::{OTHER, TagLabel, service_label};
use super::names;
use super::page::Page;

/// Services and tags that have a series of their own; a further one is counted as `other`.
const SERIES_MAX: usize = 256;

type Key = (Arc<str>, TagLabel);

#[derive(Default)]
pub(super) struct Ejections {
    total: BTreeMap<Key, u64>,
    now: BTreeMap<Key, u64>,
}

impl Ejections {
    pub(super) fn count(&mut self, service: &Arc<str>, tag: Option<Tag>) {
        add(&mut self.total, service, tag);
    }

    pub(super) fn now(&mut self, out: impl Iterator<Item = (Arc<str>, Option<Tag>)>) {
        // A series that was above 0 goes back to 0, and does not end.
        self.now.values_mut().for_each(|count| *count = 0);
        for (service, tag) in out {
            add(&mut self.now, &service, tag);
        }
    }
}

fn add(counts: &mut BTreeMap<Key, u64>, service: &Arc<str>, tag: Option<Tag>) {
    let key = (Arc::clone(service), TagLabel::from(tag));
    let has_room = counts.len() < SERIES_MAX || counts.contains_key(&key);
    *counts.entry(if has_room { key } else { (Arc::from(OTHER), TagLabel::Other) }).or_default() += 1;
}

pub(super) fn render<'w>(page: &mut Page, workers: impl Iterator<Item = &'w Mutex<Ejections>>, snapshot: &Snapshot) {
    let (mut total, mut now) = (BTreeMap::<(String, TagLabel), u64>::new(), BTreeMap::new());
    for worker in workers {
        let worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
        for (sums, counts) in [(&mut total, &worker.total), (&mut now, &worker.now)] {
            for ((service, tag), count) in counts {
                let service = service_label(service, &snapshot.identity.namespace);
                *sums.entry((service, *tag)).or_default() += count;
            }
        }
    }
    for (metric, sums) in [(&names::EJECTIONS, total), (&names::EJECTED, now)] {
        page.family(metric);
        for ((service, tag), count) in sums {
            page.sample(metric, &[&service, tag.as_str()], count);
        }
    }
}
