//! A copy put in a history's place.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rollback_core::deployment::Outcome;
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::history::{HistoryReader, HistoryStore, Liveness, Query, Sequence, Then};
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::{at, holder, sample, settlement};
use rusqlite::Connection;
use support::{Other, begin, listen, part, say, settle, step};

/// Not a test by itself: a process that has the history open, or runs a deployment of it.
#[tokio::test]
async fn child() {
    let Some((part, place)) = part() else {
        return;
    };
    let store = SqliteStore::open(&place).await.unwrap();
    let mut begun = None;
    if part == "run" || part == "lease" {
        begun = Some(begin(&store, &sample("api@x", 50)).await.unwrap());
    }
    let excluded = match &*part {
        "exclude" => Some(store.exclude(&"api@y".parse().unwrap()).await.unwrap()),
        _ => None,
    };
    if part == "lease" || part == "exclude" {
        // What it holds outlives the store.
        drop(store);
    }
    say("ready");
    listen();
    drop((begun, excluded));
}

struct Place {
    dir: tempfile::TempDir,
    path: PathBuf,
    copy: PathBuf,
}

impl Place {
    /// Two records, a copy of them, and a third.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (
            dir.path().join("state/history.db"),
            dir.path().join("copy.db"),
        );
        let store = SqliteStore::open(&path).await.unwrap();
        settle(&store, "api@x", 1).await;
        settle(&store, "api@x", 5).await;
        store.backup(&copy).await.unwrap();
        settle(&store, "api@x", 10).await;
        Self { dir, path, copy }
    }

    fn names(&self) -> Vec<String> {
        let state = self.path.parent().unwrap();
        let names = fs::read_dir(state).unwrap();
        let mut names: Vec<_> = names
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

async fn count(path: &Path) -> usize {
    let store = SqliteStore::open(path).await.unwrap();
    assert_eq!(store.verify().await.unwrap(), []);
    store
        .list(&Query::default())
        .await
        .unwrap()
        .deployments
        .len()
}

#[tokio::test]
async fn a_restored_history_is_in_a_new_life_and_what_was_there_before_is_kept() {
    let place = Place::new().await;
    let store = SqliteStore::open(&place.path).await.unwrap();
    let before = store.identity().await.unwrap();
    let again = SqliteStore::open(&place.path).await.unwrap();
    assert_eq!(again.identity().await.unwrap(), before);
    drop((store, again));
    let kept = SqliteStore::restore(&place.copy, &place.path)
        .await
        .unwrap();
    let kept = kept.unwrap();
    assert_eq!(
        kept,
        fs::canonicalize(&place.path)
            .unwrap()
            .with_file_name("history.db.replaced-1")
    );
    assert_eq!(
        place.names(),
        ["history.db", "history.db.locks", "history.db.replaced-1"]
    );
    let mode = fs::metadata(&place.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let store = SqliteStore::open(&place.path).await.unwrap();
    let after = store.identity().await.unwrap();
    assert_eq!(after.history, before.history);
    assert_ne!(after.incarnation, before.incarnation);
    let page = store.list(&Query::default()).await.unwrap();
    assert_eq!(page.deployments.len(), 2);
    // What it once published beyond that is not given again.
    store.advance(Sequence(7)).await.unwrap();
    store.advance(Sequence(3)).await.unwrap();
    let new = settle(&store, "api@x", 20).await;
    let record = store.get(&new.id).await.unwrap().unwrap();
    assert_eq!(record.sequence(), Sequence(8));
    drop(store);
    assert_eq!(count(&kept).await, 3);
    // Once more, and where there is nothing.
    let second = SqliteStore::restore(&kept, &place.path).await.unwrap();
    assert!(second.unwrap().ends_with("history.db.replaced-2"));
    assert_eq!(count(&place.path).await, 3);
    let fresh = place.dir.path().join("fresh/history.db");
    assert_eq!(
        SqliteStore::restore(&place.copy, &fresh).await.unwrap(),
        None
    );
    assert_eq!(count(&fresh).await, 2);
}

#[tokio::test]
async fn a_copy_put_in_place_by_hand_was_read_with_the_log_of_what_had_been_there() {
    let place = Place::new().await;
    // A process that died has left its log.
    let mut other = Other::playing("run", &place.path);
    assert_eq!(other.hear().as_deref(), Some("ready"));
    other.kill();
    assert!(place.names().contains(&"history.db-wal".to_owned()));
    let kept = SqliteStore::restore(&place.copy, &place.path)
        .await
        .unwrap();
    assert_eq!(count(&place.path).await, 2);
    // Which is not lost either.
    assert_eq!(count_all(&kept.unwrap()).await, 4);
}

/// With what is unfinished.
async fn count_all(path: &Path) -> usize {
    let store = SqliteStore::open(path).await.unwrap();
    store
        .list(&Query::default())
        .await
        .unwrap()
        .deployments
        .len()
}

#[tokio::test]
async fn nothing_is_restored_while_anybody_has_the_history_open_or_runs_a_deployment() {
    let place = Place::new().await;
    let before = fs::metadata(&place.path).unwrap().ino();
    for (part, kind) in [
        ("open", Kind::Busy),
        ("run", Kind::Busy),
        ("lease", Kind::Conflict),
        ("exclude", Kind::Conflict),
    ] {
        let mut other = Other::playing(part, &place.path);
        assert_eq!(other.hear().as_deref(), Some("ready"));
        let error = SqliteStore::restore(&place.copy, &place.path)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{part}: {error}");
        assert!(
            error.to_string().contains("nothing was restored"),
            "{error}"
        );
        other.tell("end");
        assert_eq!(other.hear(), None);
        if part == "run" || part == "lease" {
            let store = SqliteStore::open(&place.path).await.unwrap();
            let workload = "api@x".parse().unwrap();
            let lease = store.take_over(&workload, &holder()).await.unwrap();
            let end = settlement(lease.deployment(), Outcome::Interrupted);
            let done = store
                .finish(&lease, &[], &end, at(60), &Then::Release)
                .await;
            done.unwrap();
        }
    }
    // Here, and any other SQLite client.
    let store = SqliteStore::open(&place.path).await.unwrap();
    let error = SqliteStore::restore(&place.copy, &place.path)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Busy, "{error}");
    drop(store);
    let client = Connection::open(&place.path).unwrap();
    client.execute_batch("BEGIN; SELECT * FROM events").unwrap();
    let error = SqliteStore::restore(&place.copy, &place.path)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Busy, "{error}");
    drop(client);
    assert_eq!(fs::metadata(&place.path).unwrap().ino(), before);
    assert!(!place.names().iter().any(|n| n.contains("replaced")));
    SqliteStore::restore(&place.copy, &place.path)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_no_whole_copy_is_not_restored_and_the_history_is_as_it_was() {
    let place = Place::new().await;
    let bad = place.dir.path().join("bad.db");
    let whole = fs::read(&place.copy).unwrap();
    let newer = place.dir.path().join("newer.db");
    fs::copy(&place.copy, &newer).unwrap();
    let connection = Connection::open(&newer).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let theirs = place.dir.path().join("theirs.db");
    let connection = Connection::open(&theirs).unwrap();
    connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(connection);
    let empty = place.dir.path().join("empty.db");
    let connection = Connection::open(&empty).unwrap();
    connection
        .execute_batch("CREATE TABLE x (x); DROP TABLE x")
        .unwrap();
    drop(connection);
    let before = fs::read(&place.path).unwrap();
    for (bytes, from, kind) in [
        (Some(Vec::new()), &bad, Kind::Corrupt),
        (Some(vec![b'x'; 9_000]), &bad, Kind::Corrupt),
        (
            Some(whole[..whole.len() - 4_096].to_vec()),
            &bad,
            Kind::Corrupt,
        ),
        (None, &newer, Kind::NewerSchema),
        (None, &theirs, Kind::Unusable),
        (None, &empty, Kind::Unusable),
        (None, &place.dir.path().join("missing.db"), Kind::Unusable),
        (None, &place.path, Kind::Unusable),
    ] {
        if let Some(bytes) = bytes {
            fs::write(from, bytes).unwrap();
        }
        let error = SqliteStore::restore(from, &place.path).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{from:?}: {error}");
        assert_eq!(fs::read(&place.path).unwrap(), before, "{error}");
    }
    assert_eq!(place.names(), ["history.db", "history.db.locks"]);
    let locks = fs::read_dir(place.path.with_file_name("history.db.locks")).unwrap();
    assert!(
        !locks
            .map(|e| e.unwrap().file_name())
            .any(|n| n.to_str().unwrap().contains("draft"))
    );
    assert_eq!(count(&place.path).await, 3);
}

#[tokio::test]
async fn a_damaged_history_is_replaced_and_kept() {
    for damage in ["empty", "rubbish", "half"] {
        let place = Place::new().await;
        let bytes = fs::read(&place.path).unwrap();
        let damaged = match damage {
            "empty" => Vec::new(),
            "rubbish" => vec![0xa5; 9_000],
            _ => bytes[..bytes.len() / 2].to_vec(),
        };
        fs::write(&place.path, &damaged).unwrap();
        let kept = SqliteStore::restore(&place.copy, &place.path)
            .await
            .unwrap();
        assert_eq!(
            fs::read(kept.unwrap()).unwrap().len(),
            damaged.len(),
            "{damage}"
        );
        assert_eq!(count(&place.path).await, 2, "{damage}");
    }
}

#[tokio::test]
async fn what_was_in_flight_in_the_copy_is_recoverable_though_its_process_lives() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("history.db"), dir.path().join("copy.db"));
    let elsewhere = dir.path().join("elsewhere.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let new = sample("api@x", 1);
    let begun = begin(&store, &new).await.unwrap();
    store.append(&begun.lease, &[step(2)]).await.unwrap();
    store.backup(&copy).await.unwrap();
    SqliteStore::restore(&copy, &elsewhere).await.unwrap();
    let restored = SqliteStore::open(&elsewhere).await.unwrap();
    let state = restored.workload(&new.workload).await.unwrap();
    assert_eq!(state.in_flight.unwrap().liveness, Liveness::Dead);
    restored.take_over(&new.workload, &holder()).await.unwrap();
    let state = store.workload(&new.workload).await.unwrap();
    assert_eq!(state.in_flight.unwrap().liveness, Liveness::Alive);
    drop(begun);
}

