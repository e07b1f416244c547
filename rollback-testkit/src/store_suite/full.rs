//! On a full disk: what has begun can be ended, and making room needs none.

use std::path::Path;
use std::sync::Arc;

use rollback_core::deployment::Outcome;
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::event::{Cause, Event};
use rollback_core::history::{HistoryStore, Then};

use super::sample::{at, begin, holder, prepared, refused, sample, settle, settlement, timed};
use crate::fixtures::tmpfs::Tmpfs;

/// Checks a store on a disk of its own that fills up while a deployment is in flight. `open` makes
/// the store, or opens it again, somewhere in a directory.
///
/// Where no file system can be mounted it says so, and checks nothing.
pub async fn full_disk(open: impl AsyncFn(&Path) -> Arc<dyn HistoryStore>) {
    let Some(disk) = Tmpfs::mount("size=8m") else {
        return;
    };
    let store = open(disk.path()).await;
    let old = sample("api@web-1", 1);
    settle(&*store, &old, Outcome::Succeeded, 1).await;
    let now = sample("api@web-1", 2);
    settle(&*store, &now, Outcome::Succeeded, 1).await;
    let new = sample("api@web-1", 3);
    let begun = begin(&*store, &new).await;
    fill(disk.path());
    let steps = [
        Event::PrepareIntended,
        prepared(&new),
        Event::SwitchIntended,
        Event::GoingBack(Cause::StepFailed {
            error: "no space is left: ".to_owned() + &"x".repeat(4_096),
        }),
        Event::SwitchBackIntended,
        Event::SwitchedBack {
            evidence: rollback_core::backend::Evidence::default(),
        },
        Event::RetireIntended,
        Event::Retired,
    ];
    for (n, step) in (4..).zip(steps) {
        let name = step.name();
        let done = store.append(&begun.lease, &timed(n, step)).await;
        done.unwrap_or_else(|e| panic!("{name} cannot be written on a full disk: {e}"));
    }
    let end = settlement(&new.id, Outcome::FailedAndRolledBack);
    let done = store
        .finish(begun.lease, &end, at(20), &Then::Release)
        .await;
    done.unwrap_or_else(|(_, e)| panic!("it cannot be settled on a full disk: {e}"));
    fill(disk.path());
    // What more is begun can be ended as well; else nothing is, which is said and changes nothing.
    let version = store.workload(&new.workload).await.unwrap().version;
    let more = sample("api@web-1", 21);
    match store.begin(&more, &holder(), version).await {
        Ok(begun) => {
            let end = settlement(&more.id, Outcome::Failed);
            let done = store
                .finish(begun.lease, &end, at(22), &Then::Release)
                .await;
            done.unwrap_or_else(|(_, e)| panic!("it was begun and cannot be settled: {e}"));
        }
        refusal => {
            refused(refusal, Kind::Full);
            assert_eq!(store.get(&more.id).await.unwrap(), None);
            let state = store.workload(&new.workload).await.unwrap();
            assert_eq!((state.version, state.in_flight), (version, None));
        }
    }
    // What frees space needs none.
    let forgotten = store.forget(std::slice::from_ref(&old.id)).await;
    let forgotten = forgotten.unwrap_or_else(|e| panic!("forget fails on a full disk: {e}"));
    assert_eq!(forgotten, 1);
    std::fs::remove_file(disk.path().join(BALLAST)).unwrap();
    drop(store);
    let store = open(disk.path()).await;
    assert_eq!(store.get(&old.id).await.unwrap(), None);
    let record = store.get(&new.id).await.unwrap().unwrap();
    assert_eq!(record.settlement(), Some(&end));
    settle(&*store, &sample("api@web-1", 30), Outcome::Succeeded, 1).await;
    assert_eq!(store.verify().await.unwrap(), []);
}

const BALLAST: &str = "ballast";

/// Fills the disk to its last byte.
fn fill(disk: &Path) {
    use std::io::Write as _;
    let ballast = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(disk.join(BALLAST));
    let mut ballast = ballast.unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while ballast.write_all(&vec![0; size]).is_ok() {}
    }
}
