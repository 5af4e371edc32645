//! What others commit, from a watch on the state.
//!
//! ```text
//!   read the head --(at etcd's revision R)--> behind: read all --> watch from R + 1 --> a commit for each new head
//!        ^                                                            |
//!        '--------- compacted, cut, or a new generation --------------'
//! ```
//! etcd tells the events of one transaction together, and a commit is one transaction: the events that come with a new head
//! are the commit.

use std::collections::VecDeque;

use super::client::Watching;
use super::wire::{self, Event, event::EventType};
use super::{Change, Etcd, Follow, Pending, Record, StoreError, decode_head, keys, record};

/// Where a reader is.
pub(super) struct Following {
    store: Etcd,
    /// The last revision that was given.
    after: i64,
    generation: String,
    watching: Option<Watching>,
    ready: VecDeque<Change>,
}

impl Following {
    pub(super) fn new(store: Etcd, after: i64) -> Following {
        Following { store, after, generation: String::new(), watching: None, ready: VecDeque::new() }
    }

    async fn advance(&mut self) -> Result<Change, StoreError> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                self.after = match &change {
                    Change::Commit { revision, .. } => *revision,
                    Change::Whole(stored) => stored.revision,
                };
                return Ok(change);
            }
            let Some(watching) = &mut self.watching else {
                self.open().await?;
                continue;
            };
            let response = match watching.next().await {
                Ok(response) => response,
                Err(failure) => {
                    self.watching = None;
                    return Err(failure.into_error("follow"));
                }
            };
            if response.canceled {
                self.watching = None;
                // Compacted: all is read again. Anything else is told.
                if response.compact_revision == 0 {
                    return Err(StoreError::Away(format!("etcd ended the watch: {}", response.cancel_reason)));
                }
            } else if let Err(failure) = self.take(&response.events) {
                self.watching = None;
                self.ready.clear();
                return Err(failure);
            }
        }
    }

    /// Catches up, and watches from there.
    async fn open(&mut self) -> Result<(), StoreError> {
        let (head, mut at) = self.store.read_head().await?;
        if head.revision < self.after {
            return Err(StoreError::Unusable(format!(
                "etcd is at revision {}, this replica has {} already: etcd was restored from a snapshot, or its data removed. \
                 Restart the replicas to take what is there",
                head.revision, self.after
            )));
        }
        let mut generation = head.generation;
        if head.revision > self.after {
            let read = self.store.read_all().await?;
            at = read.at;
            generation = read.generation;
            self.ready.push_back(Change::Whole(read.stored));
        }
        let state = self.store.shared.keys.state();
        let range_end = keys::behind(&state);
        let create = wire::WatchCreateRequest { key: state, range_end, start_revision: at + 1 };
        let opened = self.store.shared.client.watch(create).await;
        self.watching = Some(opened.map_err(|failure| failure.into_error("follow"))?);
        self.generation = generation;
        Ok(())
    }

    fn take(&mut self, events: &[Event]) -> Result<(), StoreError> {
        let of = |event: &Event| event.kv.as_ref().map(|own| own.mod_revision);
        for transaction in events.chunk_by(|left, right| of(left) == of(right)) {
            let head = self.store.shared.keys.head();
            let is_head = |event: &&Event| event.kv.as_ref().is_some_and(|own| own.key == head);
            // Without a new head it is somebody who prepares, or cleans up.
            let Some(event) = transaction.iter().find(is_head) else { continue };
            let head = match (event.r#type(), &event.kv) {
                (EventType::Put, Some(found)) => decode_head(&found.value)?,
                _ => {
                    let what = "what laneway-control keeps in etcd was removed. Sidecars keep what they have; restart the \
                                replicas to begin anew";
                    return Err(StoreError::Unusable(what.to_owned()));
                }
            };
            if head.generation != self.generation {
                // All objects are elsewhere: read again, from there.
                self.watching = None;
                return Ok(());
            }
            self.ready.push_back(changed(
                &self.store.shared.keys.objects(&head.generation),
                head.revision,
                transaction,
            )?);
        }
        Ok(())
    }
}

impl Follow for Following {
    fn next(&mut self) -> Pending<'_, Change> {
        Box::pin(self.advance())
    }
}

fn changed(prefix: &[u8], revision: i64, transaction: &[Event]) -> Result<Change, StoreError> {
    let (mut puts, mut deletes) = (Vec::<Record>::new(), Vec::new());
    for event in transaction {
        let Some(found) = event.kv.as_ref().filter(|found| found.key.starts_with(prefix)) else { continue };
        match event.r#type() {
            EventType::Put => puts.push(record(prefix, &found.key, &found.value)?),
            EventType::Delete => deletes.push(String::from_utf8_lossy(&found.key[prefix.len()..]).into_owned()),
        }
    }
    Ok(Change::Commit { revision, puts, deletes })
}
