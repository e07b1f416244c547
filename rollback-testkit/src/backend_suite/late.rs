//! Actors that are late, and what they do not know: fencing tokens, and dropped verbs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rollback_core::backend::{Instance, Live, Operation, Rollout};
use rollback_core::context::{Cancellation, Context};
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_core::history::{Epoch, Fence, HistoryId, Keep};

use super::driver::{Driver, Step, placed};
use crate::world::{Build, World};

/// How long after its first poll a verb is dropped, in milliseconds.
const DROPPED_AFTER: [u64; 6] = [0, 1, 5, 20, 60, 200];

/// Longest time for a dropped verb to end.
const ENDS: Duration = Duration::from_secs(60);

fn history() -> HistoryId {
    HistoryId::generate().expect("random bytes")
}

fn fence(history: &HistoryId, op: &Operation, epoch: u64) -> Fence {
    Fence::new(
        history.clone(),
        history.clone(),
        op.sequence,
        Epoch(epoch),
        op.deployment.clone(),
    )
}

/// Runs an operation from where it is prepared, under a token.
async fn publish(d: &Driver, op: &Operation, fence: &Fence) {
    for step in [Step::Start, Step::Switch, Step::Retire] {
        let cx = Driver::cx().fenced(fence.clone());
        let done = d.verb(step, &cx, &mut op.clone()).await;
        done.unwrap_or_else(|e| panic!("{step:?} under {fence} failed: {e}"));
    }
}

async fn prepared(d: &Driver, build: Build) -> Operation {
    let mut op = d.operation_to(build).await;
    d.must(Step::Prepare, &mut op).await;
    op
}

async fn is_fenced(d: &Driver, op: &Operation, fence: &Fence) {
    let cx = Driver::cx().fenced(fence.clone());
    match d.verb(Step::Switch, &cx, &mut op.clone()).await {
        Ok(_) => panic!("switched under {fence}, though a later actor has published"),
        Err(e) => {
            assert_eq!(e.kind(), BackendErrorKind::Fenced, "{e}");
            assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
        }
    }
}

pub(super) async fn a_late_actor_is_refused_by_the_target(world: Arc<dyn World>) {
    let (d, history) = (Driver::new(world), history());
    let first = prepared(&d, Build::V1).await;
    publish(&d, &first, &fence(&history, &first, 1)).await;
    let late = prepared(&d, Build::V2).await;
    let next = prepared(&d, Build::V3).await;
    let newest = fence(&history, &next, 1);
    publish(&d, &next, &newest).await;
    assert_eq!(d.observe().await.published.as_ref(), Some(&newest));
    let lates = fence(&history, &late, 9);
    is_fenced(&d, &late, &lates).await;
    // What it has prepared it may put away, or not: what is live stays.
    let cx = Driver::cx().fenced(lates);
    let _ = d.verb(Step::Retire, &cx, &mut late.reversed()).await;
    d.expect(Build::V3, Some(&placed(&next))).await;
    assert_eq!(d.observe().await.published.as_ref(), Some(&newest));
}

pub(super) async fn who_was_taken_over_is_refused_by_the_target(world: Arc<dyn World>) {
    let (d, history) = (Driver::new(world), history());
    let first = prepared(&d, Build::V1).await;
    publish(&d, &first, &fence(&history, &first, 1)).await;
    let op = prepared(&d, Build::V2).await;
    let (old, new) = (fence(&history, &op, 4), fence(&history, &op, 5));
    publish(&d, &op, &old).await;
    // The same deployment, recovered: it goes on, and back.
    publish(&d, &op, &new).await;
    is_fenced(&d, &op.reversed(), &old).await;
    d.expect(Build::V2, Some(&placed(&op))).await;
    publish(&d, &op.reversed(), &new).await;
    is_fenced(&d, &op, &old).await;
    d.expect(Build::V1, Some(&placed(&first))).await;
    assert_eq!(d.observe().await.published, Some(new));
}

