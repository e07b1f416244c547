//! Damage to the file and edits by hand: `verify` names each, and the rest is served.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use rollback_core::deployment::{LiveRecord, Outcome};
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{Abandonment, HistoryReader, HistoryStore, Query, Then};
use rollback_core::id::DeploymentId;
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::{at, holder, sample, settlement};
use rusqlite::Connection;
use support::{begin, by_hand, reseal, step};

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
        let step = TimedEvent::new(at(n), event);
        store.append(&begun.lease, &[step]).await.unwrap();
        let end = settlement(&new.id, Outcome::Succeeded);
        let done = store.finish(&begun.lease, &[], &end, at(n + 1), &Then::Release);
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
        by_hand(&self.path).execute_batch(sql).unwrap();
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
        since.deployments.last().unwrap().opening().opened_at,
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
    let done = store.finish(&begun.lease, &[], &end, at(100), &Then::Release);
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
            "event 0 of its timeline is missing",
        ),
        (
            "UPDATE events SET deployment = 999 WHERE deployment = 3 AND ordinal = 0",
            "not there",
        ),
        (
            "DELETE FROM events WHERE deployment = 3",
            "or how it ended, was changed",
        ),
        (
            "UPDATE workloads SET live = '{\"known\":' WHERE id = 'w3@x'",
            "w3@x",
        ),
        (
            "UPDATE workloads SET live = '{\"known\":\"deploy-20200101-000000-0000000000000000\"}',
             seal = NULL WHERE id = 'w3@x'",
            "has no record",
        ),
        (
            "UPDATE workloads SET in_flight = (SELECT id FROM deployments WHERE sequence = 4),
             seal = NULL WHERE id = 'w3@x'",
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

#[tokio::test]
async fn list_hid_older_records_behind_a_garbled_number_at_a_pages_end() {
    let place = Place::new().await;
    place.edit("PRAGMA wal_checkpoint(TRUNCATE)");
    let root: i64 = Connection::open(&place.path)
        .unwrap()
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'deployments'",
            [],
            |r| r.get(0),
        )
        .unwrap();
    let whole = fs::read(&place.path).unwrap();
    for garbled in [0u8, 1, 0x7e] {
        // The number of record 31 in the leaf that holds it: a byte before its row's header.
        let mut bytes = whole.clone();
        let found = leaf_cells(&bytes, usize::try_from(root).unwrap());
        let at = found.iter().find(|(n, _)| *n == 31).unwrap().1;
        bytes[at] = garbled;
        fs::write(&place.path, &bytes).unwrap();
        let store = place.store().await;
        let mut query = Query::default().limit(10);
        let (mut seen, mut unreadable) = (Vec::new(), 0);
        for _ in 0..20 {
            let part = store.list(&query).await.unwrap();
            seen.extend(part.deployments.iter().map(|d| d.id().clone()));
            unreadable += part.unreadable.len();
            query.before = part.next;
            if part.next.is_none() {
                break;
            }
        }
        assert_eq!(query.before, None, "{garbled}: it has an end");
        let mut wanted = place.ids.clone();
        wanted.remove(30);
        wanted.reverse();
        assert_eq!(seen, wanted, "{garbled}");
        assert!(unreadable >= 1, "{garbled}");
        let faults = store.verify().await.unwrap();
        assert!(!faults.is_empty(), "{garbled}");
    }
}

/// Sequence and place of its one byte, of each cell of the leaves of a table's tree.
fn leaf_cells(bytes: &[u8], root: usize) -> Vec<(u8, usize)> {
    let start = (root - 1) * 4_096;
    let page = &bytes[start..start + 4_096];
    let cells = usize::from(u16::from_be_bytes([page[3], page[4]]));
    let header = if page[0] == 0x05 { 12 } else { 8 };
    let cell = |n: usize| {
        let at = header + 2 * n;
        usize::from(u16::from_be_bytes([page[at], page[at + 1]]))
    };
    if page[0] == 0x05 {
        let child = |at: usize| u32::from_be_bytes(page[at..at + 4].try_into().unwrap());
        let children = (0..cells).map(|n| child(cell(n))).chain([child(8)]);
        return children
            .flat_map(|n| leaf_cells(bytes, usize::try_from(n).unwrap()))
            .collect();
    }
    let numbers = (0..cells).map(|n| {
        // The length of the row is a number of one to nine bytes, of which all but the last have
        // their highest bit set.
        let mut at = cell(n);
        while page[at] & 0x80 != 0 {
            at += 1;
        }
        (page[at + 1], start + at + 1)
    });
    numbers.collect()
}

