//! Paths and files that cannot work: each is refused with a typed error, and left as it is.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{Amend, HistoryReader, HistoryStore, Liveness, Query, Then, Version};
use rollback_sqlite::SqliteStore;
use rollback_testkit::fixtures::tmpfs::Tmpfs;
use rollback_testkit::store_suite::{amend, at, by_ann, holder, sample, settlement};
use rusqlite::Connection;

async fn refusal(path: &Path) -> StoreError {
    let error = SqliteStore::open(path).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&*path.to_string_lossy()), "{text}");
    assert!(text.contains("; "), "no advice: {text}");
    error
}

async fn with_one_record(path: &Path) {
    let store = SqliteStore::open(path).await.unwrap();
    let new = sample("api@web-1", 1);
    let begun = store.begin(&new, &holder(), Version(0)).await.unwrap();
    let end = settlement(&new.id, rollback_core::deployment::Outcome::Succeeded);
    let done = store
        .finish(&begun.lease, &[], &end, at(2), &Then::Release)
        .await;
    done.unwrap();
}

#[tokio::test]
async fn a_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(refusal(dir.path()).await.kind(), Kind::Unusable);
}

#[tokio::test]
async fn a_file_in_the_way_of_the_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    let path = dir.path().join("file/history.db");
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unusable, "{error}");
}

#[tokio::test]
async fn what_is_no_database_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    for garbage in [b"x".to_vec(), vec![b'x'; 10_000]] {
        fs::write(&path, &garbage).unwrap();
        assert_eq!(refusal(&path).await.kind(), Kind::Corrupt);
        assert_eq!(fs::read(&path).unwrap(), garbage);
    }
}

#[tokio::test]
async fn a_truncated_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    with_one_record(&path).await;
    let whole = fs::read(&path).unwrap();
    for len in [50, 4_096, whole.len() - 4_096] {
        fs::write(&path, &whole[..len]).unwrap();
        assert_eq!(refusal(&path).await.kind(), Kind::Corrupt, "{len}");
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    with_one_record(&path).await;
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let before = fs::read(&path).unwrap();
    assert_eq!(refusal(&path).await.kind(), Kind::NewerSchema);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn another_programs_database_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("theirs.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(connection);
    let before = fs::read(&path).unwrap();
    assert_eq!(refusal(&path).await.kind(), Kind::Unusable);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn everything_it_makes_is_its_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/history.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let new = sample("api@web-1", 1);
    let _begun = store.begin(&new, &holder(), Version(0)).await.unwrap();
    let mode = |name: &str| {
        let file = dir.path().join("made").join(name);
        fs::metadata(file).unwrap().permissions().mode() & 0o7777
    };
    for file in [
        "history.db",
        "history.db-wal",
        "history.db-shm",
        "history.db.locks/api@web-1.lock",
    ] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    for made in [".", "history.db.locks"] {
        assert_eq!(mode(made), 0o700, "{made}");
    }
}

#[tokio::test]
async fn one_unreadable_record_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let all = ["a@x", "b@x", "c@x", "d@x"].map(|name| sample(name, 1));
    for new in &all {
        let begun = store.begin(new, &holder(), Version(0)).await.unwrap();
        let at = at(2);
        let event = Event::PrepareIntended;
        let step = TimedEvent::new(at, event);
        store.append(&begun.lease, &[step]).await.unwrap();
    }
    let connection = support::by_hand(&path);
    let damage = "UPDATE deployments SET header = '{' WHERE workload = 'b@x';
        UPDATE events SET body = replace(body, 'prepare_intended', 'retired') WHERE deployment = 3;";
    connection.execute_batch(damage).unwrap();
    let page = store.list(&Query::default()).await.unwrap();
    let readable: Vec<_> = page.deployments.iter().map(|d| d.id()).collect();
    assert_eq!(readable, [&all[3].id, &all[0].id]);
    assert_eq!(page.unreadable.len(), 2);
    assert!(page.unreadable[1].to_string().contains(all[1].id.as_str()));
    let error = store.get(&all[2].id).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
}

fn history(mount: &Tmpfs) -> PathBuf {
    mount.path().join("history.db")
}

