//! The table of audit records: appended to, read backwards, its oldest rows let go when it is full.
//!
//! How many are held is counted here and not in SQL, which would walk through all of them at each commit.

use rusqlite::{Connection, Row, Transaction, params};

use crate::store::AuditRecord;

/// What of the audit trail is held.
pub(super) struct Trail {
    records_max: usize,
    count: usize,
}

/// What a transaction makes of the trail, once it is committed.
pub(super) struct Held(usize);

impl Trail {
    pub(super) fn read(connection: &Connection, records_max: usize) -> rusqlite::Result<Trail> {
        let count: i64 = connection.query_row("SELECT count(*) FROM audit", [], |row| row.get(0))?;
        Ok(Trail { records_max, count: usize::try_from(count).unwrap_or_default() })
    }

    /// Adds records, and deletes what there is no room for any more. One that is there already is not added again.
    pub(super) fn append(&self, transaction: &Transaction<'_>, records: &[AuditRecord]) -> rusqlite::Result<Held> {
        let mut count = self.count;
        for AuditRecord { id, body } in records {
            count += transaction
                .prepare_cached("INSERT OR IGNORE INTO audit (id, body) VALUES (?1, ?2)")?
                .execute(params![id, body])?;
        }
        if let Some(surplus) = count.checked_sub(self.records_max).filter(|surplus| *surplus > 0) {
            count -= transaction
                .prepare_cached("DELETE FROM audit WHERE id IN (SELECT id FROM audit ORDER BY id LIMIT ?1)")?
                .execute(params![i64::try_from(surplus).unwrap_or(i64::MAX)])?;
        }
        Ok(Held(count))
    }

    pub(super) fn keep(&mut self, held: &Held) {
        self.count = held.0;
    }
}

/// Records before an id, newest first; before the empty one: the newest of all.
pub(super) fn records(connection: &Connection, before: &str, count_max: usize) -> rusqlite::Result<Vec<AuditRecord>> {
    let count_max = i64::try_from(count_max).unwrap_or(i64::MAX);
    let record = |row: &Row<'_>| Ok(AuditRecord { id: row.get(0)?, body: row.get(1)? });
    let mut statement =
        connection.prepare_cached("SELECT id, body FROM audit WHERE ?1 = '' OR id < ?1 ORDER BY id DESC LIMIT ?2")?;
    statement.query_map(params![before, count_max], record)?.collect()
}
