//! How a history may be opened, what it may be, and what happens to its file while it is open.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::history::{HistoryReader, HistoryStore, Query, Version};
use rollback_sqlite::SqliteStore;
use rollback_testkit::fixtures::strace::{Strace, not_durable};
use rollback_testkit::fixtures::tmpfs::Tmpfs;
use rollback_testkit::store_suite::{holder, sample};
use support::{Other, begin, listen, part, say, settle, step};

/// Not a test by itself: what a child process does.
#[test]
fn child() {
    let Some((part, place)) = part() else {
        return;
    };
    if part == "client" {
        let file = fs::File::options().read(true).write(true).open(place);
        let whole = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        let taken = rustix::fs::fcntl_lock(file.unwrap(), whole);
        say(if taken.is_ok() { "free" } else { "in use" });
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if part == "maker" {
        say("ready");
        listen();
        runtime.block_on(SqliteStore::open(&place)).unwrap();
        return;
    }
    runtime.block_on(async {
        let store = SqliteStore::open(&place).await.unwrap();
        let again = match &*part {
            "twice" => Some(SqliteStore::open(&place).await.unwrap()),
            "refused" => {
                // Also an opening that comes to nothing.
                let locks = format!("{}.locks", place.display());
                let aside = format!("{}.aside", place.display());
                fs::rename(&locks, &aside).unwrap();
                fs::write(&locks, "in the way").unwrap();
                SqliteStore::open(&place).await.unwrap_err();
                fs::remove_file(&locks).unwrap();
                fs::rename(&aside, &locks).unwrap();
                None
            }
            "copied" => {
                store.backup(place.with_extension("copy")).await.unwrap();
                None
            }
            _ => None,
        };
        let new = sample("api@x", 0);
        let begun = begin(&store, &new).await.unwrap();
        say(new.id.as_str());
        for n in 0.. {
            if listen() == "by hand" {
                // What the documentation forbids.
                fs::copy(&place, place.with_extension("by-hand")).unwrap();
            }
            match store.append(&begun.lease, &[step(n)]).await {
                Ok(_) => say("done"),
                Err(e) => say(&format!("{:?}: {e}", e.kind())),
            }
        }
        drop(again);
    });
}

/// Another program, any SQLite client, as the distributions have them: it opens, reads and closes.
/// Newer ones look twice before they remove a log; older ones ask for this lock alone.
fn another_client_looks(path: &Path) {
    let count = "SELECT count(*) FROM events";
    let client = Command::new("sqlite3").arg(path).arg(count).output();
    // Where there is no such program, the lock is looked at all the same.
    if let Ok(output) = client {
        assert!(output.status.success(), "{output:?}");
    }
}

/// Whether another process could take the lock of the database for itself alone.
fn is_free(path: &Path) -> bool {
    let mut client = Other::playing("client", path);
    client.hear().unwrap() == "free"
}

#[tokio::test]
async fn a_history_opened_twice_in_one_process_lost_what_it_acknowledged() {
    for part in ["once", "twice", "refused", "copied"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.db");
        drop(SqliteStore::open(&path).await.unwrap());
        let mut other = Other::playing(part, &path);
        let id = other.hear().unwrap().parse().unwrap();
        let mut acknowledged = 0;
        for _ in 0..30 {
            other.tell("go on");
            assert_eq!(other.hear().as_deref(), Some("done"), "{part}");
            acknowledged += 1;
            if acknowledged % 10 == 5 {
                assert!(!is_free(&path), "{part}");
                another_client_looks(&path);
            }
        }
        other.kill();
        let store = SqliteStore::open(&path).await.unwrap();
        let record = store.get(&id).await.unwrap();
        let kept = record.map_or(0, |r| r.events().len());
        assert_eq!(kept, acknowledged, "{part}");
        assert_eq!(store.verify().await.unwrap(), [], "{part}");
    }
}

#[tokio::test]
async fn what_a_copy_by_hand_let_others_delete_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    drop(SqliteStore::open(&path).await.unwrap());
    let mut other = Other::playing("once", &path);
    let id = other.hear().unwrap().parse().unwrap();
    let mut acknowledged = 0;
    for told in ["go on", "by hand", "look", "go on", "go on"] {
        if told == "look" {
            another_client_looks(&path);
        }
        other.tell(told);
        let said = other.hear().unwrap();
        if said == "done" {
            acknowledged += 1;
        } else {
            assert!(said.starts_with("Unusable"), "{said}");
        }
    }
    assert_eq!(acknowledged, 2, "what came after is not acknowledged");
    other.kill();
    let store = SqliteStore::open(&path).await.unwrap();
    let record = store.get(&id).await.unwrap().unwrap();
    assert_eq!(record.events().len(), acknowledged);
}

