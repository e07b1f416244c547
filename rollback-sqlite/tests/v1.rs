//! A history that an earlier schema version wrote is read by today's library as it was written, for
//! ever.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::Path;

use rollback_core::deployment::{Asked, Deployment, Outcome, Phase, TriggerKind};
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::history::{
    Amend, Annotation, HistoryReader, HistoryStore, Liveness, Query, Stats, Then, Version,
};
use rollback_core::policy::RollbackMode;
use rollback_core::request::{Reapply, Wish};
use rollback_fs::Locks;
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::{at, by_ann, holder, note, sample, settlement};
use rusqlite::Connection;

/// Sequence, workload, trigger, actor, outcome, phase, events, milliseconds, labels, what people
/// added.
const RECORDS: &str = r#"
13 db@web-1 deploy user ann via cli; in flight, switching, 3 events, None; {"team": "core"}; []
12 db@web-1 deploy user ann via cli; cancelled, settled, 1 events, Some(1234); {"team": "core"}; []
11 worker@edge-1 deploy system ci; succeeded, settled, 8 events, Some(11111); {"team": "core"}; []
10 api@web-1 rollback user ann via cli; succeeded, settled, 8 events, Some(11111); {}; []
9 web@web-2 rollback user Bob; succeeded, settled, 11 events, Some(14814); {}; []
8 web@web-2 deploy user Bob; succeeded, settled, 11 events, Some(14814); {}; []
7 web@web-2 deploy user Bob; failed, settled, 9 events, Some(11111); {}; []
6 api@web-1 automatic_rollback system automatic-rollback; succeeded, settled, 8 events, Some(12345); {"team": "core"}; []
5 api@web-1 deploy system ci; failed and rolled back, settled, 7 events, Some(8641); {"team": "core"}; [bad: loses orders]
4 api@web-1 deploy system ci; succeeded, settled, 8 events, Some(11111); {"team": "core"}; []
3 worker@edge-1 adopt user ann via cli; succeeded, settled, 3 events, Some(3703); {}; []
2 web@web-2 deploy user Bob; succeeded, settled, 11 events, Some(14814); {"team": "edge", "ticket": "OPS-1 \"quoted\" ü"}; []
1 api@web-1 deploy user ann via cli; succeeded, settled, 8 events, Some(11111); {"team": "core"}; [pinned, known good, since March]
"#;

async fn migrated(path: &Path) -> SqliteStore {
    drop(version_1(path));
    SqliteStore::open(path).await.unwrap()
}

fn version_1(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    let dump = include_str!("fixtures/v1.sql");
    connection.execute_batch(dump).unwrap();
    connection
}

fn version_2(path: &Path) -> Connection {
    let connection = version_1(path);
    let more = include_str!("fixtures/v2.sql");
    connection.execute_batch(more).unwrap();
    connection
}

fn line(d: &Deployment) -> String {
    use rollback_core::id::Actor;
    let actor = match d.actor() {
        Actor::User { name, channel } => match channel {
            Some(channel) => format!("user {name} via {channel}"),
            None => format!("user {name}"),
        },
        Actor::System { component } => format!("system {component}"),
        other => panic!("{other:?}"),
    };
    let annotations = d.annotations();
    let mut added: Vec<String> = Vec::new();
    added.extend(annotations.pinned.then(|| "pinned".to_owned()));
    added.extend(
        annotations
            .bad
            .iter()
            .map(|why| format!("bad: {}", why.text)),
    );
    added.extend(annotations.notes.iter().map(|n| n.text.to_string()));
    format!(
        "{} {} {} {actor}; {}, {}, {} events, {:?}; {:?}; [{}]",
        d.sequence(),
        d.workload(),
        d.trigger().kind().as_str(),
        d.outcome()
            .map_or("in flight".to_owned(), |o| o.to_string()),
        d.phase(),
        d.events().len(),
        d.duration().map(|d| d.as_millis()),
        d.opening().labels,
        added.join(", "),
    )
}

#[tokio::test]
async fn every_record_of_version_1_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = migrated(&dir.path().join("history.db")).await;
    let all = store.list(&Query::default()).await.unwrap();
    assert_eq!(all.unreadable, []);
    let lines: Vec<_> = all.deployments.iter().map(line).collect();
    assert_eq!(lines.join("\n"), RECORDS.trim());
    assert_eq!(store.verify().await.unwrap(), []);

    let by_sequence = |n: u64| {
        all.deployments
            .iter()
            .find(|d| d.sequence().0 == n)
            .unwrap()
    };
    let (failed, automatic) = (by_sequence(5), by_sequence(6));
    assert_eq!(failed.rolled_back_by(), Some(automatic.id()));
    assert_eq!(automatic.trigger().restores(), Some(by_sequence(4).id()));
    assert_eq!(by_sequence(1).opening().reason, "first".parse().ok());
    assert_eq!(
        by_sequence(4).opening().correlation,
        "build-17".parse().ok()
    );
    assert_eq!(failed.settlement().unwrap().outcome, Outcome::Failed);
    let release = failed.instance().unwrap().release.artifact().digest.clone();
    assert_eq!(release, "broken3");
    for record in &all.deployments {
        let alone = store.get(record.id()).await.unwrap();
        assert_eq!(alone.as_ref(), Some(record));
    }
}

