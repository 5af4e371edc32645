//! The audit trail: who meant to change what, and what came of it.
//!
//! ```text
//!   committed --> a record in the commit itself: one fsync for both, and never one without the other
//!   refused   --> collected, alike ones as one --every FLUSH_EVERY, or before somebody reads--> store
//! ```
//! Refused calls cost no fsync each, so nobody slows the others down by being refused; a kill loses at most the last second of
//! them. Pure but for its lock; `reconcile` reads the clock and calls the store.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use laneway_proto::admin::AuditEvent;
use prost::Message;

use crate::store::{AuditRecord, StoreError};

#[cfg(test)]
mod tests;

/// How long refused calls are collected.
pub(super) const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Different ones that are collected meanwhile, of all and of one principal; what comes beyond is counted. So nobody pushes
/// the rest out of the trail within the hour by being refused.
const COLLECTED_MAX: usize = 256;
const COLLECTED_EACH_MAX: usize = 16;
/// Records that wait for a store that is away. What comes beyond is lost, and said to be.
const UNSAVED_MAX: usize = 1024;
/// Longest texts of a record.
const MESSAGE_BYTES_MAX: usize = 1024;
const TEXT_BYTES_MAX: usize = 512;

/// A call that means to change something: who, from where, what and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    pub principal: String,
    /// Empty: the control plane itself.
    pub remote_address: String,
    /// "laneway.admin.v1.LaneAdmin/EnableLane"
    pub method: &'static str,
    pub resource: String,
    pub request_id: String,
    pub reason: String,
    /// W3C trace id.
    pub trace_id: String,
}

/// Collects what committed nothing.
#[derive(Default)]
pub(super) struct Trail(Mutex<Collected>);

#[derive(Default)]
struct Collected {
    last_id: u128,
    waiting: Vec<Waiting>,
    /// What could not be stored the last time.
    unsaved: Vec<AuditRecord>,
    /// Calls that there was no room for.
    lost_count: u64,
}

struct Waiting {
    event: AuditEvent,
    /// Calls like it, beside the first.
    more_count: u64,
}

impl Trail {
    /// The record of a call that is being committed as `revision`.
    pub(super) fn committed(&self, call: &Call, revision: i64, time: SystemTime, random: u128) -> AuditRecord {
        let event = event(call, time, self.collected().next_id(time, random));
        record(&AuditEvent { revision, ..event })
    }

    /// Takes note of a call that committed nothing. True: somebody has to flush it after [`FLUSH_EVERY`].
    pub(super) fn refused(&self, call: &Call, code: i32, message: &str, time: SystemTime, random: u128) -> bool {
        let message = cut(message, MESSAGE_BYTES_MAX);
        let mut collected = self.collected();
        let fresh = event(call, time, String::new());
        let is_like = |event: &AuditEvent| {
            let known = (&event.principal, &event.method, &event.resource, &event.status_message, &event.reason);
            let own = (&fresh.principal, &fresh.method, &fresh.resource, &message, &fresh.reason);
            known == own && event.status_code == code && event.request_id == fresh.request_id
        };
        if let Some(known) = collected.waiting.iter_mut().find(|waiting| is_like(&waiting.event)) {
            known.more_count += 1;
            return false;
        }
        let own = collected.waiting.iter().filter(|waiting| waiting.event.principal == fresh.principal);
        if collected.waiting.len() == COLLECTED_MAX || own.count() == COLLECTED_EACH_MAX {
            collected.lost_count += 1;
            return false;
        }
        let name = name(&collected.next_id(time, random));
        let event = AuditEvent { name, status_code: code, status_message: message, ..fresh };
        collected.waiting.push(Waiting { event, more_count: 0 });
        collected.waiting.len() == 1
    }

    /// What was collected, in order; the caller stores it.
    pub(super) fn take(&self) -> Vec<AuditRecord> {
        let mut collected = self.collected();
        let lost_count = std::mem::take(&mut collected.lost_count);
        let mut waiting = std::mem::take(&mut collected.waiting);
        let mut records = std::mem::take(&mut collected.unsaved);
        drop(collected);
        for Waiting { event, more_count } in &mut waiting {
            if *more_count > 0 {
                event.status_message.push_str(&format!(" (and {more_count} more such calls)"));
            }
        }
        if let Some(last) = waiting.last_mut().filter(|_| lost_count > 0) {
            last.event.status_message.push_str(&format!(" (and {lost_count} other refused calls, not recorded)"));
        }
        records.extend(waiting.iter().map(|waiting| record(&waiting.event)));
        records
    }

    /// Takes back what could not be stored, to be stored with what comes next: how many there was no room for.
    pub(super) fn put_back(&self, records: Vec<AuditRecord>) -> usize {
        let mut collected = self.collected();
        collected.unsaved.extend(records);
        let lost_count = collected.unsaved.len().saturating_sub(UNSAVED_MAX);
        collected.unsaved.truncate(UNSAVED_MAX);
        lost_count
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        // Whoever panicked left whole values behind: each change is one assignment or push.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Collected {
    /// A ULID: milliseconds, then 80 random bits. Larger than the one before, whatever the clock does.
    fn next_id(&mut self, time: SystemTime, random: u128) -> String {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let fresh = (since_epoch.as_millis() << 80) | (random >> 48);
        self.last_id = if fresh >> 80 > self.last_id >> 80 { fresh } else { self.last_id + 1 };
        let digits = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        (0..26).rev().map(|place| char::from(digits[((self.last_id >> (5 * place)) & 31) as usize])).collect()
    }
}

/// A record, as people see it.
pub(super) fn read(record: &AuditRecord) -> Result<AuditEvent, StoreError> {
    AuditEvent::decode(record.body.as_slice())
        .map_err(|source| StoreError::Unusable(format!("the audit record {} cannot be read: {source}", record.id)))
}

/// The id in an event's name.
pub fn id(name: &str) -> &str {
    name.strip_prefix("auditEvents/").unwrap_or(name)
}

fn name(id: &str) -> String {
    format!("auditEvents/{id}")
}

fn event(call: &Call, time: SystemTime, id: String) -> AuditEvent {
    AuditEvent {
        name: name(&id),
        event_time: Some(time.into()),
        principal: cut(&call.principal, TEXT_BYTES_MAX),
        remote_address: call.remote_address.clone(),
        method: call.method.to_owned(),
        resource: cut(&call.resource, TEXT_BYTES_MAX),
        request_id: cut(&call.request_id, TEXT_BYTES_MAX),
        reason: cut(&call.reason, TEXT_BYTES_MAX),
        trace_id: call.trace_id.clone(),
        ..AuditEvent::default()
    }
}

fn record(event: &AuditEvent) -> AuditRecord {
    AuditRecord { id: id(&event.name).to_owned(), body: event.encode_to_vec() }
}

fn cut(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
