//! What a counter, a state or an index says is not believed over the records, and no record that
//! was acknowledged is removed for what they say.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::fs::{self, FileTimes, OpenOptions};
use std::io::Write;

use rollback_core::deployment::Outcome;
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::history::{HistoryReader, HistoryStore, Query, Version};
use rollback_core::id::DeploymentId;
use rollback_json::JsonStore;
use rollback_testkit::store_suite::{holder, sample};
use support::{begin, files, listed, open, reboot, record, reseal, settle, settled};

/// Nothing is lost, and no number is there twice.
async fn whole(store: &JsonStore, ids: &[DeploymentId]) {
    let page = store.list(&Query::default().limit(1_000)).await.unwrap();
    assert_eq!(page.unreadable, []);
    let shown: BTreeSet<_> = page.deployments.iter().map(|d| d.id().clone()).collect();
    assert_eq!(shown, ids.iter().cloned().collect());
    let numbers: BTreeSet<_> = page.deployments.iter().map(|d| d.sequence()).collect();
    assert_eq!(numbers.len(), ids.len(), "a number was given twice");
}

#[tokio::test]
async fn a_counter_that_went_back_gave_numbers_twice_and_had_acknowledged_records_deleted() {
    for back in ["3\n", "0\n", ""] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("history");
        let mut ids = settled(&open(&root).await, "api@web-1", 8).await;
        fs::write(root.join("sequence"), back).unwrap();
        for n in [31, 33] {
            let new = sample("api@web-1", n);
            settle(&open(&root).await, &new).await;
            ids.push(new.id);
            whole(&open(&root).await, &ids).await;
            reboot(&root);
        }
        whole(&open(&root).await, &ids).await;
    }
}

#[tokio::test]
async fn a_copy_that_took_the_counter_before_the_records_lost_them() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    let store = open(&root).await;
    let mut ids = settled(&store, "api@web-1", 3).await;
    let early = fs::read(root.join("sequence")).unwrap();
    for n in [11, 13, 15, 17] {
        let new = sample(if n < 15 { "db@web-1" } else { "api@web-1" }, n);
        settle(&store, &new).await;
        ids.push(new.id);
    }
    drop(store);
    fs::write(root.join("sequence"), early).unwrap();
    reboot(&root);
    for n in [31, 33] {
        let new = sample("web@web-1", n);
        settle(&open(&root).await, &new).await;
        ids.push(new.id);
        let new = sample("api@web-1", n + 1);
        settle(&open(&root).await, &new).await;
        ids.push(new.id);
        reboot(&root);
    }
    whole(&open(&root).await, &ids).await;
}

#[tokio::test]
async fn a_copy_that_took_the_state_before_the_records_lost_them() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    let store = open(&root).await;
    let mut ids = settled(&store, "api@web-1", 3).await;
    let state = root.join("workloads/api@web-1/state.json");
    let early = [
        fs::read(root.join("sequence")).unwrap(),
        fs::read(&state).unwrap(),
    ];
    for n in [11, 13] {
        let new = sample("api@web-1", n);
        settle(&store, &new).await;
        ids.push(new.id);
    }
    drop(store);
    fs::write(root.join("sequence"), &early[0]).unwrap();
    fs::write(state, &early[1]).unwrap();
    reboot(&root);
    let faults = open(&root).await.verify().await.unwrap();
    assert!(
        !faults.is_empty(),
        "nobody says that the state is older than its records"
    );
    let new = sample("api@web-1", 31);
    settle(&open(&root).await, &new).await;
    ids.push(new.id);
    reboot(&root);
    whole(&open(&root).await, &ids).await;
}

#[tokio::test]
async fn a_workload_without_its_state_looked_empty_verified_well_and_lost_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    let ids = settled(&open(&root).await, "api@web-1", 4).await;
    fs::remove_file(root.join("workloads/api@web-1/state.json")).unwrap();
    for _ in 0..2 {
        let store = open(&root).await;
        let (shown, unreadable) = listed(&store).await;
        assert_eq!(shown.len(), 4, "the records are still there");
        assert_eq!(unreadable.len(), 1, "{unreadable:?}");
        assert!(unreadable[0].contains("state.json"), "{unreadable:?}");
        let faults = store.verify().await.unwrap();
        assert!(
            faults.iter().any(|f| f.to_string().contains("state.json")),
            "{faults:?}"
        );
        let new = sample("api@web-1", 31);
        let error = store.begin(&new, &holder(), Version(0)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert_eq!(
            store.workload(&new.workload).await.unwrap_err().kind(),
            Kind::Corrupt
        );
        reboot(&root);
    }
    for id in &ids {
        assert!(record(&root, id).exists());
    }
}

