//! Adoption and drift: what people did by hand.

use std::sync::Arc;

use rollback_core::backend::{Live, WayBack};
use rollback_core::drift::drift;

use super::driver::{Driver, placed};
use crate::world::{Build, World};

pub(super) async fn what_was_made_by_hand_is_adopted_and_put_back(world: Arc<dyn World>) {
    world.install_by_hand(Build::V1).await;
    let d = Driver::new(world);
    let Live::One(found) = d.observe().await.live else {
        panic!("one is live")
    };
    assert!(
        !matches!(found.way_back, WayBack::None(_)),
        "{:?}",
        found.way_back
    );
    d.expect(Build::V1, Some(&found.instance)).await;
    let op = d.deploy(Build::V2).await;
    assert_eq!(op.from.instance(), Some(&found.instance));
    d.expect(Build::V2, Some(&placed(&op))).await;
    d.go_back(&op).await;
    d.expect(Build::V1, None).await;
    // And as a rollback would, from its own record.
    d.deploy(Build::V3).await;
    let back = d
        .operation(rollback_core::backend::End::Placed(found.instance))
        .await;
    d.run(back).await;
    d.expect(Build::V1, None).await;
}

pub(super) async fn a_hand_made_change_is_seen_as_drift(world: Arc<dyn World>) {
    let d = Driver::new(Arc::clone(&world));
    let op = d.deploy(Build::V1).await;
    let recorded = placed(&op);
    let seen = d.observe().await;
    assert!(
        !drift(Some(&recorded), &seen).is_drift(),
        "{:?}",
        drift(Some(&recorded), &seen)
    );
    world.tamper().await;
    let seen = d.observe().await;
    assert!(drift(Some(&recorded), &seen).is_drift(), "{seen:?}");
    let op = d.deploy(Build::V2).await;
    d.expect(Build::V2, Some(&placed(&op))).await;
}
