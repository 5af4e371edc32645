//! The revisions in etcd: read backwards, as far back as they are held.
//!
//! Each says what it and all before it amount to, so what is held follows from one revision and the head, and readers are
//! exact although the sweep comes only now and then.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;

use super::{Etcd, HistoryBound, Revision, StoreError, damaged, kept, keys, wire};

/// Read together; each has at most [`super::REQUEST_BYTES_MAX`], beside its parts.
const WINDOW_COUNT: i64 = 32;
/// Largest answer, or one revision.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

impl Etcd {
    pub(super) async fn read_revisions(&self, before: i64, count_max: usize) -> Result<Vec<Revision>, StoreError> {
        let head = self.read_head().await?.0;
        let mut last = head.revision.min(before.saturating_sub(1));
        let (mut found, mut bytes) = (Vec::new(), 0);
        while last > 0 && found.len() < count_max {
            let first = (last - WINDOW_COUNT + 1).max(1);
            let window = self.read_entries(first, last, WINDOW_COUNT).await?;
            for entry in window.into_iter().rev() {
                // One that is missing was let go, and so were those before it.
                if entry.number != last || !is_held(&entry, &head, self.shared.bound) {
                    return Ok(found);
                }
                bytes += entry.bytes;
                let is_full = found.len() == count_max || (bytes > ANSWER_BYTES_MAX && !found.is_empty());
                if is_full {
                    return Ok(found);
                }
                let Some(revision) = self.whole(entry).await? else { return Ok(found) };
                found.push(revision);
                last -= 1;
            }
            if last >= first {
                return Ok(found);
            }
        }
        Ok(found)
    }

    /// Those from `first` to `last`, so many of them, oldest first.
    pub(super) async fn read_entries(&self, first: i64, last: i64, limit: i64) -> Result<Vec<kept::Entry>, StoreError> {
        let own = &self.shared.keys;
        let range = wire::RangeRequest {
            key: own.entry(first),
            range_end: own.entry(last.saturating_add(1)),
            limit,
            ..wire::RangeRequest::default()
        };
        let answer = self.shared.client.range(range).await.map_err(|failure| failure.into_error("read the history"))?;
        let entries = answer.kvs.iter().map(|found| kept::Entry::decode(found.value.as_slice()));
        entries.collect::<Result<_, _>>().map_err(|source| damaged("a revision", &source))
    }

    /// With its parts. None: they were let go just now.
    async fn whole(&self, mut entry: kept::Entry) -> Result<Option<Revision>, StoreError> {
        if entry.parts_count > 0 {
            let parts = self.shared.keys.parts(&entry.id);
            let range =
                wire::RangeRequest { range_end: keys::behind(&parts), key: parts, ..wire::RangeRequest::default() };
            let answer = self.shared.client.range(range).await;
            let parts = answer.map_err(|failure| failure.into_error("read the history"))?.kvs;
            if parts.len() != entry.parts_count as usize {
                return Ok(None);
            }
            let changes = parts.into_iter().flat_map(|part| part.value).collect();
            entry.changes = String::from_utf8(changes).map_err(|_| {
                StoreError::Unusable(format!("the parts of revision {} in etcd are damaged", entry.number))
            })?;
        }
        let since_epoch = Duration::from_millis(u64::try_from(entry.time_ms).unwrap_or_default());
        Ok(Some(Revision {
            number: entry.number,
            time: UNIX_EPOCH.checked_add(since_epoch).unwrap_or(SystemTime::UNIX_EPOCH),
            principal: entry.principal,
            reason: entry.reason,
            method: entry.method,
            rollback_revision: entry.rollback_revision,
            changes: entry.changes,
        }))
    }
}

/// The newest always; one before it while all from it on are within the bound.
pub(super) fn is_held(entry: &kept::Entry, head: &kept::Head, bound: HistoryBound) -> bool {
    let count = usize::try_from(head.revision - entry.number).unwrap_or(usize::MAX).saturating_add(1);
    let bytes = head.history_bytes.saturating_sub(entry.bytes_before);
    count == 1 || (count <= bound.revisions && bytes <= bound.bytes as u64)
}
