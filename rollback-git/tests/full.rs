//! A full disk: what fails fails before anything is touched, and there is always a way back.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::io::Write;
use std::process::Command;

use rollback_core::backend::{Backend, End};
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_testkit::fixtures::tmpfs::Tmpfs;
use rollback_testkit::world::Build;
use support::other::{Other, parents, ready, say};
use support::tidy::tidy;
use support::{GitWorld, Site, cx, sh};

/// A site on a small disk of its own.
struct Small {
    site: Site,
    disk: Tmpfs,
}

impl Small {
    fn new() -> Option<Self> {
        let disk = Tmpfs::mount("size=900k")?;
        let w = GitWorld::new();
        let copy = disk.path().join("site");
        fs::create_dir(&copy).unwrap();
        let mut cp = Command::new("cp");
        cp.arg("-a").arg(w.dir.join(".")).arg(&copy);
        assert!(cp.status().unwrap().success());
        let site = Site::at(&copy);
        Some(Self { site, disk })
    }

    /// Somebody else takes all the room that there is.
    fn fill(&self) {
        let path = self.disk.path().join("ballast");
        let mut ballast = fs::File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        for size in [4096, 1] {
            while ballast.write_all(&vec![1; size]).is_ok() {}
        }
        fs::write(self.site.dir.join("full"), "x").unwrap_err();
    }

    fn free(&self) {
        fs::remove_file(self.disk.path().join("ballast")).unwrap();
    }
}

#[tokio::test]
async fn on_a_disk_that_had_filled_up_a_switch_could_not_be_gone_back_from() {
    let Some(small) = Small::new() else { return };
    let site = &small.site;
    let one = site.deploy(1, End::Nothing, Build::V1).await;
    let op = site.prepared(2, End::Placed(one.clone()), Build::V2).await;
    site.git().switch(&cx(), &op).await.unwrap();
    small.fill();
    let back = op.reversed();
    site.git().switch(&cx(), &back).await.unwrap();
    site.git().retire(&cx(), &back).await.unwrap();
    assert_eq!(site.serves().as_deref(), Some("v1"));
    let seen = site.git().observe(&cx()).await.unwrap();
    assert_eq!(seen.live_instance(), Some(&one));
    // And there is a reserve again as soon as there is room for it.
    small.free();
    let two = site.deploy(3, End::Placed(one), Build::V2).await;
    assert!(site.root().join(".rollback/reserve").exists());
    small.fill();
    // An automatic rollback is a deployment of its own.
    let back = site.prepared_to(4, End::Placed(two), op.from.clone()).await;
    assert_eq!(back.to, op.from);
    site.git().switch(&cx(), &back).await.unwrap();
    site.git().retire(&cx(), &back).await.unwrap();
    assert_eq!(site.serves().as_deref(), Some("v1"));
}

#[tokio::test]
async fn without_room_for_a_way_back_nothing_is_switched() {
    let Some(small) = Small::new() else { return };
    let site = &small.site;
    let one = site.deploy(1, End::Nothing, Build::V1).await;
    let op = site.prepared(2, End::Placed(one.clone()), Build::V2).await;
    fs::remove_file(site.root().join(".rollback/reserve")).unwrap();
    small.fill();
    // Enough for the switch itself.
    let ballast = fs::File::options()
        .write(true)
        .open(small.disk.path().join("ballast"))
        .unwrap();
    let size = ballast.metadata().unwrap().len();
    ballast.set_len(size - 48 * 1024).unwrap();
    drop(ballast);
    let before = fs::read(site.root().join(".rollback/switched.json")).unwrap();
    let e = site.git().switch(&cx(), &op).await.unwrap_err();
    assert_eq!(
        (e.kind(), e.impact()),
        (BackendErrorKind::Exhausted, LiveImpact::Untouched),
        "{e}"
    );
    assert_eq!(site.serves().as_deref(), Some("v1"));
    let now = fs::read(site.root().join(".rollback/switched.json")).unwrap();
    assert_eq!(now, before);
    small.free();
    site.git().switch(&cx(), &op).await.unwrap();
    assert_eq!(site.serves().as_deref(), Some("v2"));
}

#[tokio::test]
async fn a_full_disk_fails_the_prepare_and_leaves_what_is_live() {
    let Some(small) = rollback_testkit::fixtures::tmpfs::Tmpfs::mount("size=600k") else {
        return;
    };
    let w = GitWorld::new();
    let copy = small.path().join("site");
    fs::create_dir(&copy).unwrap();
    let mut cp = Command::new("cp");
    cp.arg("-a").arg(w.dir.join(".")).arg(&copy);
    assert!(cp.status().unwrap().success());
    let site = Site::at(&copy);
    let one = site.deploy(1, End::Nothing, Build::V1).await;
    let op = site.plan(2, End::Placed(one.clone()), Build::V2).await;
    let ballast = small.path().join("ballast");
    // So full that each time another write is the one that fails.
    for free in (0..120).step_by(4) {
        fs::write(&ballast, vec![1; 1 << 20]).unwrap_err();
        let full = fs::metadata(&ballast).unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(&ballast).unwrap();
        file.set_len(full.saturating_sub(free * 1024)).unwrap();
        match site.git().prepare(&cx(), &op).await {
            Ok(_) => break,
            Err(e) => assert_eq!(e.kind(), BackendErrorKind::Exhausted, "{e}"),
        }
        assert_eq!(site.serves().as_deref(), Some("v1"));
        assert!(free < 116, "it never has room");
        // Going back needs no room that there is not.
        site.git().retire(&cx(), &op.reversed()).await.unwrap();
    }
    fs::remove_file(ballast).unwrap();
    site.git().retire(&cx(), &op.reversed()).await.unwrap();
    tidy(&site, "a full disk");
    site.deploy(3, End::Placed(one), Build::V2).await;
    assert_eq!(site.serves().as_deref(), Some("v2"));
}

/// Not a test by itself: a switch whose command has something to say.
#[tokio::test]
async fn child() {
    let Some(mut site) = parents() else { return };
    site.restart = sh("set -e; echo restarting; echo x >> \"$0\"");
    let log = site.dir.join("restarts").display().to_string();
    site.restart.push(log);
    let op = site.prepared(1, End::Nothing, Build::V1).await;
    ready();
    let switched = site.git().switch(&cx(), &op).await;
    say(&switched.map_or_else(|e| e.to_string(), |_| "done".to_owned()));
}

#[tokio::test]
async fn a_restart_that_said_something_failed_where_no_temporary_file_had_room() {
    let Some(full) = Tmpfs::mount("size=100k") else {
        return;
    };
    fs::write(full.path().join("ballast"), vec![1; 1 << 20]).unwrap_err();
    let w = GitWorld::new();
    let place = format!("TMPDIR={}", full.path().display());
    let mut other = Other::through(&["env", &place], "child", &w).unwrap();
    assert_eq!(other.go().as_deref(), Some("done"));
    other.wait();
    assert_eq!(w.restarts(), 1);
}
