//! What stands in a release directory: what belongs to it, what is drift, and how dear a look is.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rollback_core::backend::{Availability, Backend, End};
use rollback_testkit::world::{Build, World};
use support::other::{Other, say, told};
use support::{GitWorld, cx, sh};

#[tokio::test]
async fn what_the_restart_command_wrote_was_drift_for_ever() {
    let mut w = GitWorld::new();
    w.restart = sh("mkdir -p .venv/bin && echo built >> .venv/bin/python");
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    let seen = w.git().observe(&cx()).await.unwrap();
    assert_eq!(
        seen.live_instance(),
        Some(&one),
        "what was built belongs to it"
    );
    let two = w.deploy(2, End::Placed(one.clone()), Build::V2).await;
    let back = w
        .prepared_to(3, End::Placed(two), End::Placed(one.clone()))
        .await;
    assert_eq!(back.to.instance(), Some(&one), "and is not built anew");
    w.git().switch(&cx(), &back).await.unwrap();
    let seen = w.git().observe(&cx()).await.unwrap();
    assert_eq!(
        seen.live_instance(),
        Some(&one),
        "built once more, it belongs to it as well"
    );
    w.tamper().await;
    let seen = w.git().observe(&cx()).await.unwrap();
    let facets = seen.live_instance().unwrap().release.facets().clone();
    assert!(
        facets.contains_key("tree"),
        "what is changed afterwards is drift"
    );
}

#[tokio::test]
async fn what_a_release_task_built_before_the_switch_was_drift_for_ever() {
    let w = GitWorld::new();
    let op = w.prepared(1, End::Nothing, Build::V1).await;
    let one = op.to.instance().unwrap().clone();
    let dir = w.root().join("releases").join(one.handle.as_str());
    fs::write(dir.join("built"), "by a task").unwrap();
    w.git().switch(&cx(), &op).await.unwrap();
    let seen = w.git().observe(&cx()).await.unwrap();
    assert_eq!(seen.live_instance(), Some(&one));
    let near = w.git().availability(&cx(), &op.to).await.unwrap();
    assert_eq!(near, Availability::Standby);
}

#[tokio::test]
async fn an_automatic_rollback_that_was_recovered_went_live_without_what_its_tasks_had_built() {
    for made in [false, true] {
        let w = GitWorld::new();
        let one = w.deploy(1, End::Nothing, Build::V1).await;
        let two = w.deploy(2, End::Placed(one.clone()), Build::V2).await;
        if made {
            // What it goes back to is gone, and is made anew.
            let dir = w.root().join("releases").join(one.handle.as_str());
            fs::remove_dir_all(dir).unwrap();
        }
        let op = w
            .prepared_to(3, End::Placed(two), End::Placed(one.clone()))
            .await;
        let to = op.to.instance().unwrap().clone();
        assert_eq!(to == one, !made);
        let dir = w.root().join("releases").join(to.handle.as_str());
        fs::write(dir.join("built"), "by a task").unwrap();
        fs::write(dir.join("app/conf/settings.ini"), "by a task").unwrap();
        // Killed here. Recovery prepares again, and does not run the task again.
        let again = w.git().prepare(&cx(), &op).await.unwrap();
        assert_eq!(again.to, to, "made anew: {made}");
        w.git().switch(&cx(), &op).await.unwrap();
        let built = fs::read_to_string(w.root().join("current/built"));
        assert_eq!(built.unwrap(), "by a task", "made anew: {made}");
        let seen = w.git().observe(&cx()).await.unwrap();
        assert_eq!(seen.live_instance(), Some(&to), "it belongs to it");
        // From then on it is sealed, and what is changed is not its own.
        w.tamper().await;
        let again = w.git().prepare(&cx(), &op).await.unwrap();
        assert_ne!(again.to.handle, to.handle);
    }
}

#[tokio::test]
async fn a_restart_on_the_way_back_made_a_change_by_hand_part_of_the_release() {
    let mut w = GitWorld::new();
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    w.tamper().await;
    let live = w.git().observe(&cx()).await.unwrap();
    let live = live.live_instance().unwrap().clone();
    assert_ne!(live, one);
    w.restart = sh("echo x >> log");
    let op = w.prepared(2, End::Placed(live.clone()), Build::V2).await;
    w.git().switch(&cx(), &op).await.unwrap();
    w.git().switch(&cx(), &op.reversed()).await.unwrap();
    let back = w.git().observe(&cx()).await.unwrap();
    assert_eq!(back.live_instance(), Some(&live));
}

