//! Core's store in memory passes the suite that every store passes.

use std::sync::Arc;

use async_trait::async_trait;
use rollback_core::history::HistoryStore;
use rollback_core::memory::MemoryStore;
use rollback_testkit::store_suite::{StoreHarness, test_all};

struct Memory(MemoryStore);

#[async_trait]
impl StoreHarness for Memory {
    async fn store(&self) -> Arc<dyn HistoryStore> {
        Arc::new(self.0.clone())
    }
}

/// Leases hold for a while, and their holders' deaths are known by time alone.
#[tokio::test(start_paused = true)]
async fn memory_store_with_a_ttl_passes_the_suite() {
    let span = std::time::Duration::from_secs(30);
    test_all(|| Box::new(Memory(MemoryStore::with_ttl(span)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_store_passes_the_suite() {
    test_all(|| Box::new(Memory(MemoryStore::new()))).await;
}
