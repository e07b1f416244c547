//! Who only reads changes nothing, and says nothing is wrong where nothing is.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rollback_core::deployment::Outcome;
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::history::{Annotation, HistoryReader, HistoryStore, Query, Then};
use rollback_testkit::store_suite::{at, sample, settlement};
use support::{begin, files, listed, open, record, settled};

#[tokio::test]
async fn one_damaged_state_stopped_the_recovery_of_every_workload() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    settled(&store, "api@web-1", 1).await;
    settled(&store, "db@web-1", 1).await;
    fs::write(dir.path().join("workloads/api@web-1/state.json"), "{").unwrap();
    let states = store.workloads().await.unwrap();
    let ids = |w: &rollback_core::id::WorkloadId| w.to_string();
    assert_eq!(
        states
            .states
            .iter()
            .map(|s| ids(&s.workload))
            .collect::<Vec<_>>(),
        ["db@web-1"]
    );
    assert_eq!(
        states
            .damaged
            .iter()
            .map(|d| ids(&d.workload))
            .collect::<Vec<_>>(),
        ["api@web-1"]
    );
    assert_eq!(states.damaged[0].error.kind(), Kind::Corrupt);
}

#[tokio::test]
async fn listing_moved_a_damaged_record_aside() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let ids = settled(&open(root).await, "api@web-1", 3).await;
    let file = record(root, &ids[1]);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, &text[..text.len() / 2]).unwrap();
    for fresh_index in [false, true] {
        if fresh_index {
            fs::remove_dir_all(root.join("workloads/api@web-1/index")).unwrap();
        }
        let store = open(root).await;
        for _ in 0..2 {
            let (shown, unreadable) = listed(&store).await;
            assert_eq!(shown, [ids[2].clone(), ids[0].clone()]);
            assert_eq!(unreadable.len(), 1, "{unreadable:?}");
            assert!(
                !unreadable[0].contains("rebuild"),
                "there is no such command"
            );
        }
        store.stats(&Query::default()).await.unwrap();
        store.verify().await.unwrap();
        store.get(&ids[1]).await.unwrap_err();
        assert!(file.exists(), "it was moved");
    }
    // Put back from a copy, it is there again, and nothing else is needed.
    fs::write(&file, text).unwrap();
    for store in [open(root).await, open(root).await] {
        assert_eq!(
            listed(&store).await,
            (vec![ids[2].clone(), ids[1].clone(), ids[0].clone()], vec![])
        );
        assert_eq!(store.verify().await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn verify_cried_wolf_while_others_wrote() {
    let dir = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    let root = dir.path().join("history");
    settled(&open(&root).await, "api@web-1", 10).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for workload in ["api@web-1", "db@web-1"] {
        let (root, over) = (root.clone(), Arc::clone(&over));
        writers.push(tokio::spawn(async move {
            let store = open(&root).await;
            let mut kept = Vec::new();
            let mut n = 100;
            while !over.load(Ordering::Relaxed) {
                n += 2;
                let failed = sample(workload, n);
                let lease = begin(&store, &failed).await.lease;
                let next = sample(workload, n + 1);
                let then = Then::Open(Box::new(next.clone()));
                let end = settlement(&failed.id, Outcome::Failed);
                let rollback_core::history::Finished::Opened(begun) =
                    store.finish(&lease, &[], &end, at(n), &then).await.unwrap()
                else {
                    panic!("the successor was to be opened");
                };
                let end = settlement(&next.id, Outcome::Succeeded);
                let then = Then::ReleaseAndAmend(failed.id.clone());
                store
                    .finish(&begun.lease, &[], &end, at(n), &then)
                    .await
                    .unwrap();
                store
                    .annotate(&next.id, &Annotation::ClearBad)
                    .await
                    .unwrap();
                kept.extend([failed.id, next.id]);
                if kept.len() > 20 {
                    // The newest of them is live.
                    let live = kept.pop();
                    store.forget(&std::mem::take(&mut kept)).await.unwrap();
                    kept.extend(live);
                }
            }
            n
        }));
    }
    let store = open(&root).await;
    let mut wolves = Vec::new();
    let begun = std::time::Instant::now();
    while begun.elapsed().as_secs() < 6 {
        wolves.extend(store.verify().await.unwrap());
    }
    over.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.unwrap() > 110);
    }
    assert_eq!(wolves, []);
    assert!(!files(&root).is_empty());
}
