//! Paths and files that cannot work: each gets a typed error, nothing is lost, the rest is served.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rollback_core::deployment::Outcome;
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{HistoryReader, HistoryStore, Query, Then, Version};
use rollback_core::id::DeploymentId;
use rollback_json::JsonStore;
use rollback_testkit::fixtures::tmpfs::Tmpfs;
use rollback_testkit::store_suite::{at, holder, sample, settlement};

async fn refusal(path: &Path) -> StoreError {
    let error = JsonStore::open(path).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&*path.to_string_lossy()), "{text}");
    error
}

/// Three settled deployments of `api@web-1` and one of `db@web-1`, oldest first.
async fn with_records(path: &Path) -> Vec<DeploymentId> {
    let store = JsonStore::open(path).await.unwrap();
    let mut ids = Vec::new();
    for (workload, n) in [
        ("api@web-1", 1),
        ("api@web-1", 3),
        ("api@web-1", 5),
        ("db@web-1", 7),
    ] {
        let new = sample(workload, n);
        let version = store.workload(&new.workload).await.unwrap().version;
        let begun = store.begin(&new, &holder(), version).await.unwrap();
        let end = settlement(&new.id, Outcome::Succeeded);
        store
            .finish(&begun.lease, &[], &end, at(n + 1), &Then::Release)
            .await
            .unwrap();
        ids.push(new.id);
    }
    ids
}

fn record(root: &Path, id: &DeploymentId) -> PathBuf {
    let shards = root.join("workloads/api@web-1/records");
    let shard = fs::read_dir(shards).unwrap().next().unwrap().unwrap();
    shard.path().join(format!("{id}.json"))
}

#[tokio::test]
async fn a_file_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "x").unwrap();
    assert_eq!(refusal(&path).await.kind(), Kind::Unusable);
    assert_eq!(fs::read(&path).unwrap(), b"x");
    assert_eq!(refusal(&path.join("below")).await.kind(), Kind::Unusable);
}

#[tokio::test]
async fn a_directory_of_something_else_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("theirs"), "x").unwrap();
    assert_eq!(refusal(dir.path()).await.kind(), Kind::Unusable);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_newer_store_is_refused_and_a_damaged_marker_too() {
    let dir = tempfile::tempdir().unwrap();
    with_records(dir.path()).await;
    let marker = dir.path().join("format.json");
    let text = fs::read_to_string(&marker).unwrap();
    fs::write(&marker, text.replace("\"format\": 2", "\"format\": 4")).unwrap();
    assert_eq!(refusal(dir.path()).await.kind(), Kind::NewerSchema);
    fs::write(&marker, "{}").unwrap();
    let error = JsonStore::open(dir.path()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    fs::write(&marker, text).unwrap();
    JsonStore::open(dir.path()).await.unwrap();
}

#[tokio::test]
async fn everything_it_makes_is_its_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("made/history");
    with_records(&root).await;
    let mut left = vec![root];
    let mut files = 0;
    while let Some(path) = left.pop() {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            left.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else {
            assert_eq!(mode, 0o600, "{}", path.display());
            files += 1;
        }
    }
    assert!(files > 8);
}

type Damage = Box<dyn Fn(String) -> String>;

/// What the error says, and how the record is damaged.
fn damages() -> Vec<(&'static str, Damage)> {
    vec![
        ("no whole record", Box::new(|t| t[..t.len() / 2].to_owned())),
        ("no whole record", Box::new(|_| String::new())),
        (
            "changed by hand",
            Box::new(|t| t.replace("because", "becausE")),
        ),
        (
            "changed by hand",
            Box::new(|t| {
                t.replace(
                    "{\n  \"format\": 2,",
                    "{\n  \"format\": 2,\n  \"id\": \"x\",",
                )
            }),
        ),
        (
            "twice",
            Box::new(|t| {
                support::reseal(
                    &t.replace("  \"sequence\":", "  \"sequence\": 9,\n  \"sequence\":"),
                )
            }),
        ),
        (
            "deeper than 32",
            Box::new(|t| {
                support::reseal(&t.replacen(
                    "{\n",
                    &format!("{{\n  \"x\": {}1{},\n", "[".repeat(40), "]".repeat(40)),
                    1,
                ))
            }),
        ),
        (
            "missing field",
            Box::new(|t| support::reseal(&t.replace("\"sequence\":", "\"seq\":"))),
        ),
        (
            "cannot follow",
            Box::new(|t| {
                support::reseal(&t.replace("\"event\": \"settled\"", "\"event\": \"retired\""))
            }),
        ),
        (
            "unknown variant",
            Box::new(|t| {
                let known = "\"verdict\": \"passed\"";
                support::reseal(&t.replace(known, "\"verdict\": \"teleported\""))
            }),
        ),
    ]
}

