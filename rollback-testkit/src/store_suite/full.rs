//! On a full disk: what has begun can be ended, and making room needs none.

use std::path::Path;
use std::sync::Arc;

use rollback_core::backend::Evidence;
use rollback_core::deployment::{Opening, Outcome, Settlement};
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::event::{Cause, Event};
use rollback_core::history::{HistoryReader, HistoryStore, Lease, Then};

use super::sample::{at, begin, holder, prepared, sample, settle, settlement, timed};
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
    let end = ends(&*store, &new, begun.lease).await;
    // What more is begun can be ended as well. What cannot be is refused, and changes nothing.
    let mut more = sample("api@web-1", 21);
    for _ in 0..BEGUN {
        fill(disk.path());
        let before = store.workload(&new.workload).await.unwrap();
        match store.begin(&more, &holder(), before.version).await {
            Ok(begun) => {
                ends(&*store, &more, begun.lease).await;
                more = sample("api@web-1", 21);
            }
            Err(e) => {
                assert_eq!(e.kind(), Kind::Full, "{e}");
                assert_eq!(store.get(&more.id).await.unwrap(), None);
                assert_eq!(store.workload(&new.workload).await.unwrap(), before);
                break;
            }
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
    settle(&*store, &more, Outcome::Succeeded, 1).await;
    assert_eq!(store.verify().await.unwrap(), []);
}

/// Takes a deployment to a failed end, back from after its switch.
async fn ends(store: &dyn HistoryStore, new: &Opening, lease: Lease) -> Settlement {
    let steps = [
        Event::PrepareIntended,
        prepared(new),
        Event::SwitchIntended,
        Event::GoingBack(Cause::StepFailed {
            error: "no space is left: ".to_owned() + &"x".repeat(4_096),
        }),
        Event::SwitchBackIntended,
        Event::SwitchedBack {
            evidence: Evidence::default(),
        },
        Event::RetireIntended,
        Event::Retired,
    ];
    for (n, step) in (4..).zip(steps) {
        let name = step.name();
        let done = store.append(&lease, &[timed(n, step)]).await;
        done.unwrap_or_else(|e| panic!("{name} cannot be written on a full disk: {e}"));
    }
    let end = settlement(&new.id, Outcome::FailedAndRolledBack);
    let done = store
        .finish(&lease, &[], &end, at(20), &Then::Release)
        .await;
    done.unwrap_or_else(|e| panic!("it cannot be settled on a full disk: {e}"));
    end
}

/// More deployments than a full disk has room for, where it has any.
const BEGUN: usize = 20;

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
