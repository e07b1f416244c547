//! The store suite on a real file.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use rollback_core::history::HistoryStore;
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::{StoreHarness, test_all};

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
