//! The embedded store: one SQLite file in WAL mode, synchronous=FULL, held by one process.
//!
//! A thread of its own does the blocking; the async side sends it work over a bounded channel. A file that is not ours, is
//! damaged, was written by a newer version or is held by another process is refused and left as it is.
//!
//! ```text
//!   load/commit/revisions --(bounded channel)--> thread "store" --> BEGIN IMMEDIATE .. COMMIT (fsync) --> oneshot answer
//! ```

mod journal;
mod trail;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot, watch};

use self::journal::Journal;
use self::trail::Trail;
use super::{
    AUDIT_RECORDS_MAX, AuditRecord, Capability, Change, Commit, Follow, HISTORY_BOUND, HistoryBound, Kind, Pending,
    Record, Revision, Store, StoreError, Stored,
};

#[cfg(test)]
mod tests;

/// Marks a database as Laneway's: "LNWY".
const APPLICATION_ID: i32 = 0x4c4e_5759;
/// Goes up with every change of the tables.
const SCHEMA: i32 = 3;
/// Commits that may wait for the thread; writers are serialised before, so more than a few means that something hangs.
const QUEUE_MAX: usize = 16;
/// How long another process may hold the file while it goes away.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

const TABLES: &str = "
CREATE TABLE objects (
    name TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE revisions (
    revision INTEGER PRIMARY KEY NOT NULL,
    time_ms INTEGER NOT NULL,
    principal TEXT NOT NULL,
    reason TEXT NOT NULL,
    method TEXT NOT NULL,
    changes TEXT NOT NULL,
    rollback_revision INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE audit (
    id TEXT PRIMARY KEY NOT NULL,
    body BLOB NOT NULL
) STRICT, WITHOUT ROWID;
";

/// From each schema to the next.
const UPGRADES: [(i32, &str); 2] = [
    (1, "ALTER TABLE revisions ADD COLUMN rollback_revision INTEGER NOT NULL DEFAULT 0;"),
    (2, "CREATE TABLE audit (id TEXT PRIMARY KEY NOT NULL, body BLOB NOT NULL) STRICT, WITHOUT ROWID;"),
];

/// The store's async side. Dropping it, and who follows it, ends the thread after what is queued.
pub struct Sqlite {
    work: mpsc::Sender<Work>,
    /// Number of the last commit.
    committed: watch::Receiver<i64>,
}

enum Work {
    Load(oneshot::Sender<Result<Stored, StoreError>>),
    Commit(Box<Commit>, oneshot::Sender<Result<i64, StoreError>>),
    Revisions { before: i64, count_max: usize, answer: oneshot::Sender<Result<Vec<Revision>, StoreError>> },
    AppendAudit(Vec<AuditRecord>, oneshot::Sender<Result<(), StoreError>>),
    Audit { before: String, count_max: usize, answer: oneshot::Sender<Result<Vec<AuditRecord>, StoreError>> },
}

impl Sqlite {
    /// Opens the database, or creates it where there is no file. Blocks; called before anything is served.
    pub fn open(path: &Path) -> Result<Sqlite, StoreError> {
        Sqlite::open_bounded(path, HISTORY_BOUND, AUDIT_RECORDS_MAX)
    }

    fn open_bounded(path: &Path, bound: HistoryBound, audit_max: usize) -> Result<Sqlite, StoreError> {
        let mut connection = open(path)?;
        let mut trail = Trail::read(&connection, audit_max).map_err(|source| failed("read the audit trail", source))?;
        let mut journal = Journal::read(&connection, bound).map_err(|source| failed("read the history", source))?;
        let last = journal::last_number(&connection).map_err(|source| failed("read the history", source))?;
        let (tell, committed) = watch::channel(last);
        let (work, mut queue) = mpsc::channel::<Work>(QUEUE_MAX);
        let run = move || {
            while let Some(work) = queue.blocking_recv() {
                // A caller that went away needs no answer; what it asked for was done all the same.
                match work {
                    Work::Load(answer) => drop(answer.send(load(&connection))),
                    Work::Commit(commit, answer) => {
                        let done = write(&mut connection, &mut journal, &mut trail, &commit);
                        if let Ok(number) = done {
                            tell.send_replace(number);
                        }
                        drop(answer.send(done));
                    }
                    Work::Revisions { before, count_max, answer } => {
                        let found = journal::revisions(&connection, before, count_max);
                        drop(answer.send(found.map_err(|source| failed("read the history", source))));
                    }
                    Work::AppendAudit(records, answer) => {
                        let appended = append(&mut connection, &mut trail, &records);
                        drop(answer.send(appended.map_err(|source| failed("write the audit trail", source))));
                    }
                    Work::Audit { before, count_max, answer } => {
                        let found = trail::records(&connection, &before, count_max);
                        drop(answer.send(found.map_err(|source| failed("read the audit trail", source))));
                    }
                }
            }
        };
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(run)
            .map_err(|source| failed("start the store's thread", source))?;
        Ok(Sqlite { work, committed })
    }
}

/// All of it, from the thread.
async fn loaded(work: &mpsc::Sender<Work>) -> Result<Stored, StoreError> {
    let (answer, answered) = oneshot::channel();
    work.send(Work::Load(answer)).await.map_err(|_| StoreError::Closed)?;
    answered.await.map_err(|_| StoreError::Closed)?
}

/// Follows what this very process commits.
struct Following {
    work: mpsc::Sender<Work>,
    committed: watch::Receiver<i64>,
    after: i64,
}

impl Follow for Following {
    fn next(&mut self) -> Pending<'_, Change> {
        Box::pin(async {
            let after = self.after;
            self.committed.wait_for(|number| *number > after).await.map_err(|_| StoreError::Closed)?;
            let stored = loaded(&self.work).await?;
            self.after = stored.revision;
            Ok(Change::Whole(stored))
        })
    }
}

impl Store for Sqlite {
    fn load(&self) -> Pending<'_, Stored> {
        Box::pin(loaded(&self.work))
    }

    fn commit(&self, commit: Commit) -> Pending<'_, i64> {
        Box::pin(async {
            let (answer, answered) = oneshot::channel();
            self.work.send(Work::Commit(Box::new(commit), answer)).await.map_err(|_| StoreError::Closed)?;
            answered.await.map_err(|_| StoreError::Closed)?
        })
    }

    fn revisions(&self, before: i64, count_max: usize) -> Pending<'_, Vec<Revision>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let work = Work::Revisions { before, count_max, answer };
            self.work.send(work).await.map_err(|_| StoreError::Closed)?;
            answered.await.map_err(|_| StoreError::Closed)?
        })
    }

    fn append_audit(&self, records: Vec<AuditRecord>) -> Pending<'_, ()> {
        Box::pin(async {
            let (answer, answered) = oneshot::channel();
            self.work.send(Work::AppendAudit(records, answer)).await.map_err(|_| StoreError::Closed)?;
            answered.await.map_err(|_| StoreError::Closed)?
        })
    }

    fn audit(&self, before: String, count_max: usize) -> Pending<'_, Vec<AuditRecord>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let work = Work::Audit { before, count_max, answer };
            self.work.send(work).await.map_err(|_| StoreError::Closed)?;
            answered.await.map_err(|_| StoreError::Closed)?
        })
    }

    fn follow(&self, after: i64) -> Box<dyn Follow> {
        Box::new(Following { work: self.work.clone(), committed: self.committed.clone(), after })
    }

    fn lacks(&self) -> &'static [(Capability, &'static str)] {
        &[(Capability::Replicas, "one process holds the file; a second one is refused")]
    }

    fn name(&self) -> &'static str {
        "store.sqlite"
    }
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    let refuse = |source: rusqlite::Error| refusal(path, &source);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return Err(StoreError::Unusable(format!("the folder {} of the database does not exist", folder.display())));
    }
    let connection = Connection::open(path).map_err(refuse)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(refuse)?;
    // Before the first read: the lock is then held from the first read on for as long as the process lives, so that two
    // control planes never write to one file; and WAL needs no shared memory.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(refuse)?;
    // Only looks, until it is known that the file is ours: a foreign file is not even switched to WAL.
    let identity: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(refuse)?;
    let schema: i32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(refuse)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).map_err(refuse)?;
    let fresh = tables == 0 && identity == 0 && schema == 0;
    if !fresh && identity != APPLICATION_ID {
        return Err(StoreError::Unusable(format!(
            "{} is a database of another program; nothing was changed. Give another path to --store",
            path.display()
        )));
    }
    if !fresh && schema > SCHEMA {
        return Err(StoreError::Unusable(format!(
            "{} was written by a newer version (schema {schema}, this version knows {SCHEMA}); nothing was changed. Start \
             the newer version, or restore the copy from before the upgrade",
            path.display()
        )));
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(refuse)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(refuse)?;
    // Takes the exclusive lock now, not at the first commit.
    connection.execute_batch("BEGIN EXCLUSIVE; COMMIT;").map_err(refuse)?;
    if fresh {
        connection
            .execute_batch(&format!(
                "BEGIN; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA}; COMMIT;"
            ))
            .map_err(refuse)?;
        sync_folder(path).map_err(|source| failed("sync the folder of the database", source))?;
    } else {
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(refuse)?;
        if verdict != "ok" {
            return Err(damaged(path, &verdict));
        }
        if schema < SCHEMA {
            let steps: String = UPGRADES.iter().filter(|(from, _)| *from >= schema).map(|(_, step)| *step).collect();
            let upgrade = format!("BEGIN; {steps} PRAGMA user_version = {SCHEMA}; COMMIT;");
            connection.execute_batch(&upgrade).map_err(refuse)?;
        }
    }
    Ok(connection)
}

