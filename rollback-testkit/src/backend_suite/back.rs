//! Back: at each phase, to a standby, and forward again.

use std::sync::Arc;

use rollback_core::backend::{Availability, End};

use super::driver::{Driver, Step, placed};
use crate::world::{Build, World};

pub(super) async fn going_back_before_the_switch_leaves_what_is_live(world: Arc<dyn World>) {
    let d = Driver::new(world);
    let first = d.deploy(Build::V1).await;
    let mut op = d.operation_to(Build::V2).await;
    d.must(Step::Prepare, &mut op).await;
    let before = d.observe().await.live;
    d.must(Step::Retire, &mut op.reversed()).await;
    d.must(Step::Retire, &mut op.reversed()).await;
    assert_eq!(d.observe().await.live, before);
    d.expect(Build::V1, Some(&placed(&first))).await;
    let next = d.deploy(Build::V2).await;
    d.expect(Build::V2, Some(&placed(&next))).await;
}

pub(super) async fn going_back_after_the_switch_puts_the_former_back(world: Arc<dyn World>) {
    let d = Driver::new(Arc::clone(&world));
    let first = d.deploy(Build::V1).await;
    let mut op = d.operation_to(Build::V2).await;
    d.must(Step::Prepare, &mut op).await;
    d.go_live(&mut op).await;
    // Until `retire` both may run; the new one has the traffic.
    assert_eq!(world.serving().await.as_deref(), Some(Build::V2.answer()));
    assert!(d.observe().await.shows(&placed(&op)));
    d.go_back(&op).await;
    d.expect(Build::V1, Some(&placed(&first))).await;
    d.go_back(&op).await;
    d.expect(Build::V1, Some(&placed(&first))).await;
}

pub(super) async fn a_first_deploy_undone_leaves_nothing_live(world: Arc<dyn World>) {
    let d = Driver::new(world);
    let mut op = d.operation_to(Build::V1).await;
    d.must(Step::Prepare, &mut op).await;
    d.must(Step::Retire, &mut op.reversed()).await;
    d.expect_nothing().await;
    let mut op = d.operation_to(Build::V1).await;
    d.must(Step::Prepare, &mut op).await;
    d.go_live(&mut op).await;
    d.expect(Build::V1, None).await;
    d.go_back(&op).await;
    d.go_back(&op).await;
    d.expect_nothing().await;
    let op = d.deploy(Build::V2).await;
    d.expect(Build::V2, Some(&placed(&op))).await;
}

pub(super) async fn a_rollback_reuses_the_standby_and_rolls_forward_again(world: Arc<dyn World>) {
    let d = Driver::new(world);
    let first = d.deploy(Build::V1).await;
    let second = d.deploy(Build::V2).await;
    let back = d.operation(first.to.clone()).await;
    let back = d.run(back).await;
    assert_eq!(
        placed(&back).handle,
        placed(&first).handle,
        "the standby is reused"
    );
    d.expect(Build::V1, Some(&placed(&first))).await;
    let forward = d.operation(second.to.clone()).await;
    let forward = d.run(forward).await;
    assert_eq!(
        placed(&forward).handle,
        placed(&second).handle,
        "the standby is reused"
    );
    d.expect(Build::V2, Some(&placed(&second))).await;
}

pub(super) async fn a_cancelled_rollback_does_not_lose_its_target(world: Arc<dyn World>) {
    let d = Driver::new(world);
    let first = d.deploy(Build::V1).await;
    d.deploy(Build::V2).await;
    let mut back = d.operation(first.to.clone()).await;
    d.must(Step::Prepare, &mut back).await;
    d.must(Step::Retire, &mut back.reversed()).await;
    d.expect(Build::V2, None).await;
    assert_eq!(d.availability(&first.to).await, Availability::Standby);
    let again = d.operation(End::Placed(placed(&first))).await;
    d.run(again).await;
    d.expect(Build::V1, Some(&placed(&first))).await;
}
