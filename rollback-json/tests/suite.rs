//! The store suite on a real directory.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use rollback_core::history::HistoryStore;
use rollback_json::JsonStore;
use rollback_testkit::store_suite::{StoreHarness, test_all};

struct Dir(tempfile::TempDir);

#[async_trait::async_trait]
impl StoreHarness for Dir {
    async fn store(&self) -> Arc<dyn HistoryStore> {
        let path = self.0.path().join("history");
        Arc::new(JsonStore::open(path).await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_json_store_conforms() {
    test_all(|| Box::new(Dir(tempfile::tempdir().unwrap()))).await;
}