#[tokio::test]
async fn what_stood_changed_where_nobody_had_sealed_it_is_gone_back_to_as_it_was() {
    let mut w = GitWorld::new();
    w.deploy(1, End::Nothing, Build::V1).await;
    w.tamper().await;
    let live = async |w: &GitWorld| {
        let seen = w.git().observe(&cx()).await.unwrap();
        End::Placed(seen.live_instance().unwrap().clone())
    };
    let op = w.prepared(2, live(&w).await, Build::V2).await;
    w.git().switch(&cx(), &op).await.unwrap();
    // It goes back, and whoever does ends before it could seal what stands there.
    w.restart = sh("echo x >> log; exit 1");
    w.git().switch(&cx(), &op.reversed()).await.unwrap_err();
    assert_eq!(w.serves().as_deref(), Some("v1"));
    // The next deployment has seen it with the log, and so it is gone back to.
    let before = live(&w).await;
    w.restart = Vec::new();
    let op = w.prepared(3, before.clone(), Build::V3).await;
    w.git().switch(&cx(), &op).await.unwrap();
    w.git().switch(&cx(), &op.reversed()).await.unwrap();
    assert_eq!(live(&w).await, before);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_kept_everybody_from_looking() {
    let w = GitWorld::new();
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    let dir = w.root().join("releases").join(one.handle.as_str());
    fs::create_dir(dir.join("private")).unwrap();
    fs::write(dir.join("private/key"), "").unwrap();
    fs::write(dir.join("secret"), "").unwrap();
    for private in ["private", "secret"] {
        fs::set_permissions(dir.join(private), Permissions::from_mode(0o0)).unwrap();
    }
    let own = Command::new("chown")
        .args(["-R", "65534:65534"])
        .arg(&w.dir)
        .status();
    assert!(own.unwrap().success());
    for private in ["private", "secret"] {
        std::os::unix::fs::lchown(dir.join(private), Some(0), Some(0)).unwrap();
    }
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let Some(mut other) = Other::through(&nobody, "child_looks", &w) else {
        return;
    };
    let seen = other.go().unwrap();
    assert!(
        seen.contains("private") && seen.contains("secret"),
        "{seen}"
    );
    assert!(seen.contains("unreadable"), "{seen}");
}

/// Not a test by itself: looks, and says what it has seen.
#[tokio::test]
async fn child_looks() {
    if let Some((site, _)) = told() {
        match site.git().observe(&cx()).await {
            Ok(seen) => say(&format!("{:?}", seen.live)),
            Err(e) => say(&e.to_string()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_vanished_during_a_look_failed_it() {
    let w = GitWorld::new();
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    let dir = w.root().join("releases").join(one.handle.as_str());
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ended = stop.clone();
    let busy = std::thread::spawn(move || {
        while !ended.load(std::sync::atomic::Ordering::SeqCst) {
            let cache = dir.join("cache");
            for n in 0..20 {
                fs::create_dir_all(cache.join(n.to_string())).unwrap();
                fs::write(cache.join(format!("{n}/x")), "x").unwrap();
            }
            fs::remove_dir_all(cache).unwrap();
        }
    });
    let mut failed = Vec::new();
    for _ in 0..300 {
        if let Err(e) = w.git().observe(&cx()).await {
            failed.push(e.to_string());
        }
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    busy.join().unwrap();
    assert_eq!(failed, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_failed_while_another_process_removed_what_was_looked_at() {
    let w = GitWorld::new();
    let mut live = End::Placed(w.deploy(1, End::Nothing, Build::V3).await);
    let (git, root) = (w.git(), w.root());
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ended = stop.clone();
    let end = live.clone();
    let looks = tokio::spawn(async move {
        let mut failed = Vec::new();
        while !ended.load(std::sync::atomic::Ordering::SeqCst) {
            if let Err(e) = git.observe(&cx()).await {
                failed.push(e.to_string());
            }
            if let Err(e) = git.availability(&cx(), &end).await {
                failed.push(e.to_string());
            }
        }
        failed
    });
    for n in 2..40 {
        let build = if n % 2 == 0 { Build::V1 } else { Build::V3 };
        live = End::Placed(w.deploy(n, live, build).await);
        w.git().retain(&cx(), &[]).await.unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(looks.await.unwrap(), [] as [String; 0]);
    assert_eq!(fs::read_dir(root.join("releases")).unwrap().count(), 1);
}

#[tokio::test]
async fn with_a_umask_of_077_the_service_could_not_enter_its_directories() {
    let w = GitWorld::new();
    let umask = ["/bin/sh", "-c", "umask 077; exec \"$0\" \"$@\""];
    let mut other = Other::through(&umask, "child_deploys", &w).unwrap();
    assert_eq!(other.go().as_deref(), Some("done"));
    let current = w.root().join("current");
    let mode = |p: &str| current.join(p).metadata().unwrap().permissions().mode() & 0o7777;
    for dir in [".", "app", "app/conf", "..", "../.."] {
        assert_eq!(mode(dir), 0o755, "{dir}");
    }
    assert_eq!((mode("app/run"), mode("app/version.txt")), (0o755, 0o644));
    assert_eq!(mode("../../.rollback"), 0o700);
}

/// Not a test by itself: deploys.
#[tokio::test]
async fn child_deploys() {
    if let Some((site, _)) = told() {
        site.deploy(1, End::Nothing, Build::V1).await;
        say("done");
    }
}

#[tokio::test]
async fn git_would_have_found_a_change_of_the_same_size_at_the_same_instant() {
    let w = GitWorld::new();
    w.deploy(1, End::Nothing, Build::V1).await;
    let file = w.root().join("current/app/version.txt");
    for _ in 0..20 {
        fs::write(&file, "v1").unwrap();
        assert!(
            w.git()
                .observe(&cx())
                .await
                .unwrap()
                .live_instance()
                .unwrap()
                .release
                .facets()
                .is_empty()
        );
        fs::write(&file, "vX").unwrap();
        let seen = w.git().observe(&cx()).await.unwrap();
        assert!(!seen.live_instance().unwrap().release.facets().is_empty());
    }
}

#[tokio::test]
async fn a_look_read_every_file_again() {
    let w = GitWorld::new();
    w.deploy(1, End::Nothing, Build::V1).await;
    let log = w.dir.join("calls");
    let watched = [
        "strace",
        "-f",
        "-e",
        "trace=open,openat",
        "-o",
        log.to_str().unwrap(),
    ];
    let Some(mut other) = Other::through(&watched, "child_looks", &w) else {
        return;
    };
    assert!(other.go().unwrap().starts_with("One"));
    other.wait();
    let opened = fs::read_to_string(log).unwrap();
    assert!(opened.contains("root/releases"), "{opened}");
    for file in ["app/version.txt", "settings.ini", "app/run"] {
        assert!(!opened.contains(file), "{file}");
    }
}
