//! What a kill between two renames leaves on disk, made by putting files back: nothing that was
//! acknowledged is lost, nothing that was not committed is shown.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use rollback_core::deployment::{Outcome, Trigger};
use rollback_core::history::{Amend, Finished, HistoryReader, HistoryStore, Query, Then, Version};
use rollback_core::id::DeploymentId;
use rollback_json::JsonStore;
use rollback_testkit::store_suite::{amend, at, by_ann, holder, sample, sample_of, settlement};

/// Every file of a directory, to be put back.
struct Snapshot(Vec<(PathBuf, Vec<u8>)>);

impl Snapshot {
    fn of(root: &Path) -> Self {
        let (mut left, mut files) = (vec![root.to_owned()], Vec::new());
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            } else {
                files.push((path.clone(), fs::read(&path).unwrap()));
            }
        }
        Self(files)
    }

    /// Puts back the files whose path contains this, as a kill leaves them: whoever was killed has
    /// not said that it has ended. An index may not have been there.
    fn put_back(&self, part: &str) {
        let mut any = false;
        for (path, bytes) in &self.0 {
            if path.to_string_lossy().contains(part) {
                // A new inode, as a rename makes one.
                let _ = fs::remove_file(path);
                fs::write(path, bytes).unwrap();
                any = true;
            }
            if path.ends_with("state.json") {
                let _ = fs::remove_file(path.with_file_name("ended"));
            }
        }
        assert!(any || part == "/index/", "{part}");
    }
}

async fn open(root: &Path) -> JsonStore {
    JsonStore::open(root).await.unwrap()
}

async fn outcomes(store: &JsonStore, outcome: Outcome) -> Vec<DeploymentId> {
    let mut query = Query::default();
    query.outcome = Some(outcome);
    let page = store.list(&query).await.unwrap();
    assert_eq!(page.unreadable, []);
    page.deployments.iter().map(|d| d.id().clone()).collect()
}

#[tokio::test]
async fn a_begin_that_was_not_committed_is_no_record_and_is_cleaned_up() {
    for cut in ["a kill", "a power cut"] {
        a_begin_that_was_not_committed(cut == "a power cut").await;
    }
}

async fn a_begin_that_was_not_committed(another_boot: bool) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    let (first, lost, third) = (
        sample("api@web-1", 1),
        sample("api@web-1", 2),
        sample("api@web-1", 3),
    );
    let store = open(&root).await;
    let begun = store.begin(&first, &holder(), Version(0)).await.unwrap();
    let end = settlement(&first.id, Outcome::Succeeded);
    store
        .finish(&begun.lease, &[], &end, at(2), &Then::Release)
        .await
        .unwrap();
    let before = Snapshot::of(&root);
    let begun = store.begin(&lost, &holder(), Version(2)).await.unwrap();
    let lost_sequence = begun.sequence;
    drop((begun, store));
    // Killed after the record was written, before the state was renamed and the record got its
    // name.
    before.put_back("state.json");
    let shard = root.join("workloads/api@web-1/records/000000");
    let named = shard.join(format!("{}.json", lost.id));
    let half = shard.join(format!(".new-{}.json", lost.id));
    fs::rename(named, &half).unwrap();
    let _ = fs::remove_dir_all(root.join("workloads/api@web-1/index"));
    if another_boot {
        let ended = root.join("workloads/api@web-1/ended");
        fs::write(ended, "ended another boot\n").unwrap();
    }

    let store = open(&root).await;
    assert!(store.get(&lost.id).await.unwrap().is_none());
    assert_eq!(
        store
            .list(&Query::default())
            .await
            .unwrap()
            .deployments
            .len(),
        1
    );
    assert_eq!(store.verify().await.unwrap(), []);
    assert!(
        store
            .workload(&first.workload)
            .await
            .unwrap()
            .in_flight
            .is_none()
    );
    let begun = store.begin(&third, &holder(), Version(2)).await.unwrap();
    assert!(begun.sequence > lost_sequence, "no number is used twice");
    assert!(store.get(&lost.id).await.unwrap().is_none());
    assert!(!half.exists());
    drop(begun);
    // Not even after a later commit has passed its number, nor by a fresh index.
    let store = open(&root).await;
    store.rebuild_index().await.unwrap();
    let page = store.list(&Query::default()).await.unwrap();
    let ids: Vec<_> = page.deployments.iter().map(|d| d.id()).collect();
    assert_eq!(ids, [&third.id, &first.id]);
}

