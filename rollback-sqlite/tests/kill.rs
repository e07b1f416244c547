//! A process is killed, or its disk fails, at every system call that changes a file of the history.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rollback_core::deployment::Outcome;
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::history::{HistoryReader, HistoryStore, Query, Then};
use rollback_sqlite::SqliteStore;
use rollback_testkit::fixtures::strace::{Call, Strace};
use rollback_testkit::service::unavailable;
use rollback_testkit::store_suite::kills::{self, Files, Verb};
use rollback_testkit::store_suite::processes::Open;
use rollback_testkit::store_suite::{at, holder, sample, settlement};
use rusqlite::Connection;
use support::{Other, listen, part, say, settle, step};

#[derive(Clone, Copy)]
struct Here;

#[async_trait::async_trait]
impl Open for Here {
    async fn open(&self, place: &Path) -> Arc<dyn HistoryStore> {
        Arc::new(SqliteStore::open(place).await.unwrap())
    }
}

/// A process that is started has, for an instant, the locks of the one that starts it: while one
/// test starts children, none takes leases.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Not a test by itself: what a child process does.
#[test]
fn child() {
    kills::child(Here);
    let Some((part, place)) = part() else {
        return;
    };
    // All steps run in one thread, so that `strace` counts each time alike.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let path = place.join("history.db");
        let open = if part == "settle" || part == "insist" {
            Some(SqliteStore::open(&path).await.unwrap())
        } else {
            None
        };
        say("ready");
        listen();
        let done = match (&*part, open) {
            ("restore", _) => SqliteStore::restore(place.join("copy.db"), &path)
                .await
                .map(drop),
            ("backup", _) => match SqliteStore::open(&path).await {
                Ok(store) => store.backup(place.join("second.db")).await,
                Err(e) => Err(e),
            },
            ("insist", Some(store)) => {
                insist(&store).await;
                say("done");
                // To be killed.
                listen();
                return;
            }
            (_, Some(store)) => support::try_settle(&store, "api@x", 20).await,
            (_, None) => match SqliteStore::open(&path).await {
                Ok(store) => support::try_settle(&store, "api@x", 20).await,
                Err(e) => Err(e),
            },
        };
        match done {
            Ok(()) => say("done"),
            Err(e) => say(&format!("{:?}: {e}", e.kind())),
        }
    });
}

/// Begins, appends and finishes, each again while it fails.
async fn insist(store: &SqliteStore) {
    let new = sample("api@x", 20);
    let mut begun = None;
    for _ in 0..5 {
        match support::begin(store, &new).await {
            Ok(new) => begun = Some(new.lease),
            // It may have been done after all, and its lease is gone.
            Err(e) if e.kind() == Kind::Conflict => {
                begun = store.take_over(&new.workload, &holder()).await.ok();
            }
            Err(e) => assert!(e.is_transient(), "{e}"),
        }
        if begun.is_some() {
            break;
        }
    }
    let lease = begun.unwrap();
    while let Err(e) = store.append(&lease, &[step(21)]).await {
        assert!(e.is_transient(), "{e}");
    }
    let end = settlement(&new.id, Outcome::Succeeded);
    while let Err(e) = store
        .finish(&lease, &[], &end, at(22), &Then::Release)
        .await
    {
        assert!(e.is_transient(), "{e}");
    }
}

impl Files for Here {
    /// Nothing half made is left.
    fn tidy(&self, place: &Path) {
        let locks = PathBuf::from(format!("{}.locks", place.display()));
        for entry in fs::read_dir(&locks).unwrap() {
            let name = entry.unwrap().file_name();
            let name = name.to_str().unwrap();
            let known = name.ends_with(".lock") || name == "reserve";
            assert!(known, "{name} is left");
        }
    }

