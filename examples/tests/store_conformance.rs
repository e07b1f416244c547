//! The custom store keeps the promises of a store.
#![allow(clippy::unwrap_used)]

#[path = "../custom_store/redb_store.rs"]
mod redb_store;
#[path = "../custom_store/tables.rs"]
mod tables;

use std::sync::Arc;

use async_trait::async_trait;
use redb_store::RedbStore;
use rollback_core::history::HistoryStore;
use rollback_testkit::store_suite::{StoreHarness, test_all};
use tokio::sync::OnceCell;

/// One process has the file, so another value of the store is a clone.
struct File {
    dir: tempfile::TempDir,
    store: OnceCell<RedbStore>,
}

#[async_trait]
impl StoreHarness for File {
    async fn store(&self) -> Arc<dyn HistoryStore> {
        let path = self.dir.path().join("history.redb");
        let open = || async { RedbStore::open(&path).await.unwrap() };
        Arc::new(self.store.get_or_init(open).await.clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_redb_store_conforms() {
    test_all(|| {
        Box::new(File {
            dir: tempfile::tempdir().unwrap(),
            store: OnceCell::new(),
        })
    })
    .await;
}