#[tokio::test]
async fn a_settlement_that_was_committed_is_shown_before_its_record_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    let new = sample("api@web-1", 1);
    let store = open(&root).await;
    let begun = store.begin(&new, &holder(), Version(0)).await.unwrap();
    let before = Snapshot::of(&root);
    let end = settlement(&new.id, Outcome::Succeeded);
    store
        .finish(&begun.lease, &[], &end, at(2), &Then::Release)
        .await
        .unwrap();
    drop(store);
    before.put_back("/records/");
    before.put_back("/index/");

    let store = open(&root).await;
    let shown = store.get(&new.id).await.unwrap().unwrap();
    assert_eq!(shown.outcome(), Some(Outcome::Succeeded));
    assert_eq!(
        outcomes(&store, Outcome::Succeeded).await,
        std::slice::from_ref(&new.id)
    );
    let stats = store.stats(&Query::default()).await.unwrap();
    assert_eq!((stats.total, stats.mean_ms), (1, Some(1_000.0)));
    assert_eq!(store.verify().await.unwrap(), []);
    // Whoever writes next carries it out.
    let next = sample("api@web-1", 5);
    let begun = store.begin(&next, &holder(), Version(2)).await.unwrap();
    drop((begun, store));
    let store = open(&root).await;
    assert_eq!(
        outcomes(&store, Outcome::Succeeded).await,
        std::slice::from_ref(&new.id)
    );
    let shown = store.get(&new.id).await.unwrap().unwrap();
    assert_eq!(shown.outcome(), Some(Outcome::Succeeded));
}

#[tokio::test]
async fn an_automatic_rollback_is_amended_with_its_settlement_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    let failed = sample("api@web-1", 1);
    let trigger = Trigger::AutomaticRollback {
        to: failed.id.clone(),
        failed: failed.id.clone(),
    };
    let back = sample_of("api@web-1", 3, trigger);
    let store = open(&root).await;
    let begun = store.begin(&failed, &holder(), Version(0)).await.unwrap();
    let end = settlement(&failed.id, Outcome::Failed);
    let then = Then::Open(Box::new(back.clone()));
    let Finished::Opened(begun) = store
        .finish(&begun.lease, &[], &end, at(2), &then)
        .await
        .unwrap()
    else {
        panic!("the successor was to be opened");
    };
    let before = Snapshot::of(&root);
    let end = settlement(&back.id, Outcome::Succeeded);
    let then = Then::ReleaseAndAmend(failed.id.clone());
    store
        .finish(&begun.lease, &[], &end, at(4), &then)
        .await
        .unwrap();
    let after = Snapshot::of(&root);
    drop(store);
    for (part, outcome) in [
        ("/records/", Outcome::FailedAndRolledBack),
        ("state.json", Outcome::Failed),
    ] {
        after.put_back("history");
        before.put_back(part);
        if part == "/records/" {
            before.put_back("/index/");
        } else {
            // Not committed: neither record had been written yet.
            before.put_back("/records/");
            before.put_back("/index/");
        }
        let store = open(&root).await;
        let shown = store.get(&failed.id).await.unwrap().unwrap();
        assert_eq!(shown.outcome(), Some(outcome), "{part}");
        assert_eq!(
            outcomes(&store, outcome).await,
            std::slice::from_ref(&failed.id),
            "{part}"
        );
    }
}

#[tokio::test]
async fn what_was_forgotten_stays_forgotten_before_its_file_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    let store = open(&root).await;
    let all = [sample("api@web-1", 1), sample("api@web-1", 3)];
    for (i, new) in all.iter().enumerate() {
        let version = Version(2 * i as u64);
        let begun = store.begin(new, &holder(), version).await.unwrap();
        let end = settlement(&new.id, Outcome::Succeeded);
        store
            .finish(&begun.lease, &[], &end, at(9), &Then::Release)
            .await
            .unwrap();
    }
    let before = Snapshot::of(&root);
    assert_eq!(store.forget(&[all[0].id.clone()]).await.unwrap(), 1);
    drop(store);
    before.put_back("/records/");
    before.put_back("/index/");
    let store = open(&root).await;
    assert!(store.get(&all[0].id).await.unwrap().is_none());
    let page = store.list(&Query::default()).await.unwrap();
    assert_eq!((page.deployments.len(), page.unreadable.len()), (1, 0));
    assert_eq!(store.stats(&Query::default()).await.unwrap().total, 1);
    amend(&store, &all[0].workload, &by_ann(Amend::LiftHold, 9))
        .await
        .unwrap();
    assert!(store.get(&all[0].id).await.unwrap().is_none());
    assert_eq!(store.verify().await.unwrap(), []);
}

