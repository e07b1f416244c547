//! Each verb on a real repository and a real deploy root.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rollback_core::backend::{Availability, Backend, End, Live};
use rollback_core::error::{BackendErrorKind as Kind, LiveImpact};
use rollback_testkit::world::{Build, World};
use support::{GitWorld, cx};

#[tokio::test]
async fn a_reference_is_resolved_once_and_bad_ones_are_typed() {
    let w = GitWorld::new();
    let id = w.fixture.commit(Build::V2);
    for good in ["v2", "release/v2", "refs/tags/v2", &id, &id[..9]] {
        let release = w.git().resolve(&cx(), good).await.unwrap();
        assert_eq!(release.artifact().digest, id, "{good}");
    }
    let long = "a".repeat(10_000);
    for bad in [
        "",
        "--upload-pack=x",
        "a\0b",
        "..",
        "v1..v2",
        "HEAD~1",
        "a b",
        ":/x",
        "@{u}",
        &long,
    ] {
        let e = w.git().resolve(&cx(), bad).await.unwrap_err();
        assert_eq!(e.kind(), Kind::InvalidReference, "{bad:.20?}: {e}");
        assert_eq!(e.impact(), LiveImpact::Untouched);
        assert!(e.to_string().len() < 300);
    }
    for missing in ["nope", "deadbeef", "é"] {
        let e = w.git().resolve(&cx(), missing).await.unwrap_err();
        assert_eq!(e.kind(), Kind::NotFound, "{missing}: {e}");
    }
    w.cut().await;
    let e = w.git().resolve(&cx(), "v1").await.unwrap_err();
    assert_eq!(e.kind(), Kind::Unreachable);
}

#[tokio::test]
async fn what_libgit2_cannot_do_right_is_refused_before_anything_happens() {
    let w = GitWorld::new();
    let config = w.fixture.path().join("config");
    let plain = std::fs::read_to_string(&config).unwrap();
    for extra in [
        "[core]\nrepositoryformatversion=1\n[extensions]\nobjectformat=sha256\n",
        "[core]\nrepositoryformatversion=1\n[extensions]\nrefstorage=reftable\n",
        "[remote \"origin\"]\npromisor=true\n",
    ] {
        std::fs::write(&config, format!("{plain}{extra}")).unwrap();
        let e = w.git().resolve(&cx(), "v1").await.unwrap_err();
        assert_eq!(e.kind(), Kind::Unsupported, "{extra}: {e}");
    }
    std::fs::write(&config, plain).unwrap();
    let repo = git2::Repository::open(w.fixture.path()).unwrap();
    let base = repo
        .revparse_single("v1")
        .unwrap()
        .peel_to_commit()
        .unwrap();
    let attributes = repo.blob(b"*.bin filter=lfs diff=lfs\n").unwrap();
    for (name, oid, mode) in [
        (".gitattributes", attributes, 0o100_644),
        ("vendored", base.id(), 0o160_000),
    ] {
        let mut tree = repo.treebuilder(Some(&base.tree().unwrap())).unwrap();
        tree.insert(name, oid, mode).unwrap();
        let tree = repo.find_tree(tree.write().unwrap()).unwrap();
        let by = base.author();
        let commit = repo.commit(None, &by, &by, "x", &tree, &[]).unwrap();
        let e = w
            .git()
            .resolve(&cx(), &commit.to_string())
            .await
            .unwrap_err();
        assert_eq!(e.kind(), Kind::Unsupported, "{name}: {e}");
    }
}