    fn may_be_lost(&self, name: &Path) -> bool {
        let name = name.to_str().unwrap();
        // The log that a clean end removes says nothing that is not in the file.
        let log = ["-wal", "-shm", "-journal"];
        name.contains(".locks") || log.iter().any(|end| name.ends_with(end))
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
    for verb in [Verb::Begin, Verb::FinishAndAmend] {
        let Some(more) = kills::sweep_twice(Here, verb, &Here).await else {
            return;
        };
        kills += more;
    }
    eprintln!("{kills} second kills");
    assert!(kills > 10, "only {kills}");
}

#[tokio::test]
async fn what_is_done_again_while_it_fails_is_done_once_and_acknowledged_when_it_is_kept() {
    let _alone = ALONE.lock().await;
    let Some(calls) = Place::new().await.calls("insist") else {
        return;
    };
    let mut failures = 0;
    for call in &calls {
        let place = Place::new().await;
        let mut child = Other::playing("insist", place.0.path());
        assert_eq!(child.hear().as_deref(), Some("ready"));
        let strace = Strace::fail_at(child.id(), call).unwrap();
        child.tell("act");
        assert_eq!(child.hear().as_deref(), Some("done"), "{call}");
        // What was acknowledged is there though nothing was closed.
        child.kill();
        drop(strace);
        assert_eq!(place.count().await, 4, "{call}");
        let store = SqliteStore::open(place.path()).await.unwrap();
        let page = store.list(&Query::default()).await.unwrap();
        let newest = &page.deployments[0];
        assert_eq!(newest.events().len(), 2, "{call}");
        assert_eq!(newest.outcome(), Some(Outcome::Succeeded), "{call}");
        failures += 1;
    }
    eprintln!("{failures} failures while somebody insists");
    assert!(failures > 20, "only {failures}");
}

/// A directory with a history of three records, and a copy of the first two.
struct Place(tempfile::TempDir);

impl Place {
    async fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let place = Self(dir.unwrap());
        let store = SqliteStore::open(place.path()).await.unwrap();
        settle(&store, "api@x", 1).await;
        settle(&store, "api@x", 5).await;
        store.backup(place.0.path().join("copy.db")).await.unwrap();
        settle(&store, "api@x", 10).await;
        place
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("history.db")
    }

    /// All calls that a child makes which plays this part here, unharmed.
    fn calls(&self, part: &str) -> Option<Vec<Call>> {
        let mut child = Other::playing(part, self.0.path());
        assert_eq!(child.hear().as_deref(), Some("ready"));
        let strace = match Strace::watch(child.id()) {
            Ok(strace) => strace,
            Err(why) => {
                unavailable(&why);
                return None;
            }
        };
        child.tell("act");
        assert_eq!(child.hear().as_deref(), Some("done"), "{part}");
        child.tell("end");
        assert_eq!(child.hear(), None);
        Some(strace.calls(self.0.path()))
    }

    async fn count(&self) -> usize {
        let store = SqliteStore::open(self.path()).await.unwrap();
        assert_eq!(store.verify().await.unwrap(), []);
        let page = store.list(&Query::default()).await.unwrap();
        assert_eq!(page.unreadable, []);
        page.deployments.len()
    }

