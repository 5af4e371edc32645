//! The store that several replicas share: one prefix of an etcd cluster.
//!
//! ```text
//!   {prefix}/state/head                         where everything is; each commit replaces it, or loses to who did
//!   {prefix}/state/objects/{generation}/{name}  the objects
//!   {prefix}/history/{number}                   the revisions, bounded
//!   {prefix}/parts/{number}-{id}/{part}         of a revision too large for one value
//!   {prefix}/audit/{id}                         the audit trail, bounded
//!   {prefix}/leader, {prefix}/replicas/{name}   with a lease each: see session
//! ```
//! A commit is one transaction on the condition that `head` is what it was. One too large for a transaction is written
//! beside what is there, as a new generation that nobody reads, and then `head` is pointed to it; so it, too, is done in
//! one step. A transaction whose answer is lost is sent again: it is done at most once, because of its condition, and
//! whose it was is seen by the id in the history.

pub mod access;
mod audit;
mod client;
mod follow;
mod history;
mod keys;
mod large;
pub mod session;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use prost::Message;

use self::access::Access;
use self::client::{CallError, Client};
use self::follow::Following;
use self::keys::Keys;
use super::{
    AUDIT_RECORDS_MAX, AuditRecord, Capability, Change, Commit, Follow, HISTORY_BOUND, HistoryBound, Kind, Pending,
    Record, Revision, Store, StoreError, Stored,
};

#[allow(clippy::all, unreachable_pub, rust_2018_idioms)]
mod wire {
    tonic::include_proto!("etcdserverpb");
}
#[allow(clippy::all, unreachable_pub, rust_2018_idioms)]
mod kept {
    tonic::include_proto!("laneway.store.etcd");
}

#[cfg(test)]
mod tests;

/// Goes up when keys or values change so that an older version would misread them.
const FORMAT: u32 = 1;
/// Of etcd's 128 by default, with room for what every commit does beside its objects.
const OPERATIONS_MAX: usize = 100;
/// Of etcd's 1.5 MiB by default for a request, keys and framing included.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// How long the answer to a transaction is looked for before its writer is told that nobody knows.
const DOUBT_MAX: Duration = Duration::from_secs(3);
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Objects read at a time.
const PAGE_COUNT: i64 = 200;
/// Every so many commits what is no longer held is looked for, beyond what the count lets go of.
const SWEEP_EVERY: i64 = 32;

/// Where the cluster is, and what of it is ours.
#[derive(Clone, Debug)]
pub struct Address {
    /// `host:port` each.
    pub endpoints: Vec<String>,
    /// Without a slash at its end.
    pub prefix: String,
    pub access: Access,
}

/// A replica's handle.
#[derive(Clone)]
pub struct Etcd {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    keys: Keys,
    bound: HistoryBound,
    audit_records_max: usize,
    /// As it was last seen: what the next commit will most likely replace.
    head: Mutex<kept::Head>,
}

impl Etcd {
    /// Connects when it is first used.
    pub fn new(address: &Address) -> Result<Etcd, StoreError> {
        Etcd::bounded(address, HISTORY_BOUND, AUDIT_RECORDS_MAX)
    }

    fn bounded(address: &Address, bound: HistoryBound, audit_records_max: usize) -> Result<Etcd, StoreError> {
        let client = Client::new(&address.endpoints, &address.access).map_err(StoreError::Unusable)?;
        let keys = Keys::new(&address.prefix);
        let shared = Shared { client, keys, bound, audit_records_max, head: Mutex::default() };
        Ok(Etcd { shared: Arc::new(shared) })
    }

    async fn read_all(&self) -> Result<Read, StoreError> {
        loop {
            let (head, at) = self.read_head().await?;
            let mut records = Vec::new();
            match self.read_objects(&head, at, &mut records).await {
                Ok(()) => {}
                // Compacted between the head and the last page.
                Err(CallError::Refused(status)) if status.code() == tonic::Code::OutOfRange => continue,
                Err(failure) => return Err(failure.into_error("read the objects")),
            }
            let stored = Stored { revision: head.revision, records };
            return Ok(Read { stored, generation: head.generation, at });
        }
    }

    /// The head, and etcd's revision that it was read at.
    async fn read_head(&self) -> Result<(kept::Head, i64), StoreError> {
        let range = wire::RangeRequest { key: self.shared.keys.head(), ..wire::RangeRequest::default() };
        let answer = self.shared.client.range(range).await.map_err(|failure| failure.into_error("read the head"))?;
        let head = match answer.kvs.first() {
            Some(found) => decode_head(&found.value)?,
            None => kept::Head::default(),
        };
        *self.head() = head.clone();
        Ok((head, answer.header.unwrap_or_default().revision))
    }

