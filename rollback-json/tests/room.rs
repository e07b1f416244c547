//! A full disk: what has begun is ended, and clean-up, which frees the space, works.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use rollback_core::backend::{Handle, Instance, Prepared, Rollout};
use rollback_core::deployment::{Opening, Outcome};
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::event::{Cause, Event, TimedEvent};
use rollback_core::history::{HistoryReader, HistoryStore, Then};
use rollback_testkit::fixtures::tmpfs::Tmpfs;
use rollback_testkit::store_suite::{at, holder, sample, settlement};
use support::{begin, listed, open, settled};

/// Takes all the space that is left.
fn fill(dir: &Path) {
    let mut file = File::create(dir.join("theirs")).unwrap();
    for size in [4096, 64, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

fn timed(n: u64, event: Event) -> TimedEvent {
    TimedEvent::new(at(n), event)
}

#[tokio::test]
async fn a_disk_that_fills_up_after_the_switch_was_begun_left_an_unjudged_release_live() {
    let Some(mount) = Tmpfs::mount("size=1m") else {
        return;
    };
    let store = open(&mount.path().join("history")).await;
    let (failed, back) = (sample("api@web-1", 1), sample("api@web-1", 2));
    let lease = begin(&store, &failed).await.lease;
    for (n, event) in [
        (2, Event::PrepareIntended),
        (3, prepared(&failed)),
        (4, Event::SwitchIntended),
    ] {
        store.append(&lease, &[timed(n, event)]).await.unwrap();
    }
    fill(mount.path());
    let cause = Cause::Cancelled {
        by: rollback_core::id::Actor::user("ann").ok(),
    };
    let turned = Event::GoingBack(cause);
    store.append(&lease, &[timed(5, turned)]).await.unwrap();
    let end = settlement(&failed.id, Outcome::Failed);
    let then = Then::Open(Box::new(back.clone()));
    let done = store.finish(&lease, &[], &end, at(6), &then).await.unwrap();
    let rollback_core::history::Finished::Opened(begun) = done else {
        panic!("the successor was to be opened");
    };
    let end = settlement(&back.id, Outcome::Succeeded);
    let then = Then::ReleaseAndAmend(failed.id.clone());
    store
        .finish(&begun.lease, &[], &end, at(7), &then)
        .await
        .unwrap();
    assert_eq!(store.verify().await.unwrap(), []);
    let shown = store.get(&failed.id).await.unwrap().unwrap();
    assert_eq!(shown.outcome(), Some(Outcome::FailedAndRolledBack));
    // What cannot be ended is not begun.
    let new = sample("api@web-1", 9);
    let version = store.workload(&new.workload).await.unwrap().version;
    let error = store.begin(&new, &holder(), version).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Full, "{error}");
    fs::remove_file(mount.path().join("theirs")).unwrap();
    store.begin(&new, &holder(), version).await.unwrap();
    assert_eq!(store.verify().await.unwrap(), []);
}

#[tokio::test]
async fn clean_up_failed_on_a_full_disk_though_it_is_what_frees_space() {
    let Some(mount) = Tmpfs::mount("size=1m") else {
        return;
    };
    let root = mount.path().join("history");
    let ids = settled(&open(&root).await, "api@web-1", 12).await;
    fill(mount.path());
    // A process of its own, as the command line is.
    for some in ids[..9].chunks(3) {
        let store = open(&root).await;
        assert_eq!(store.forget(some).await.unwrap(), 3);
    }
    let store = open(&root).await;
    assert_eq!(listed(&store).await.0.len(), 3);
    assert_eq!(store.verify().await.unwrap(), []);
    let free = rustix::fs::statvfs(mount.path()).unwrap();
    assert!(free.f_bavail > 0, "nothing was freed");
}

#[tokio::test]
async fn a_switch_was_begun_that_there_was_no_room_to_go_back_from() {
    let Some(mount) = Tmpfs::mount("size=1m") else {
        return;
    };
    let root = mount.path().join("history");
    let store = open(&root).await;
    let new = sample("api@web-1", 1);
    let lease = begin(&store, &new).await.lease;
    for (n, event) in [(2, Event::PrepareIntended), (3, prepared(&new))] {
        store.append(&lease, &[timed(n, event)]).await.unwrap();
    }
    // What was reserved has been used up by then.
    fs::remove_file(root.join("workloads/api@web-1/reserve")).unwrap();
    fill(mount.path());
    let error = store
        .append(&lease, &[timed(4, Event::SwitchIntended)])
        .await;
    assert_eq!(error.unwrap_err().kind(), Kind::Full);
    let shown = store.get(&new.id).await.unwrap().unwrap();
    assert!(!shown.switch_began());
    fs::remove_file(mount.path().join("theirs")).unwrap();
    store
        .append(&lease, &[timed(4, Event::SwitchIntended)])
        .await
        .unwrap();
    let end = settlement(&new.id, Outcome::Failed);
    store
        .finish(&lease, &[], &end, at(6), &Then::Release)
        .await
        .unwrap();
    assert_eq!(store.verify().await.unwrap(), []);
}

fn prepared(new: &Opening) -> Event {
    Event::Prepared(Prepared::new(
        Rollout::Replace,
        Instance::new(new.to.release().unwrap().clone(), Handle::new("place")),
    ))
}
