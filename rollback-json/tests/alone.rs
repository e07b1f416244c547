//! What is wrong with one file or one workload hides no other, and stops nobody else.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::Path;

use rollback_core::history::{HistoryReader, HistoryStore, Query, Version};
use rollback_json::JsonStore;
use rollback_testkit::store_suite::{holder, sample};
use support::{begin, listed, open, record, reseal, settle, settled};

/// Something that is there and cannot be read, for root too.
fn spoil(path: &Path) {
    if path.is_dir() {
        fs::rename(path, path.with_extension("away")).unwrap();
        fs::write(path, "no directory").unwrap();
    } else {
        fs::rename(path, path.with_extension("away")).unwrap();
        fs::create_dir(path).unwrap();
    }
}

#[tokio::test]
async fn a_file_that_could_not_be_read_hid_every_other_and_stopped_begin_everywhere() {
    for (spoilt, state_is_damaged) in [
        ("record", false),
        ("state.json", true),
        ("index/000000.jsonl", false),
        ("records/000000", true),
        ("records", true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).await;
        let bad = settled(&store, "api@web-1", 3).await;
        let good = settled(&store, "db@web-1", 3).await;
        let workload = dir.path().join("workloads/api@web-1");
        match spoilt {
            "record" => spoil(&record(dir.path(), &bad[1])),
            other => spoil(&workload.join(other)),
        }
        // As another boot finds it, too.
        for forgotten in [false, true] {
            if forgotten && spoilt != "index/000000.jsonl" {
                let _ = fs::remove_dir_all(workload.join("index"));
            }
            for store in [&store, &open(dir.path()).await] {
                let (shown, unreadable) = listed(store).await;
                assert!(good.iter().all(|id| shown.contains(id)), "{spoilt}");
                match spoilt {
                    "record" => {
                        assert!(shown.contains(&bad[0]) && shown.contains(&bad[2]));
                        assert!(!unreadable.is_empty());
                    }
                    "state.json" => assert!(shown.contains(&bad[0]) && !unreadable.is_empty()),
                    "index/000000.jsonl" => assert!(shown.contains(&bad[0])),
                    _ => assert!(!unreadable.is_empty(), "{spoilt}"),
                }
                let one = "api@web-1".parse().unwrap();
                match store.summaries(&one, 10).await {
                    Ok(all) => assert!(all.summaries.len() >= 2 || !all.unreadable.is_empty()),
                    Err(e) => assert_eq!(spoilt, "records", "{e}"),
                }
                let states = store.workloads().await.unwrap();
                assert!(!states.states.is_empty(), "{spoilt}");
                assert_eq!(
                    states.damaged.len() == 1,
                    state_is_damaged && spoilt == "state.json"
                );
                let id = good[0].as_str();
                assert_eq!(store.find(id, 5).await.unwrap(), [good[0].clone()]);
                assert!(store.get(&good[0]).await.unwrap().is_some());
                let faults = store.verify().await.unwrap();
                let clean = spoilt == "index/000000.jsonl";
                assert_eq!(faults.is_empty(), clean, "{spoilt}: {faults:?}");
            }
        }
        let next = sample("db@web-1", 40);
        settle(&store, &next).await;
        let next = store.get(&next.id).await.unwrap().unwrap();
        let begun = begin(&store, &sample("web@web-1", 50)).await;
        assert!(begun.sequence > next.sequence());
        assert!(next.sequence().0 > 6, "{spoilt}: {}", next.sequence());
        let page = store.list(&Query::default()).await.unwrap();
        assert_eq!(page.deployments.len(), shown_of(&page), "{spoilt}");
    }
}

fn shown_of(page: &rollback_core::history::Page) -> usize {
    let mut numbers: Vec<_> = page.deployments.iter().map(|d| d.sequence()).collect();
    numbers.dedup();
    numbers.len()
}

#[tokio::test]
async fn a_committed_event_that_did_not_fit_its_record_made_whole_lists_fail() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let ids = settled(&store, "api@web-1", 3).await;
    let other = settled(&store, "db@web-1", 1).await;
    // The last commit settles it, and its file says that it was settled in another way.
    let file = record(dir.path(), &ids[2]);
    let text = fs::read_to_string(&file).unwrap();
    let changed = text.replace("so it ended", "in another way");
    assert_ne!(changed, text);
    fs::write(&file, reseal(&changed)).unwrap();
    // Its writer was killed.
    fs::remove_file(dir.path().join("workloads/api@web-1/ended")).unwrap();
    for store in [&store, &open(dir.path()).await] {
        let (shown, unreadable) = listed(store).await;
        assert_eq!(shown.len(), 3, "{unreadable:?}");
        assert!(shown.contains(&ids[0]) && shown.contains(&other[0]));
        assert!(unreadable.iter().any(|u| u.contains(ids[2].as_str())));
        let one = "api@web-1".parse().unwrap();
        let all = store.summaries(&one, 10).await.unwrap();
        assert!(all.summaries.len() >= 2);
        assert!(!store.verify().await.unwrap().is_empty());
        assert!(store.get(&ids[2]).await.is_err());
    }
}

#[tokio::test]
async fn a_committed_record_without_its_name_was_left_out_of_copies() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    let store = open(&root).await;
    let ids = settled(&store, "api@web-1", 2).await;
    let new = sample("api@web-1", 40);
    drop(begin(&store, &new).await);
    // Its writer was killed before it had its name, and nobody can carry that out: the note of a
    // writer cannot be written.
    let named = record(&root, &new.id);
    fs::rename(
        &named,
        named.with_file_name(format!(".new-{}.json", new.id)),
    )
    .unwrap();
    spoil(&root.join("workloads/api@web-1/ended"));
    let left = named.with_file_name(".new-1-1");
    fs::write(left, "half").unwrap();
    let backup = dir.path().join("backup");
    open(&root).await.backup(&backup).await.unwrap();
    for (from, to) in [(&root, "one"), (&backup, "two")] {
        let to = dir.path().join(to);
        JsonStore::restore(from, &to).await.unwrap();
        let restored = open(&to).await;
        for carried_out in [false, true] {
            let (shown, unreadable) = listed(&restored).await;
            let all = [new.id.clone(), ids[1].clone(), ids[0].clone()];
            assert_eq!(shown, all, "{carried_out}: {unreadable:?}");
            assert_eq!(restored.verify().await.unwrap(), []);
            if !carried_out {
                let lease = restored.take_over(&new.workload, &holder()).await;
                drop(lease.unwrap());
            }
        }
    }
}

#[tokio::test]
async fn a_counter_that_could_not_be_read_stopped_every_begin() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    settled(&store, "api@web-1", 3).await;
    let counter = dir.path().join("sequence");
    fs::remove_file(&counter).unwrap();
    // Nobody can open a link that leads to itself.
    std::os::unix::fs::symlink(&counter, &counter).unwrap();
    assert!(fs::read(&counter).is_err());
    let begun = begin(&store, &sample("db@web-1", 40)).await;
    assert_eq!(begun.sequence.0, 4);
    assert!(fs::read(&counter).is_ok(), "it is made anew");
    // Where a workload's numbers are not known either, nobody knows the next one.
    fs::remove_file(&counter).unwrap();
    std::os::unix::fs::symlink(&counter, &counter).unwrap();
    spoil(&dir.path().join("workloads/api@web-1/records"));
    let store = open(dir.path()).await;
    let new = sample("web@web-1", 50);
    let refused = store.begin(&new, &holder(), Version(0)).await;
    assert!(refused.is_err(), "{refused:?}");
}
