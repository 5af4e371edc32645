//! What was acknowledged is there after a restart; what is not ours is left alone.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{APPLICATION_ID, Sqlite};
use crate::store::{AuditRecord, Commit, HistoryBound, Kind, Record, Revision, Store, StoreError, Stored};
use crate::tests::Folder;

fn record(name: &str, body: &[u8]) -> Record {
    Record { name: name.to_owned(), kind: Kind::Lane, body: body.to_vec() }
}

fn commit(revision: i64, puts: Vec<Record>, deletes: &[&str]) -> Commit {
    let deletes = deletes.iter().map(|name| (*name).to_owned()).collect();
    Commit { revision: entry(revision, "[]"), puts, deletes, audit: Vec::new() }
}

fn entry(number: i64, changes: &str) -> Revision {
    Revision {
        number,
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_900_000_000_123),
        principal: "anonymous".to_owned(),
        reason: "because".to_owned(),
        method: "test".to_owned(),
        rollback_revision: number / 2,
        changes: changes.to_owned(),
    }
}

/// Numbers of all that is held, newest first.
async fn held(store: &Sqlite) -> Vec<i64> {
    let revisions = store.revisions(i64::MAX, usize::MAX).await.expect("reads");
    revisions.into_iter().map(|revision| revision.number).collect()
}

