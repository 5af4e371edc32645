//! Everything that is in force, read from the objects of the cluster.

use std::collections::BTreeMap;

use kube::api::{DynamicObject, ListParams};
use tracing::warn;

use super::super::{Kind, Record, StoreError, Stored};
use super::compare::{Found, Unproven};
use super::failure::ask;
use super::journal::{self, Heads};
use super::object::{self, Read, Standing};
use super::{KINDS, Known, Kubernetes, in_force};

/// Objects read at a time.
const PAGE_COUNT: u32 = 500;
/// How often everything is read again because something was committed meanwhile.
const LOADS_MAX: u32 = 200;

impl Kubernetes {
    /// Everything, as of one revision: read again until no commit has run meanwhile.
    pub(super) async fn read_all(&self) -> Result<Stored, StoreError> {
        for _ in 0..LOADS_MAX {
            let heads = self.settled().await?;
            let revision = journal::newest(&heads);
            let mut found = Found::default();
            for kind in KINDS {
                for (object, read) in firsts(kind, self.list(kind).await?) {
                    // With all Revisions lost there is nobody else to ask.
                    self.take_in(kind, &object, read, !heads.is_empty(), &mut found).await?;
                }
            }
            if self.shared.journal.heads().await? != heads {
                continue;
            }
            let records = self.compared(found, &heads).await?;
            let mut known = self.known();
            // One that took longer does not go back behind what was followed meanwhile.
            if revision >= known.revision {
                *known = Known { revision, records: records.clone() };
            }
            return Ok(Stored { revision, records: records.into_values().collect() });
        }
        Err(StoreError::Away("objects are committed faster than they can be read".to_owned()))
    }

    /// Settles by the Revisions what the objects alone cannot say. That an object is gone which this process knows of, though no commit has
    /// removed it, is a proposal yet to be accepted.
    async fn compared(&self, mut found: Found, heads: &Heads) -> Result<BTreeMap<String, Record>, StoreError> {
        let revision = journal::newest(heads);
        let (after, known) = {
            let known = self.known();
            (known.revision, known.records.clone())
        };
        let mut missing: Vec<Record> =
            known.values().filter(|own| !found.records.contains_key(&own.name)).cloned().collect();
        let is_new = |number: i64| number > after && number <= revision;
        let held_count = heads.keys().filter(|number| is_new(**number)).count();
        if usize::try_from(revision.saturating_sub(after).max(0)) != Ok(held_count) {
            // What nobody holds any more may have removed any of them.
            missing.clear();
        }
        // A copy may be of long ago: what is held is asked, not each number since.
        for number in heads.keys().copied().filter(|number| *number <= revision) {
            let is_missed = !missing.is_empty() && is_new(number);
            if !is_missed && !found.asks(number) {
                continue;
            }
            // Let go meanwhile: as what is not held.
            let Some((_, entry)) = self.shared.journal.read(number).await? else {
                if is_new(number) {
                    missing.clear();
                }
                continue;
            };
            missing.retain(|own| !is_new(number) || entry.writes.iter().all(|write| write.name != own.name));
            found.compare(&entry, &known);
        }
        let mut records = found.into_records(revision, &known);
        records.extend(missing.into_iter().map(|record| (record.name.clone(), record)));
        Ok(records)
    }

    async fn list(&self, kind: Kind) -> Result<Vec<DynamicObject>, StoreError> {
        let (api, mut page, mut all) = (self.all_of(kind), ListParams::default().limit(PAGE_COUNT), Vec::new());
        loop {
            let some = ask("list the objects", || api.list(&page)).await?;
            all.extend(some.items);
            match some.metadata.continue_ {
                Some(token) if !token.is_empty() => page = page.continue_token(&token),
                _ => return Ok(all),
            }
        }
    }

    /// What was accepted of an object, which need not be what it says now. Its status says so since the leader reported on it; what was
    /// accepted a moment ago is in its Revision; and this process may know.
    async fn take_in(
        &self,
        kind: Kind,
        object: &DynamicObject,
        read: Read,
        is_asked: bool,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let Read { name, revision, standing, .. } = read;
        let reported_revision = in_force::reported_revision(object);
        let (record, unproven) = match standing {
            // Unless it is a copy of what was accepted once, and something else has been since.
            Standing::Accepted(record) if reported_revision <= revision => {
                let is_unproven = reported_revision == 0 && is_asked;
                // Whoever writes an object can write our note too; the status they cannot.
                let reported = in_force::read(kind, object).filter(|(of, own)| *of == revision && own.name == name);
                let record = reported.map_or(record, |(_, reported)| reported);
                (record, is_unproven.then(|| Unproven::new(revision, object::is_refused(object))))
            }
            Standing::Accepted(_) | Standing::Proposed(_) => {
                let reported = in_force::read(kind, object).filter(|(_, record)| record.name == name);
                if let Some((_, record)) = reported.as_ref().filter(|(of, _)| *of >= revision) {
                    (record.clone(), None)
                } else {
                    match self.latest(&name, revision, reported).await? {
                        Some((of, record)) => (record, Some(Unproven::new(of, false))),
                        None => return Ok(()),
                    }
                }
            }
        };
        found.unproven.extend(unproven.map(|own| (name.clone(), own)));
        found.records.insert(name, record);
        Ok(())
    }

    /// What was accepted last under that name, with its revision, of an object whose note says `revision` and whose status says less.
    async fn latest(
        &self,
        name: &str,
        revision: i64,
        reported: Option<(i64, Record)>,
    ) -> Result<Option<(i64, Record)>, StoreError> {
        let own = self.known().records.get(name).cloned();
        let own = own.map(|record| (in_force::revision_of(&record), record));
        let latest = [reported, own].into_iter().flatten().max_by_key(|(of, _)| *of);
        if revision == 0 || latest.as_ref().is_some_and(|(of, _)| *of >= revision) {
            return Ok(latest);
        }
        let entry = self.shared.journal.read(revision).await?;
        let puts = entry.map(|(_, entry)| entry.puts_and_deletes().0).unwrap_or_default();
        let written = puts.into_iter().find(|record| record.name == name);
        if written.is_none() {
            warn!(object = name, revision, "what was accepted of it last is no longer held");
        }
        Ok(written.map(|record| (revision, record)).or(latest))
    }
}

/// Of several objects of the cluster that are one of ours the one at the first of its places: the others are none.
fn firsts(kind: Kind, objects: Vec<DynamicObject>) -> Vec<(DynamicObject, Read)> {
    let mut firsts: BTreeMap<String, (usize, DynamicObject, Read)> = BTreeMap::new();
    for object in objects.into_iter().filter(|object| !object::is_going(object)) {
        let read = object::read(kind, &object);
        let rank = object::rank(kind, &read.name, &object);
        if firsts.get(&read.name).is_none_or(|(first, ..)| rank < *first) {
            firsts.insert(read.name.clone(), (rank, object, read));
        }
    }
    firsts.into_values().map(|(_, object, read)| (object, read)).collect()
}