#[tokio::test]
async fn writes_to_a_history_that_was_moved_away_were_acknowledged() {
    for change in ["moved", "replaced", "deleted", "directory moved"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/history.db");
        let other = dir.path().join("other.db");
        let store = SqliteStore::open(&path).await.unwrap();
        settle(&store, "api@x", 1).await;
        store.backup(&other).await.unwrap();
        let begun = begin(&store, &sample("api@x", 5)).await.unwrap();
        match change {
            "moved" => fs::rename(&path, dir.path().join("moved.db")).unwrap(),
            "replaced" => fs::rename(&other, &path).unwrap(),
            "deleted" => fs::remove_file(&path).unwrap(),
            _ => {
                let state = path.parent().unwrap();
                fs::rename(state, dir.path().join("state-2")).unwrap();
            }
        }
        let error = store.append(&begun.lease, &[step(6)]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unusable, "{change}: {error}");
        assert!(!error.is_transient());
        let text = error.to_string();
        assert!(text.contains("moved, replaced or deleted"), "{text}");
        assert!(text.contains("; "), "no advice: {text}");
        // Nor is what is no longer there read as the truth.
        let error = store.renew(&begun.lease).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unusable, "{change}: {error}");
        let error = store.list(&Query::default()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unusable, "{change}: {error}");
        if change == "deleted" {
            // What only this process still has can be saved.
            let saved = dir.path().join("saved.db");
            store.backup(&saved).await.unwrap();
            let saved = SqliteStore::open(&saved).await.unwrap();
            let page = saved.list(&Query::default()).await.unwrap();
            assert_eq!(page.deployments.len(), 2);
        }
    }
}

#[tokio::test]
async fn a_history_of_no_bytes_counted_as_new() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    drop(SqliteStore::open(&path).await.unwrap());
    fs::write(&path, "").unwrap();
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert!(error.to_string().contains("no bytes"), "{error}");
    assert_eq!(fs::metadata(&path).unwrap().len(), 0, "left as it is");
}

#[tokio::test]
async fn a_history_under_two_hard_links_had_two_logs_and_two_sets_of_locks() {
    let dir = tempfile::tempdir().unwrap();
    let (path, second) = (dir.path().join("history.db"), dir.path().join("second.db"));
    drop(SqliteStore::open(&path).await.unwrap());
    fs::hard_link(&path, &second).unwrap();
    for path in [&path, &second] {
        let error = SqliteStore::open(path).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unusable, "{error}");
        assert!(error.to_string().contains("second name"), "{error}");
    }
    // Also when it comes while the history is open.
    fs::remove_file(&second).unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    fs::hard_link(&path, &second).unwrap();
    let new = sample("api@x", 1);
    let error = store.begin(&new, &holder(), Version(0)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unusable, "{error}");
}

