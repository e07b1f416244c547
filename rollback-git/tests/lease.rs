//! Who may act: nothing that a verb does outlives its lease, and who was taken for dead is refused.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs::File;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rollback_core::backend::{Backend, End, Operation};
use rollback_core::context::Context;
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_core::history::{Epoch, Fence, HistoryId};
use rollback_testkit::world::Build;
use support::{GitWorld, Site, cx};

fn fence(history: &str, op: &Operation, epoch: u64) -> Fence {
    let history: HistoryId = history.parse().unwrap();
    Fence {
        history: history.clone(),
        incarnation: history,
        sequence: op.sequence,
        epoch: Epoch(epoch),
        deployment: op.deployment.clone(),
    }
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
    let seen = w.git().observe(&cx(), &[]).await.unwrap();
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
    let seen = w.git().observe(&cx(), &[]).await.unwrap();
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

#[test]
fn a_blocking_step_outlived_its_lease() {
    type End = fn(tokio::runtime::Runtime);
    let ends: [(&str, End); 3] = [
        ("dropped", |runtime| {
            // Waits for the blocking step: elsewhere.
            std::thread::spawn(move || drop(runtime));
        }),
        (
            "in the background",
            tokio::runtime::Runtime::shutdown_background,
        ),
        ("in time", |runtime| {
            runtime.shutdown_timeout(Duration::from_millis(50))
        }),
    ];
    for (how, end) in ends {
        let w = GitWorld::new();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let op = runtime.block_on(async {
            let one = w
                .deploy(1, rollback_core::backend::End::Nothing, Build::V1)
                .await;
            w.prepared(2, rollback_core::backend::End::Placed(one), Build::V2)
                .await
        });
        let lock = held(&w);
        let lease: Arc<str> = "held".into();
        let (alive, git) = (Arc::downgrade(&lease), w.git());
        let cx = Context::new(Duration::from_secs(20)).keeping(Arc::new(lease));
        runtime.spawn(async move { git.switch(&cx, &op).await });
        std::thread::sleep(Duration::from_millis(200));
        end(runtime);
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
