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
            let revision = journal::newest(&heads);
            let mut found = Found::default();
            for kind in KINDS {
                for object in self.list(kind).await?.iter().filter(|object| !object::is_going(object)) {
                    self.take_in(kind, object, revision, &mut found).await?;
                }
            }
            if self.shared.journal.heads().await? != heads {
                continue;
            }
            let records = self.compared(found, revision).await?;
            let mut known = self.known();
            // One that took longer does not go back behind what was followed meanwhile.
            if revision >= known.revision {
                *known = Known { revision, records: records.clone() };
            }
            return Ok(Stored { revision, records: records.into_values().collect() });
        }
        Err(StoreError::Away("objects are committed faster than they can be read".to_owned()))
    }

    /// Settles by the Revisions what the objects alone cannot say. What says to be accepted and was never reported on may be a copy of
    /// something that was changed or deleted since; and that an object is gone which this process knows of, though no commit has removed it, is
    /// a proposal yet to be accepted.
    async fn compared(&self, found: Found, revision: i64) -> Result<BTreeMap<String, Record>, StoreError> {
        let Found { mut records, mut unproven } = found;
        let (after, mut missing) = {
            let known = self.known();
            let missing = known.records.values().filter(|own| !records.contains_key(&own.name));
            (known.revision, missing.cloned().collect::<Vec<_>>())
        };
        let first = unproven.values().copied().chain((!missing.is_empty()).then_some(after)).min();
        for number in first.unwrap_or(revision) + 1..=revision {
            let is_asked = unproven.values().any(|of| *of < number) || (!missing.is_empty() && after < number);
            if !is_asked {
                continue;
            }
            let entry = self.shared.journal.read(number).await?.map(|(_, entry)| entry);
            // What nobody holds any more may have been a change of any of them.
            let writes =
                |name: &str| entry.as_ref().is_none_or(|own| own.writes.iter().any(|write| write.name == name));
            missing.retain(|own| after >= number || !writes(&own.name));
            unproven.retain(|name, of| {
                let is_copy = *of < number && writes(name);
                if is_copy {
                    records.remove(name);
                }
                !is_copy
            });
        }
        records.extend(missing.into_iter().map(|record| (record.name.clone(), record)));
        Ok(records)
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
    async fn take_in(
        &self,
        kind: Kind,
        object: &DynamicObject,
        newest: i64,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let read = object::read(kind, object);
        let reported_revision = in_force::reported_revision(object);
        match read.standing {
            // Unless it is a copy of what was accepted once, and something else has been since.
            Standing::Accepted(record) if reported_revision <= read.revision => {
                if reported_revision == 0 && read.revision < newest {
                    found.unproven.insert(record.name.clone(), read.revision);
                }
                found.records.insert(record.name.clone(), record);
                return Ok(());
            }
            Standing::Accepted(_) | Standing::Proposed(_) => {}
        }
        let reported = in_force::read(kind, object).filter(|(_, record)| record.name == read.name);
        let own = self.known().records.get(&read.name).cloned();
        let own = own.map(|record| (in_force::revision_of(&record), record));
        let latest = [reported, own].into_iter().flatten().max_by_key(|(revision, _)| *revision);
        let record = match latest {
            Some((revision, record)) if revision >= read.revision => Some(record),
            None if read.revision == 0 => None,
            latest => {
                let entry = self.shared.journal.read(read.revision).await?;
                let puts = entry.map(|(_, entry)| entry.puts_and_deletes().0).unwrap_or_default();
                let written = puts.into_iter().find(|record| record.name == read.name);
                if written.is_none() {
                    warn!(
                        object = read.name,
                        revision = read.revision,
                        "what was accepted of it last is no longer held"
                    );
                }
                written.or(latest.map(|(_, record)| record))
            }
        };
        found.records.extend(record.map(|record| (record.name.clone(), record)));
        Ok(())
    }
}

/// What the objects say.
#[derive(Default)]
struct Found {
    records: BTreeMap<String, Record>,
    /// Those among them that nobody has reported on, and with which revision they say to have come.
    unproven: BTreeMap<String, i64>,
}
