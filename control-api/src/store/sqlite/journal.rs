//! The table of revisions: appended to, read backwards, its oldest rows let go when it is full.
//!
//! ```text
//!   append (in the commit's transaction) --> Held --committed--> keep
//! ```
//! What is held is counted here and not in SQL: counting 64 MiB at each commit would read these.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::store::{HistoryBound, REVISION_BYTES, Revision};

/// Largest answer, or one revision: no reader holds up the commits for long.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What of the past is held.
pub(super) struct Journal {
    bound: HistoryBound,
    /// Number and bytes, oldest first.
    held: VecDeque<(i64, usize)>,
    bytes: usize,
}

/// What a transaction makes of the journal, once it is committed.
pub(super) struct Held {
    number: i64,
    size: usize,
    /// How many of the oldest are gone.
    dropped_count: usize,
}

impl Journal {
    pub(super) fn read(connection: &Connection, bound: HistoryBound) -> rusqlite::Result<Journal> {
        let sizes = "SELECT revision, octet_length(principal) + octet_length(reason) + octet_length(method) \
                     + octet_length(changes) FROM revisions ORDER BY revision";
        let mut statement = connection.prepare(sizes)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
        let mut journal = Journal { bound, held: VecDeque::new(), bytes: 0 };
        for row in rows {
            let (number, size) = row?;
            journal.push(number, usize::try_from(size).unwrap_or(usize::MAX).saturating_add(REVISION_BYTES));
        }
        Ok(journal)
    }

    /// Adds a revision, and deletes what there is no room for any more.
    pub(super) fn append(&self, transaction: &Transaction<'_>, revision: &Revision) -> rusqlite::Result<Held> {
        let Revision { number, time, principal, reason, method, rollback_revision, changes } = revision;
        let time_ms = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        transaction
            .prepare_cached(
                "INSERT INTO revisions (revision, time_ms, principal, reason, method, changes, rollback_revision) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                number,
                i64::try_from(time_ms).unwrap_or(i64::MAX),
                principal,
                reason,
                method,
                changes,
                rollback_revision
            ])?;
        let size = revision.bytes();
        let held = Held { number: *number, size, dropped_count: self.surplus(size) };
        if let Some((last, _)) = held.dropped_count.checked_sub(1).and_then(|at| self.held.get(at)) {
            transaction.prepare_cached("DELETE FROM revisions WHERE revision <= ?1")?.execute(params![last])?;
        }
        Ok(held)
    }

    pub(super) fn keep(&mut self, held: Held) {
        for (_, size) in self.held.drain(..held.dropped_count) {
            self.bytes -= size;
        }
        self.push(held.number, held.size);
    }

    fn push(&mut self, number: i64, size: usize) {
        self.held.push_back((number, size));
        self.bytes = self.bytes.saturating_add(size);
    }

    /// How many of the oldest must go for another one of that size.
    fn surplus(&self, size: usize) -> usize {
        let mut bytes = self.bytes.saturating_add(size);
        let mut count = self.held.len() + 1;
        let fits = |count: usize, bytes: usize| count <= self.bound.revisions && bytes <= self.bound.bytes;
        let surplus = self.held.iter().take_while(|(_, size)| {
            if fits(count, bytes) {
                return false;
            }
            (count, bytes) = (count - 1, bytes - size);
            true
        });
        surplus.count()
    }
}

/// 0: there is none.
pub(super) fn last_number(connection: &Connection) -> rusqlite::Result<i64> {
    let last = connection
        .prepare_cached("SELECT revision FROM revisions ORDER BY revision DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(last.unwrap_or(0))
}

pub(super) fn revisions(connection: &Connection, before: i64, count_max: usize) -> rusqlite::Result<Vec<Revision>> {
    let mut statement = connection.prepare_cached(
        "SELECT revision, time_ms, principal, reason, method, rollback_revision, changes FROM revisions \
         WHERE revision < ?1 ORDER BY revision DESC LIMIT ?2",
    )?;
    let rows = statement.query_map(params![before, i64::try_from(count_max).unwrap_or(i64::MAX)], revision)?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    for row in rows {
        let revision = row?;
        bytes += revision.changes.len();
        if bytes > ANSWER_BYTES_MAX && !found.is_empty() {
            break;
        }
        found.push(revision);
    }
    Ok(found)
}

fn revision(row: &Row<'_>) -> rusqlite::Result<Revision> {
    let time_ms: i64 = row.get(1)?;
    let since_epoch = Duration::from_millis(u64::try_from(time_ms).unwrap_or_default());
    Ok(Revision {
        number: row.get(0)?,
        time: UNIX_EPOCH.checked_add(since_epoch).unwrap_or(SystemTime::UNIX_EPOCH),
        principal: row.get(2)?,
        reason: row.get(3)?,
        method: row.get(4)?,
        rollback_revision: row.get(5)?,
        changes: row.get(6)?,
    })
}
