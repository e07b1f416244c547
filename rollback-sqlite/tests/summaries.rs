//! Summaries are never believed over a record: whatever is done to the table, the same is told.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::PathBuf;

use rollback_core::deployment::{Annotation, Deployment, Opening, Outcome};
use rollback_core::engine::RollbackEngine;
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{
    HistoryReader, HistoryStore, Query, Summary, SummaryRules, Then, Version,
};
use rollback_core::id::WorkloadId;
use rollback_core::lineage::Standing;
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::{at, holder, sample, settlement};
use rusqlite::Connection;
use tempfile::TempDir;

struct Long {
    dir: TempDir,
    store: SqliteStore,
    workload: WorkloadId,
}

impl Long {
    /// Six settled deployments.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path().join("history.db"))
            .await
            .unwrap();
        for n in 0..6 {
            let new: Opening = sample("api@x", n);
            let version = Version(n * 2);
            let lease = store.begin(&new, &holder(), version).await.unwrap().lease;
            let end = settlement(&new.id, Outcome::Succeeded);
            let done = store.finish(&lease, &[], &end, at(n), &Then::Release);
            done.await.unwrap();
        }
        let workload = "api@x".parse().unwrap();
        Self {
            dir,
            store,
            workload,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("history.db")
    }

    /// By somebody who seals what he changes.
    fn by_hand(&self, sql: &str) -> usize {
        let changed = support::by_hand(&self.path()).execute(sql, []).unwrap();
        support::reseal(&self.path());
        changed
    }

    fn rows(&self) -> i64 {
        let connection = Connection::open(self.path()).unwrap();
        let sql = "SELECT count(*) FROM summaries";
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    async fn records(&self) -> Vec<Deployment> {
        self.store
            .list(&Query::default())
            .await
            .unwrap()
            .deployments
    }

    async fn told(&self) -> Vec<Summary> {
        let told = self
            .store
            .summaries(&self.workload, usize::MAX)
            .await
            .unwrap();
        assert_eq!(told.unreadable, []);
        told.summaries
    }
}

#[tokio::test]
async fn an_edit_of_a_record_by_hand_leaves_no_old_summary() {
    let long = Long::new().await;
    assert_eq!(long.rows(), 6);
    let before = long.told().await;
    let edits = [
        "UPDATE deployments SET header = replace(header, '\"record\"', '\"off\"') WHERE sequence = 2",
        "UPDATE deployments SET annotations = '{\"pinned\":true}' WHERE sequence = 3",
        "UPDATE events SET body = replace(body, 'passed', 'unknown') WHERE deployment = 4",
        "DELETE FROM deployments WHERE sequence = 5",
    ];
    for edit in edits {
        assert!(long.by_hand(edit) > 0, "{edit}");
        let records = long.records().await;
        assert_eq!(
            long.told().await,
            records.iter().map(Summary::of).collect::<Vec<_>>()
        );
    }
    assert_eq!(long.rows(), 2);
    assert_ne!(long.told().await, before);
}

#[tokio::test]
async fn a_summary_that_cannot_be_read_is_made_anew_from_its_record() {
    let long = Long::new().await;
    let before = long.told().await;
    for body in [
        "''",
        "'{}'",
        "(SELECT body FROM summaries WHERE deployment = 3)",
    ] {
        long.by_hand(&format!(
            "UPDATE summaries SET body = {body} WHERE deployment = 2"
        ));
        assert_eq!(long.told().await, before, "{body}");
    }
    long.by_hand("DELETE FROM summaries");
    assert_eq!(long.told().await, before);
}

#[tokio::test]
async fn verify_says_where_a_summary_is_not_what_its_record_says() {
    let long = Long::new().await;
    assert_eq!(long.store.verify().await.unwrap(), []);
    long.by_hand(
        "UPDATE summaries SET body = replace(body, 'passed', 'failed') WHERE deployment = 2",
    );
    let faults = long.store.verify().await.unwrap();
    let [fault] = faults.as_slice() else {
        panic!("{faults:?}")
    };
    assert!(
        fault.what.contains("its summary is not what it says"),
        "{fault}"
    );
}

#[tokio::test]
async fn a_history_of_before_there_were_summaries_is_given_them_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let connection = Connection::open(&path).unwrap();
    for old in [
        include_str!("fixtures/v1.sql"),
        include_str!("fixtures/v2.sql"),
    ] {
        connection.execute_batch(old).unwrap();
    }
    drop(connection);
    let store = SqliteStore::open(&path).await.unwrap();
    let connection = Connection::open(&path).unwrap();
    let sql = "SELECT count(*) FROM summaries";
    let rows: i64 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    // All but the one in flight.
    assert_eq!(rows, 12);
    for state in store.workloads().await.unwrap().states {
        let told = store.summaries(&state.workload, usize::MAX).await.unwrap();
        let query = Query::workload(&state.workload);
        let records = store.list(&query).await.unwrap().deployments;
        let wanted: Vec<_> = records.iter().map(Summary::of).collect();
        assert_eq!(told.summaries, wanted);
    }
}

#[tokio::test]
async fn a_summary_made_by_another_librarys_rules_is_not_believed() {
    let long = Long::new().await;
    let before = long.told().await;
    let own = SummaryRules::NUMBER;
    let other = format!(
        "UPDATE summaries
         SET body = replace(replace(body, '\"v\":{own}', '\"v\":99'), 'passed', 'failed')"
    );
    assert_eq!(long.by_hand(&other), 6);
    assert_eq!(long.told().await, before);
}

#[tokio::test]
async fn a_pin_given_while_a_deployment_was_in_flight_was_missing_from_its_summary() {
    let long = Long::new().await;
    let new: Opening = sample("api@x", 6);
    let begun = long.store.begin(&new, &holder(), Version(12)).await;
    let lease = begun.unwrap().lease;
    let event = TimedEvent::new(at(7), Event::PrepareIntended);
    long.store.append(&lease, &[event]).await.unwrap();
    // By another process, as far as the lease's holder can tell.
    let other = SqliteStore::open(long.path()).await.unwrap();
    other.annotate(&new.id, &Annotation::Pin).await.unwrap();
    let end = settlement(&new.id, Outcome::Failed);
    let done = long.store.finish(&lease, &[], &end, at(8), &Then::Release);
    done.await.unwrap();
    assert_eq!(other.verify().await.unwrap(), Vec::new());
    let record = other.get(&new.id).await.unwrap().unwrap();
    let told = long.told().await;
    assert!(record.annotations().pinned);
    assert!(told.contains(&Summary::of(&record)), "{told:?}");
}

#[tokio::test]
async fn a_list_of_a_long_history_reads_no_record_that_it_does_not_show() {
    let long = Long::new().await;
    // None of the older ones can be read, and nobody notices.
    let connection = support::by_hand(&long.path());
    connection
        .execute_batch("DROP TRIGGER IF EXISTS summaries_record_changed")
        .unwrap();
    let broken = "UPDATE deployments SET header = 'x' WHERE sequence <= 3";
    assert_eq!(connection.execute(broken, []).unwrap(), 3);
    drop(connection);
    assert_eq!(long.told().await.len(), 6);
    let engine = RollbackEngine::builder(long.store.clone()).build().unwrap();
    let newest = Query::default().limit(3);
    let history = engine.history(&newest).await.unwrap();
    assert_eq!(history.unreadable, []);
    let standing: Vec<_> = history.rows.iter().map(|row| row.standing).collect();
    assert_eq!(
        standing,
        [Standing::Live, Standing::Superseded, Standing::Superseded]
    );
    assert!(history.rows.iter().all(|row| row.replaced_by.is_none()));
}