/// A history with a record of several events; its id.
async fn eventful(path: &Path) -> DeploymentId {
    let store = SqliteStore::open(path).await.unwrap();
    let new = sample("api@x", 1);
    let begun = begin(&store, &new).await.unwrap();
    for n in 2..6 {
        store.append(&begun.lease, &[step(n)]).await.unwrap();
    }
    let end = settlement(&new.id, Outcome::Succeeded);
    let done = store.finish(&begun.lease, &[], &end, at(7), &Then::Release);
    done.await.unwrap();
    new.id
}

#[tokio::test]
async fn an_event_that_was_removed_or_changed_went_unnoticed_and_was_served_as_truth() {
    for edit in [
        "DELETE FROM events WHERE ordinal = 2",
        "DELETE FROM events WHERE ordinal = 0",
        // As if nothing had been there.
        "DELETE FROM events WHERE ordinal = 1; UPDATE events SET ordinal = ordinal - 1 WHERE ordinal > 1",
        "DELETE FROM events WHERE ordinal = 4",
        "UPDATE events SET body = replace(body, 'step 3', 'step 9') WHERE ordinal = 1",
        "UPDATE events SET body = replace(body, 'so it ended', 'all went well')",
        "UPDATE deployments SET header = replace(header, 'because', 'by order')",
        // Consistent with all columns that repeat it.
        "UPDATE deployments SET header = replace(header, '\"ann\"', '\"eve\"'), actor = 'eve'",
        "UPDATE deployments SET annotations = '{\"pinned\":true}', pinned = 1",
        "UPDATE deployments SET sequence = 7; UPDATE events SET deployment = 7; UPDATE labels SET deployment = 7",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.db");
        let id = eventful(&path).await;
        by_hand(&path).execute_batch(edit).unwrap();
        let store = SqliteStore::open(&path).await.unwrap();
        let faults = store.verify().await.unwrap();
        assert!(
            faults.iter().any(|f| f.to_string().contains(id.as_str())),
            "{edit}: {faults:?}"
        );
        let error = store.get(&id).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{edit}");
        let page = store.list(&Query::default()).await.unwrap();
        assert_eq!(
            (page.deployments.len(), page.unreadable.len()),
            (0, 1),
            "{edit}"
        );
        // Only who seals it anew is believed.
        if edit.contains("step 9") {
            drop(store);
            reseal(&path);
            let store = SqliteStore::open(&path).await.unwrap();
            assert_eq!(store.verify().await.unwrap(), []);
        }
    }
}

#[tokio::test]
async fn a_changed_event_of_what_is_in_flight_was_recovered_from_as_if_it_had_happened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let new = sample("api@x", 1);
    let begun = begin(&store, &new).await.unwrap();
    for n in 2..5 {
        store.append(&begun.lease, &[step(n)]).await.unwrap();
    }
    drop(begun);
    let edit = "UPDATE events SET body = replace(body, 'step 4', 'step 9') WHERE ordinal = 2";
    assert_eq!(by_hand(&path).execute(edit, []).unwrap(), 1);
    let error = store.get(&new.id).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    let lease = store.take_over(&new.workload, &holder()).await.unwrap();
    let error = store.append(&lease, &[step(10)]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
}

#[tokio::test]
async fn edits_by_hand_are_kept_out_while_nobody_seals_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    eventful(&path).await;
    let connection = Connection::open(&path).unwrap();
    for edit in [
        "UPDATE deployments SET outcome = 'failed'",
        "UPDATE workloads SET version = 9",
        "INSERT INTO workloads (id, live) VALUES ('x@y', '\"nothing\"')",
        "INSERT INTO events (deployment, ordinal, at_us, name, body) VALUES (1, 9, 0, 'x', '{}')",
    ] {
        let error = connection.execute_batch(edit).unwrap_err();
        assert!(error.to_string().contains("update this program"), "{error}");
    }
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.verify().await.unwrap(), []);
}