fn refused(path: &Path) -> String {
    match Sqlite::open(path) {
        Ok(_) => panic!("it was opened"),
        Err(StoreError::Unusable(reason)) => reason,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_was_committed_is_read_back() {
    let folder = Folder::new();
    let path = folder.path("control.db");
    {
        let store = Sqlite::open(&path).expect("a new database");
        assert_eq!(store.load().await.expect("loads"), Stored::default());
        let puts = vec![record("b", b"1"), record("a", b"2")];
        assert_eq!(store.commit(commit(1, puts, &[])).await.expect("commits"), 1);
        assert_eq!(store.commit(commit(2, vec![record("a", b"3")], &["b"])).await.expect("commits"), 2);
    }
    let store = reopened(&path).await;
    let stored = store.load().await.expect("loads");
    assert_eq!(stored, Stored { revision: 2, records: vec![record("a", b"3")] });
}

/// The lock of the store before goes with its thread, a moment after the handle.
async fn reopened(path: &Path) -> Sqlite {
    Sqlite::open(path).expect("the last holder goes away within the time that is waited for")
}

#[tokio::test]
async fn a_revision_that_does_not_follow_changes_nothing() {
    let folder = Folder::new();
    let store = Sqlite::open(&folder.path("control.db")).expect("a new database");
    store.commit(commit(1, vec![record("a", b"1")], &[])).await.expect("commits");
    match store.commit(commit(3, vec![record("a", b"2")], &[])).await {
        Err(StoreError::Moved { found: 1, expected: 2 }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(store.load().await.expect("loads").records, vec![record("a", b"1")]);
    assert_eq!(held(&store).await, [1]);
}

#[tokio::test]
async fn the_history_is_read_backwards_and_survives_a_restart() {
    let folder = Folder::new();
    let path = folder.path("control.db");
    {
        let store = Sqlite::open(&path).expect("a new database");
        assert_eq!(held(&store).await, [0_i64; 0]);
        for number in 1..=5 {
            store.commit(commit(number, vec![record("a", b"1")], &[])).await.expect("commits");
        }
    }
    let store = reopened(&path).await;
    assert_eq!(held(&store).await, [5, 4, 3, 2, 1]);
    let some = store.revisions(4, 2).await.expect("reads");
    assert_eq!(some, [entry(3, "[]"), entry(2, "[]")]);
    assert_eq!(store.revisions(1, 9).await.expect("reads"), []);
    // Large ones come alone, and none is left out.
    let large = "x".repeat(3 << 20);
    for number in 6..=7 {
        let revision = entry(number, &large);
        store
            .commit(Commit { revision, puts: Vec::new(), deletes: Vec::new(), audit: Vec::new() })
            .await
            .expect("commits");
    }
    assert_eq!(held(&store).await, [7]);
    let next = store.revisions(7, 9).await.expect("reads");
    assert_eq!(next.iter().map(|revision| revision.number).collect::<Vec<_>>(), [6, 5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn the_oldest_of_the_history_goes_when_it_is_full_and_no_object_with_it() {
    let folder = Folder::new();
    let path = folder.path("control.db");
    let bound = HistoryBound { revisions: 3, bytes: 4000 };
    {
        let store = Sqlite::open_bounded(&path, bound, 9).expect("a new database");
        for number in 1..=5 {
            let puts = vec![record(&format!("lane{number}"), b"1")];
            store.commit(commit(number, puts, &[])).await.expect("commits");
        }
        assert_eq!(held(&store).await, [5, 4, 3]);
        let add = async |number, bytes| {
            let revision = entry(number, &"x".repeat(bytes));
            store
                .commit(Commit { revision, puts: Vec::new(), deletes: Vec::new(), audit: Vec::new() })
                .await
                .expect("commits");
        };
        // By size: what fits beside it stays, and one that fits nowhere is held alone.
        add(6, 3400).await;
        assert_eq!(held(&store).await, [6, 5, 4]);
        add(7, 400).await;
        assert_eq!(held(&store).await, [7, 6]);
        add(8, 9000).await;
        assert_eq!(held(&store).await, [8]);
        add(9, 10).await;
        assert_eq!(held(&store).await, [9]);
        // What is not done takes nothing with it.
        assert!(store.commit(commit(99, Vec::new(), &[])).await.is_err());
        assert_eq!(held(&store).await, [9]);
    }
    // The count goes on where it was.
    let store = Sqlite::open_bounded(&path, bound, 9).expect("the last holder goes away");
    for number in 10..=12 {
        store.commit(commit(number, Vec::new(), &[])).await.expect("commits");
    }
    assert_eq!(held(&store).await, [12, 11, 10]);
    let stored = store.load().await.expect("loads");
    assert_eq!((stored.revision, stored.records.len()), (12, 5));
}

fn call(id: &str) -> AuditRecord {
    AuditRecord { id: id.to_owned(), body: id.as_bytes().to_vec() }
}

/// Ids of all calls that are held, newest first.
async fn calls(store: &Sqlite) -> Vec<String> {
    let records = store.audit(String::new(), usize::MAX).await.expect("reads");
    assert!(records.iter().all(|record| record.body == record.id.as_bytes()), "{records:?}");
    records.into_iter().map(|record| record.id).collect()
}

#[tokio::test]
async fn the_audit_trail_is_read_backwards_bounded_and_as_whole_as_the_commits_it_came_with() {
    let folder = Folder::new();
    let path = folder.path("control.db");
    let bound = HistoryBound { revisions: 9, bytes: 4000 };
    {
        let store = Sqlite::open_bounded(&path, bound, 4).expect("a new database");
        assert_eq!(calls(&store).await, [""; 0]);
        store.append_audit(vec![call("b"), call("a")]).await.expect("appends");
        let commit = Commit { audit: vec![call("c")], ..commit(1, Vec::new(), &[]) };
        store.commit(commit.clone()).await.expect("commits");
        assert_eq!(calls(&store).await, ["c", "b", "a"]);
        // A commit that is not done says nothing in the trail either.
        let stale = Commit { audit: vec![call("x")], ..commit };
        assert!(store.commit(stale).await.is_err());
        assert_eq!(calls(&store).await, ["c", "b", "a"]);
        // What was appended with an unknown outcome is appended once more, and is there once.
        store.append_audit(vec![call("b"), call("d")]).await.expect("appends");
        assert_eq!(calls(&store).await, ["d", "c", "b", "a"]);
        store.append_audit(vec![call("e"), call("f")]).await.expect("appends");
        assert_eq!(calls(&store).await, ["f", "e", "d", "c"]);
        let page = store.audit("f".to_owned(), 2).await.expect("reads");
        assert_eq!(page, [call("e"), call("d")]);
        assert_eq!(store.audit("c".to_owned(), 2).await.expect("reads"), []);
    }
    // The count goes on where it was.
    let store = Sqlite::open_bounded(&path, bound, 4).expect("the last holder goes away");
    store.append_audit(vec![call("g")]).await.expect("appends");
    assert_eq!(calls(&store).await, ["g", "f", "e", "d"]);
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
