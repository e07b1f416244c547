//! How much the store asks of the system.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use rollback_core::history::HistoryStore;
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::counted::{self, APPENDS};
use rollback_testkit::store_suite::processes::Open;

#[derive(Clone, Copy)]
struct Here;

#[async_trait::async_trait]
impl Open for Here {
    async fn open(&self, place: &Path) -> Arc<dyn HistoryStore> {
        Arc::new(SqliteStore::open(place).await.unwrap())
    }
}

#[test]
fn child() {
    counted::child(Here);
}

#[test]
fn an_append_asks_for_its_transaction_and_whether_the_file_is_still_there() {
    let Some(calls) = counted::appends() else {
        return;
    };
    let of = |names: &[&str]| -> usize { names.iter().filter_map(|n| calls.get(*n)).sum() };
    assert_eq!(of(&["fsync", "fdatasync"]), APPENDS, "{calls:?}");
    // The file and its log, before and after.
    let looks = of(&["stat", "statx", "newfstatat"]);
    assert_eq!(looks, 4 * APPENDS, "{calls:?}");
    assert_eq!(of(&["openat", "unlink", "read"]), 0, "{calls:?}");
}