/// What there is to read, where nothing can be written.
async fn is_read_and_not_written(path: &Path, records: usize) {
    let store = SqliteStore::open(path).await.unwrap();
    let page = store.list(&Query::default()).await.unwrap();
    assert_eq!(page.deployments.len(), records);
    let id = page.deployments[0].id();
    assert!(store.get(id).await.unwrap().is_some());
    let stats = store.stats(&Query::default()).await.unwrap();
    assert!(stats.total <= records as u64);
    assert_eq!(store.verify().await.unwrap(), []);
    let workload = page.deployments[0].workload();
    let state = store.workload(workload).await.unwrap();
    // Whoever held it is dead: there is no lock.
    let liveness = state.in_flight.map(|f| f.liveness);
    assert!(liveness.is_none_or(|l| l == Liveness::Dead));
    for error in [
        amend(&store, workload, &by_ann(Amend::LiftHold, 9))
            .await
            .unwrap_err(),
        store.forget(std::slice::from_ref(id)).await.unwrap_err(),
        store.take_over(workload, &holder()).await.unwrap_err(),
    ] {
        let nothing = error.kind() == Kind::NotFound;
        assert!(error.kind() == Kind::ReadOnly || nothing, "{error}");
    }
    let new = sample("other@web-1", 77);
    let error = store.begin(&new, &holder(), Version(0)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::ReadOnly, "{error}");
    // A disk that is about to die: this is what one wants to do.
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("copy.db");
    store.backup(&copy).await.unwrap();
    let copy = SqliteStore::open(&copy).await.unwrap();
    let copied = copy.list(&Query::default()).await.unwrap();
    assert_eq!(copied.deployments, page.deployments);
}

#[tokio::test]
async fn a_history_on_a_read_only_file_system_was_refused_instead_of_read() {
    let Some(mount) = Tmpfs::mount("size=4m") else {
        return;
    };
    let odd = mount.path().join("a history?#100%.db");
    with_one_record(&odd).await;
    mount.remount("ro");
    is_read_and_not_written(&odd, 1).await;
    let new = mount.path().join("new.db");
    assert_eq!(refusal(&new).await.kind(), Kind::ReadOnly);
    mount.remount("rw");
    SqliteStore::open(&odd).await.unwrap();
}

#[tokio::test]
async fn on_a_read_only_file_system_what_is_only_in_the_log_is_read_too() {
    let Some(mount) = Tmpfs::mount("size=4m") else {
        return;
    };
    // A process that is gone has left its log: copied while it is open.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let new = sample("api@web-1", 1);
    let begun = store.begin(&new, &holder(), Version(0)).await.unwrap();
    let left = |name: &str| mount.path().join(name).join("history.db");
    for (name, suffixes) in [
        ("whole", &["", "-wal", "-shm"][..]),
        ("half", &["", "-wal"]),
    ] {
        fs::create_dir(mount.path().join(name)).unwrap();
        for suffix in suffixes {
            let file = |path: &Path| format!("{}{suffix}", path.display());
            // By another process: this one would lose SQLite's locks on what it copies.
            let copy = std::process::Command::new("cp")
                .args([file(&path), file(&left(name))])
                .status();
            assert!(copy.unwrap().success());
        }
    }
    // Or it would be seen to live.
    drop(begun);
    mount.remount("ro");
    is_read_and_not_written(&left("whole"), 1).await;
    let error = refusal(&left("half")).await;
    assert_eq!(error.kind(), Kind::ReadOnly);
    assert!(error.to_string().contains("copy both"), "{error}");
}

#[tokio::test]
async fn a_read_only_mount_of_a_history_could_not_be_read_or_was_read_as_if_nobody_wrote_it() {
    let Some(mount) = Tmpfs::mount("size=4m") else {
        return;
    };
    with_one_record(&history(&mount)).await;
    let seen = mount.seen_read_only();
    // Nobody has it open: there is no log.
    is_read_and_not_written(&history(&seen), 1).await;
    // While somebody has it open there is a log, and what it holds is seen as it comes.
    let writer = SqliteStore::open(history(&mount)).await.unwrap();
    let reader = SqliteStore::open(history(&seen)).await.unwrap();
    for n in 2..6 {
        let new = sample(&format!("w{n}@web-1"), n);
        writer.begin(&new, &holder(), Version(0)).await.unwrap();
        let page = reader.list(&Query::default()).await.unwrap();
        assert_eq!(page.deployments.len() as u64, n);
        assert_eq!(reader.verify().await.unwrap(), []);
    }
    // And after it has been closed, what it brought into the file.
    let new = sample("w6@web-1", 6);
    writer.begin(&new, &holder(), Version(0)).await.unwrap();
    drop(writer);
    let page = reader.list(&Query::default()).await.unwrap();
    assert_eq!(page.deployments.len(), 6);
}

