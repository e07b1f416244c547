//! What damage has put where a record is to come.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use rollback_core::error::StoreErrorKind;
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{HistoryReader, HistoryStore};
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::{at, holder, sample};
use rusqlite::Connection;

#[tokio::test]
async fn an_event_that_damage_gave_to_a_number_to_come_stopped_another_workload() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let first = sample("api@web-1", 1);
    let version = store.workload(&first.workload).await.unwrap().version;
    let begun = store.begin(&first, &holder(), version).await.unwrap();
    let step = TimedEvent::new(at(2), Event::PrepareIntended);
    store
        .append(&begun.lease, std::slice::from_ref(&step))
        .await
        .unwrap();
    drop((begun, store));
    // As one bit of a page does it: the next record, and the one after it, have an event already.
    let by_hand = Connection::open(&path).unwrap();
    by_hand.pragma_update(None, "foreign_keys", false).unwrap();
    let copy =
        "INSERT INTO events SELECT deployment + ?1, ordinal, at_us, name, body, seal FROM events
                WHERE deployment = 1";
    for more in [1, 2] {
        by_hand.execute(copy, [more]).unwrap();
    }
    drop(by_hand);
    let store = SqliteStore::open(&path).await.unwrap();
    let other = sample("web@web-1", 3);
    let version = store.workload(&other.workload).await.unwrap().version;
    let begun = store.begin(&other, &holder(), version).await.unwrap();
    assert_eq!(begun.sequence.0, 4);
    store
        .append(&begun.lease, std::slice::from_ref(&step))
        .await
        .unwrap();
    let record = store.get(&other.id).await.unwrap().unwrap();
    assert_eq!(record.events(), [step]);
}

#[tokio::test]
async fn a_damaged_trigger_went_unnoticed_and_what_it_stopped_was_called_a_defect() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    drop(SqliteStore::open(&path).await.unwrap());
    let by_hand = Connection::open(&path).unwrap();
    by_hand
        .execute_batch(
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = replace(sql, 'AND workload =', 'AND workloa$ =')
              WHERE name = 'summaries_event_added'",
        )
        .unwrap();
    drop(by_hand);
    let store = SqliteStore::open(&path).await.unwrap();
    let faults = store.verify().await.unwrap();
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("summaries_event_added"), "{faults:?}");
    let new = sample("api@web-1", 1);
    let version = store.workload(&new.workload).await.unwrap().version;
    let begun = store.begin(&new, &holder(), version).await.unwrap();
    let step = TimedEvent::new(at(2), Event::PrepareIntended);
    let e = store.append(&begun.lease, &[step]).await.unwrap_err();
    assert_eq!(e.kind(), StoreErrorKind::Corrupt, "{e}");
    assert!(e.to_string().contains("restore a copy"), "{e}");
}

#[tokio::test]
async fn what_the_schema_lacked_went_unnoticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    drop(SqliteStore::open(&path).await.unwrap());
    let by_hand = Connection::open(&path).unwrap();
    by_hand
        .execute_batch("DROP TRIGGER summaries_event_gone")
        .unwrap();
    drop(by_hand);
    let store = SqliteStore::open(&path).await.unwrap();
    let faults = store.verify().await.unwrap();
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("summaries_event_gone"), "{faults:?}");
}