    async fn read_objects(&self, head: &kept::Head, at: i64, records: &mut Vec<Record>) -> Result<(), CallError> {
        if head.generation.is_empty() {
            return Ok(());
        }
        let prefix = self.shared.keys.objects(&head.generation);
        let mut key = prefix.clone();
        loop {
            let range = wire::RangeRequest {
                key,
                range_end: keys::behind(&prefix),
                limit: PAGE_COUNT,
                revision: at,
                ..wire::RangeRequest::default()
            };
            let page = self.shared.client.range(range).await?;
            for found in &page.kvs {
                records.push(record(&prefix, &found.key, &found.value).map_err(CallError::Unusable)?);
            }
            match page.kvs.last().filter(|_| page.more) {
                // The smallest key that is greater.
                Some(last) => key = [last.key.as_slice(), &[0]].concat(),
                None => return Ok(()),
            }
        }
    }

    async fn write(&self, commit: Commit) -> Result<i64, StoreError> {
        let number = commit.revision.number;
        let mut head = self.head().clone();
        if head.revision + 1 != number {
            head = self.read_head().await?.0;
        }
        if head.revision + 1 != number {
            return Err(StoreError::Moved { found: head.revision, expected: number - 1 });
        }
        let id = keys::commit_id(number);
        let prepared = self.prepare(&head, &commit, &id).await?;
        let is_staged = prepared.is_staged;
        let (request, next) = self.transaction(&head, prepared);
        let answer = self.decide(request).await;
        let done = answer.and_then(|answer| outcome(&answer, number, &id));
        match done {
            Ok(()) => *self.head() = next,
            // Never read by anybody; and if it cannot be cleaned up now, the sweep does.
            Err(StoreError::Moved { .. } | StoreError::Failed { .. }) if is_staged => self.unstage(&id).await,
            Err(_) => {}
        }
        done?;
        if number % SWEEP_EVERY == 0 {
            self.sweep().await;
        }
        Ok(number)
    }

    /// The one transaction that is the commit, and the head that it leaves.
    fn transaction(&self, head: &kept::Head, prepared: Prepared) -> (wire::TxnRequest, kept::Head) {
        let number = prepared.entry.number;
        let next = kept::Head {
            format: FORMAT,
            revision: number,
            generation: prepared.generation,
            history_bytes: prepared.entry.bytes_before + prepared.entry.bytes,
        };
        let keys = &self.shared.keys;
        let mut success = vec![put(keys.head(), &next), put(keys.entry(number), &prepared.entry)];
        success.extend(prepared.operations);
        // By count, exactly; the rest is for the sweep.
        let oldest = number.saturating_sub(i64::try_from(self.shared.bound.revisions).unwrap_or(i64::MAX)) + 1;
        if oldest > 1 {
            success.push(delete_range(keys.entry(0), keys.entry(oldest)));
            success.push(delete_range(keys.parts_of(0), keys.parts_of(oldest)));
        }
        let request = wire::TxnRequest {
            compare: vec![same_head(keys, head)],
            success,
            failure: vec![get(keys.head()), get(keys.entry(number))],
        };
        (request, next)
    }

    /// Sends a transaction until it is known what came of it: one that may be done twice, or that cannot be, because it
    /// makes its own condition untrue.
    async fn decide(&self, request: wire::TxnRequest) -> Result<wire::TxnResponse, StoreError> {
        let begun = Instant::now();
        let (mut is_doubtful, mut unsent_count) = (false, 0);
        loop {
            let why = match self.shared.client.txn(request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(CallError::Lost(why)) => {
                    is_doubtful = true;
                    why
                }
                Err(CallError::Unsent(why)) => {
                    unsent_count += 1;
                    why
                }
                Err(failure) => return Err(failure.into_error("commit")),
            };
            if !is_doubtful && unsent_count >= self.shared.client.endpoints_count() {
                return Err(StoreError::Away(why));
            }
            if is_doubtful && begun.elapsed() > DOUBT_MAX {
                return Err(StoreError::Doubtful(why));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    fn head(&self) -> MutexGuard<'_, kept::Head> {
        self.shared.head.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Etcd {
    fn load(&self) -> Pending<'_, Stored> {
        Box::pin(async { Ok(self.read_all().await?.stored) })
    }

    fn commit(&self, commit: Commit) -> Pending<'_, i64> {
        Box::pin(self.write(commit))
    }

    fn revisions(&self, before: i64, count_max: usize) -> Pending<'_, Vec<Revision>> {
        Box::pin(self.read_revisions(before, count_max))
    }

    fn follow(&self, after: i64) -> Box<dyn Follow> {
        Box::new(Following::new(self.clone(), after))
    }

    fn append_audit(&self, records: Vec<AuditRecord>) -> Pending<'_, ()> {
        Box::pin(self.write_audit(records))
    }

    fn audit(&self, before: String, count_max: usize) -> Pending<'_, Vec<AuditRecord>> {
        Box::pin(self.read_audit(before, count_max))
    }

    fn lacks(&self) -> &'static [(Capability, &'static str)] {
        &[]
    }

    fn name(&self) -> &'static str {
        "store.etcd"
    }
}

