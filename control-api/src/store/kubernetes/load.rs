//! Everything that is in force, read from the objects of the cluster.

use std::collections::BTreeMap;

use kube::api::{DynamicObject, ListParams};
use tracing::warn;

use super::super::{Kind, Record, StoreError, Stored};
use super::failure::call;
use super::object::{self, Standing};
use super::{KINDS, Known, Kubernetes, in_force, journal};

/// Objects read at a time.
const PAGE_COUNT: u32 = 500;
/// How often everything is read again because something was committed meanwhile.
const LOADS_MAX: u32 = 200;

impl Kubernetes {
    /// Everything, as of one revision: read again until no commit has run meanwhile.
    pub(super) async fn read_all(&self) -> Result<Stored, StoreError> {
        for _ in 0..LOADS_MAX {
            let heads = self.settled().await?;
            let mut records = BTreeMap::new();
            for kind in KINDS {
                for object in self.list(kind).await?.iter().filter(|object| !object::is_going(object)) {
                    if let Some(record) = self.accepted(kind, object).await? {
                        records.insert(record.name.clone(), record);
                    }
                }
            }
            if self.shared.journal.heads().await? != heads {
                continue;
            }
            let revision = journal::newest(&heads);
            for record in self.missed(&records, revision).await? {
                records.insert(record.name.clone(), record);
            }
            *self.known() = Known { revision, records: records.clone() };
            return Ok(Stored { revision, records: records.into_values().collect() });
        }
        Err(StoreError::Away("objects are committed faster than they can be read".to_owned()))
    }

    /// What this process knows of and is not among these, though no commit has removed it: that it is gone is a proposal yet to be
    /// accepted.
    async fn missed(&self, found: &BTreeMap<String, Record>, revision: i64) -> Result<Vec<Record>, StoreError> {
        let (after, mut missing) = {
            let known = self.known();
            let missing = known.records.values().filter(|own| !found.contains_key(&own.name));
            (known.revision, missing.cloned().collect::<Vec<_>>())
        };
        for number in after + 1..=revision {
            if missing.is_empty() {
                break;
            }
            let Some((_, entry)) = self.shared.journal.read(number).await? else { return Ok(Vec::new()) };
            missing.retain(|own| entry.writes.iter().all(|write| write.name != own.name));
        }
        Ok(missing)
    }

    async fn list(&self, kind: Kind) -> Result<Vec<DynamicObject>, StoreError> {
        let (api, mut page, mut all) = (self.all_of(kind), ListParams::default().limit(PAGE_COUNT), Vec::new());
        loop {
            let some = call("list the objects", api.list(&page)).await?;
            all.extend(some.items);
            match some.metadata.continue_ {
                Some(token) if !token.is_empty() => page = page.continue_token(&token),
                _ => return Ok(all),
            }
        }
    }

    /// What was accepted of an object, which need not be what it says now. Its status says so since the leader reported on it; what was
    /// accepted a moment ago is in its Revision; and this process may know.
    async fn accepted(&self, kind: Kind, object: &DynamicObject) -> Result<Option<Record>, StoreError> {
        let read = object::read(kind, object);
        match read.standing {
            // Unless it is a copy of what was accepted once, and something else has been since.
            Standing::Accepted(record) if in_force::reported_revision(object) <= read.revision => {
                return Ok(Some(record));
            }
            Standing::Accepted(_) | Standing::Proposed(_) => {}
        }
        let reported = in_force::read(kind, object).filter(|(_, record)| record.name == read.name);
        let own = self.known().records.get(&read.name).cloned();
        let own = own.map(|record| (in_force::revision_of(&record), record));
        let newest = [reported, own].into_iter().flatten().max_by_key(|(revision, _)| *revision);
        if let Some((_, record)) = newest.as_ref().filter(|(revision, _)| *revision >= read.revision) {
            return Ok(Some(record.clone()));
        }
        if read.revision == 0 {
            return Ok(None);
        }
        let entry = self.shared.journal.read(read.revision).await?;
        let puts = entry.map(|(_, entry)| entry.puts_and_deletes().0).unwrap_or_default();
        if let Some(record) = puts.into_iter().find(|record| record.name == read.name) {
            return Ok(Some(record));
        }
        warn!(object = read.name, revision = read.revision, "what was accepted of it last is no longer held");
        Ok(newest.map(|(_, record)| record))
    }
}