#[tokio::test]
async fn a_state_that_was_changed_by_hand_is_damaged_hides_no_other_and_can_be_abandoned() {
    for edit in [
        "UPDATE workloads SET version = 7 WHERE id = 'b@x'",
        "UPDATE workloads SET live = '\"unknown\"' WHERE id = 'b@x'",
        "UPDATE workloads SET live = 'rubbish' WHERE id = 'b@x'",
        "UPDATE workloads SET in_flight = 'rubbish', holder = '{}' WHERE id = 'b@x'",
        "UPDATE workloads SET in_flight = (SELECT id FROM deployments LIMIT 1) WHERE id = 'b@x'",
        "UPDATE workloads SET hold = '{}' WHERE id = 'b@x'",
        "UPDATE workloads SET amended = '7' WHERE id = 'b@x'",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.db");
        let store = SqliteStore::open(&path).await.unwrap();
        for workload in ["a@x", "b@x", "c@x"] {
            support::settle(&store, workload, 1).await;
        }
        by_hand(&path).execute_batch(edit).unwrap();
        let all = store.workloads().await.unwrap();
        assert_eq!(all.states.len(), 2, "{edit}");
        assert_eq!(all.damaged.len(), 1, "{edit}");
        let workload = "b@x".parse().unwrap();
        assert_eq!(all.damaged[0].workload, workload);
        let error = store.workload(&workload).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{edit}");
        assert!(!store.verify().await.unwrap().is_empty());
        let abandonment = Abandonment::new(
            rollback_core::id::Actor::user("ann").unwrap(),
            at(50),
            "it cannot be read".parse().unwrap(),
        );
        store.abandon(&workload, &abandonment).await.unwrap();
        let state = store.workload(&workload).await.unwrap();
        assert_eq!(state.live, LiveRecord::Unknown, "{edit}");
        assert!(state.in_flight.is_none());
        assert_eq!(state.amendments.len(), 1, "{edit}");
        assert_eq!(state.amendments[0].by, abandonment.by);
        assert_eq!(store.verify().await.unwrap(), [], "{edit}");
        support::settle(&store, "b@x", 60).await;
        let again = store.abandon(&workload, &abandonment).await.unwrap_err();
        assert_eq!(again.kind(), Kind::NotFound);
    }
}

#[tokio::test]
async fn a_deployment_in_flight_whose_record_cannot_be_read_bricked_its_workload() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let abandonment = Abandonment::new(
        rollback_core::id::Actor::user("ann").unwrap(),
        at(50),
        "it cannot be recovered".parse().unwrap(),
    );
    for (n, readable) in [(1, true), (10, false)] {
        let new = sample("api@x", n);
        let begun = begin(&store, &new).await.unwrap();
        store.append(&begun.lease, &[step(n)]).await.unwrap();
        let refused = store
            .abandon(&new.workload, &abandonment)
            .await
            .unwrap_err();
        let conflict = refused.conflict().unwrap();
        assert_eq!(conflict.liveness, rollback_core::history::Liveness::Alive);
        drop(begun);
        if !readable {
            let sql = format!(
                "UPDATE deployments SET header = '{{' WHERE id = '{}'",
                new.id
            );
            by_hand(&path).execute_batch(&sql).unwrap();
        }
        let id = store.abandon(&new.workload, &abandonment).await.unwrap();
        assert_eq!(id, new.id);
        let state = store.workload(&new.workload).await.unwrap();
        assert!(state.in_flight.is_none());
        assert_eq!(state.live, LiveRecord::Unknown);
        match store.get(&new.id).await {
            Ok(record) => {
                assert!(readable);
                assert_eq!(record.unwrap().outcome(), Some(Outcome::Interrupted));
            }
            Err(e) => assert!(!readable && e.kind() == Kind::Corrupt, "{e}"),
        }
        support::settle(&store, "api@x", n + 3).await;
    }
}

#[tokio::test]
async fn one_text_that_is_not_utf_8_hid_every_summary_workload_and_id() {
    let place = Place::new().await;
    let store = place.store().await;
    let one = "w3@x".parse().unwrap();
    let now = begin(&store, &sample("w3@x", 90)).await.unwrap();
    drop((now, store));
    place.edit(&format!(
        "UPDATE summaries SET body = CAST(x'ff' AS TEXT) WHERE workload = 'w3@x';
         UPDATE workloads SET id = CAST(x'ff' AS TEXT) WHERE id = 'w5@x';
         UPDATE deployments SET outcome = CAST(x'ff' AS TEXT) WHERE workload = 'w8@x';
         UPDATE deployments SET id = CAST(CAST(id AS BLOB) || x'ff' AS TEXT) WHERE id = '{}';",
        place.ids[7]
    ));
    let store = place.store().await;
    // What is kept of a record is no more than the record says.
    let all = store.summaries(&one, 10).await.unwrap();
    assert_eq!((all.summaries.len(), all.unreadable), (2, Vec::new()));
    let states = store.workloads().await.unwrap();
    assert_eq!(states.states.len(), 39);
    assert!(states.states.iter().any(|s| s.in_flight.is_some()));
    let beginning = &place.ids[7].as_str()[..4];
    let found = store.find(beginning, 100).await.unwrap();
    assert_eq!(found.len(), 40, "{found:?}");
    assert_eq!(store.stats(&Query::default()).await.unwrap().total, 39);
    let faults = store.verify().await.unwrap();
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert!(
        faults.iter().any(|f| f.contains("the table workloads")),
        "{faults:?}"
    );
    assert!(!faults.iter().any(|f| f.contains("w3@x: ")), "{faults:?}");
    // What is wrong with another is found all the same.
    drop(store);
    let faults = place
        .faults("UPDATE workloads SET live = 'rubbish' WHERE id = 'w9@x'")
        .await;
    assert!(faults.iter().any(|f| f.contains("w9@x")), "{faults:?}");
}
