//! The deploy root: whose it is, and what others leave in it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use rollback_core::backend::{Availability, Backend, End, Live};
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_testkit::world::Build;
use support::{GitWorld, Site, cx};

#[tokio::test]
async fn two_workloads_on_one_root_removed_each_others_releases() {
    let w = GitWorld::new();
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    let mut other = Site::at(&w.dir);
    other.workload = "shop@web-1".parse().unwrap();
    let from = End::Placed(one.clone());
    let e = other.git().observe(&cx()).await.unwrap_err();
    assert!(e.to_string().contains("site@web-1"), "{e}");
    let op = other.operation(1, from.clone(), End::Planned(one.release.clone()));
    let e = other.git().prepare(&cx(), &op).await.unwrap_err();
    assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
    let op = other.operation(1, from.clone(), from);
    other.git().switch(&cx(), &op).await.unwrap_err();
    other.git().retire(&cx(), &op).await.unwrap_err();
    other.git().retain(&cx(), &[]).await.unwrap_err();
    let two = w.deploy(2, End::Placed(one.clone()), Build::V2).await;
    let seen = w.git().observe(&cx()).await.unwrap();
    assert_eq!(seen.live_instance(), Some(&two));
    let near = w.git().availability(&cx(), &End::Placed(one)).await;
    assert_eq!(near.unwrap(), Availability::Standby);
}

#[tokio::test]
async fn one_damaged_note_blocked_every_verb() {
    let w = GitWorld::new();
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    let two = w.deploy(2, End::Placed(one.clone()), Build::V2).await;
    let note = |name: &str| w.root().join(format!(".rollback/releases/{name}.json"));
    fs::write(note(one.handle.as_str()), "{\"half").unwrap();
    let seen = w.git().observe(&cx()).await.unwrap();
    assert_eq!(seen.live_instance(), Some(&two));
    let end = End::Placed(one.clone());
    let near = w.git().availability(&cx(), &end).await.unwrap();
    assert_eq!(near, Availability::Local, "it can be built anew");
    let three = w.deploy(3, End::Placed(two.clone()), Build::V3).await;
    let back = w
        .prepared_to(4, End::Placed(three), End::Placed(one.clone()))
        .await;
    w.git().switch(&cx(), &back).await.unwrap();
    assert_eq!(w.serves().as_deref(), Some("v1"));
    w.git().retire(&cx(), &back).await.unwrap();
    w.git().retain(&cx(), &[]).await.unwrap();
    // What the live one's note said cannot be known; the next deployment works all the same.
    let live = back.to.instance().unwrap();
    fs::write(note(live.handle.as_str()), "").unwrap();
    fs::write(w.root().join(".rollback/switched.json"), "").unwrap();
    let seen = w.git().observe(&cx()).await.unwrap();
    let Live::One(sighting) = seen.live else {
        panic!("{seen:?}")
    };
    assert_eq!(sighting.instance.handle, live.handle);
    w.deploy(5, End::Placed(sighting.instance), Build::V3).await;
    assert_eq!(w.serves().as_deref(), Some("v3"));
}

#[tokio::test]
async fn a_damaged_token_counted_as_nobody_ever_having_published() {
    let w = GitWorld::counting_restarts();
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    let op = w.prepared(2, End::Placed(one.clone()), Build::V2).await;
    let fence = w.root().join(".rollback/fence.json");
    for damage in ["", "{\"history\":\"01", "null", "{}"] {
        fs::write(&fence, damage).unwrap();
        let errors = [
            w.git().observe(&cx()).await.unwrap_err(),
            w.git().prepare(&cx(), &op).await.unwrap_err(),
            w.git().switch(&cx(), &op).await.unwrap_err(),
            w.git().switch(&cx(), &op.reversed()).await.unwrap_err(),
        ];
        for e in errors {
            assert_eq!(
                (e.kind(), e.impact()),
                (BackendErrorKind::Corrupt, LiveImpact::Untouched),
                "{damage}: {e}"
            );
            let text = format!("{e:?}");
            assert!(text.contains("fence.json, and adopt"), "{damage}: {text}");
        }
        assert_eq!((w.serves().as_deref(), w.restarts()), (Some("v1"), 1));
    }
    // As it is told.
    fs::remove_file(&fence).unwrap();
    let seen = w.git().observe(&cx()).await.unwrap();
    assert_eq!(seen.live_instance(), Some(&one));
    w.git().switch(&cx(), &op).await.unwrap();
    assert_eq!(w.serves().as_deref(), Some("v2"));
}

#[tokio::test]
async fn temporaries_that_a_kill_left_stayed_for_ever() {
    let w = GitWorld::new();
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    let state = w.root().join(".rollback");
    let ours = [
        ".tmpAb3dEf",
        "switched.json.next",
        "releases/.tmpZZZZZ9",
        "releases/1-x.json.next",
    ];
    for left in ours {
        fs::write(state.join(left), "half").unwrap();
    }
    // Whatever else lies there is not known to be ours.
    fs::write(state.join("notes.txt"), "a person's").unwrap();
    w.git().observe(&cx()).await.unwrap();
    for left in ours {
        assert!(state.join(left).exists(), "looking removes nothing");
    }
    w.deploy(2, End::Placed(one), Build::V2).await;
    for left in ours {
        assert!(!state.join(left).exists(), "{left}");
    }
    assert!(state.join("notes.txt").exists());
}

#[tokio::test]
async fn trash_that_cannot_be_deleted_failed_the_deployment() {
    let w = GitWorld::new();
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    let op = w.prepared(2, End::Placed(one), Build::V2).await;
    let dir = w
        .root()
        .join("releases")
        .join(op.to.instance().unwrap().handle.as_str());
    // Something is mounted in it: it can be moved away, and cannot be deleted.
    let Some(mount) = Mount::at(&dir.join("app")) else {
        return;
    };
    w.git().retire(&cx(), &op.reversed()).await.unwrap();
    assert!(!dir.exists());
    let trash = w.root().join(".rollback/trash");
    assert_eq!(
        fs::read_dir(&trash).unwrap().count(),
        1,
        "kept until it can be deleted"
    );
    let two = w.deploy(3, op.from.clone(), Build::V2).await;
    w.git().retain(&cx(), &[]).await.unwrap();
    drop(mount);
    w.deploy(4, End::Placed(two), Build::V3).await;
    assert_eq!(fs::read_dir(&trash).unwrap().count(), 0);
}

/// A file system mounted over a directory, wherever that is moved.
struct Mount;

impl Mount {
    fn at(dir: &Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "rollback-git-test"])
            .arg(dir)
            .status();
        if mounted.is_ok_and(|s| s.success()) {
            return Some(Self);
        }
        rollback_testkit::service::unavailable("mounting a file system needs root");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        for line in mounts
            .lines()
            .filter(|l| l.starts_with("rollback-git-test "))
        {
            let at = line.split(' ').nth(1).unwrap();
            let _ = Command::new("umount").args(["-l", at]).status();
        }
    }
}
