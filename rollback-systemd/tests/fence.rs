//! Actors that were taken for dead and act late, on a real systemd.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rollback_core::backend::{Backend, Operation};
use rollback_core::context::Cancellation;
use rollback_core::history::{Epoch, Fence, Identity, Keep, Sequence};
use rollback_core::prelude::*;
use rollback_testkit::backend_suite::{Driver, Step};
use rollback_testkit::world::Build;
use rustix::fs::FlockOperation;
use support::{SystemdWorld, boot};

#[tokio::test(flavor = "multi_thread")]
async fn who_was_taken_for_dead_changes_nothing() {
    let Some(fixture) = boot() else { return };
    let world = || Arc::new(SystemdWorld::new(Arc::clone(&fixture)));
    who_publishes_leaves_its_token(world()).await;
    a_stale_actor_is_fenced_at_every_effect(world()).await;
    a_stale_actor_in_the_middle_of_its_switch_is_fenced(world()).await;
}

fn fence(identity: &Identity, op: &Operation, epoch: u64) -> Fence {
    Fence::new(
        identity.history.clone(),
        identity.incarnation.clone(),
        op.sequence,
        Epoch(epoch),
        op.deployment.clone(),
    )
}

async fn who_publishes_leaves_its_token(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let identity = Identity::generate().unwrap();
    let mut op = d.operation_to(Build::V1).await;
    let own = fence(&identity, &op, 1);
    let cx = Driver::cx().fenced(own.clone());
    d.verb(Step::Prepare, &cx, &mut op).await.unwrap();
    assert_eq!(d.observe().await.published, None, "nothing was published");
    d.verb(Step::Switch, &cx, &mut op).await.unwrap();
    assert_eq!(d.observe().await.published, Some(own));
    let path = world.dir().join("state/published");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // Taken over, it is undone: that is published too, and kept when nothing is live.
    let later = fence(&identity, &op, 2);
    let cx = Driver::cx().fenced(later.clone());
    d.verb(Step::Switch, &cx, &mut op.reversed()).await.unwrap();
    d.expect_nothing().await;
    assert_eq!(d.observe().await.published, Some(later));
}

async fn a_stale_actor_is_fenced_at_every_effect(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let identity = Identity::generate().unwrap();
    let mut stale = d.operation_to(Build::V1).await;
    let old = Driver::cx().fenced(fence(&identity, &stale, 1));
    d.verb(Step::Prepare, &old, &mut stale).await.unwrap();
    let mut next = d.operation_to(Build::V2).await;
    next.sequence = Sequence(stale.sequence.0 + 1);
    let new = Driver::cx().fenced(fence(&identity, &next, 1));
    for step in [Step::Prepare, Step::Switch, Step::Retire] {
        d.verb(step, &new, &mut next).await.unwrap();
    }
    for (step, mut op) in [
        (Step::Prepare, stale.clone()),
        (Step::Switch, stale.clone()),
        (Step::Switch, stale.reversed()),
        (Step::Retire, stale.reversed()),
    ] {
        let e = d.verb(step, &old, &mut op).await.unwrap_err();
        assert_eq!(e.kind(), BackendErrorKind::Fenced, "{step:?}: {e}");
        d.expect(Build::V2, next.to.instance()).await;
    }
    let e = world.systemd().retain(&old, &[]).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Fenced, "{e}");
    // Another history has no order with this one.
    let other = Identity::generate().unwrap();
    let mut op = d.operation_to(Build::V3).await;
    op.sequence = Sequence(1);
    let cx = Driver::cx().fenced(fence(&other, &op, 1));
    for step in [Step::Prepare, Step::Switch, Step::Retire] {
        d.verb(step, &cx, &mut op).await.unwrap();
    }
    d.expect(Build::V3, op.to.instance()).await;
}

/// It waits for the lock when the other one publishes.
async fn a_stale_actor_in_the_middle_of_its_switch_is_fenced(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    let first = d.deploy(Build::V1).await;
    let identity = Identity::generate().unwrap();
    let mut op = d.operation_to(Build::V2).await;
    let old = Driver::cx().fenced(fence(&identity, &op, 1));
    d.verb(Step::Prepare, &old, &mut op).await.unwrap();
    let lock = held(&world);
    let late = {
        let (d, old, mut op) = (d.clone(), old.clone(), op.clone());
        tokio::spawn(async move { d.verb(Step::Switch, &old, &mut op).await })
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!late.is_finished(), "it waits");
    let newer = serde_json::to_vec(&fence(&identity, &op, 2)).unwrap();
    fs::write(world.dir().join("state/published"), newer).unwrap();
    drop(lock);
    let e = late.await.unwrap().unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Fenced, "{e}");
    d.expect(Build::V1, first.to.instance()).await;
}

/// Holds the shelf's lock as another process would.
fn held(world: &SystemdWorld) -> File {
    let lock = File::options()
        .write(true)
        .open(world.dir().join("state/lock"))
        .unwrap();
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    lock
}

#[test]
fn a_runtime_dropped_in_the_middle_of_a_switch_keeps_the_lease_until_the_switch_has_stopped() {
    let outer = tokio::runtime::Runtime::new().unwrap();
    let Some(fixture) = boot() else { return };
    let world = Arc::new(SystemdWorld::new(Arc::clone(&fixture)));
    let d = Driver::new(world.clone());
    let (first, op) = outer.block_on(async {
        let first = d.deploy(Build::V1).await;
        let mut op = d.operation_to(Build::V2).await;
        d.must(Step::Prepare, &mut op).await;
        (first, op)
    });
    let file = fs::read(world.fragment()).unwrap();
    let lease = Arc::new(());
    let cancellation = Cancellation::new();
    let lock = held(&world);
    {
        let inner = tokio::runtime::Runtime::new().unwrap();
        let cx = Driver::cx()
            .keeping(Keep::new(lease.clone()))
            .with_cancellation(cancellation.clone());
        let (d, mut op) = (d.clone(), op.clone());
        inner.spawn(async move { d.verb(Step::Switch, &cx, &mut op).await });
        std::thread::sleep(Duration::from_secs(1));
        inner.shutdown_background();
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(Arc::strong_count(&lease) > 1, "its files are still at work");
    // As the engine does when a run's future is dropped.
    cancellation.cancel();
    let began = Instant::now();
    while Arc::strong_count(&lease) > 1 {
        assert!(began.elapsed() < Duration::from_secs(5), "it never stops");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(lock);
    assert_eq!(fs::read(world.fragment()).unwrap(), file);
    outer.block_on(d.expect(Build::V1, first.to.instance()));
}