#[tokio::test]
async fn a_forgotten_record_that_lost_its_file_before_its_line_is_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    let store = open(&root).await;
    let new = sample("api@web-1", 1);
    let begun = store.begin(&new, &holder(), Version(0)).await.unwrap();
    let end = settlement(&new.id, Outcome::Failed);
    store
        .finish(&begun.lease, &[], &end, at(9), &Then::Release)
        .await
        .unwrap();
    let before = Snapshot::of(&root);
    let forgotten = Snapshot::of(&root.join("workloads/api@web-1/records"));
    assert_eq!(store.forget(&[new.id]).await.unwrap(), 1);
    drop(store);
    // Killed between the two; or, in the second round, before both.
    before.put_back("/index/");
    assert_eq!(open(&root).await.verify().await.unwrap(), []);
    forgotten.put_back("");
    assert_eq!(open(&root).await.verify().await.unwrap(), []);
}

#[tokio::test]
async fn temporary_files_of_a_killed_writer_are_removed_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    let new = sample("api@web-1", 1);
    let store = open(&root).await;
    let begun = store.begin(&new, &holder(), Version(0)).await.unwrap();
    let end = settlement(&new.id, Outcome::Succeeded);
    store
        .finish(&begun.lease, &[], &end, at(2), &Then::Release)
        .await
        .unwrap();
    let left: Vec<_> = ["", "records/000000", "index"]
        .iter()
        .map(|part| root.join("workloads/api@web-1").join(part).join(".new-1-1"))
        .chain([root.join(".new-1-1")])
        .collect();
    for file in &left {
        fs::write(file, "half").unwrap();
    }
    // As who is killed leaves it.
    let ended = root.join("workloads/api@web-1/ended");
    fs::write(
        &ended,
        fs::read_to_string(&ended)
            .unwrap()
            .replace("ended", "writes"),
    )
    .unwrap();
    let store = open(&root).await;
    store
        .begin(&sample("api@web-1", 3), &holder(), Version(2))
        .await
        .unwrap();
    for file in &left {
        assert!(!file.exists(), "{}", file.display());
    }
}

#[tokio::test]
async fn an_index_of_another_boot_a_torn_one_or_none_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    let store = open(&root).await;
    let new = sample("api@web-1", 1);
    let begun = store.begin(&new, &holder(), Version(0)).await.unwrap();
    let end = settlement(&new.id, Outcome::Succeeded);
    store
        .finish(&begun.lease, &[], &end, at(2), &Then::Release)
        .await
        .unwrap();
    // A later write has carried the settlement out: the index alone can be behind now.
    amend(&store, &new.workload, &by_ann(Amend::LiftHold, 9))
        .await
        .unwrap();
    outcomes(&store, Outcome::Succeeded).await;
    let index = root.join("workloads/api@web-1/index/000000.jsonl");
    let whole = fs::read_to_string(&index).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let old_boot = whole.replace(boot.trim(), "00000000-0000-4000-8000-000000000000");
    let half = format!("{whole}{}", &whole[..whole.len() / 3]);
    for damage in [
        Some(old_boot),
        Some(half),
        Some("{".into()),
        Some(String::new()),
        None,
    ] {
        let _ = fs::remove_file(&index);
        if let Some(text) = &damage {
            fs::write(&index, text).unwrap();
        }
        let store = open(&root).await;
        assert_eq!(
            outcomes(&store, Outcome::Succeeded).await,
            std::slice::from_ref(&new.id),
            "{damage:?}"
        );
        // Also once somebody has written to it again.
        let note = rollback_core::history::Annotation::Pin;
        store.annotate(&new.id, &note).await.unwrap();
        assert_eq!(
            outcomes(&open(&root).await, Outcome::Succeeded).await.len(),
            1
        );
        assert_eq!(open(&root).await.verify().await.unwrap(), [], "{damage:?}");
    }
}
