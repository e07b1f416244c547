//! What can still be reached: lost releases, the window, a platform that is away.

use std::sync::Arc;

use rollback_core::backend::{Availability, End};
use rollback_core::error::{BackendError, BackendErrorKind, LiveImpact};

use super::driver::{Driver, placed};
use crate::world::{Build, World};

pub(super) async fn a_lost_release_is_gone_and_harms_nothing(world: Arc<dyn World>) {
    let d = Driver::new(Arc::clone(&world));
    let first = d.deploy(Build::V1).await;
    let second = d.deploy(Build::V2).await;
    world.lose(Build::V1).await;
    let lost = d.availability(&first.to).await;
    assert!(matches!(lost, Availability::Gone(_)), "{lost:?}");
    let live = d.availability(&second.to).await;
    assert!(!matches!(live, Availability::Gone(_)), "{live:?}");
    let op = d.operation(first.to.clone()).await;
    let e = match d.backend().prepare(&Driver::cx(), &op).await {
        Ok(prepared) => panic!("prepared a lost release: {prepared:?}"),
        Err(e) => e,
    };
    assert!(
        matches!(
            e.kind(),
            BackendErrorKind::Gone | BackendErrorKind::NotFound
        ),
        "{e}"
    );
    assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
    d.must(super::Step::Retire, &mut op.reversed()).await;
    d.expect(Build::V2, Some(&placed(&second))).await;
}

pub(super) async fn retain_keeps_the_window_and_what_is_live(world: Arc<dyn World>) {
    let d = Driver::new(world);
    let first = d.deploy(Build::V1).await;
    let second = d.deploy(Build::V2).await;
    let third = d.deploy(Build::V3).await;
    let window = [placed(&second)];
    for _ in 0..2 {
        d.backend()
            .retain(&Driver::cx(), &window)
            .await
            .unwrap_or_else(|e| panic!("{e}"));
    }
    let beyond = d.availability(&first.to).await;
    assert_ne!(beyond, Availability::Standby, "beyond the window");
    let within = d.availability(&second.to).await;
    assert_eq!(within, Availability::Standby, "in the window");
    d.expect(Build::V3, Some(&placed(&third))).await;
    let back = d.operation(second.to.clone()).await;
    d.run(back).await;
    d.expect(Build::V2, Some(&placed(&second))).await;
}

pub(super) async fn an_unreachable_platform_is_said_and_survived(world: Arc<dyn World>) {
    let d = Driver::new(Arc::clone(&world));
    let first = d.deploy(Build::V1).await;
    let op = d.operation_to(Build::V2).await;
    world.cut().await;
    let cx = Driver::cx();
    let check = |what: &str, e: BackendError| {
        assert_eq!(e.kind(), BackendErrorKind::Unreachable, "{what}: {e}");
        assert_eq!(e.impact(), LiveImpact::Untouched, "{what}: {e}");
        assert!(e.is_transient(), "{what}: {e}");
    };
    let reference = world.reference(Build::V2);
    // Some references are resolved without the platform.
    if let Err(e) = d.backend().resolve(&cx, &reference).await {
        check("resolve", e);
    }
    match d.backend().observe(&cx).await {
        Ok(seen) => assert!(
            seen.live_instance().is_some(),
            "what is live is not forgotten"
        ),
        Err(e) => check("observe", e),
    }
    match d.backend().prepare(&cx, &op).await {
        Ok(prepared) => panic!("prepared {prepared:?}"),
        Err(e) => check("prepare", e),
    }
    world.mend().await;
    d.expect(Build::V1, Some(&placed(&first))).await;
    let op = d.run(op).await;
    assert!(matches!(op.to, End::Placed(_)));
    d.expect(Build::V2, Some(&placed(&op))).await;
}
