//! Pins: commits that are kept from git's own cleaning, whatever becomes of the rest.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use rollback_core::backend::{Availability, Backend, End};
use rollback_testkit::world::Build;
use support::{GitWorld, Site, cx};

fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(args);
    command.env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "git {args:?}: {said}");
    said
}

#[tokio::test]
async fn a_mirror_that_was_updated_lost_its_pins_and_then_its_releases() {
    let origin = GitWorld::new();
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo");
    git(
        dir.path(),
        &[
            "clone",
            "-q",
            "--mirror",
            origin.fixture.path().to_str().unwrap(),
            "repo",
        ],
    );
    let w = Site::at(dir.path());
    let broken = w.deploy(1, End::Nothing, Build::Broken).await;
    // The origin forgets the build, the mirror follows, and cleans up.
    let there = git2::Repository::open(origin.fixture.path()).unwrap();
    for name in ["refs/tags/broken", "refs/heads/release/broken"] {
        there.find_reference(name).unwrap().delete().unwrap();
    }
    let v3 = origin.fixture.commit(Build::V3).parse().unwrap();
    there.reference("refs/heads/main", v3, true, "").unwrap();
    git(&repo, &["remote", "update", "--prune"]);
    git(&repo, &["reflog", "expire", "--expire=now", "--all"]);
    git(&repo, &["gc", "-q", "--prune=now"]);
    git(&repo, &["repack", "-adfq"]);
    git(&repo, &["prune", "--expire=now"]);
    git(&repo, &["worktree", "prune", "--expire=now"]);
    git(&repo, &["gc", "-q", "--prune=now"]);
    fs::remove_dir_all(w.root().join("releases").join(broken.handle.as_str())).unwrap();
    let end = End::Planned(broken.release);
    let near = w.git().availability(&cx(), &end).await.unwrap();
    assert_eq!(near, Availability::Local);
    let op = w.prepared_to(2, End::Nothing, end).await;
    w.git().switch(&cx(), &op).await.unwrap();
    assert_eq!(w.serves().as_deref(), Some("broken"));
    assert_eq!(
        git(&repo, &["fsck", "--strict"]),
        "",
        "git finds nothing wrong with it"
    );
    // What nobody needs any more goes.
    w.git().retain(&cx(), &[]).await.unwrap();
    let v3 = w.deploy(3, op.to, Build::V3).await;
    w.git().retain(&cx(), &[v3]).await.unwrap();
    git(&repo, &["gc", "-q", "--prune=now"]);
    let gone = git2::Repository::open(&repo).unwrap();
    let commit = origin.fixture.commit(Build::Broken).parse().unwrap();
    assert!(gone.find_commit(commit).is_err(), "the pin was let go");
}

#[tokio::test]
async fn stale_locks_of_a_killed_git_blocked_every_deployment() {
    let w = GitWorld::new();
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    let repo = w.fixture.path();
    for lock in ["packed-refs.lock", "HEAD.lock", "index.lock", "config.lock"] {
        fs::write(repo.join(lock), "").unwrap();
    }
    let two = w.deploy(2, End::Placed(one.clone()), Build::V2).await;
    w.git().retain(&cx(), &[two]).await.unwrap();
    let near = w
        .git()
        .availability(&cx(), &End::Placed(one))
        .await
        .unwrap();
    assert_eq!(near, Availability::Local);
    for lock in ["packed-refs.lock", "HEAD.lock", "index.lock", "config.lock"] {
        assert!(repo.join(lock).exists(), "{lock} is not ours to remove");
    }
}