pub(super) async fn another_history_is_not_kept_out(world: Arc<dyn World>) {
    let (d, one, other) = (Driver::new(world), history(), history());
    // An early deployment of the one comes after a later one of the other.
    let early = d.operation_to(Build::V2).await;
    let first = prepared(&d, Build::V1).await;
    publish(&d, &first, &fence(&one, &first, 7)).await;
    let mut op = early;
    op.from = first.to.clone();
    d.must(Step::Prepare, &mut op).await;
    let token = fence(&other, &op, 1);
    publish(&d, &op, &token).await;
    d.expect(Build::V2, Some(&placed(&op))).await;
    assert_eq!(d.observe().await.published, Some(token));
}

pub(super) async fn going_back_leaves_what_the_operation_does_not_know(world: Arc<dyn World>) {
    let d = Driver::new(Arc::clone(&world));
    d.deploy(Build::V1).await;
    // As after a backup was put back: the operation is the record's, and others came after it.
    let old = prepared(&d, Build::V2).await;
    let next = d.deploy(Build::V3).await;
    let before = d.observe().await.live;
    let _ = d
        .verb(Step::Retire, &Driver::cx(), &mut old.reversed())
        .await;
    assert_eq!(d.observe().await.live, before);
    d.expect(Build::V3, Some(&placed(&next))).await;
    // A plan of which nobody knows what it placed.
    let plan = d.operation_to(Build::V2).await;
    d.deploy(Build::V1).await;
    let before = d.observe().await.live;
    let _ = d
        .verb(Step::Retire, &Driver::cx(), &mut plan.reversed())
        .await;
    assert_eq!(d.observe().await.live, before);
    assert_eq!(world.serving().await.as_deref(), Some(Build::V1.answer()));
    assert_eq!(world.running().await, 1);
}

pub(super) async fn a_dropped_verb_keeps_its_lease_until_it_acts_no_more(world: Arc<dyn World>) {
    let d = Driver::new(Arc::clone(&world));
    let first = d.operation_to(Build::V1).await;
    let order = d.steps(&first).await;
    d.run(first).await;
    let mut builds = [Build::V2, Build::V1].into_iter().cycle();
    for after in DROPPED_AFTER {
        for dropped in order.clone() {
            let build = builds.next().expect("a cycle");
            let mut op = d.operation_to(build).await;
            for step in order.clone() {
                if step == dropped {
                    drop_after(&d, step, &mut op.clone(), Duration::from_millis(after)).await;
                    let before = look(&d, &*world).await;
                    tokio::time::sleep(Duration::from_millis(150)).await;
                    let now = look(&d, &*world).await;
                    assert_eq!(before, now, "{step:?} went on without its lease");
                }
                d.must(step, &mut op).await;
            }
            d.expect(build, Some(&placed(&op))).await;
        }
    }
}

/// What is live, and how many run. A platform goes on by itself with what it was asked for: there it
/// is what was asked for last.
async fn look(d: &Driver, world: &dyn World) -> (Result<Live, Option<Instance>>, usize) {
    let seen = d.observe().await;
    match d.backend().rollout() {
        Rollout::Managed => (Err(seen.heading().map(|s| s.instance.clone())), 0),
        _ => (Ok(seen.live), world.running().await),
    }
}

/// Begins a verb, drops it, and waits until nothing keeps its lease any more.
async fn drop_after(d: &Driver, step: Step, op: &mut Operation, after: Duration) {
    let (lease, stop) = (Arc::new(()), Cancellation::new());
    let cx = Context::new(ENDS)
        .with_cancellation(stop.clone())
        .keeping(Keep::new(Arc::clone(&lease)));
    // As the engine's runtime does that is dropped.
    let _ = tokio::time::timeout(after, d.verb(step, &cx, op)).await;
    stop.cancel();
    drop(cx);
    let deadline = Instant::now() + ENDS;
    while Arc::strong_count(&lease) > 1 {
        assert!(Instant::now() < deadline, "a dropped {step:?} does not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