#[tokio::test]
async fn a_history_mounted_as_a_file_had_two_logs_and_two_sets_of_locks() {
    let Some(mount) = Tmpfs::mount("size=4m") else {
        return;
    };
    let path = mount.path().join("history.db");
    drop(SqliteStore::open(&path).await.unwrap());
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("history.db");
    fs::write(&file, "").unwrap();
    let mounted = Mounted::bind(&path, &file);
    let error = SqliteStore::open(&file).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unusable, "{error}");
    assert!(error.to_string().contains("mount the directory"), "{error}");
    drop(mounted);
    SqliteStore::open(&path).await.unwrap();
}

/// A mounted file, unmounted when the test ends.
struct Mounted(PathBuf);

impl Mounted {
    fn bind(from: &Path, to: &Path) -> Self {
        let done = Command::new("mount")
            .arg("--bind")
            .args([from, to])
            .status();
        assert!(done.unwrap().success());
        Self(to.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_link_to_a_history_and_the_history_are_one() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("real/history.db");
    fs::create_dir(dir.path().join("real")).unwrap();
    let link = dir.path().join("link.db");
    std::os::unix::fs::symlink("real/history.db", &link).unwrap();
    // A link that leads to where there is nothing yet.
    let through = SqliteStore::open(&link).await.unwrap();
    assert_eq!(through.path(), fs::canonicalize(&real).unwrap());
    let direct = SqliteStore::open(&real).await.unwrap();
    let new = sample("api@x", 1);
    let _begun = begin(&through, &new).await.unwrap();
    let error = begin(&direct, &sample("api@x", 2)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
    let mut beside: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    beside.retain(|e| e.as_ref().unwrap().file_name() != "real");
    assert_eq!(
        beside.len(),
        1,
        "nothing stands beside the link: {beside:?}"
    );
}

fn everything(dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![dir.to_owned()];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(everything(&path));
        } else {
            all.push(path);
        }
    }
    all
}

#[tokio::test]
async fn files_that_root_made_locked_the_service_out() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root makes files for others");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("service");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(12_345), Some(23_456)).unwrap();
    let store = SqliteStore::open(home.join("state/history.db"))
        .await
        .unwrap();
    settle(&store, "api@x", 1).await;
    let _begun = begin(&store, &sample("other@x", 5)).await.unwrap();
    store.backup(home.join("copy.db")).await.unwrap();
    let all = everything(&home);
    assert!(all.len() > 7, "{all:?}");
    for path in all {
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (12_345, 23_456), "{path:?}");
    }
}

#[tokio::test]
async fn one_lock_that_cannot_be_read_hid_every_workload() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let store = SqliteStore::open(&path).await.unwrap();
    for workload in ["a@x", "b@x", "c@x"] {
        drop(begin(&store, &sample(workload, 1)).await.unwrap());
    }
    let lock = dir.path().join("history.db.locks/b@x.lock");
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink("b@x.lock", &lock).unwrap();
    let all = store.workloads().await.unwrap();
    let named: Vec<_> = all.states.iter().map(|s| s.workload.to_string()).collect();
    assert_eq!(named, ["a@x", "c@x"]);
    let damaged: Vec<_> = all.damaged.iter().map(|d| d.workload.to_string()).collect();
    assert_eq!(damaged, ["b@x"]);
}

#[test]
fn a_power_cut_could_take_back_the_directories_that_lead_to_a_new_history() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("var/deploys/history.db");
    let mut other = Other::playing("maker", &place);
    assert_eq!(other.hear().as_deref(), Some("ready"));
    let strace = match Strace::watch(other.id()) {
        Ok(strace) => strace,
        Err(why) => return rollback_testkit::service::unavailable(&why),
    };
    other.tell("go");
    assert!(other.wait().success());
    let calls = strace.calls(dir.path());
    assert!(place.exists());
    let leads_there = |name: &&Path| Path::new("var/deploys/history.db").starts_with(name);
    let lost: Vec<_> = not_durable(&calls)
        .into_iter()
        .filter(leads_there)
        .collect();
    assert!(lost.is_empty(), "{lost:?} of {calls:#?}");
}