/// Not a test by itself: what a child process does. It opens, writes and closes, again and again.
#[tokio::test]
async fn child() {
    let Some((_, place)) = support::part() else {
        return;
    };
    for n in 2..40 {
        let store = SqliteStore::open(&place).await.unwrap();
        support::settle(&store, "w@x", n).await;
        drop(store);
        tokio::time::sleep(std::time::Duration::from_millis(n % 7 * 20)).await;
    }
    support::say("done");
}

#[tokio::test]
async fn what_is_read_on_a_read_only_mount_while_others_open_write_and_close_is_one_snapshot() {
    let Some(mount) = Tmpfs::mount("size=8m") else {
        return;
    };
    with_one_record(&history(&mount)).await;
    let seen = mount.seen_read_only();
    let reader = SqliteStore::open(history(&seen)).await.unwrap();
    let mut writer = support::Other::playing("writer", &history(&mount));
    let writing = std::thread::spawn(move || writer.hear());
    let (mut last, mut looks) = (0, 0);
    while !writing.is_finished() {
        match reader.list(&Query::default()).await {
            Ok(page) => {
                assert_eq!(page.unreadable, []);
                assert!(page.deployments.len() >= last, "it went back");
                last = page.deployments.len();
                looks += 1;
            }
            Err(e) => assert_eq!(e.kind(), Kind::Busy, "{e}"),
        }
    }
    assert_eq!(writing.join().unwrap().as_deref(), Some("done"));
    assert!(looks > 3, "{looks}");
    let page = reader.list(&Query::default()).await.unwrap();
    assert_eq!(page.deployments.len(), 39);
}

#[tokio::test]
async fn a_full_file_system_loses_nothing_that_was_acknowledged() {
    let Some(mount) = Tmpfs::mount("size=1m") else {
        return;
    };
    let store = SqliteStore::open(history(&mount)).await.unwrap();
    let new = sample("api@web-1", 1);
    let begun = store.begin(&new, &holder(), Version(0)).await.unwrap();
    let mut acknowledged = Vec::new();
    let error = loop {
        assert!(acknowledged.len() < 1_000, "it never filled up");
        let at = at(acknowledged.len() as u64);
        let decision = "x".repeat(20_000);
        let event = TimedEvent::new(at, Event::TakenOver { decision, by: None });
        match store
            .append(&begun.lease, std::slice::from_ref(&event))
            .await
        {
            Ok(_) => acknowledged.push(event),
            Err(e) => break e,
        }
    };
    assert_eq!(error.kind(), Kind::Full, "{error}");
    assert!(acknowledged.len() > 5);
    let full = store.get(&new.id).await.unwrap().unwrap();
    assert_eq!(full.events(), acknowledged);
    drop((begun, store));
    mount.remount("size=8m");
    let store = SqliteStore::open(history(&mount)).await.unwrap();
    let record = store.get(&new.id).await.unwrap().unwrap();
    assert_eq!(record.events(), acknowledged);
    let lease = store.take_over(&new.workload, &holder()).await.unwrap();
    let event = TimedEvent::new(at(9_999), Event::PrepareIntended);
    store.append(&lease, &[event]).await.unwrap();
}