#[tokio::test]
async fn the_states_of_version_1_are_kept_and_what_was_in_flight_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = migrated(&dir.path().join("history.db")).await;
    let all = store.list(&Query::default()).await.unwrap().deployments;
    let sequence_of = |id: &_| all.iter().find(|d| d.id() == id).unwrap().sequence().0;
    let states = store.workloads().await.unwrap().states;
    let told: Vec<_> = states
        .iter()
        .map(|s| {
            (
                s.workload.to_string(),
                s.version.0,
                s.live.known().map(sequence_of),
            )
        })
        .collect();
    let wanted = [
        ("api@web-1", 10, Some(10)),
        ("db@web-1", 3, None),
        ("web@web-2", 9, Some(9)),
        ("worker@edge-1", 4, Some(11)),
    ];
    assert_eq!(told, wanted.map(|(w, v, l)| (w.to_owned(), v, l)));
    let [api, db, web, _] = &states[..] else {
        panic!()
    };
    assert_eq!(
        api.policy.as_ref().unwrap().policy.rollback,
        RollbackMode::Auto
    );
    assert_eq!(web.hold.as_ref().unwrap().why.as_str(), "freeze");
    assert!(states.iter().filter(|s| s.in_flight.is_some()).eq([db]));

    let in_flight = db.in_flight.clone().unwrap();
    assert_eq!(in_flight.liveness, Liveness::Dead);
    assert_eq!(
        (in_flight.holder.pid, &*in_flight.holder.host),
        (4242, "build-1")
    );
    let lease = store.take_over(&db.workload, &holder()).await.unwrap();
    assert_eq!(lease.deployment(), all[0].id());
    assert_eq!(lease.epoch().0, in_flight.epoch.0 + 1);
    let asked = store.renew(&lease).await.unwrap().cancel_requested_by;
    assert_eq!(asked, rollback_core::id::Actor::user("Bob").ok());
    assert_eq!(all[0].phase(), Phase::Switching);
    // And the next deployment goes on counting.
    let mut new = all[7].opening().clone();
    new.id = rollback_core::id::DeploymentId::generate(new.opened_at);
    let begun = store.begin(&new, &holder(), Version(10)).await.unwrap();
    assert_eq!(begun.sequence.0, 14);
}

#[tokio::test]
async fn filters_and_counts_over_version_1_are_what_the_records_say() {
    let dir = tempfile::tempdir().unwrap();
    let store = migrated(&dir.path().join("history.db")).await;
    let all = store.list(&Query::default()).await.unwrap().deployments;
    let middle = all[6].opening().opened_at;
    let with = |set: &dyn Fn(&mut Query)| {
        let mut query = Query::default();
        set(&mut query);
        query
    };
    let queries = [
        (13, Query::default()),
        (5, with(&|q| q.service = "api".parse().ok())),
        (7, with(&|q| q.target = "web-1".parse().ok())),
        (13, with(&|q| q.backend = "fake".parse().ok())),
        (1, with(&|q| q.outcome = Some(Outcome::FailedAndRolledBack))),
        (2, with(&|q| q.trigger = Some(TriggerKind::Rollback))),
        (4, with(&|q| q.actor = "Bob".parse().ok())),
        (7, with(&|q| q.label = Some(("team".into(), "core".into())))),
        (
            1,
            with(&|q| q.label = Some(("ticket".into(), "OPS-1 \"quoted\" ü".into()))),
        ),
        (7, with(&|q| q.since = Some(middle))),
        (6, with(&|q| q.until = Some(middle))),
        (
            2,
            with(&|q| {
                q.service = "web".parse().ok();
                q.since = Some(middle);
                q.trigger = Some(TriggerKind::Deploy);
            }),
        ),
    ];
    for (wanted, query) in queries {
        let meant: Vec<_> = all.iter().filter(|d| query.matches(d)).cloned().collect();
        assert_eq!(meant.len(), wanted, "{query:?}");
        assert_eq!(
            store.list(&query).await.unwrap().deployments,
            meant,
            "{query:?}"
        );
        assert_eq!(
            store.stats(&query).await.unwrap(),
            Stats::of(&meant),
            "{query:?}"
        );
    }
}