/// Everything, and etcd's revision that it was read at.
struct Read {
    stored: Stored,
    generation: String,
    at: i64,
}

/// What a commit's transaction does beside head and history.
struct Prepared {
    generation: String,
    entry: kept::Entry,
    operations: Vec<wire::RequestOp>,
    /// Something lies there already that only this commit makes part of anything.
    is_staged: bool,
}

fn entry(revision: &Revision, id: &str, head: &kept::Head) -> kept::Entry {
    let time_ms = revision.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    kept::Entry {
        number: revision.number,
        id: id.to_owned(),
        time_ms: i64::try_from(time_ms).unwrap_or(i64::MAX),
        principal: revision.principal.clone(),
        reason: revision.reason.clone(),
        method: revision.method.clone(),
        rollback_revision: revision.rollback_revision,
        changes: revision.changes.clone(),
        parts_count: 0,
        bytes: revision.bytes() as u64,
        bytes_before: head.history_bytes,
    }
}

/// Reads the answer to a commit.
fn outcome(answer: &wire::TxnResponse, number: i64, id: &str) -> Result<(), StoreError> {
    if answer.succeeded {
        return Ok(());
    }
    let mut found = answer.responses.iter().map(|response| match &response.response {
        Some(wire::response_op::Response::ResponseRange(range)) => range.kvs.first().map(|own| own.value.as_slice()),
        _ => None,
    });
    let head = found.next().flatten().map_or_else(|| Ok(kept::Head::default()), decode_head)?;
    let entry = found.next().flatten().map(kept::Entry::decode).transpose();
    match entry.map_err(|source| damaged("a revision", &source))? {
        // It was done by the attempt whose answer was lost.
        Some(entry) if entry.id == id => Ok(()),
        _ => Err(StoreError::Moved { found: head.revision, expected: number - 1 }),
    }
}

fn same_head(keys: &Keys, head: &kept::Head) -> wire::Compare {
    use wire::compare::{CompareTarget, TargetUnion};
    let (target, union) = if head.revision == 0 {
        (CompareTarget::Version, TargetUnion::Version(0))
    } else {
        (CompareTarget::Value, TargetUnion::Value(head.encode_to_vec()))
    };
    wire::Compare { target: target.into(), key: keys.head(), target_union: Some(union), ..wire::Compare::default() }
}

fn decode_head(value: &[u8]) -> Result<kept::Head, StoreError> {
    let head = kept::Head::decode(value).map_err(|source| damaged("the head", &source))?;
    if head.format > FORMAT {
        return Err(StoreError::Unusable(format!(
            "etcd holds the state of a newer version (format {}, this version knows {FORMAT}); nothing was changed. Run the \
             newer version, or give another prefix in --store",
            head.format
        )));
    }
    Ok(head)
}

fn record(prefix: &[u8], key: &[u8], value: &[u8]) -> Result<Record, StoreError> {
    let object = kept::Object::decode(value).map_err(|source| damaged("an object", &source))?;
    let name = key.strip_prefix(prefix).and_then(|name| std::str::from_utf8(name).ok());
    let name = name.ok_or_else(|| StoreError::Unusable("etcd holds an object whose name is no text".to_owned()))?;
    let Some(kind) = Kind::parse(&object.kind) else {
        return Err(StoreError::Unusable(format!("etcd holds {name} of the unknown kind {:?}", object.kind)));
    };
    Ok(Record { name: name.to_owned(), kind, body: object.body })
}

fn damaged(what: &str, source: &prost::DecodeError) -> StoreError {
    StoreError::Unusable(format!(
        "etcd holds {what} that cannot be read ({source}); nothing was changed. Give another prefix in --store, or restore a \
         snapshot of etcd"
    ))
}

fn put(key: Vec<u8>, value: &impl Message) -> wire::RequestOp {
    put_leased(key, value.encode_to_vec(), 0)
}

fn put_leased(key: Vec<u8>, value: Vec<u8>, lease: i64) -> wire::RequestOp {
    let put = wire::PutRequest { key, value, lease };
    wire::RequestOp { request: Some(wire::request_op::Request::RequestPut(put)) }
}

fn get(key: Vec<u8>) -> wire::RequestOp {
    let range = wire::RangeRequest { key, ..wire::RangeRequest::default() };
    wire::RequestOp { request: Some(wire::request_op::Request::RequestRange(range)) }
}

fn delete(key: Vec<u8>) -> wire::RequestOp {
    delete_range(key, Vec::new())
}

fn delete_range(key: Vec<u8>, range_end: Vec<u8>) -> wire::RequestOp {
    let range = wire::DeleteRangeRequest { key, range_end };
    wire::RequestOp { request: Some(wire::request_op::Request::RequestDeleteRange(range)) }
}