#[tokio::test]
async fn what_a_killed_copy_left_goes_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path().join("history.db"))
        .await
        .unwrap();
    let to = dir.path().join("copies");
    fs::create_dir(&to).unwrap();
    let name = |end: &str| to.join(format!(".rollback-copy-{end}"));
    for left in ["0123456789abcdef", "0123456789abcdef-wal"] {
        fs::write(name(left), "half").unwrap();
    }
    fs::write(name("mine"), "theirs").unwrap();
    let used = fs::File::create(name("fedcba9876543210")).unwrap();
    used.lock().unwrap();
    store.backup(to.join("copy.db")).await.unwrap();
    let mut left: Vec<_> = fs::read_dir(&to)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(
        left,
        [
            ".rollback-copy-fedcba9876543210",
            ".rollback-copy-mine",
            "copy.db"
        ]
    );
}

#[tokio::test]
async fn a_history_that_root_restores_stays_its_owners() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root restores for others");
        return;
    }
    let place = Place::new().await;
    let done = Command::new("chown")
        .arg("-R")
        .arg("12345:23456")
        .arg(place.path.parent().unwrap())
        .status();
    assert!(done.unwrap().success());
    SqliteStore::restore(&place.copy, &place.path)
        .await
        .unwrap();
    let meta = fs::metadata(&place.path).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (12_345, 23_456));
}