#[tokio::test]
async fn the_queries_in_the_description_of_the_format_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let _store = migrated(&path).await;
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(&path, flags).unwrap();
    let text = include_str!("../FORMAT.md");
    let queries: Vec<_> = text
        .split("```sql\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(queries.len(), 6);
    for query in queries {
        let mut statement = connection.prepare(query).unwrap();
        let mut rows = statement.query([]).unwrap();
        // Those of the last thirty days find nothing in an old history.
        assert!(
            rows.next().unwrap().is_some() || query.contains("unixepoch()"),
            "{query}"
        );
    }
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert!(text.contains(&format!("**{version}** at present")));
}

#[tokio::test]
async fn a_history_of_version_2_is_read_as_the_same_of_version_1_and_both_are_named_and_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let first = migrated(&dir.path().join("1.db")).await;
    let path = dir.path().join("2.db");
    drop(version_2(&path));
    let second = SqliteStore::open(&path).await.unwrap();
    let query = Query::default();
    let records = second.list(&query).await.unwrap();
    assert_eq!(records.deployments.len(), 13);
    assert_eq!(records, first.list(&query).await.unwrap());
    let states = second.workloads().await.unwrap();
    assert_eq!(states.states, first.workloads().await.unwrap().states);
    assert!(states.damaged.is_empty());
    assert!(states.states.iter().all(|s| s.amendments.is_empty()));
    let (a, b) = (
        first.identity().await.unwrap(),
        second.identity().await.unwrap(),
    );
    assert_ne!(a.history, b.history);
    drop(second);
    let second = SqliteStore::open(&path).await.unwrap();
    assert_eq!(second.identity().await.unwrap(), b);
    for record in &records.deployments {
        let text = record.id().random();
        assert_eq!(second.find(text, 5).await.unwrap(), [record.id().clone()]);
    }
    // A change by hand shows in what was written long ago, too.
    drop(second);
    let connection = support::by_hand(&path);
    let edit =
        "UPDATE deployments SET header = replace(header, 'first', 'last') WHERE sequence = 1";
    assert_eq!(connection.execute(edit, []).unwrap(), 1);
    drop(connection);
    let second = SqliteStore::open(&path).await.unwrap();
    let faults = second.verify().await.unwrap();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].what.contains("changed by hand"), "{faults:?}");
}

#[tokio::test]
async fn a_program_of_an_older_version_that_goes_on_after_the_migration_fails_and_changes_nothing()
{
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let old = version_2(&path);
    old.pragma_update(None, "journal_mode", "wal").unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    // What that version writes.
    for write in [
        "INSERT INTO events (deployment, ordinal, at_us, name, body) VALUES (13, 3, 0, 'x', '{}')",
        "UPDATE workloads SET version = version + 1, hold = NULL WHERE id = 'web@web-2'",
        "UPDATE workloads SET epoch = epoch + 1, holder = '{}' WHERE id = 'db@web-1'",
        "INSERT OR IGNORE INTO workloads (id, live) VALUES ('new@x', '\"nothing\"')",
        "UPDATE deployments SET annotations = '{}', pinned = 0 WHERE sequence = 1",
        "UPDATE deployments SET outcome = 'failed' WHERE sequence = 13",
    ] {
        let error = old.execute(write, []).unwrap_err();
        assert!(error.to_string().contains("update this program"), "{error}");
    }
    assert_eq!(store.verify().await.unwrap(), []);
}

/// The chain of seals by the rules of version 3, which this test keeps for itself: a program of that
/// version still believes what today's has written.
fn seals_hold(path: &Path) -> usize {
    use sha2::{Digest, Sha256};
    let hex = |seal: &[u8]| seal.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let of = |text: String| Sha256::digest(text).to_vec();
    let c = Connection::open(path).unwrap();
    let sql = "SELECT sequence, id, header, annotations, seal, annotations_seal FROM deployments";
    let mut records = c.prepare(sql).unwrap();
    let mut records = records.query([]).unwrap();
    let mut checked = 0;
    while let Some(row) = records.next().unwrap() {
        let (sequence, id): (i64, String) = (row.get(0).unwrap(), row.get(1).unwrap());
        let (header, notes): (String, String) = (row.get(2).unwrap(), row.get(3).unwrap());
        let mut seal = of(format!("record\n{sequence}\n{header}"));
        let mut settled = seal.clone();
        let sql = "SELECT name, body, seal FROM events WHERE deployment = ?1 ORDER BY ordinal";
        let mut events = c.prepare(sql).unwrap();
        let mut events = events.query([sequence]).unwrap();
        while let Some(event) = events.next().unwrap() {
            let (name, body): (String, String) = (event.get(0).unwrap(), event.get(1).unwrap());
            seal = of(format!("{}\n{body}", hex(&seal)));
            assert_eq!(event.get::<_, Vec<u8>>(2).unwrap(), seal, "{id}");
            if matches!(&*name, "settled" | "rolled-back-by") {
                settled = seal.clone();
            }
        }
        assert_eq!(row.get::<_, Vec<u8>>(4).unwrap(), settled, "{id}");
        let notes = of(format!("annotations\n{id}\n{notes}"));
        assert_eq!(row.get::<_, Vec<u8>>(5).unwrap(), notes, "{id}");
        checked += 1;
    }
    checked
}

