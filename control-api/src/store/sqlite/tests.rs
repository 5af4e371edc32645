//! What was acknowledged is there after a restart; what is not ours is left alone.

use std::path::Path;
use std::time::SystemTime;

use super::{APPLICATION_ID, Sqlite};
use crate::store::{Commit, Kind, Record, Store, StoreError, Stored};
use crate::tests::Folder;

fn record(name: &str, body: &[u8]) -> Record {
    Record { name: name.to_owned(), kind: Kind::Lane, body: body.to_vec() }
}

fn commit(revision: i64, puts: Vec<Record>, deletes: &[&str]) -> Commit {
    Commit {
        revision,
        time: SystemTime::now(),
        principal: "anonymous".to_owned(),
        reason: "because".to_owned(),
        method: "test".to_owned(),
        changes: "[]".to_owned(),
        puts,
        deletes: deletes.iter().map(|name| (*name).to_owned()).collect(),
    }
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
