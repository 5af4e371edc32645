//! What was acknowledged is there after a restart; what is not ours is left alone.

use std::path::Path;
use std::sync::Arc;

use super::{APPLICATION_ID, Sqlite};
use crate::store::conformance::{Place, call, calls, commit, record, revision as entry, suite};
use crate::store::{Commit, HistoryBound, Store, StoreError};
use crate::tests::Folder;

struct OneFile(Folder);

impl Place for OneFile {
    /// The lock of the store before goes with its thread, a moment after the handle.
    async fn open_bounded(&self, bound: HistoryBound, audit_records_max: usize) -> Arc<dyn Store> {
        let store = Sqlite::open_bounded(&self.0.path("control.db"), bound, audit_records_max);
        Arc::new(store.expect("the last holder goes away"))
    }
}

suite!(|_: &str| Some(OneFile(Folder::new())));

fn refused(path: &Path) -> String {
    match Sqlite::open(path) {
        Ok(_) => panic!("it was opened"),
        Err(StoreError::Unusable(reason)) => reason,
        Err(other) => panic!("{other}"),
    }
}

/// The lock of the store before goes with its thread, a moment after the handle.
async fn reopened(path: &Path) -> Sqlite {
    Sqlite::open(path).expect("the last holder goes away within the time that is waited for")
}

#[tokio::test]
async fn a_database_of_the_version_before_keeps_its_history() {
    let folder = Folder::new();
    let path = folder.path("control.db");
    {
        let old = rusqlite::Connection::open(&path).expect("a new database");
        old.execute_batch(&format!(
            "CREATE TABLE objects (name TEXT PRIMARY KEY NOT NULL, kind TEXT NOT NULL, revision INTEGER NOT NULL, \
             body BLOB NOT NULL) STRICT, WITHOUT ROWID; \
             CREATE TABLE revisions (revision INTEGER PRIMARY KEY NOT NULL, time_ms INTEGER NOT NULL, principal TEXT \
             NOT NULL, reason TEXT NOT NULL, method TEXT NOT NULL, changes TEXT NOT NULL) STRICT; \
             INSERT INTO revisions VALUES (1, 1900000000123, 'anonymous', 'because', 'test', '[]'); \
             INSERT INTO objects VALUES ('a', 'Lane', 1, x'31'); \
             PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;"
        ))
        .expect("the tables of version 1");
    }
    let store = Sqlite::open(&path).expect("it is brought up");
    assert_eq!(store.revisions(i64::MAX, 9).await.expect("reads"), [entry(1, "[]")]);
    store.commit(Commit { audit: vec![call("a")], ..commit(2, Vec::new(), &[]) }).await.expect("commits");
    assert_eq!(calls(&store).await, ["a"]);
    drop(store);
    let store = reopened(&path).await;
    assert_eq!(store.revisions(i64::MAX, 9).await.expect("reads"), [entry(2, "[]"), entry(1, "[]")]);
    assert_eq!(store.load().await.expect("loads").records, vec![record("a", b"1")]);
}

#[test]
fn what_is_not_ours_is_refused_and_left_as_it_was() {
    let folder = Folder::new();
    let path = folder.path("text.db");
    std::fs::write(&path, "this is no database, it is a text of some length, longer than a header").expect("writes");
    let before = std::fs::read(&path).expect("reads");
    assert!(refused(&path).contains("is not a database"), "{}", refused(&path));
    assert_eq!(std::fs::read(&path).expect("reads"), before);

    let path = folder.path("foreign.db");
    rusqlite::Connection::open(&path)
        .and_then(|connection| connection.execute_batch("CREATE TABLE theirs (x); PRAGMA user_version = 9;"))
        .expect("their database");
    let before = std::fs::read(&path).expect("reads");
    assert!(refused(&path).contains("another program"), "{}", refused(&path));
    assert_eq!(std::fs::read(&path).expect("reads"), before);

    let path = folder.path("newer.db");
    rusqlite::Connection::open(&path)
        .and_then(|connection| {
            connection.execute_batch(&format!(
                "CREATE TABLE objects (x); PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 99;"
            ))
        })
        .expect("a newer database");
    assert!(refused(&path).contains("newer version"), "{}", refused(&path));
    assert!(refused(&folder.path("no/such/folder.db")).contains("does not exist"));
}

#[tokio::test]
async fn a_damaged_database_is_refused() {
    let folder = Folder::new();
    let path = folder.path("control.db");
    {
        let store = Sqlite::open(&path).expect("a new database");
        for revision in 1..=50 {
            let name = format!("lane{revision}");
            store.commit(commit(revision, vec![record(&name, &[7; 3000])], &[])).await.expect("commits");
        }
    }
    drop(reopened(&path).await);
    // Everything into the one file, as a clean end leaves it.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let mut bytes = std::fs::read(&path).expect("reads");
    let length = bytes.len();
    assert!(length > 8192, "the database is one file again");
    bytes[4096..length - 512].fill(0x5a);
    std::fs::write(&path, bytes).expect("writes");
    assert!(refused(&path).contains("damaged"), "{}", refused(&path));
}

#[test]
fn one_process_at_a_time_holds_it() {
    let folder = Folder::new();
    let path = folder.path("control.db");
    let _held = Sqlite::open(&path).expect("a new database");
    assert!(refused(&path).contains("held by another process"), "{}", refused(&path));
}