    /// Whether the history of three records is there, under whatever name.
    fn has_former(&self) -> bool {
        let histories = self.names().into_iter().filter(|name| {
            let other = ["-wal", "-shm", "-journal", ".locks"];
            name.starts_with("history.db") && !other.iter().any(|end| name.ends_with(end))
        });
        histories.into_iter().any(|name| {
            let connection = Connection::open(self.0.path().join(name)).unwrap();
            let sql = "SELECT count(*) FROM deployments";
            connection.query_row(sql, [], |row| row.get(0)) == Ok(3)
        })
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).unwrap();
        names
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

#[tokio::test]
async fn a_restore_that_was_killed_and_done_again_removed_the_history_it_replaced() {
    let _alone = ALONE.lock().await;
    let Some(calls) = Place::new().await.calls("restore") else {
        return;
    };
    let mut ends = [0, 0];
    for call in &calls {
        let place = Place::new().await;
        let mut child = Other::playing("restore", place.0.path());
        assert_eq!(child.hear().as_deref(), Some("ready"));
        let strace = Strace::kill_at(child.id(), call).unwrap();
        child.tell("act");
        let done = child.hear().is_some();
        assert_eq!(child.wait().signal(), Some(9), "no {call}");
        drop(strace);
        let count = place.count().await;
        assert!(count == 2 || (count == 3 && !done), "{call}: {count}");
        ends[count - 2] += 1;
        SqliteStore::restore(place.0.path().join("copy.db"), place.path())
            .await
            .unwrap_or_else(|e| panic!("{call}: {e}"));
        assert_eq!(place.count().await, 2, "{call}");
        assert!(place.has_former(), "{call}: what was replaced is gone");
        Here.tidy(&place.path());
        for name in place.names() {
            let known = name.starts_with("history.db") || name == "copy.db";
            assert!(known, "{call}: {name} is left");
        }
    }
    eprintln!("{ends:?} kills of a restoration, done and not done");
    assert!(ends.iter().all(|n| *n > 0), "{ends:?}");
}

#[tokio::test]
async fn a_copy_that_is_killed_anywhere_is_whole_or_not_there_and_leaves_nothing_behind() {
    let _alone = ALONE.lock().await;
    let Some(calls) = Place::new().await.calls("backup") else {
        return;
    };
    let mut kills = 0;
    for call in &calls {
        let place = Place::new().await;
        let mut child = Other::playing("backup", place.0.path());
        assert_eq!(child.hear().as_deref(), Some("ready"));
        let strace = Strace::kill_at(child.id(), call).unwrap();
        child.tell("act");
        assert_eq!(child.wait().signal(), Some(9), "no {call}");
        drop(strace);
        let second = place.0.path().join("second.db");
        if second.exists() {
            let copied = SqliteStore::open(&second).await.unwrap();
            let page = copied.list(&Query::default()).await.unwrap();
            assert_eq!(page.deployments.len(), 3, "{call}");
        }
        let store = SqliteStore::open(place.path()).await.unwrap();
        store.backup(place.0.path().join("third.db")).await.unwrap();
        let left: Vec<_> = place.names();
        assert!(!left.iter().any(|n| n.starts_with('.')), "{call}: {left:?}");
        kills += 1;
    }
    eprintln!("{kills} kills of a copy");
    assert!(kills > 10, "only {kills}");
}

#[tokio::test]
async fn a_disk_that_fails_once_was_said_to_be_read_only_or_unusable() {
    let _alone = ALONE.lock().await;
    let (mut failures, mut told) = (0, Vec::new());
    for part in ["open", "settle", "restore", "backup"] {
        let Some(calls) = Place::new().await.calls(part) else {
            return;
        };
        for call in &calls {
            let place = Place::new().await;
            let before = place.count().await;
            let mut child = Other::playing(part, place.0.path());
            assert_eq!(child.hear().as_deref(), Some("ready"));
            let strace = Strace::fail_at(child.id(), call).unwrap();
            child.tell("act");
            let said = child
                .hear()
                .unwrap_or_else(|| panic!("{part}, {call}: it died"));
            assert_eq!(child.hear(), None);
            drop(strace);
            failures += 1;
            if said != "done" {
                let kind = said.split(':').next().unwrap();
                // Busy: SQLite cannot tell a lock file that fails from one that is held.
                assert!(["Io", "Busy"].contains(&kind), "{part}, {call}: {said}");
                told.push(kind.to_owned());
            }
            let after = place.count_all().await;
            assert!(after >= before - 1, "{part}, {call}: {after} of {before}");
            if part == "restore" {
                // A failed one had removed the history it replaced.
                assert!(place.has_former(), "{call}: what was replaced is gone");
            } else {
                assert!(after >= before, "{part}, {call}: {after} of {before}");
            }
        }
    }
    eprintln!("{failures} failures, {} of them told", told.len());
    assert!(failures > 60 && !told.is_empty(), "{failures}");
}

impl Place {
    /// With what may be unfinished.
    async fn count_all(&self) -> usize {
        let store = SqliteStore::open(self.path()).await.unwrap();
        assert_eq!(store.verify().await.unwrap(), []);
        let page = store.list(&Query::default()).await.unwrap();
        page.deployments.len()
    }
}
