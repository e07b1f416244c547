//! The store suite on a real directory.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use rollback_core::history::HistoryStore;
use rollback_core::id::WorkloadId;
use rollback_json::JsonStore;
use rollback_testkit::store_suite::{StoreHarness, full_disk, test_all};

struct Dir(tempfile::TempDir);

#[async_trait::async_trait]
impl StoreHarness for Dir {
    async fn store(&self) -> Arc<dyn HistoryStore> {
        open(self.0.path()).await
    }

    async fn damage(&self, workload: &WorkloadId) -> bool {
        let state = self.0.path().join("history/workloads");
        let state = state.join(workload.to_string()).join("state.json");
        std::fs::write(state, "{").unwrap();
        true
    }
}

async fn open(dir: &Path) -> Arc<dyn HistoryStore> {
    Arc::new(JsonStore::open(dir.join("history")).await.unwrap())
}

fn fresh() -> Box<dyn StoreHarness> {
    Box::new(Dir(tempfile::tempdir().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_json_store_conforms() {
    test_all(fresh).await;
}

#[tokio::test]
async fn on_a_full_disk_what_has_begun_is_ended_and_room_is_made() {
    full_disk(open).await;
}
