//! How much the store asks of the system.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use rollback_core::history::HistoryStore;
use rollback_json::JsonStore;
use rollback_testkit::store_suite::counted::{self, APPENDS};
use rollback_testkit::store_suite::processes::Open;

#[derive(Clone, Copy)]
struct Here;

#[async_trait::async_trait]
impl Open for Here {
    async fn open(&self, place: &Path) -> Arc<dyn HistoryStore> {
        Arc::new(JsonStore::open(place).await.unwrap())
    }
}

#[test]
fn child() {
    counted::child(Here);
}

#[test]
fn an_append_asked_the_system_for_twice_as_much_as_it_needs() {
    let Some(calls) = counted::appends() else {
        return;
    };
    let of = |name: &str| calls.get(name).copied().unwrap_or_default();
    assert_eq!(of("fsync") + of("fdatasync"), 2 * APPENDS, "{calls:?}");
    // A debug build looks by fcntl at each descriptor that it closes.
    let all = calls.values().sum::<usize>() - of("fcntl");
    assert!(all <= 31 * APPENDS, "{all}: {calls:?}");
}
