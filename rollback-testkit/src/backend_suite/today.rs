//! Today: the configuration of now, and a look at health that is a look.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rollback_core::backend::{End, Rollout};
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_core::release::Release;

use super::driver::{Driver, Step, placed};
use crate::world::{Build, World};

/// More than a look takes, and less than any soak.
const LOOK: Duration = Duration::from_secs(10);

/// More boundaries than any verb has.
const BOUNDARIES: usize = 200;

async fn configured(d: &Driver, live: Option<&Release>) -> Option<Release> {
    let seen = d.backend().configured(&Driver::cx(), live).await;
    seen.unwrap_or_else(|e| panic!("configured failed: {e}"))
}

pub(super) async fn what_is_configured_is_what_is_configured_now(world: Arc<dyn World>) {
    let d = Driver::new(Arc::clone(&world));
    let op = d.deploy(Build::V1).await;
    let before = placed(&op).release;
    if let Some(today) = configured(&d, Some(&before)).await {
        assert_eq!(today, before, "what was just deployed is today's");
    }
    let live = d.observe().await.live;
    if !world.reconfigure().await {
        return;
    }
    assert_eq!(d.observe().await.live, live, "nothing live has changed");
    let today = configured(&d, Some(&before)).await;
    let today = today.expect("there is a configuration");
    assert_eq!(today.artifact(), before.artifact());
    assert_ne!(today, before, "it is today's, not what is live");
    let resolved = d.resolve(Build::V1).await;
    assert_eq!(today.facets(), resolved.facets(), "as a deploy has it");
    // Put in place, it is what is live.
    let op = d.operation(End::Planned(today.clone())).await;
    let op = d.run(op).await;
    d.expect(Build::V1, Some(&placed(&op))).await;
    let release = d.live().await.release().cloned();
    assert_eq!(release.as_ref(), Some(&today));
    assert_eq!(configured(&d, release.as_ref()).await, release);
}

pub(super) async fn a_look_at_health_does_not_wait(world: Arc<dyn World>) {
    let d = Driver::new(world);
    for build in [Build::V1, Build::Broken] {
        let mut op = d.operation_to(build).await;
        d.must(Step::Prepare, &mut op).await;
        // What cannot be brought up at all may be said at once.
        for step in [Step::Start, Step::Switch] {
            let _ = d.verb(step, &Driver::cx(), &mut op).await;
        }
        for _ in 0..3 {
            let began = Instant::now();
            let view = d.backend().health(&Driver::cx(), &placed(&op)).await;
            let view = view.unwrap_or_else(|e| panic!("health failed: {e}"));
            let took = began.elapsed();
            assert!(took < LOOK, "a look took {took:?}: {view}");
        }
        let _ = d.verb(Step::Retire, &Driver::cx(), &mut op).await;
    }
}

pub(super) async fn looking_ahead_changes_nothing(world: Arc<dyn World>) {
    let d = Driver::new(Arc::clone(&world));
    let ahead = d.operation_to(Build::V1).await;
    d.preflight(&ahead.from, &ahead.to).await;
    let first = d.deploy(Build::V1).await;
    let second = d.deploy(Build::V2).await;
    let fresh = End::Planned(d.resolve(Build::V3).await);
    let before = d.look(&[&first.to, &fresh]).await;
    for to in [&first.to, &fresh, &second.to, &End::Nothing] {
        let once = d.preflight(&second.to, to).await;
        assert_eq!(d.preflight(&second.to, to).await, once, "{to:?}");
        let bare = |remark: &&String| remark.trim().is_empty();
        assert_eq!(once.remarks.iter().find(bare), None, "{once:?}");
    }
    assert_eq!(d.look(&[&first.to, &fresh]).await, before);
    d.expect(Build::V2, Some(&placed(&second))).await;
    world.cut().await;
    // It may need nobody for what it says.
    if let Err(e) = d
        .backend()
        .preflight(&Driver::cx(), &second.to, &fresh)
        .await
    {
        assert_eq!(e.kind(), BackendErrorKind::Unreachable, "{e}");
        assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
    }
    world.mend().await;
    d.expect(Build::V2, Some(&placed(&second))).await;
}

pub(super) async fn start_bears_repeating_stopping_and_reversing(world: Arc<dyn World>) {
    let d = Driver::new(Arc::clone(&world));
    let first = d.deploy(Build::V1).await;
    let beside = d.operation_to(Build::V2).await;
    let beside = d.steps(&beside).await.contains(&Step::Start);
    for n in 0.. {
        assert!(n < BOUNDARIES, "start has no end");
        let mut op = d.operation_to(Build::V2).await;
        d.must(Step::Prepare, &mut op).await;
        let cx = Driver::cx().stopping_after(n);
        let ended = d.verb(Step::Start, &cx, &mut op).await.is_ok();
        let one = d.must(Step::Start, &mut op).await;
        let two = d.must(Step::Start, &mut op).await;
        assert_eq!(one, two, "what runs is not started again");
        assert_eq!(world.serving().await.as_deref(), Some(Build::V1.answer()));
        assert!(d.observe().await.shows(&placed(&first)));
        let running = if beside { 2 } else { 1 };
        assert_eq!(world.running().await, running, "{:?}", Rollout::Beside);
        // Back, from a half-made start too.
        let mut half = d.operation_to(Build::V3).await;
        d.must(Step::Retire, &mut op.reversed()).await;
        d.must(Step::Prepare, &mut half).await;
        let cx = Driver::cx().stopping_after(n);
        let _ = d.verb(Step::Start, &cx, &mut half).await;
        d.must(Step::Retire, &mut half.reversed()).await;
        d.must(Step::Retire, &mut half.reversed()).await;
        d.expect(Build::V1, Some(&placed(&first))).await;
        if ended {
            break;
        }
    }
}
