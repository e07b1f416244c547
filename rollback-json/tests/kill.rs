//! A process is killed at every system call that changes a file of the history.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rollback_core::history::HistoryStore;
use rollback_json::JsonStore;
use rollback_testkit::store_suite::kills::{self, Files, Verb};
use rollback_testkit::store_suite::processes::Open;

#[derive(Clone, Copy)]
struct Here;

#[async_trait::async_trait]
impl Open for Here {
    async fn open(&self, place: &Path) -> Arc<dyn HistoryStore> {
        Arc::new(JsonStore::open(place).await.unwrap())
    }
}

/// A process that is started has, for an instant, the locks of the one that starts it: while one
/// test starts children, none takes leases.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[test]
fn child() {
    kills::child(Here);
}

impl Files for Here {
    /// No temporary file of a killed writer is left.
    fn tidy(&self, place: &Path) {
        for entry in fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.tidy(&path);
            }
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(!name.starts_with(".new"), "{} is left", path.display());
        }
    }

    fn may_be_lost(&self, name: &Path) -> bool {
        let mut parts = name.iter().filter_map(|part| part.to_str());
        parts.any(|part| {
            ["index", "locks", "ended", "reserve", "sequence"].contains(&part)
                || part.starts_with(".new-")
        })
    }
}

#[tokio::test]
async fn a_verb_that_is_killed_anywhere_is_done_or_not_done_and_leaves_nothing_to_clean_up() {
    let _alone = ALONE.lock().await;
    let mut kills = 0;
    for verb in Verb::ALL {
        let Some(more) = kills::sweep(Here, verb, &Here).await else {
            return;
        };
        kills += more;
    }
    eprintln!("{kills} kills");
    assert!(kills > 150, "only {kills}");
}

#[tokio::test]
async fn whoever_writes_after_a_kill_may_be_killed_too() {
    let _alone = ALONE.lock().await;
    let mut kills = 0;
    for verb in [
        Verb::First,
        Verb::Begin,
        Verb::FinishAndOpen,
        Verb::FinishAndAmend,
        Verb::Forget,
    ] {
        let Some(more) = kills::sweep_twice(Here, verb, &Here).await else {
            return;
        };
        kills += more;
    }
    eprintln!("{kills} second kills");
    assert!(kills > 150, "only {kills}");
}

#[tokio::test]
async fn an_append_that_was_done_again_after_a_failed_sync_was_acknowledged_and_not_durable() {
    let _alone = ALONE.lock().await;
    let mut failed = 0;
    for verb in Verb::REPEATABLE {
        let Some(more) = kills::sweep_failing(Here, verb, &Here).await else {
            return;
        };
        failed += more;
    }
    eprintln!("{failed} failed syncs");
    assert!(failed > 10, "only {failed}");
}