#[tokio::test]
async fn a_damaged_record_is_left_hides_no_other_and_is_moved_aside_when_it_is_forgotten() {
    for (n, (says, damage)) in damages().into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let ids = with_records(dir.path()).await;
        let file = record(dir.path(), &ids[1]);
        let text = fs::read_to_string(&file).unwrap();
        let damaged = damage(text.clone());
        assert_ne!(damaged, text, "{n}: {says}");
        fs::write(&file, &damaged).unwrap();
        // As it is found by reading one, by listing, and by a fresh index.
        for fresh_index in [false, true] {
            if fresh_index {
                fs::remove_dir_all(dir.path().join("workloads/api@web-1/index")).unwrap();
            }
            let store = JsonStore::open(dir.path()).await.unwrap();
            let error = store.get(&ids[1]).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{n} {says}: {error}");
            for _ in 0..2 {
                let page = store.list(&Query::default()).await.unwrap();
                let readable: Vec<_> = page.deployments.iter().map(|d| d.id()).collect();
                assert_eq!(readable, [&ids[3], &ids[2], &ids[0]], "{n} {says}");
                assert_eq!(page.unreadable.len(), 1, "{n} {says}: {page:?}");
                assert!(
                    page.unreadable[0].to_string().contains(says),
                    "{n} {says}: {page:?}"
                );
            }
            let faults = store.verify().await.unwrap();
            let of_it =
                |f: &&rollback_core::history::Fault| f.to_string().contains(ids[1].as_str());
            assert_eq!(
                faults.iter().filter(of_it).count(),
                1,
                "{n} {says}: {faults:?}"
            );
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), damaged, "{n} {says}");
        let store = JsonStore::open(dir.path()).await.unwrap();
        assert_eq!(store.forget(&[ids[1].clone()]).await.unwrap(), 1);
        let page = store.list(&Query::default()).await.unwrap();
        assert_eq!((page.deployments.len(), page.unreadable.len()), (3, 0));
        assert_eq!(store.get(&ids[1]).await.unwrap_err().kind(), Kind::Corrupt);
        let aside = dir
            .path()
            .join(format!("quarantine/api@web-1.{}.json", ids[1]));
        assert_eq!(fs::read_to_string(&aside).unwrap(), damaged, "{n} {says}");
        // Restored from a copy, it is there again.
        fs::remove_file(&aside).unwrap();
        fs::write(&file, text).unwrap();
        let store = JsonStore::open(dir.path()).await.unwrap();
        store.rebuild_index().await.unwrap();
        assert_eq!(store.verify().await.unwrap(), []);
        assert_eq!(
            store
                .list(&Query::default())
                .await
                .unwrap()
                .deployments
                .len(),
            4
        );
    }
}

#[tokio::test]
async fn a_record_of_a_newer_version_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let ids = with_records(dir.path()).await;
    let file = record(dir.path(), &ids[1]);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"format\": 2", "\"format\": 4")).unwrap();
    let store = JsonStore::open(dir.path()).await.unwrap();
    assert_eq!(
        store.get(&ids[1]).await.unwrap_err().kind(),
        Kind::NewerSchema
    );
    let page = store.list(&Query::default()).await.unwrap();
    assert_eq!((page.deployments.len(), page.unreadable.len()), (3, 1));
    assert!(
        page.unreadable[0].to_string().contains("newer version"),
        "{:?}",
        page.unreadable
    );
    assert!(file.exists());
}