#[tokio::test]
async fn a_release_has_the_commits_files_modes_and_links_and_nothing_else() {
    let w = GitWorld::new();
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    assert_eq!(w.serves().as_deref(), Some("v1"));
    let dir = w.root().join("releases").join(one.handle.as_str());
    let mode = |p: &str| dir.join(p).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("app/run"), mode("app/version.txt")), (0o755, 0o644));
    assert!(dir.join("version.txt").is_symlink());
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2);
    let state = w.root().join(".rollback").metadata().unwrap();
    assert_eq!(state.permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn gc_does_not_take_a_pinned_commit() {
    let w = GitWorld::new();
    w.deploy(1, End::Nothing, Build::Broken).await;
    let repo = git2::Repository::open(w.fixture.path()).unwrap();
    for name in ["refs/tags/broken", "refs/heads/release/broken"] {
        repo.find_reference(name).unwrap().delete().unwrap();
    }
    let v3 = w.fixture.commit(Build::V3).parse().unwrap();
    repo.reference("refs/heads/main", v3, true, "").unwrap();
    let unpinned = repo.blob(b"held by nothing").unwrap();
    let mut gc = Command::new("git");
    gc.arg("-C")
        .arg(w.fixture.path())
        .args(["gc", "-q", "--prune=now"]);
    assert!(gc.status().unwrap().success());
    let swept = git2::Repository::open(w.fixture.path())
        .unwrap()
        .find_blob(unpinned)
        .is_err();
    assert!(swept, "gc really swept");
    let commit = w.fixture.commit(Build::Broken);
    assert!(w.git().resolve(&cx(), &commit).await.is_ok());
    w.git().retain(&cx(), &[]).await.unwrap();
    assert!(w.git().resolve(&cx(), &commit).await.is_ok(), "it is live");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reader_ever_finds_nothing_during_200_switches() {
    let w = GitWorld::new();
    let one = End::Placed(w.deploy(1, End::Nothing, Build::V1).await);
    let mut op = w.prepared(2, one, Build::V2).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (path, ended) = (w.root().join("current/version.txt"), stop.clone());
    let reader = std::thread::spawn(move || {
        let (mut reads, mut gaps) = (0, 0);
        while !ended.load(Ordering::SeqCst) {
            reads += 1;
            gaps += usize::from(std::fs::read(&path).is_err());
        }
        (reads, gaps)
    });
    for _ in 0..200 {
        w.git().switch(&cx(), &op).await.unwrap();
        op = op.reversed();
    }
    stop.store(true, Ordering::SeqCst);
    let (reads, gaps) = reader.join().unwrap();
    assert!(reads > 200, "the reader saw too little: {reads}");
    assert_eq!(gaps, 0);
}

#[tokio::test]
async fn every_verb_stopped_anywhere_converges_when_called_again() {
    let w = GitWorld::counting_restarts();
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    let plan = w.plan(2, End::Placed(one.clone()), Build::V2).await;
    let mut stops = 0;
    let mut op = plan.clone();
    loop {
        match w.git().prepare(&cx().stopping_after(stops), &plan).await {
            Ok(p) => break op.to = End::Placed(p.to),
            Err(e) => assert_eq!(
                (e.kind(), e.impact()),
                (Kind::Cancelled, LiveImpact::Untouched)
            ),
        }
        assert_eq!(w.serves().as_deref(), Some("v1"));
        // Going back from here leaves nothing, and it too may be stopped anywhere.
        for n in 0.. {
            if w.git()
                .retire(&cx().stopping_after(n), &plan.reversed())
                .await
                .is_ok()
            {
                break;
            }
        }
        assert_eq!(
            std::fs::read_dir(w.root().join("releases"))
                .unwrap()
                .count(),
            1
        );
        let pins = std::fs::read_dir(w.fixture.path().join("worktrees")).unwrap();
        assert_eq!(pins.count(), 1);
        stops += 1;
    }
    assert!(stops > 5);
    let before = w.restarts();
    let mut stops = 0;
    while w
        .git()
        .switch(&cx().stopping_after(stops), &op)
        .await
        .is_err()
    {
        stops += 1;
    }
    assert!(stops >= 4);
    w.git().switch(&cx(), &op).await.unwrap();
    assert_eq!(w.serves().as_deref(), Some("v2"));
    let during = w.restarts() - before;
    assert!(
        (1..=2).contains(&during),
        "{during}: one per evidence that was not written"
    );
    w.git().switch(&cx(), &op.reversed()).await.unwrap();
    w.git().retire(&cx(), &op.reversed()).await.unwrap();
    assert_eq!(w.serves().as_deref(), Some("v1"));
    let near = w.git().availability(&cx(), &op.to).await.unwrap();
    assert_eq!(near, Availability::Standby, "kept for reading");
    let mut stops = 0;
    while w
        .git()
        .retain(&cx().stopping_after(stops), &[])
        .await
        .is_err()
    {
        stops += 1;
    }
    let near = w.git().availability(&cx(), &op.to).await.unwrap();
    assert_eq!(near, Availability::Local);
    let seen = w.git().observe(&cx()).await.unwrap();
    assert_eq!(seen.live_instance(), Some(&one));
}

#[tokio::test]
async fn drift_is_shown_and_a_tampered_directory_is_never_reused() {
    let w = GitWorld::new();
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    w.tamper().await;
    let seen = w.git().observe(&cx()).await.unwrap();
    let live = seen.live_instance().unwrap().clone();
    assert_eq!(live.handle, one.handle);
    assert!(live.release.facets().contains_key("tree"));
    let mut op = w.plan(2, End::Placed(live.clone()), Build::V1).await;
    op.to = End::Placed(one.clone());
    let near = w.git().availability(&cx(), &op.to).await.unwrap();
    assert_eq!(near, Availability::Local);
    let anew = w.git().prepare(&cx(), &op).await.unwrap().to;
    assert_ne!(anew.handle, one.handle);
    op.to = End::Placed(anew);
    w.git().switch(&cx(), &op).await.unwrap();
    w.git().switch(&cx(), &op.reversed()).await.unwrap();
    let back = w.git().observe(&cx()).await.unwrap();
    assert_eq!(back.live_instance(), Some(&live), "the way back is exact");
}

#[tokio::test]
async fn a_release_that_was_not_whole_any_more_went_live() {
    for by_hand in ["removed", "half made"] {
        let w = GitWorld::new();
        let one = w.deploy(1, End::Nothing, Build::V1).await;
        let op = w.prepared(2, End::Placed(one.clone()), Build::V2).await;
        let name = op.to.instance().unwrap().handle.as_str().to_owned();
        if by_hand == "removed" {
            std::fs::remove_dir_all(w.root().join("releases").join(&name)).unwrap();
        } else {
            let note = w.root().join(format!(".rollback/releases/{name}.json"));
            let text = std::fs::read_to_string(&note).unwrap();
            let half = text.replace("\"complete\":true", "\"complete\":false");
            assert_ne!(half, text);
            std::fs::write(&note, half).unwrap();
        }
        let e = w.git().switch(&cx(), &op).await.unwrap_err();
        assert_eq!(
            (e.kind(), e.impact()),
            (Kind::Gone, LiveImpact::Untouched),
            "{by_hand}"
        );
        assert_eq!(w.serves().as_deref(), Some("v1"), "{by_hand}");
        let seen = w.git().observe(&cx()).await.unwrap();
        assert_eq!(seen.live_instance(), Some(&one), "{by_hand}");
    }
}

#[tokio::test]
async fn what_a_person_linked_is_adopted_and_linked_again() {
    let w = GitWorld::new();
    w.install_by_hand(Build::V1).await;
    let seen = w.git().observe(&cx()).await.unwrap();
    let hand = seen.live_instance().unwrap().clone();
    assert!(hand.handle.as_str().starts_with("foreign:/"));
    assert_eq!(hand.release.artifact().digest, w.fixture.commit(Build::V1));
    assert!(hand.release.facets().is_empty());
    let op = w.prepared(1, End::Placed(hand.clone()), Build::V2).await;
    w.git().switch(&cx(), &op).await.unwrap();
    assert_eq!(w.serves().as_deref(), Some("v2"));
    w.git().switch(&cx(), &op.reversed()).await.unwrap();
    let seen = w.git().observe(&cx()).await.unwrap();
    assert_eq!(seen.live_instance(), Some(&hand));
}

#[tokio::test]
async fn a_real_directory_at_current_is_refused_untouched() {
    let w = GitWorld::new();
    std::fs::create_dir_all(w.root().join("current")).unwrap();
    let op = w.plan(1, End::Nothing, Build::V1).await;
    let e = w.git().prepare(&cx(), &op).await.unwrap_err();
    assert_eq!(
        (e.kind(), e.impact()),
        (Kind::Unsupported, LiveImpact::Untouched)
    );
    let seen = w.git().observe(&cx()).await.unwrap();
    assert!(matches!(seen.live, Live::Mixed(..)));
}

#[tokio::test]
async fn a_first_deployment_undone_leaves_nothing_live() {
    let w = GitWorld::counting_restarts();
    let op = w.prepared(1, End::Nothing, Build::V1).await;
    w.git().switch(&cx(), &op).await.unwrap();
    w.git().switch(&cx(), &op).await.unwrap();
    assert_eq!(w.restarts(), 1);
    w.git().switch(&cx(), &op.reversed()).await.unwrap();
    assert_eq!((w.serves(), w.restarts()), (None, 1));
    let placed = op.to.instance().unwrap();
    assert!(w.git().health(&cx(), placed).await.unwrap().is_failed());
}

#[tokio::test]
async fn a_failing_restart_says_why_without_its_secrets_and_a_hanging_one_is_ended() {
    let mut w = GitWorld::new();
    let op = w.prepared(1, End::Nothing, Build::V1).await;
    let sh = |script: &str| vec!["/bin/sh".to_owned(), "-c".into(), script.into()];
    w.restart = sh("echo no such unit; echo TOKEN=abc123; exit 3");
    let e = w.git().switch(&cx(), &op).await.unwrap_err();
    assert_eq!((e.kind(), e.impact()), (Kind::Failed, LiveImpact::Unknown));
    assert!(
        e.to_string().contains("no such unit") && !e.to_string().contains("abc123"),
        "{e}"
    );
    w.restart = sh("sleep 60");
    let short = cx().within(std::time::Duration::from_millis(300));
    let e = w.git().switch(&short, &op).await.unwrap_err();
    assert_eq!(e.kind(), Kind::DeadlineExceeded);
}

#[tokio::test]
async fn a_lost_commit_is_gone() {
    let w = GitWorld::new();
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    let op = w.plan(2, End::Placed(one.clone()), Build::V2).await;
    w.lose(Build::V2).await;
    let e = w.git().prepare(&cx(), &op).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Gone);
    let near = w.git().availability(&cx(), &op.to).await.unwrap();
    assert!(matches!(near, Availability::Gone(_)), "{near:?}");
}

#[tokio::test]
async fn an_unmounted_deploy_root_was_made_anew_and_called_healthy() {
    let w = GitWorld::new();
    let one = w.deploy(1, End::Nothing, Build::V1).await;
    let op = w.plan(2, End::Placed(one), Build::V2).await;
    let root = w.root();
    let elsewhere = root.with_extension("unmounted");
    std::fs::rename(&root, &elsewhere).unwrap();
    let e = w.git().observe(&cx()).await.unwrap_err();
    assert!(e.kind() == Kind::Unreachable && e.is_transient(), "{e}");
    assert!(e.to_string().contains("mount its disk"), "{e}");
    w.git().prepare(&cx(), &op).await.unwrap_err();
    w.git().switch(&cx(), &op).await.unwrap_err();
    assert!(!root.exists());
    std::fs::rename(&elsewhere, &root).unwrap();
    w.git().prepare(&cx(), &op).await.unwrap();
    // Emptied on purpose.
    std::fs::remove_dir_all(&root).unwrap();
    std::fs::create_dir(&root).unwrap();
    let seen = w.git().observe(&cx()).await.unwrap();
    assert!(matches!(seen.live, Live::Nothing));
}
