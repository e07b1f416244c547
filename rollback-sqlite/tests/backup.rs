//! Copies made while writers go on.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rollback_core::deployment::Outcome;
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{HistoryReader, HistoryStore, Liveness, Query, Then, Version};
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::{at, holder, sample, settlement};

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = names
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

async fn settle(store: &SqliteStore, workload: &str, n: u64) {
    let new = sample(workload, n);
    let version = store.workload(&new.workload).await.unwrap().version;
    let begun = store.begin(&new, &holder(), version).await.unwrap();
    let end = settlement(&new.id, Outcome::Succeeded);
    let done = store.finish(&begun.lease, &[], &end, at(n + 1), &Then::Release);
    done.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_made_while_others_write_is_whole_and_holds_what_was_acknowledged_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let store = SqliteStore::open(&path).await.unwrap();
    for n in 0..50 {
        settle(&store, "old@x", n).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..3)
        .map(|w| {
            let (stop, written, path) = (stop.clone(), written.clone(), path.clone());
            tokio::spawn(async move {
                // A connection of its own, as another process has.
                let store = SqliteStore::open(&path).await.unwrap();
                let mut n = 0;
                while !stop.load(Ordering::SeqCst) {
                    settle(&store, &format!("w{w}@x"), n).await;
                    written.fetch_add(1, Ordering::SeqCst);
                    n += 1;
                }
            })
        })
        .collect();
    for copy in 0..5 {
        let before = store.list(&Query::default().limit(1_000)).await.unwrap();
        let written_before = written.load(Ordering::SeqCst);
        let to = dir.path().join(format!("copy-{copy}.db"));
        store.backup(&to).await.unwrap();
        while written.load(Ordering::SeqCst) < written_before + 5 {
            tokio::task::yield_now().await;
        }
        let mode = fs::metadata(&to).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600);
        let copied = SqliteStore::open(&to).await.unwrap();
        assert_eq!(copied.verify().await.unwrap(), []);
        for record in before.deployments {
            let there = copied.get(record.id()).await.unwrap().unwrap();
            // One that was in flight may have been settled before the copy was made.
            assert!(there.events().starts_with(record.events()));
            assert_eq!(there.opening(), record.opening());
        }
    }
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(store.verify().await.unwrap(), []);
    assert!(!names(dir.path()).iter().any(|n| n.contains("tmp")));
}

#[tokio::test]
async fn what_was_in_flight_is_recoverable_in_the_copy_and_goes_on_in_the_original() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path().join("history.db"))
        .await
        .unwrap();
    settle(&store, "api@x", 1).await;
    let new = sample("api@x", 5);
    let begun = store.begin(&new, &holder(), Version(2)).await.unwrap();
    let event = |event| TimedEvent::new(at(6), event);
    let step = event(Event::PrepareIntended);
    store.append(&begun.lease, &[step]).await.unwrap();
    let to = dir.path().join("copies");
    fs::create_dir(&to).unwrap();
    store.backup(to.join("copy.db")).await.unwrap();
    assert_eq!(names(&to), ["copy.db"]);

    let copy = SqliteStore::open(to.join("copy.db")).await.unwrap();
    let (records, copied) = (Query::default(), Query::default());
    assert_eq!(
        copy.list(&copied).await.unwrap(),
        store.list(&records).await.unwrap()
    );
    let state = copy.workload(&new.workload).await.unwrap();
    assert_eq!(state.in_flight.unwrap().liveness, Liveness::Dead);
    let lease = copy.take_over(&new.workload, &holder()).await.unwrap();
    let end = settlement(&new.id, Outcome::Interrupted);
    let done = copy.finish(&lease, &[], &end, at(7), &Then::Release).await;
    done.unwrap();

    let state = store.workload(&new.workload).await.unwrap();
    assert_eq!(state.in_flight.unwrap().liveness, Liveness::Alive);
    let decision = "goes on".to_owned();
    let next = event(Event::TakenOver { decision, by: None });
    store.append(&begun.lease, &[next]).await.unwrap();
}

#[tokio::test]
async fn a_copy_replaces_nothing_and_leaves_nothing_when_it_fails() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path().join("history.db"))
        .await
        .unwrap();
    settle(&store, "api@x", 1).await;
    let to = dir.path().join("to");
    fs::create_dir(&to).unwrap();
    fs::write(to.join("taken"), "theirs").unwrap();
    std::os::unix::fs::symlink("nowhere", to.join("link")).unwrap();
    for name in ["taken", "link", "", "missing/copy.db", "taken/copy.db"] {
        let error = store.backup(to.join(name)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unusable, "{name}: {error}");
        assert!(error.to_string().contains("; "), "no advice: {error}");
    }
    assert_eq!(names(&to), ["link", "taken"]);
    assert_eq!(fs::read(to.join("taken")).unwrap(), b"theirs");
    // Of two copies to one place at once, one is made.
    let place = to.join("one.db");
    let (a, b) = tokio::join!(store.backup(&place), store.backup(&place));
    assert!(a.is_ok() || b.is_ok());
    SqliteStore::open(&place).await.unwrap();
    drop(store);
}