#[tokio::test]
async fn a_damaged_state_is_said_never_guessed_and_hides_no_other_workload() {
    let dir = tempfile::tempdir().unwrap();
    let ids = with_records(dir.path()).await;
    let file = dir.path().join("workloads/api@web-1/state.json");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let store = JsonStore::open(dir.path()).await.unwrap();
    let new = sample("api@web-1", 9);
    let error = store.begin(&new, &holder(), Version(0)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    let page = store.list(&Query::default()).await.unwrap();
    let shown: Vec<_> = page.deployments.iter().map(|d| d.id()).collect();
    assert_eq!(shown, [&ids[3], &ids[2], &ids[1], &ids[0]]);
    assert_eq!(page.unreadable.len(), 1);
    assert_eq!(store.verify().await.unwrap().len(), 1);
    fs::write(&file, whole).unwrap();
    let page = store.list(&Query::default()).await.unwrap();
    assert_eq!(page.deployments.len(), 4);
}

#[tokio::test]
async fn a_lost_counter_gives_no_number_twice() {
    for content in [None, Some("nonsense")] {
        let dir = tempfile::tempdir().unwrap();
        let ids = with_records(dir.path()).await;
        let store = JsonStore::open(dir.path()).await.unwrap();
        let newest = store.get(&ids[3]).await.unwrap().unwrap().sequence();
        let counter = dir.path().join("sequence");
        match content {
            Some(text) => fs::write(&counter, text).unwrap(),
            None => fs::remove_file(&counter).unwrap(),
        }
        let new = sample("web@web-1", 9);
        let begun = store.begin(&new, &holder(), Version(0)).await.unwrap();
        assert!(begun.sequence > newest);
    }
}

#[tokio::test]
async fn a_read_only_file_system_is_read_and_not_written() {
    let Some(mount) = Tmpfs::mount("size=4m") else {
        return;
    };
    let ids = with_records(&mount.path().join("history")).await;
    mount.remount("ro");
    let store = JsonStore::open(mount.path().join("history")).await.unwrap();
    let page = store.list(&Query::default()).await.unwrap();
    assert_eq!(page.deployments.len(), 4);
    assert!(store.get(&ids[0]).await.unwrap().is_some());
    let new = sample("api@web-1", 9);
    let version = store.workload(&new.workload).await.unwrap().version;
    let error = store.begin(&new, &holder(), version).await.unwrap_err();
    assert_eq!(error.kind(), Kind::ReadOnly, "{error}");
    let error = JsonStore::open(mount.path().join("history/new"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::ReadOnly, "{error}");
}

#[tokio::test]
async fn a_full_file_system_loses_nothing_that_was_acknowledged() {
    let Some(mount) = Tmpfs::mount("size=1m") else {
        return;
    };
    let store = JsonStore::open(mount.path().join("history")).await.unwrap();
    let new = sample("api@web-1", 1);
    let begun = store.begin(&new, &holder(), Version(0)).await.unwrap();
    let mut acknowledged = Vec::new();
    let error = loop {
        assert!(acknowledged.len() < 1_000, "it never filled up");
        let event = TimedEvent::new(
            at(acknowledged.len() as u64),
            Event::TakenOver {
                decision: "x".repeat(20_000),
                by: None,
            },
        );
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
    let store = JsonStore::open(mount.path().join("history")).await.unwrap();
    assert_eq!(store.verify().await.unwrap(), []);
    let lease = store.take_over(&new.workload, &holder()).await.unwrap();
    let event = TimedEvent::new(at(9_999), Event::PrepareIntended);
    store.append(&lease, &[event]).await.unwrap();
    let record = store.get(&new.id).await.unwrap().unwrap();
    assert_eq!(record.events().len(), acknowledged.len() + 1);
}

#[tokio::test]
async fn a_record_reads_as_people_expect() {
    let dir = tempfile::tempdir().unwrap();
    let ids = with_records(dir.path()).await;
    let text = fs::read_to_string(record(dir.path(), &ids[0])).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["id"], ids[0].as_str());
    assert_eq!(value["outcome"], "succeeded");
    assert_eq!(value["health"], "passed");
    assert_eq!(value["duration_ms"], 1_000);
    assert_eq!(value["trigger"], "deploy");
    assert_eq!(value["actor"]["name"], "ann");
    assert!(value["warnings"].is_array() && value["events"].is_array());
}