#[tokio::test]
async fn a_history_of_version_3_is_read_written_on_and_sealed_by_its_rules() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(include_str!("fixtures/v3.sql"))
        .unwrap();
    drop(connection);
    let before = seals_hold(&path);
    let store = SqliteStore::open(&path).await.unwrap();
    let all = store.list(&Query::default()).await.unwrap();
    assert_eq!((all.deployments.len(), all.unreadable.len()), (before, 0));
    assert_eq!(store.verify().await.unwrap(), []);
    let cache = store
        .workload(&"cache@web-3".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(cache.hold.as_ref().unwrap().why.to_string(), "freeze");
    assert!(cache.policy.as_ref().unwrap().set.is_some());
    assert_eq!((cache.version.0, cache.amendments.len()), (8, 2));
    assert!(cache.recalls.is_empty() && cache.floor.is_none());
    let newest = store.list(&Query::workload(&cache.workload)).await.unwrap();
    let [third, second, first] = &*newest.deployments else {
        panic!("{newest:?}")
    };
    assert_eq!(second.outcome(), Some(Outcome::Failed));
    assert_eq!(third.annotations().notes[0].text.to_string(), "seen");
    assert!(first.annotations().pinned && !first.is_newer());
    // It is written on: what was in flight is settled, and something new, with all there is today.
    let queue = store
        .workload(&"queue@web-3".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(queue.in_flight.as_ref().unwrap().liveness, Liveness::Dead);
    let lease = store.take_over(&queue.workload, &holder()).await.unwrap();
    let end = settlement(lease.deployment(), Outcome::Interrupted);
    store
        .finish(&lease, &[], &end, at(200), &Then::Release)
        .await
        .unwrap();
    let recall = Amend::Recall {
        artifact: "sha256:0".into(),
        why: "it leaks".parse().unwrap(),
    };
    store
        .amend(&cache.workload, cache.version, &by_ann(recall, 201))
        .await
        .unwrap();
    let mut new = sample("queue@web-3", 210);
    let wish = Wish::Deploy {
        reference: "app:v210".into(),
    };
    new.asked = Some(Asked::new(
        "job/1".parse().unwrap(),
        &wish,
        None,
        Reapply::No,
    ));
    let state = store.workload(&queue.workload).await.unwrap();
    let begun = store.begin(&new, &holder(), state.version).await.unwrap();
    let end = settlement(&new.id, Outcome::Succeeded);
    store
        .finish(&begun.lease, &[], &end, at(211), &Then::Release)
        .await
        .unwrap();
    store
        .annotate(third.id(), &Annotation::Note(note("and again")))
        .await
        .unwrap();
    drop(store);
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.verify().await.unwrap(), []);
    assert_eq!(seals_hold(&path), before + 1);
    let cache = store.workload(&cache.workload).await.unwrap();
    assert_eq!(cache.recalls.len(), 1);
    let key = &new.asked.as_ref().unwrap().key;
    let keyed = store.keyed(&queue.workload, key).await.unwrap();
    assert_eq!(keyed, Some(new.id));
}

#[tokio::test]
async fn an_older_process_lost_its_history_in_the_middle_of_a_deployment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let older = Connection::open(&path).unwrap();
    older
        .execute_batch(include_str!("fixtures/v3.sql"))
        .unwrap();
    drop(older);
    let held = Locks::in_dir(dir.path().join("history.db.locks")).unwrap();
    let held = held.take(&"queue@web-3".parse().unwrap()).unwrap().unwrap();
    let e = SqliteStore::open(&path).await.unwrap_err();
    assert_eq!((e.kind(), e.is_transient()), (Kind::Busy, true), "{e}");
    assert!(e.to_string().contains("queue@web-3"), "{e}");
    let schema = |path: &Path| -> i64 {
        let file = Connection::open(path).unwrap();
        file.pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap()
    };
    assert_eq!(schema(&path), 3);
    drop(held);
    drop(SqliteStore::open(&path).await.unwrap());
    assert_eq!(schema(&path), 4);
}
