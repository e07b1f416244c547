//! Half-way states: a verb stopped at each boundary between two of its effects.

use std::sync::Arc;

use rollback_core::backend::Operation;

use super::driver::{Driver, Step, placed};
use crate::world::{Build, World};

/// More boundaries than any verb has: a verb that never ends is a failure, not an endless test.
const BOUNDARIES: usize = 200;

/// Runs a verb, stopped at its `n`th boundary; whether it ended before that.
async fn stopped_at(d: &Driver, step: Step, n: usize, op: &mut Operation) -> bool {
    d.verb(step, &Driver::cx().stopping_after(n), op)
        .await
        .is_ok()
}

pub(super) async fn every_verb_resumes_from_every_half_way_state(world: Arc<dyn World>) {
    let d = Driver::new(world);
    let first = d.operation_to(Build::V1).await;
    let order = d.steps(&first).await;
    d.run(first).await;
    let mut builds = [Build::V2, Build::V1].into_iter().cycle();
    for stopped in order.clone() {
        for n in 0.. {
            assert!(n < BOUNDARIES, "{stopped:?} has no end");
            let build = builds.next().expect("a cycle");
            let mut op = d.operation_to(build).await;
            let mut ended = false;
            for step in order.clone() {
                if step == stopped {
                    // As a crash does: the plan is what the record still has.
                    let mut half = op.clone();
                    ended = stopped_at(&d, step, n, &mut half).await;
                }
                d.must(step, &mut op).await;
            }
            d.expect(build, Some(&placed(&op))).await;
            if ended {
                break;
            }
        }
    }
}

pub(super) async fn a_half_made_prepare_is_undone(world: Arc<dyn World>) {
    let d = Driver::new(world);
    let first = d.deploy(Build::V1).await;
    let before = d.observe().await.live;
    for n in 0.. {
        assert!(n < BOUNDARIES, "prepare has no end");
        let op = d.operation_to(Build::V2).await;
        let mut half = op.clone();
        let ended = stopped_at(&d, Step::Prepare, n, &mut half).await;
        assert_eq!(d.observe().await.live, before, "boundary {n}");
        // The reversed operation comes from a plan: nobody knows what was placed.
        d.must(Step::Retire, &mut op.reversed()).await;
        assert_eq!(d.observe().await.live, before, "undone at boundary {n}");
        if ended {
            break;
        }
    }
    d.expect(Build::V1, Some(&placed(&first))).await;
    let op = d.deploy(Build::V2).await;
    d.expect(Build::V2, Some(&placed(&op))).await;
}

pub(super) async fn a_half_made_start_is_undone(world: Arc<dyn World>) {
    let d = Driver::new(Arc::clone(&world));
    let first = d.deploy(Build::V1).await;
    let before = d.observe().await.live;
    for n in 0.. {
        assert!(n < BOUNDARIES, "start has no end");
        let mut op = d.operation_to(Build::V2).await;
        d.must(Step::Prepare, &mut op).await;
        let ended = stopped_at(&d, Step::Start, n, &mut op).await;
        assert_eq!(d.observe().await.live, before, "boundary {n}");
        assert_eq!(world.serving().await.as_deref(), Some(Build::V1.answer()));
        // The way back may be stopped too.
        let _ = stopped_at(&d, Step::Retire, n, &mut op.reversed()).await;
        d.must(Step::Retire, &mut op.reversed()).await;
        d.must(Step::Retire, &mut op.reversed()).await;
        d.expect(Build::V1, Some(&placed(&first))).await;
        if ended {
            break;
        }
    }
}

pub(super) async fn a_half_made_switch_is_undone(world: Arc<dyn World>) {
    let d = Driver::new(world);
    let first = d.deploy(Build::V1).await;
    for n in 0.. {
        assert!(n < BOUNDARIES, "switch has no end");
        let mut op = d.operation_to(Build::V2).await;
        d.must(Step::Prepare, &mut op).await;
        d.must(Step::Start, &mut op).await;
        let ended = stopped_at(&d, Step::Switch, n, &mut op).await;
        let mut back = op.reversed();
        // The way back may be stopped too.
        let _ = stopped_at(&d, Step::Switch, n, &mut back).await;
        d.go_back(&op).await;
        d.expect(Build::V1, Some(&placed(&first))).await;
        if ended {
            break;
        }
    }
}

pub(super) async fn a_half_made_first_switch_is_undone(world: Arc<dyn World>) {
    let d = Driver::new(world);
    for n in 0.. {
        assert!(n < BOUNDARIES, "switch has no end");
        let mut op = d.operation_to(Build::V1).await;
        d.must(Step::Prepare, &mut op).await;
        d.must(Step::Start, &mut op).await;
        let ended = stopped_at(&d, Step::Switch, n, &mut op).await;
        d.go_back(&op).await;
        d.expect_nothing().await;
        if ended {
            break;
        }
    }
}
