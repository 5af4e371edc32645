//! What a commit writes; where that is more than one transaction takes, most of it beside what is there and beforehand.
//!
//! ```text
//!   small:  one transaction: head, history, the objects that change
//!   large:  parts of the history, objects of a new generation (all of them) --> one transaction: head -> the new generation
//! ```
//! What is staged is read by nobody. Of a commit that fails it is removed; of one that was killed, by the sweep.

use std::collections::BTreeMap;

use prost::Message;
use tracing::warn;

use super::{
    Commit, Etcd, OPERATIONS_MAX, Prepared, REQUEST_BYTES_MAX, Record, StoreError, audit, delete, delete_range, entry,
    history, kept, keys, put, put_leased, same_head, wire,
};

/// Of a revision, in one value: half of a request, so that it fits beside anything.
const PART_BYTES: usize = REQUEST_BYTES_MAX / 2;
/// Entries of the history looked at together.
const SWEEP_COUNT: i64 = 32;
/// Keys of parts looked at in one sweep.
const SWEEP_PARTS: i64 = 1000;

impl Etcd {
    /// Works out a commit on top of `head`, and stages what its transaction has no room for.
    pub(super) async fn prepare(&self, head: &kept::Head, commit: &Commit, id: &str) -> Result<Prepared, StoreError> {
        let own = &self.shared.keys;
        let mut entry = entry(&commit.revision, id, head);
        let mut is_staged = false;
        if entry.changes.len() > PART_BYTES {
            let changes = std::mem::take(&mut entry.changes).into_bytes();
            let parts = changes.chunks(PART_BYTES).enumerate();
            let parts: Vec<_> = parts.map(|(at, part)| put_leased(own.part(id, at), part.to_vec(), 0)).collect();
            entry.parts_count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
            self.stage(parts).await?;
            is_staged = true;
        }
        let generation = if head.generation.is_empty() { id } else { head.generation.as_str() };
        let mut operations = puts(own, generation, commit.puts.iter())?;
        operations.extend(commit.deletes.iter().map(|name| delete(own.object(generation, name))));
        let audit = || commit.audit.iter().map(|record| audit::put(own, record));
        operations.extend(audit());
        let bytes: usize = operations.iter().map(Message::encoded_len).sum();
        if operations.len() <= OPERATIONS_MAX && bytes + entry.encoded_len() <= REQUEST_BYTES_MAX {
            return Ok(Prepared { generation: generation.to_owned(), entry, operations, is_staged });
        }
        let read = self.read_all().await?;
        if read.stored.revision != head.revision {
            return Err(StoreError::Moved { found: read.stored.revision, expected: head.revision });
        }
        let mut all: BTreeMap<String, Record> =
            read.stored.records.into_iter().map(|record| (record.name.clone(), record)).collect();
        for name in &commit.deletes {
            all.remove(name);
        }
        all.extend(commit.puts.iter().map(|record| (record.name.clone(), record.clone())));
        self.stage(puts(own, id, all.values())?).await?;
        let mut operations: Vec<_> = audit().collect();
        if !head.generation.is_empty() {
            let old = own.objects(&head.generation);
            operations.push(delete_range(old.clone(), keys::behind(&old)));
        }
        Ok(Prepared { generation: id.to_owned(), entry, operations, is_staged: true })
    }