/// Fills a file system to its last byte.
fn fill(mount: &Tmpfs) -> PathBuf {
    use std::io::Write;
    let path = mount.path().join("filler");
    let mut file = fs::File::create(&path).unwrap();
    for size in [64 * 1024, 4_096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    path
}

#[tokio::test]
async fn on_a_full_disk_what_had_begun_could_not_be_ended() {
    let Some(mount) = Tmpfs::mount("size=1m") else {
        return;
    };
    let store = SqliteStore::open(history(&mount)).await.unwrap();
    support::settle(&store, "api@x", 1).await;
    let new = sample("api@x", 5);
    let begun = support::begin(&store, &new).await.unwrap();
    let other = sample("other@x", 5);
    let dead = support::begin(&store, &other).await.unwrap();
    drop(dead);
    let filler = fill(&mount);
    // A whole run, with an automatic rollback, and the recovery of another.
    for n in 6..30 {
        store
            .append(&begun.lease, &[support::step(n)])
            .await
            .unwrap();
    }
    let mut next = sample("api@x", 30);
    next.to.clone_from(&new.to);
    let end = settlement(&new.id, rollback_core::deployment::Outcome::Failed);
    let then = Then::Open(Box::new(next.clone()));
    let done = store.finish(&begun.lease, &[], &end, at(31), &then).await;
    let rollback_core::history::Finished::Opened(begun) = done.unwrap() else {
        panic!()
    };
    for n in 32..50 {
        store
            .append(&begun.lease, &[support::step(n)])
            .await
            .unwrap();
    }
    let end = settlement(&next.id, rollback_core::deployment::Outcome::Succeeded);
    let then = Then::ReleaseAndAmend(new.id.clone());
    let done = store.finish(&begun.lease, &[], &end, at(51), &then).await;
    done.unwrap();
    let lease = store.take_over(&other.workload, &holder()).await.unwrap();
    let end = settlement(&other.id, rollback_core::deployment::Outcome::Interrupted);
    let done = store
        .finish(&lease, &[], &end, at(52), &Then::Release)
        .await;
    done.unwrap();
    // But nothing begins that might not be ended.
    fill(&mount);
    let refused = support::begin(&store, &sample("api@x", 60))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), Kind::Full, "{refused}");
    assert_eq!(store.verify().await.unwrap(), []);
    fs::remove_file(filler).unwrap();
    support::settle(&store, "api@x", 70).await;
    assert_eq!(store.verify().await.unwrap(), []);
}

#[tokio::test]
async fn nothing_is_switched_without_the_room_to_go_back() {
    let Some(mount) = Tmpfs::mount("size=1m") else {
        return;
    };
    let store = SqliteStore::open(history(&mount)).await.unwrap();
    let new = sample("api@x", 1);
    let begun = support::begin(&store, &new).await.unwrap();
    let event = |n, event| TimedEvent::new(at(n), event);
    let lease = &begun.lease;
    let step = event(2, Event::PrepareIntended);
    store.append(lease, &[step]).await.unwrap();
    let prepared = Event::Prepared(rollback_core::backend::Prepared::new(
        rollback_core::backend::Rollout::Replace,
        rollback_core::backend::Instance::new(
            new.to.release().unwrap().clone(),
            rollback_core::backend::Handle::new("place"),
        ),
    ));
    store.append(lease, &[event(3, prepared)]).await.unwrap();
    // Somebody else has used up everything.
    fs::remove_file(mount.path().join("history.db.locks/reserve")).unwrap();
    let filler = fill(&mount);
    let switch = event(4, Event::SwitchIntended);
    let refused = store
        .append(lease, std::slice::from_ref(&switch))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), Kind::Full, "{refused}");
    fs::remove_file(filler).unwrap();
    store.append(lease, &[switch]).await.unwrap();
    let record = store.get(&new.id).await.unwrap().unwrap();
    assert_eq!(record.events().len(), 3);
}

#[tokio::test]
async fn on_a_full_disk_the_clean_up_that_frees_space_failed() {
    let Some(mount) = Tmpfs::mount("size=1m") else {
        return;
    };
    let store = SqliteStore::open(history(&mount)).await.unwrap();
    let mut ids = Vec::new();
    let full = loop {
        let n = ids.len() as u64 * 3;
        let new = sample("api@x", n);
        let begun = match support::begin(&store, &new).await {
            Ok(begun) => begun,
            Err(e) => break e,
        };
        ids.push(new.id.clone());
        let end = settlement(&new.id, rollback_core::deployment::Outcome::Failed);
        match store
            .finish(&begun.lease, &[], &end, at(n + 1), &Then::Release)
            .await
        {
            Ok(_) => {}
            Err(e) => panic!("it could not be ended: {e}"),
        }
        assert!(ids.len() < 2_000, "it never filled up");
    };
    assert_eq!(full.kind(), Kind::Full, "{full}");
    fill(&mount);
    let gone = store.forget(&ids[..ids.len() - 2]).await.unwrap();
    assert_eq!(gone, ids.len() as u64 - 2);
    let left = store.list(&Query::default()).await.unwrap();
    assert_eq!(left.deployments.len(), 2);
    assert_eq!(store.verify().await.unwrap(), []);
}
