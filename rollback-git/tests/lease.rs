//! Who may act: nothing that a verb does outlives its lease, and who was taken for dead is refused.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs::File;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rollback_core::backend::{Backend, End, Operation};
use rollback_core::context::Context;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::error::{BackendErrorKind, Error, ErrorKind, LiveImpact};
use rollback_core::history::{Epoch, Fence, HistoryId, Keep};
use rollback_core::id::Actor;
use rollback_sqlite::SqliteStore;
use rollback_testkit::fixtures::strace::{Call, Strace};
use rollback_testkit::world::Build;
use support::other::{Other, listen, say, told};
use support::{GitWorld, Site, cx};

fn fence(history: &str, op: &Operation, epoch: u64) -> Fence {
    let history: HistoryId = history.parse().unwrap();
    Fence::new(
        history.clone(),
        history,
        op.sequence,
        Epoch(epoch),
        op.deployment.clone(),
    )
}

const OURS: &str = "0123456789abcdef";

/// As if somebody published there just now.
fn held(site: &Site) -> File {
    let lock = File::options()
        .write(true)
        .open(site.root().join(".rollback/lock"))
        .unwrap();
    lock.lock().unwrap();
    lock
}

#[tokio::test]
async fn an_actor_that_was_taken_for_dead_published_over_its_successor() {
    let w = GitWorld::new();
    let one = End::Placed(w.deploy(1, End::Nothing, Build::V1).await);
    let two = w.prepared(2, one.clone(), Build::V2).await;
    let three = w.prepared(3, one, Build::V3).await;
    let (dead, later) = (fence(OURS, &two, 1), fence(OURS, &three, 2));
    let successor = cx().fenced(later.clone());
    w.git().switch(&successor, &three).await.unwrap();
    let late = cx().fenced(dead);
    for verb in ["prepare", "switch", "retire", "retain", "back"] {
        let e = match verb {
            "prepare" => w.git().prepare(&late, &two).await.map(|_| ()),
            "switch" => w.git().switch(&late, &two).await.map(|_| ()),
            "back" => w.git().switch(&late, &two.reversed()).await.map(|_| ()),
            "retire" => w.git().retire(&late, &two.reversed()).await,
            _ => w.git().retain(&late, &[]).await,
        };
        let e = e.unwrap_err();
        assert_eq!(e.kind(), BackendErrorKind::Fenced, "{verb}: {e}");
        assert_eq!(e.impact(), LiveImpact::Untouched, "{verb}: {e}");
        assert!(!e.is_transient(), "{verb}: {e}");
    }
    let seen = w.git().observe(&cx()).await.unwrap();
    assert_eq!(seen.published.as_ref(), Some(&later));
    assert_eq!(seen.live_instance(), three.to.instance());
    // Whoever took the same deployment over may go on, and so may another history.
    let again = fence(OURS, &three, 3);
    w.git()
        .switch(&cx().fenced(again), &three.reversed())
        .await
        .unwrap();
    let other = fence("fedcba9876543210", &two, 1);
    w.git()
        .switch(&cx().fenced(other.clone()), &two)
        .await
        .unwrap();
    let seen = w.git().observe(&cx()).await.unwrap();
    assert_eq!(seen.published, Some(other));
    assert_eq!(w.serves().as_deref(), Some("v2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_was_looked_at_and_the_link_moved_after_somebody_else_had() {
    let w = GitWorld::new();
    let mut live = End::Placed(w.deploy(1, End::Nothing, Build::V1).await);
    for n in 0..20 {
        let two = w.prepared(2 + 2 * n, live.clone(), Build::V2).await;
        let three = w.prepared(3 + 2 * n, live, Build::V3).await;
        let lock = held(&w);
        let switch = |op: &Operation| {
            let (git, op) = (w.git(), op.clone());
            let cx = cx().fenced(fence(OURS, &op, 1));
            tokio::spawn(async move { git.switch(&cx, &op).await })
        };
        let (early, late) = (switch(&two), switch(&three));
        tokio::time::sleep(Duration::from_millis(30)).await;
        drop(lock);
        late.await.unwrap().unwrap();
        if let Err(e) = early.await.unwrap() {
            assert_eq!(e.kind(), BackendErrorKind::Fenced, "{e}");
        }
        assert_eq!(w.serves().as_deref(), Some("v3"), "round {n}");
        live = three.to;
    }
}

/// How a runtime ends, as when `main` returns.
fn end(runtime: tokio::runtime::Runtime, how: &str) {
    match how {
        "dropped" => {
            // Waits for the blocking step: elsewhere.
            std::thread::spawn(move || drop(runtime));
        }
        "in the background" => runtime.shutdown_background(),
        _ => runtime.shutdown_timeout(Duration::from_millis(50)),
    }
}

const ENDS: [&str; 3] = ["dropped", "in the background", "in time"];

#[test]
fn a_blocking_step_outlived_its_lease() {
    for how in ENDS {
        let w = GitWorld::new();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let op = runtime.block_on(async {
            let one = w.deploy(1, End::Nothing, Build::V1).await;
            w.prepared(2, End::Placed(one), Build::V2).await
        });
        let lock = held(&w);
        let lease: Arc<str> = "held".into();
        let (alive, git) = (Arc::downgrade(&lease), w.git());
        let cx = Context::new(Duration::from_secs(20)).keeping(Keep::new(lease));
        runtime.spawn(async move { git.switch(&cx, &op).await });
        std::thread::sleep(Duration::from_millis(200));
        end(runtime, how);
        // It waits for its turn, and acts as soon as it comes: the lease is held until then.
        std::thread::sleep(Duration::from_millis(100));
        assert!(alive.upgrade().is_some(), "{how}: the lease was given up");
        assert_eq!(w.serves().as_deref(), Some("v1"), "{how}");
        drop(lock);
        ended(&alive);
        assert_eq!(
            w.serves().as_deref(),
            Some("v2"),
            "{how}: it acted, under its lease"
        );
    }
}

fn ended(alive: &Weak<str>) {
    for _ in 0..500 {
        if alive.upgrade().is_none() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the step never ends");
}

async fn engine(site: &Site) -> RollbackEngine {
    let store = SqliteStore::open(site.dir.join("history.db"))
        .await
        .unwrap();
    let workload = Workload::new(site.git());
    RollbackEngine::builder(store)
        .workload(workload)
        .build()
        .unwrap()
}

async fn deployed(engine: &RollbackEngine, site: &Site, reference: &str) -> Result<String, Error> {
    let run = engine.deploy(&site.workload, reference, Actor::user("lease").unwrap());
    Ok(run.await?.await?.deployment().id().to_string())
}

/// Not a test by itself: deploys v2 in a runtime that ends while it does.
#[test]
fn child_whose_runtime_ends() {
    let Some((site, how)) = told() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let done = runtime.spawn(async move {
        let id = deployed(&engine(&site).await, &site, "v2").await;
        say(&id.unwrap());
    });
    if how == "none" {
        return runtime.block_on(done).unwrap();
    }
    listen();
    end(runtime, &how);
    say("ended");
    // The process lives on.
    listen();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_ended_in_mid_switch_moved_the_link_after_another_process_had() {
    let world = async || {
        let w = GitWorld::new();
        deployed(&engine(&w).await, &w, "v1").await.unwrap();
        w
    };
    let w = world().await;
    let mut other = Other::spawn("child_whose_runtime_ends", &w);
    let strace = match Strace::watch(other.id()) {
        Ok(strace) => strace,
        Err(why) => return rollback_testkit::service::unavailable(&why),
    };
    other.tell("none");
    other.hear();
    other.wait();
    let moves = |c: &Call| c.publishes() && c.to_string().contains("root/current\"");
    let calls = strace.calls(&w.dir);
    let moved = calls.iter().find(|c| moves(c)).unwrap();

    for how in ENDS {
        let w = world().await;
        let before = std::fs::read(w.root().join(".rollback/switched.json")).unwrap();
        let mut other = Other::spawn("child_whose_runtime_ends", &w);
        let held = Strace::hold_at(other.id(), moved, Duration::from_secs(2)).unwrap();
        other.tell(how);
        for _ in 0..1_000 {
            if std::fs::read(w.root().join(".rollback/switched.json")).unwrap() != before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        other.tell("end");
        assert_eq!(other.hear().as_deref(), Some("ended"), "{how}");
        assert_eq!(w.serves().as_deref(), Some("v1"), "{how}: it is still held");
        let engine = engine(&w).await;
        let mut refused = 0;
        let id = loop {
            assert!(refused < 1_000, "{how}: the lease is never given up");
            for recovered in engine.recover().await.unwrap() {
                recovered.result.unwrap();
            }
            match deployed(&engine, &w, "v3").await {
                Ok(id) => break id,
                Err(e) => assert_eq!(e.kind(), ErrorKind::Conflict, "{how}: {e}"),
            }
            refused += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(refused > 0, "{how}: it acted still, and its lease was free");
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(w.serves().as_deref(), Some("v3"), "{how}");
        let live = engine.state(&w.workload).await.unwrap().live;
        assert_eq!(live.known().map(ToString::to_string), Some(id), "{how}");
        drop(held);
        other.kill();
    }
}

/// Not a test by itself: switches to v2, for so many milliseconds at most.
#[test]
fn child_whose_time_ends() {
    let Some((site, time)) = told() else { return };
    let time = Duration::from_millis(time.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let switched = runtime.block_on(async {
        let live = site.git().observe(&cx()).await.unwrap();
        let from = End::Placed(live.live_instance().unwrap().clone());
        let op = site.prepared(2, from, Build::V2).await;
        site.git().switch(&Context::new(time), &op).await
    });
    say(&match switched {
        Ok(_) => "switched".to_owned(),
        Err(e) => format!("{:?} {:?}", e.kind(), e.impact()),
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_moved_although_the_time_was_over_before() {
    let world = async || {
        let w = GitWorld::new();
        w.deploy(1, End::Nothing, Build::V1).await;
        w
    };
    let w = world().await;
    let mut other = Other::spawn("child_whose_time_ends", &w);
    let strace = match Strace::watch(other.id()) {
        Ok(strace) => strace,
        Err(why) => return rollback_testkit::service::unavailable(&why),
    };
    other.tell("60000");
    assert_eq!(other.hear().as_deref(), Some("switched"));
    other.wait();
    assert_eq!(w.serves().as_deref(), Some("v2"));
    let calls = strace.calls(&w.dir);
    let moves = |c: &Call| c.publishes() && c.to_string().contains("root/current\"");
    let moved = calls.iter().position(moves).unwrap();
    let last = calls[..moved].iter().rfind(|c| c.is_sync()).unwrap();

    // The disk is slow just before the link would be moved.
    let w = world().await;
    let mut other = Other::spawn("child_whose_time_ends", &w);
    let held = Strace::hold_at(other.id(), last, Duration::from_secs(8)).unwrap();
    other.tell("4000");
    assert_eq!(
        other.hear().as_deref(),
        Some("DeadlineExceeded Untouched"),
        "held at {last}"
    );
    other.wait();
    drop(held);
    assert_eq!(w.serves().as_deref(), Some("v1"));
}
