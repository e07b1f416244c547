//! Damage to the file and edits by hand: `verify` names each, and the rest is served.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use rollback_core::deployment::Outcome;
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{HistoryStore, Query, Then};
use rollback_core::id::DeploymentId;
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::{at, holder, sample, settlement};
use rusqlite::Connection;

/// A history of forty settled records, closed; their ids, oldest first.
async fn history(path: &Path) -> Vec<DeploymentId> {
    let store = SqliteStore::open(path).await.unwrap();
    let mut ids = Vec::new();
    for n in 0..40 {
        let mut new = sample(&format!("w{n}@x"), n);
        // So that a page of SQLite's holds one or two.
        let filler = "x".repeat(1_500);
        new.labels.insert("filler".to_owned(), filler);
        let version = store.workload(&new.workload).await.unwrap().version;
        let begun = store.begin(&new, &holder(), version).await.unwrap();
        let event = Event::PrepareIntended;
        let step = TimedEvent { at: at(n), event };
        store.append(&begun.lease, &step).await.unwrap();
        let end = settlement(&new.id, Outcome::Succeeded);
        let done = store.finish(begun.lease, &end, at(n + 1), &Then::Release);
        done.await.unwrap();
        ids.push(new.id);
    }
    ids
}

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
    ids: Vec<DeploymentId>,
}

impl Place {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.db");
        let ids = history(&path).await;
        Self {
            _dir: dir,
            path,
            ids,
        }
    }

    /// What somebody does with the sqlite3 shell.
    fn edit(&self, sql: &str) {
        let connection = Connection::open(&self.path).unwrap();
        connection.execute_batch(sql).unwrap();
    }

    async fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path).await.unwrap()
    }

    /// All faults as text, after `edit`.
    async fn faults(&self, edit: &str) -> Vec<String> {
        self.edit(edit);
        let faults = self.store().await.verify().await.unwrap();
        faults.iter().map(ToString::to_string).collect()
    }

    /// Overwrites the page in which `needle` lies, log and all brought into the file first.
    fn damage(&self, needle: &str) {
        self.edit("PRAGMA wal_checkpoint(TRUNCATE)");
        let mut bytes = fs::read(&self.path).unwrap();
        let found = bytes
            .windows(needle.len())
            .rposition(|w| w == needle.as_bytes())
            .unwrap();
        let page = found / 4_096 * 4_096;
        bytes[page..page + 4_096].fill(0xa5);
        fs::write(&self.path, bytes).unwrap();
    }
}

