//! Several real processes on one directory: killed, stopped, and racing.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use rollback_core::history::HistoryStore;
use rollback_json::JsonStore;
use rollback_testkit::store_suite::processes::{self, Open};

#[derive(Clone, Copy)]
struct Here;

#[async_trait::async_trait]
impl Open for Here {
    async fn open(&self, place: &Path) -> Arc<dyn HistoryStore> {
        Arc::new(JsonStore::open(place).await.unwrap())
    }
}

#[tokio::test]
async fn child() {
    processes::child(Here).await;
}

#[tokio::test]
async fn what_a_killed_process_was_acknowledged_is_kept_and_its_deployment_taken_over() {
    processes::what_a_killed_process_was_acknowledged_is_kept_and_its_deployment_taken_over(Here)
        .await;
}

#[tokio::test]
async fn a_stopped_process_is_alive_and_is_not_taken_over() {
    processes::a_stopped_process_is_alive_and_is_not_taken_over(Here).await;
}

#[tokio::test]
async fn of_two_processes_that_begin_at_once_one_wins() {
    processes::of_two_processes_that_begin_at_once_one_wins().await;
}
