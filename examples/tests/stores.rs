//! All stores give the same answers to the same random histories.
//!
//! `HISTORIES` says how many; 100 unless it is set.
#![allow(clippy::unwrap_used, clippy::panic)]

use rollback_core::memory::MemoryStore;
use rollback_json::JsonStore;
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::agree;

#[tokio::test(flavor = "multi_thread")]
async fn all_stores_agree_record_by_record_on_random_histories() {
    let histories = std::env::var("HISTORIES").map_or(100, |n| n.parse().unwrap());
    for seed in 0..histories {
        let dir = tempfile::tempdir().unwrap();
        let sqlite = SqliteStore::open(dir.path().join("history.db"))
            .await
            .unwrap();
        let json = JsonStore::open(dir.path().join("history")).await.unwrap();
        agree(&[&MemoryStore::new(), &sqlite, &json], seed, 40).await;
    }
}