    /// Writes what may be written twice, in as many requests as it takes.
    pub(super) async fn stage(&self, operations: Vec<wire::RequestOp>) -> Result<(), StoreError> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for operation in operations {
            let length = operation.encoded_len();
            if !batch.is_empty() && (batch.len() == OPERATIONS_MAX || bytes + length > REQUEST_BYTES_MAX) {
                self.stage_batch(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            bytes += length;
            batch.push(operation);
        }
        self.stage_batch(batch).await
    }

    async fn stage_batch(&self, success: Vec<wire::RequestOp>) -> Result<(), StoreError> {
        match self.decide(wire::TxnRequest { success, ..wire::TxnRequest::default() }).await {
            Ok(_) => Ok(()),
            // Of the commit itself nothing has left.
            Err(StoreError::Doubtful(why)) => Err(StoreError::Away(why)),
            Err(failure) => Err(failure),
        }
    }

    /// Takes away what a commit that failed had staged.
    pub(super) async fn unstage(&self, id: &str) {
        let own = &self.shared.keys;
        let ranges = [own.parts(id), own.objects(id)];
        let success = ranges.map(|range| delete_range(range.clone(), keys::behind(&range))).to_vec();
        if let Err(failure) = self.decide(wire::TxnRequest { success, ..wire::TxnRequest::default() }).await {
            let error = &failure as &(dyn std::error::Error + 'static);
            warn!(error, id, "what a commit that failed had prepared stays until the next sweep");
        }
    }

    /// Lets go of what is no longer held, and of what writers left behind that were killed.
    pub(super) async fn sweep(&self) {
        for done in [self.sweep_history().await, self.sweep_staged().await, self.sweep_audit().await] {
            if let Err(failure) = done {
                let error = &failure as &(dyn std::error::Error + 'static);
                warn!(error, "what is no longer held stays until the next sweep");
            }
        }
    }

    async fn sweep_history(&self) -> Result<(), StoreError> {
        let own = &self.shared.keys;
        let head = self.read_head().await?.0;
        loop {
            let entries = self.read_entries(0, head.revision, SWEEP_COUNT).await?;
            let is_held = |entry: &&kept::Entry| history::is_held(entry, &head, self.shared.bound);
            let oldest = match (entries.iter().find(is_held), entries.last()) {
                (Some(held), _) if held.number == entries[0].number => return Ok(()),
                (Some(held), _) => held.number,
                (None, Some(last)) => last.number + 1,
                (None, None) => return Ok(()),
            };
            let success = vec![
                delete_range(own.entry(0), own.entry(oldest)),
                delete_range(own.parts_of(0), own.parts_of(oldest)),
            ];
            self.decide(wire::TxnRequest { success, ..wire::TxnRequest::default() }).await?;
        }
    }

    async fn sweep_staged(&self) -> Result<(), StoreError> {
        let own = &self.shared.keys;
        let head = self.read_head().await?.0;
        // Generations of commits that lost, or were killed: any but the current one whose number is taken.
        let current = own.objects(&head.generation);
        let success = vec![
            delete_range(own.generations(), current.clone()),
            delete_range(keys::behind(&current), own.generations_of(head.revision + 1)),
        ];
        let compare = vec![same_head(own, &head)];
        self.decide(wire::TxnRequest { compare, success, ..wire::TxnRequest::default() }).await?;

        let range = wire::RangeRequest {
            key: own.parts_of(0),
            range_end: own.parts_of(head.revision + 1),
            limit: SWEEP_PARTS,
            keys_only: true,
            ..wire::RangeRequest::default()
        };
        let found = self.shared.client.range(range).await.map_err(|failure| failure.into_error("look for parts"))?;
        let prefix = own.parts("");
        // "{prefix}/parts//" without its last slash is where ids begin.
        let ids = found.kvs.iter().filter_map(|part| {
            let rest = part.key.get(prefix.len() - 1..)?;
            std::str::from_utf8(rest).ok()?.split('/').next().map(str::to_owned)
        });
        let mut ids: Vec<String> = ids.collect();
        ids.dedup();
        for id in ids {
            let Some(number) = keys::number_of(&id) else { continue };
            let entries = self.read_entries(number, number, 1).await?;
            if entries.first().is_none_or(|entry| entry.id != id) {
                let parts = own.parts(&id);
                let success = vec![delete_range(parts.clone(), keys::behind(&parts))];
                self.decide(wire::TxnRequest { success, ..wire::TxnRequest::default() }).await?;
            }
        }
        Ok(())
    }
}

fn puts<'a>(
    own: &keys::Keys,
    generation: &str,
    records: impl Iterator<Item = &'a Record>,
) -> Result<Vec<wire::RequestOp>, StoreError> {
    let one = |record: &Record| {
        if record.body.len() + record.name.len() > REQUEST_BYTES_MAX / 2 {
            return Err(StoreError::TooLarge(format!(
                "{} has {} bytes; one object in etcd has at most {} bytes",
                record.name,
                record.body.len(),
                REQUEST_BYTES_MAX / 2
            )));
        }
        let object = kept::Object { kind: record.kind.as_str().to_owned(), body: record.body.clone() };
        Ok(put(own.object(generation, &record.name), &object))
    };
    records.map(one).collect()
}