/// A new file's name is safe only when its folder is synced too.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    std::fs::File::open(folder)?.sync_all()
}

fn load(connection: &Connection) -> Result<Stored, StoreError> {
    let reading = |source| failed("read the database", source);
    let revision = journal::last_number(connection).map_err(reading)?;
    let mut statement = connection.prepare("SELECT name, kind, body FROM objects ORDER BY name").map_err(reading)?;
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?)))
        .map_err(reading)?;
    let mut records = Vec::new();
    for row in rows {
        let (name, word, body) = row.map_err(reading)?;
        let Some(kind) = Kind::parse(&word) else {
            return Err(StoreError::Unusable(format!("the database holds {name} of the unknown kind {word:?}")));
        };
        records.push(Record { name, kind, body });
    }
    Ok(Stored { revision, records })
}

fn write(
    connection: &mut Connection,
    journal: &mut Journal,
    trail: &mut Trail,
    commit: &Commit,
) -> Result<i64, StoreError> {
    let writing = |source| failed("write to the database", source);
    let number = commit.revision.number;
    // Rolled back when it is dropped without commit.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(writing)?;
    let found = journal::last_number(&transaction).map_err(writing)?;
    if found + 1 != number {
        return Err(StoreError::Moved { found, expected: number - 1 });
    }
    let held = journal.append(&transaction, &commit.revision).map_err(writing)?;
    for record in &commit.puts {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO objects (name, kind, revision, body) VALUES (?1, ?2, ?3, ?4)")
            .and_then(|mut statement| {
                statement.execute(params![record.name, record.kind.as_str(), number, record.body])
            })
            .map_err(writing)?;
    }
    for name in &commit.deletes {
        transaction
            .prepare_cached("DELETE FROM objects WHERE name = ?1")
            .and_then(|mut statement| statement.execute(params![name]))
            .map_err(writing)?;
    }
    let recorded = trail.append(&transaction, &commit.audit).map_err(writing)?;
    transaction.commit().map_err(writing)?;
    journal.keep(held);
    trail.keep(&recorded);
    Ok(number)
}

fn append(connection: &mut Connection, trail: &mut Trail, records: &[AuditRecord]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let recorded = trail.append(&transaction, records)?;
    transaction.commit()?;
    trail.keep(&recorded);
    Ok(())
}

fn refusal(path: &Path, source: &rusqlite::Error) -> StoreError {
    let shown = path.display();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => damaged(path, &source.to_string()),
        Some(ErrorCode::NotADatabase) => StoreError::Unusable(format!(
            "{shown} is not a database, or is damaged; nothing was changed. Give another path to --store, or restore a copy"
        )),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Unusable(format!("{shown} is held by another process; one control plane at a time can use it"))
        }
        _ => StoreError::Unusable(format!("open the database {shown}: {source}")),
    }
}

fn damaged(path: &Path, verdict: &str) -> StoreError {
    StoreError::Unusable(format!(
        "{} is damaged ({verdict}); nothing was changed. Restore a copy, or move the file away and apply the documents again",
        path.display()
    ))
}

fn failed(doing: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Failed { doing, source: source.into() }
}
