//! The store suite on a real file.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use rollback_core::deployment::Outcome;
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{HistoryReader, HistoryStore, Then, Version};
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::{
    StoreHarness, at, full_disk, holder, sample, settlement, test_all,
};

struct File(tempfile::TempDir);

#[async_trait::async_trait]
impl StoreHarness for File {
    async fn store(&self) -> Arc<dyn HistoryStore> {
        let path = self.0.path().join("history.db");
        Arc::new(SqliteStore::open(path).await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sqlite_store_conforms() {
    test_all(|| Box::new(File(tempfile::tempdir().unwrap()))).await;
}

#[tokio::test]
async fn on_a_full_disk_what_has_begun_is_ended_and_room_is_made() {
    full_disk(async |disk| {
        let store = SqliteStore::open(disk.join("history.db")).await;
        Arc::new(store.unwrap()) as Arc<dyn HistoryStore>
    })
    .await;
}

/// What one store value remembers of a record is not what another has added to it.
#[tokio::test]
async fn two_store_values_that_share_a_lease_agree() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let both = [
        SqliteStore::open(&path).await.unwrap(),
        SqliteStore::open(&path).await.unwrap(),
    ];
    let new = sample("api@x", 1);
    let begun = both[0].begin(&new, &holder(), Version(0)).await.unwrap();
    let step = |n: u64| {
        TimedEvent::new(
            at(n),
            Event::TakenOver {
                decision: n.to_string(),
                by: None,
            },
        )
    };
    for n in 0..9 {
        let event = step(n);
        for store in both.iter().cycle().skip(n as usize / 2).take(2) {
            // The second finds it stored.
            store
                .append(&begun.lease, std::slice::from_ref(&event))
                .await
                .unwrap();
        }
    }
    let end = settlement(&new.id, Outcome::Succeeded);
    let done = both[0].finish(&begun.lease, &[], &end, at(10), &Then::Release);
    done.await.unwrap();
    let record = both[1].get(&new.id).await.unwrap().unwrap();
    assert!(record.events()[..9].iter().cloned().eq((0..9).map(step)));
    assert_eq!(record.events().len(), 10);
    assert_eq!(both[1].verify().await.unwrap(), []);
}
