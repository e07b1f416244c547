//! Upkeep of a history, for information: it has nothing to be compared with.

use std::path::Path;

use rollback_core::history::HistoryReader;
use rollback_sqlite::SqliteStore;

use crate::figure::timed;

pub(crate) async fn lines(store: &SqliteStore, records: &str, dir: &Path) -> Vec<String> {
    let (verify, faults) = timed(store.verify()).await;
    assert_eq!(
        faults.unwrap().first(),
        None,
        "the seeded rows are not as the store's own"
    );
    let copy = dir.join("copy.db");
    let (backup, done) = timed(store.backup(&copy)).await;
    done.unwrap();
    let bytes = std::fs::metadata(copy).unwrap().len();
    vec![
        format!(
            "sqlite: verify of {records} records: {:.0} ms",
            verify.as_secs_f64() * 1e3
        ),
        format!(
            "sqlite: checked and synced backup of {records} records ({} MiB): {:.0} ms",
            bytes >> 20,
            backup.as_secs_f64() * 1e3
        ),
    ]
}
