//! Lists of a long history read the index, and no record that they do not show.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;

use rollback_core::deployment::Outcome;
use rollback_core::engine::RollbackEngine;
use rollback_core::history::{HistoryReader, HistoryStore, Query, Then, Version};
use rollback_core::lineage::Standing;
use rollback_json::JsonStore;
use rollback_testkit::store_suite::{at, holder, sample, settlement};

#[tokio::test]
async fn a_list_of_a_long_history_reads_no_record_that_it_does_not_show() {
    let dir = tempfile::tempdir().unwrap();
    let store = JsonStore::open(dir.path()).await.unwrap();
    let mut ids = Vec::new();
    for n in 0..6 {
        let new = sample("api@x", n);
        ids.push(new.id.clone());
        let version = Version(n * 2);
        let lease = store.begin(&new, &holder(), version).await.unwrap().lease;
        let end = settlement(&new.id, Outcome::Succeeded);
        let done = store.finish(&lease, &[], &end, at(n), &Then::Release);
        done.await.unwrap();
    }
    // None of the older ones can be read, and nobody notices.
    let records = dir.path().join("workloads/api@x/records/000000");
    for id in &ids[..3] {
        fs::write(records.join(format!("{id}.json")), "x").unwrap();
    }
    let again = JsonStore::open(dir.path()).await.unwrap();
    let workload = "api@x".parse().unwrap();
    let told = again.summaries(&workload, usize::MAX).await.unwrap();
    assert_eq!(told.summaries.len(), 6);
    let engine = RollbackEngine::builder(again).build().unwrap();
    let newest = Query::default().limit(3);
    let history = engine.history(&newest).await.unwrap();
    assert_eq!(history.unreadable, []);
    let standing: Vec<_> = history.rows.iter().map(|row| row.standing).collect();
    assert_eq!(
        standing,
        [Standing::Live, Standing::Superseded, Standing::Superseded]
    );
}