#[tokio::test]
async fn a_damaged_page_of_records_is_named_and_every_other_record_is_served() {
    let place = Place::new().await;
    // A text that only the header of record 20 holds.
    let release = "app:v20";
    place.damage(release);
    let store = place.store().await;
    let faults = store.verify().await.unwrap();
    assert!(faults.iter().any(|f| f.place == "the file"), "{faults:?}");
    let named: Vec<_> = faults
        .iter()
        .filter(|f| f.place.starts_with("record"))
        .collect();
    assert!((1..=3).contains(&named.len()), "{faults:?}");

    let page = store.list(&Query::default()).await.unwrap();
    assert_eq!(page.unreadable.len(), named.len());
    assert_eq!(page.deployments.len(), 40 - named.len());
    assert_eq!(page.next, None);
    assert!(
        page.deployments
            .is_sorted_by(|a, b| a.sequence() > b.sequence())
    );
    for (n, id) in place.ids.iter().enumerate() {
        let listed = page.deployments.iter().any(|d| d.id() == id);
        match store.get(id).await {
            Ok(record) => assert!(listed && record.unwrap().id() == id, "{n}"),
            Err(e) => assert!(!listed && e.kind() == Kind::Corrupt, "{n}: {e}"),
        }
    }
    // Page by page it is the same, and filters are obeyed.
    let mut query = Query::default().limit(7);
    let mut paged = Vec::new();
    loop {
        let part = store.list(&query).await.unwrap();
        assert!(part.deployments.len() + part.unreadable.len() <= 7);
        paged.extend(part.deployments);
        query.before = part.next;
        if part.next.is_none() {
            break;
        }
    }
    assert_eq!(paged, page.deployments);
    let mut query = Query::default();
    query.since = Some(at(10));
    let since = store.list(&query).await.unwrap();
    assert_eq!(
        since.deployments,
        page.deployments[..since.deployments.len()]
    );
    assert_eq!(
        since.deployments.last().unwrap().new_deployment().opened_at,
        at(10)
    );
    // What is counted lies elsewhere, and is whole.
    assert_eq!(store.stats(&Query::default()).await.unwrap().total, 40);
    // Work on what is whole goes on.
    let new = sample("new@x", 99);
    let begun = store
        .begin(&new, &holder(), Default::default())
        .await
        .unwrap();
    let end = settlement(&new.id, Outcome::Succeeded);
    let done = store.finish(begun.lease, &end, at(100), &Then::Release);
    done.await.unwrap();
    // A copy of damage is no copy.
    let error = store
        .backup(place.path.with_extension("copy"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert!(!place.path.with_extension("copy").exists());
}

#[tokio::test]
async fn a_damaged_page_of_events_hides_only_the_records_it_belongs_to() {
    let place = Place::new().await;
    let store = place.store().await;
    let whole = store.list(&Query::default()).await.unwrap();
    drop(store);
    let connection = Connection::open(&place.path).unwrap();
    let root: i64 = connection
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'events'",
            [],
            |r| r.get(0),
        )
        .unwrap();
    let leaf: i64 = connection
        .query_row("SELECT page_count FROM pragma_page_count", [], |r| r.get(0))
        .unwrap();
    drop(connection);
    // Any leaf of the table of events but its root: found by what it holds.
    place.edit("PRAGMA wal_checkpoint(TRUNCATE)");
    let mut bytes = fs::read(&place.path).unwrap();
    let pages = usize::try_from(leaf).unwrap();
    let damaged = (1..pages)
        .filter(|n| i64::try_from(n + 1).unwrap() != root)
        .find(|n| {
            let page = &bytes[n * 4_096..(n + 1) * 4_096];
            page[0] == 0x0a && page.windows(16).any(|w| w == b"prepare-intended")
        })
        .unwrap();
    bytes[damaged * 4_096..(damaged + 1) * 4_096].fill(0x5a);
    fs::write(&place.path, bytes).unwrap();

    let store = place.store().await;
    let page = store.list(&Query::default()).await.unwrap();
    assert!(!page.unreadable.is_empty());
    assert!(page.deployments.len() > 10, "{:?}", page.unreadable);
    assert_eq!(page.deployments.len() + page.unreadable.len(), 40);
    assert!(
        page.deployments
            .iter()
            .all(|d| whole.deployments.contains(d))
    );
    let faults = store.verify().await.unwrap();
    let named = faults
        .iter()
        .filter(|f| f.place.starts_with("record"))
        .count();
    assert_eq!(named, page.unreadable.len(), "{faults:?}");
}

#[tokio::test]
async fn columns_that_disagree_with_the_record_are_named() {
    let place = Place::new().await;
    let id = &place.ids[4];
    for (edit, column) in [
        ("service = 'other'", "service"),
        ("target = 'other'", "target"),
        ("workload = 'w9@x'", "workload"),
        ("backend = NULL", "backend"),
        ("trigger = 'adopt'", "trigger"),
        ("actor = 'eve'", "actor"),
        ("opened_us = 5", "opened_us"),
        ("opened_ns = 5", "opened_ns"),
        ("outcome = 'failed'", "outcome"),
        ("verdict = 'failed'", "verdict"),
        ("settled_us = NULL", "settled_us"),
        ("duration_ms = 999999", "duration_ms"),
        ("pinned = 1", "pinned"),
    ] {
        let faults = place
            .faults(&format!("UPDATE deployments SET {edit} WHERE sequence = 5"))
            .await;
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with(id.as_str()), "{faults:?}");
        assert!(
            faults[0].contains(&format!("the column {column} says")),
            "{faults:?}"
        );
        let record = place.store().await.get(id).await.unwrap().unwrap();
        assert_eq!(record.outcome(), Some(Outcome::Succeeded));
        place.edit(
            "UPDATE deployments SET service = 'w4', target = 'x', workload = 'w4@x',
               backend = 'sample', trigger = 'deploy', actor = 'ann',
               opened_us = 1700000004000000, opened_ns = 0, outcome = 'succeeded',
               verdict = 'passed', settled_us = 1700000005000000, duration_ms = 1000, pinned = 0
             WHERE sequence = 5",
        );
    }
    assert_eq!(place.store().await.verify().await.unwrap(), []);
}

#[tokio::test]
async fn rows_that_belong_together_and_do_not_agree_are_named() {
    for (edit, wanted) in [
        ("DELETE FROM labels WHERE deployment = 3", "labels"),
        (
            "UPDATE events SET name = 'retired' WHERE deployment = 3 AND ordinal = 0",
            "retired",
        ),
        (
            "UPDATE events SET at_us = 7 WHERE deployment = 3 AND ordinal = 1",
            "at 7",
        ),
        (
            "UPDATE events SET ordinal = 9 WHERE deployment = 3 AND ordinal = 0",
            "cannot follow",
        ),
        (
            "UPDATE events SET deployment = 999 WHERE deployment = 3 AND ordinal = 0",
            "not there",
        ),
        (
            "DELETE FROM events WHERE deployment = 3",
            "nobody will settle it",
        ),
        (
            "UPDATE workloads SET live = '{\"known\":' WHERE id = 'w3@x'",
            "w3@x",
        ),
        (
            "UPDATE workloads SET live = '{\"known\":\"deploy-20200101-000000-0000000000000000\"}'
             WHERE id = 'w3@x'",
            "has no record",
        ),
        (
            "UPDATE workloads SET in_flight = (SELECT id FROM deployments WHERE sequence = 4)
             WHERE id = 'w3@x'",
            "nobody holds it",
        ),
        (
            "UPDATE workloads SET policy = '7' WHERE id = 'w3@x'",
            "w3@x",
        ),
        (
            "UPDATE workloads SET id = 'not an id' WHERE id = 'w3@x'",
            "not an id",
        ),
    ] {
        let place = Place::new().await;
        let edit = format!("PRAGMA foreign_keys = OFF; {edit}");
        let faults = place.faults(&edit).await;
        assert!(
            faults.iter().any(|f| f.contains(wanted)),
            "{edit}: {faults:?}"
        );
        let others = place.store().await.list(&Query::default()).await.unwrap();
        assert!(others.deployments.len() >= 39, "{edit}");
        assert!(
            place.store().await.workloads().await.unwrap().states.len() >= 39,
            "{edit}"
        );
    }
}
