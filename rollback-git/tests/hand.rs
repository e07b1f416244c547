//! What a person does at the deploy root while a deployment is under way.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rollback_core::backend::{Backend, End, Operation, Tasks};
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_testkit::world::{Build, World};
use support::{GitWorld, Site, cx};

/// Points `current` at something, as `ln -sfn` does.
fn link(site: &Site, to: &Path) {
    let current = site.root().join("current");
    let _ = fs::remove_file(&current);
    symlink(to, current).unwrap();
}

/// Another directory of a person's own.
fn own(site: &Site) -> PathBuf {
    let dir = site.dir.join("maintenance");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("version.txt"), "back soon").unwrap();
    dir
}

async fn is_refused(w: &GitWorld, op: &Operation, how: &str) {
    let before = (w.serves(), w.restarts());
    let e = w.git().switch(&cx(), op).await.unwrap_err();
    assert_eq!(
        (e.kind(), e.impact()),
        (BackendErrorKind::Conflict, LiveImpact::Untouched),
        "{how}: {e}"
    );
    assert_eq!((w.serves(), w.restarts()), before, "{how}");
}

#[tokio::test]
async fn a_switch_took_the_place_of_what_a_person_had_linked_there() {
    let w = GitWorld::counting_restarts();
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    let dir = own(&w);
    let op = w.prepared(2, End::Placed(one.clone()), Build::V2).await;
    link(&w, &dir);
    is_refused(&w, &op, "between plan and switch").await;
    let place = w.root().join("releases").join(one.handle.as_str());
    link(&w, &place);
    w.git().switch(&cx(), &op).await.unwrap();
    link(&w, &dir);
    is_refused(&w, &op.reversed(), "going back").await;
    is_refused(&w, &op, "again").await;
    let rollback = w.prepared_to(3, op.to.clone(), op.from.clone()).await;
    is_refused(&w, &rollback, "an automatic rollback").await;
    let first = w.operation(4, op.to.clone(), End::Nothing);
    is_refused(&w, &first, "to nothing").await;
    // A directory that merely lies where ours are is a person's, too.
    let among = w.root().join("releases/by-hand");
    fs::rename(&dir, &among).unwrap();
    link(&w, &among);
    is_refused(&w, &op, "among ours").await;
    // A link that leads nowhere serves nobody.
    fs::remove_dir_all(&among).unwrap();
    w.git().switch(&cx(), &op.reversed()).await.unwrap();
    assert_eq!(w.serves().as_deref(), Some("v1"));
}

#[tokio::test]
async fn what_a_person_linked_there_and_the_operation_knows_is_switched_from_and_to() {
    let w = GitWorld::new();
    w.install_by_hand(Build::V1).await;
    let seen = w.git().observe(&cx()).await.unwrap();
    let from = End::Placed(seen.live_instance().unwrap().clone());
    let op = w.prepared(1, from, Build::V2).await;
    for _ in 0..2 {
        w.git().switch(&cx(), &op).await.unwrap();
        assert_eq!(w.serves().as_deref(), Some("v2"));
        w.git().switch(&cx(), &op.reversed()).await.unwrap();
        assert_eq!(w.serves().as_deref(), Some("v1"));
    }
    // Nor does one of ours that another operation made keep anybody out.
    let two = w.deploy(2, op.from.clone(), Build::V3).await;
    let place = w.root().join("releases").join(two.handle.as_str());
    link(&w, &place);
    w.git().switch(&cx(), &op).await.unwrap();
    assert_eq!(w.serves().as_deref(), Some("v2"));
}

/// Goes back to v1, of which v2 took the place, and changes it between `prepare` and `switch`; gives
/// whether that is drift afterwards.
async fn is_drift(tasks: Tasks, restart: &[String]) -> bool {
    let mut w = GitWorld::new();
    w.restart = restart.to_vec();
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    let two = w.deploy(2, End::Placed(one.clone()), Build::V2).await;
    let op = w
        .operation(3, End::Placed(two), End::Placed(one.clone()))
        .tasks(tasks);
    let prepared = w.git().prepare(&cx(), &op).await.unwrap();
    assert_eq!(prepared.to, one);
    let dir = w.root().join("releases").join(one.handle.as_str());
    fs::write(dir.join("app/conf/settings.ini"), "by hand").unwrap();
    w.git().switch(&cx(), &op).await.unwrap();
    let seen = w.git().observe(&cx()).await.unwrap();
    seen.live_instance() != Some(&one)
}

#[tokio::test]
async fn a_change_by_hand_while_a_rollback_was_under_way_became_part_of_the_release() {
    assert!(is_drift(Tasks::None, &[]).await);
    // Where something may build there nobody can tell whose it is.
    assert!(!is_drift(Tasks::Possible, &[]).await);
    assert!(!is_drift(Tasks::None, &["/bin/true".to_owned()]).await);
}