#[tokio::test]
async fn one_digit_in_opening_json_deleted_a_committed_record() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    let mut ids = settled(&open(&root).await, "api@web-1", 3).await;
    let opening = root.join("workloads/api@web-1/opening.json");
    if let Ok(text) = fs::read_to_string(&opening) {
        fs::write(&opening, text.replace("\"sequence\":3", "\"sequence\":8")).unwrap();
    }
    let new = sample("api@web-1", 31);
    settle(&open(&root).await, &new).await;
    ids.push(new.id);
    reboot(&root);
    whole(&open(&root).await, &ids).await;
}

#[tokio::test]
async fn a_record_that_is_not_understood_was_deleted_as_a_crash_orphan() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    let ids = settled(&open(&root).await, "api@web-1", 2).await;
    // Somebody put a record back from a later copy.
    let theirs = tempfile::tempdir().unwrap();
    let later = settled(&open(theirs.path()).await, "api@web-1", 9).await;
    let from = record(theirs.path(), &later[8]);
    let to = record(&root, &ids[0]).with_file_name(from.file_name().unwrap());
    fs::copy(&from, &to).unwrap();
    reboot(&root);
    let store = open(&root).await;
    let faults = store.verify().await.unwrap();
    assert!(
        faults
            .iter()
            .any(|f| f.to_string().contains(later[8].as_str())),
        "{faults:?}"
    );
    let new = sample("api@web-1", 31);
    settle(&store, &new).await;
    assert!(to.exists());
    let newest = store.get(&new.id).await.unwrap().unwrap().sequence();
    let put_back = store.get(&later[8]).await.unwrap().unwrap().sequence();
    assert!(newest > put_back, "{newest} was given after {put_back}");
}

#[tokio::test]
async fn an_index_that_was_cut_short_within_a_boot_was_believed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    let ids = settled(&open(&root).await, "api@web-1", 5).await;
    let mut query = Query::default();
    query.outcome = Some(Outcome::Succeeded);
    assert_eq!(
        open(&root)
            .await
            .list(&query)
            .await
            .unwrap()
            .deployments
            .len(),
        5
    );
    let index = files(&root)
        .into_iter()
        .find(|f| f.to_string_lossy().contains("/index/"));
    let index = index.unwrap();
    let text = fs::read_to_string(&index).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for kept in 1..lines.len() {
        fs::write(&index, lines[..kept].concat()).unwrap();
        let store = open(&root).await;
        let page = store.list(&query).await.unwrap();
        assert_eq!(page.deployments.len(), 5, "cut after line {kept}");
        assert_eq!(store.stats(&query).await.unwrap().total, 5);
        whole(&store, &ids).await;
    }
    // Nor one with a changed word in it, or of which a copy was put back.
    let text = fs::read_to_string(&index).unwrap();
    let changed = text.replace("succeeded", "cancelled");
    assert_ne!(changed, text);
    fs::write(&index, changed).unwrap();
    assert_eq!(
        open(&root)
            .await
            .list(&query)
            .await
            .unwrap()
            .deployments
            .len(),
        5
    );
    let store = open(&root).await;
    let early = fs::read(&index).unwrap();
    let new = sample("api@web-1", 31);
    settle(&store, &new).await;
    fs::remove_file(&index).unwrap();
    fs::write(&index, early).unwrap();
    assert_eq!(
        open(&root)
            .await
            .list(&query)
            .await
            .unwrap()
            .deployments
            .len(),
        6
    );
    assert_eq!(store.list(&query).await.unwrap().deployments.len(), 6);
}

#[tokio::test]
async fn two_states_of_one_length_and_one_instant_were_taken_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    let store = open(&root).await;
    let new = sample("api@web-1", 1);
    drop(begin(&store, &new).await);
    let state = root.join("workloads/api@web-1/state.json");
    let seen = store.workload(&new.workload).await.unwrap();
    assert_eq!(seen.version, Version(1));
    // As a fast disk gives an inode again within one tick of the clock.
    let modified = fs::metadata(&state).unwrap().modified().unwrap();
    let text = fs::read_to_string(&state).unwrap();
    let other = reseal(&text.replace("\"version\": 1", "\"version\": 7"));
    let mut file = OpenOptions::new().write(true).open(&state).unwrap();
    file.write_all(other.as_bytes()).unwrap();
    file.set_times(FileTimes::new().set_modified(modified))
        .unwrap();
    let seen = store.workload(&new.workload).await.unwrap();
    assert_eq!(seen.version, Version(7));
}
