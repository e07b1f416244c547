//! How much is done for a rollback to a release that is kept: counted, for time tells nothing.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs::{self, FileTimes};
use std::path::Path;

use git2::{Repository, Signature};
use rollback_core::backend::{Backend, End};
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::id::Actor;
use rollback_core::memory::MemoryStore;
use rollback_core::request::Goal;
use rollback_testkit::world::Build;
use support::other::{Other, parents, ready, say};
use support::{GitWorld, Site, cx};

const FILES: usize = 50;

/// What is live is looked at for the plan, and what is gone back to for the plan, and when it is
/// prepared. Nothing is built there, so that it need not be sealed.
const LOOKS: usize = 3;

/// Of `switch`: the token, the note of the switch, their directory; that of the link. The release's own
/// note and its pin this process has made durable before.
const SYNCS: usize = 4;

/// Commits `one` and `two`, of so many files.
fn repository(path: &Path) {
    let repo = Repository::init_bare(path).unwrap();
    let who = Signature::now("test", "test@example.com").unwrap();
    for version in ["one", "two"] {
        let mut tree = repo.treebuilder(None).unwrap();
        for n in 0..FILES {
            let blob = repo.blob(format!("{version} {n}").as_bytes()).unwrap();
            tree.insert(format!("file-{n}"), blob, 0o100_644).unwrap();
        }
        let tree = repo.find_tree(tree.write().unwrap()).unwrap();
        let name = format!("refs/tags/{version}");
        let commit = repo.commit(None, &who, &who, version, &tree, &[]);
        repo.reference(&name, commit.unwrap(), true, "").unwrap();
    }
}

#[tokio::test]
async fn a_rollback_to_a_kept_release_read_and_synced_what_it_knew() {
    let dir = tempfile::tempdir().unwrap();
    repository(&dir.path().join("repo"));
    let log = dir.path().join("calls");
    let calls = "trace=open,openat,newfstatat,stat,lstat,statx,readlink,readlinkat,fsync,fdatasync";
    let watched = ["strace", "-f", "-e", calls, "-o", log.to_str().unwrap()];
    let Some(mut other) = Other::through(&watched, "child_rolls_back", &Site::at(dir.path()))
    else {
        return;
    };
    assert_eq!(other.go().as_deref(), Some("done"));
    other.wait();
    let log = fs::read_to_string(log).unwrap();
    let (_, log) = log.split_once("begin-to-count").unwrap();
    let count = |what: &dyn Fn(&str) -> bool| log.lines().filter(|line| what(line)).count();
    let of_files = |line: &str| line.contains("\"file-") || line.contains("/file-");
    let opened = count(&|line| of_files(line) && line.contains("open"));
    assert_eq!(opened, 0, "{log}");
    assert_eq!(count(&of_files), LOOKS * FILES, "{log}");
    let synced = count(&|line| line.contains("sync(") && !line.contains("resumed"));
    assert_eq!(synced, SYNCS, "{log}");
}

/// Not a test by itself: goes back from `two` to `one`.
#[tokio::test]
async fn child_rolls_back() {
    let Some(site) = parents() else { return };
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(Workload::new(site.git()))
        .build()
        .unwrap();
    let actor = || Actor::user("test").unwrap();
    let mut ids = Vec::new();
    for version in ["one", "two"] {
        let run = engine.deploy(&site.workload, version, actor()).await;
        let report = run.unwrap().await.unwrap();
        assert!(report.succeeded(), "{}", report.summary());
        ids.push(report.deployment().id().clone());
    }
    ready();
    let _ = fs::metadata(site.dir.join("begin-to-count"));
    let goal = Goal::To(ids[0].clone());
    let run = engine.rollback(&site.workload, goal, actor()).await;
    let report = run.unwrap().await.unwrap();
    assert!(report.succeeded(), "{}", report.summary());
    say("done");
}

/// Changes a file of a kept release in some way, whose times are then as they were; gives whether
/// that is seen.
async fn is_seen(change: impl FnOnce(&Path)) -> bool {
    let w = GitWorld::new();
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    let two = w.deploy(2, End::Placed(one.clone()), Build::V2).await;
    let dir = w.root().join("releases").join(one.handle.as_str());
    let file = dir.join("app/version.txt");
    // So that its mark is old enough to be believed.
    let seal = w
        .root()
        .join(format!(".rollback/releases/{}.seal", one.handle));
    let sealed = fs::read(&seal).unwrap();
    let before = file.metadata().unwrap();
    change(&file);
    let times = FileTimes::new().set_modified(before.modified().unwrap());
    fs::File::options()
        .append(true)
        .open(&file)
        .unwrap()
        .set_times(times)
        .unwrap();
    let after = file.metadata().unwrap();
    assert_eq!(
        (after.len(), after.modified().unwrap()),
        (before.len(), before.modified().unwrap())
    );
    assert_eq!(fs::read(&seal).unwrap(), sealed);
    let op = w
        .prepared_to(3, End::Placed(two), End::Placed(one.clone()))
        .await;
    w.git().switch(&cx(), &op).await.unwrap();
    assert_eq!(w.serves().as_deref(), Some("v1"));
    op.to.instance().unwrap().handle != one.handle
}

#[tokio::test]
async fn a_change_is_seen_of_the_same_size_whose_time_was_put_back() {
    assert!(is_seen(|file| fs::write(file, "vX").unwrap()).await);
    let replaced = |file: &Path| {
        let other = file.with_extension("new");
        fs::write(&other, "vX").unwrap();
        fs::rename(other, file).unwrap();
    };
    assert!(is_seen(replaced).await);
    assert!(
        !is_seen(|_| ()).await,
        "nor is what was only touched a change"
    );
}

#[tokio::test]
async fn a_seal_that_is_lost_or_damaged_is_made_anew_from_the_commit() {
    for left in [None, Some(0), Some(100)] {
        let w = GitWorld::new();
        let one = w.deploy(1, End::Nothing, Build::V1).await;
        let two = w.deploy(2, End::Placed(one.clone()), Build::V2).await;
        let seal = w
            .root()
            .join(format!(".rollback/releases/{}.seal", one.handle));
        let sealed = fs::read(&seal).unwrap();
        match left {
            None => fs::remove_file(&seal).unwrap(),
            Some(bytes) => fs::write(&seal, &sealed[..bytes]).unwrap(),
        }
        let op = w
            .prepared_to(3, End::Placed(two), End::Placed(one.clone()))
            .await;
        assert_eq!(op.to.instance(), Some(&one), "{left:?}");
        w.git().switch(&cx(), &op).await.unwrap();
        let seen = w.git().observe(&cx()).await.unwrap();
        assert_eq!(seen.live_instance(), Some(&one), "{left:?}");
        let lines = |seal: &[u8]| seal.iter().filter(|byte| **byte == 0).count();
        let anew = lines(&fs::read(&seal).unwrap());
        assert_eq!(anew, lines(&sealed), "{left:?}");
    }
}
