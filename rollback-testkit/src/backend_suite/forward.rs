//! Forward: deploy, deploy again, do everything twice.

use std::sync::Arc;

use rollback_core::backend::{Availability, End, Live, Reuse};
use rollback_core::health::View;

use super::driver::{Driver, Step, placed};
use crate::world::{Build, World};

pub(super) async fn a_first_deploy_serves(world: Arc<dyn World>) {
    let d = Driver::new(world);
    d.expect_nothing().await;
    let op = d.deploy(Build::V1).await;
    d.expect(Build::V1, Some(&placed(&op))).await;
}

pub(super) async fn a_second_deploy_replaces_the_first(world: Arc<dyn World>) {
    let d = Driver::new(world);
    let first = d.deploy(Build::V1).await;
    let second = d.deploy(Build::V2).await;
    assert_eq!(second.from, first.to, "what was live is what was deployed");
    d.expect(Build::V2, Some(&placed(&second))).await;
    let near = d.availability(&first.to).await;
    assert_eq!(near, Availability::Standby, "the former stands by");
}

pub(super) async fn every_verb_twice_is_as_once(world: Arc<dyn World>) {
    let d = Driver::new(world);
    for build in [Build::V1, Build::V2] {
        let mut op = d.operation_to(build).await;
        let planned = op.clone();
        for step in d.steps(&planned).await {
            d.must(step, &mut op).await;
            let once = d.look(&[&op.from, &op.to]).await;
            // A crash may have kept the evidence from the record: then `to` is still a plan.
            let mut again = if step == Step::Prepare {
                planned.clone()
            } else {
                op.clone()
            };
            d.must(step, &mut again).await;
            assert_eq!(again.to, op.to, "{step:?} twice places the same instance");
            let twice = d.look(&[&op.from, &op.to]).await;
            assert_eq!(twice, once, "{step:?} twice");
        }
        d.expect(build, Some(&placed(&op))).await;
    }
}

pub(super) async fn prepare_does_not_touch_what_is_live(world: Arc<dyn World>) {
    let d = Driver::new(world);
    let first = d.deploy(Build::V1).await;
    let before = d.observe().await.live;
    let mut op = d.operation_to(Build::V2).await;
    d.must(Step::Prepare, &mut op).await;
    assert_eq!(
        d.observe().await.live,
        before,
        "the same instance with the same evidence"
    );
    d.expect(Build::V1, Some(&placed(&first))).await;
}

pub(super) async fn a_repeated_switch_does_not_restart(world: Arc<dyn World>) {
    let d = Driver::new(world);
    d.deploy(Build::V1).await;
    let mut op = d.operation_to(Build::V2).await;
    d.must(Step::Prepare, &mut op).await;
    d.go_live(&mut op).await;
    let running = |live: Live| match live {
        Live::One(sighting) => sighting.evidence,
        other => panic!("one is live: {other:?}"),
    };
    let before = running(d.observe().await.live);
    d.must(Step::Switch, &mut op).await;
    assert_eq!(running(d.observe().await.live), before);
}

pub(super) async fn a_new_backend_value_sees_the_same(world: Arc<dyn World>) {
    let d = Driver::new(world);
    let op = d.deploy(Build::V1).await;
    let other = End::Planned(d.resolve(Build::V2).await);
    let ends = [&op.to, &other];
    assert_eq!(d.look(&ends).await, d.look(&ends).await);
}

pub(super) async fn a_broken_build_is_found_out(world: Arc<dyn World>) {
    let d = Driver::new(Arc::clone(&world));
    d.deploy(Build::V1).await;
    let mut op = d.operation_to(Build::Broken).await;
    d.must(Step::Prepare, &mut op).await;
    // A successor that is sick beside what is live is never switched to.
    let started = d.verb(Step::Start, &Driver::cx(), &mut op).await;
    let switched = match started {
        Ok(_) => d.verb(Step::Switch, &Driver::cx(), &mut op).await,
        failed => failed,
    };
    if switched.is_ok() {
        let sick = matches!(d.health(&op).await, View::Failed(_));
        let answers = world.serving().await;
        assert!(
            sick || answers.as_deref() != Some(Build::V1.answer()),
            "the former release must not answer for a broken one"
        );
    }
    d.go_back(&op).await;
    d.expect(Build::V1, None).await;
}

pub(super) async fn a_good_build_is_not_called_sick(world: Arc<dyn World>) {
    let d = Driver::new(world);
    let op = d.deploy(Build::V1).await;
    let verdict = d.health(&op).await;
    assert!(
        matches!(verdict, View::Healthy | View::NoOpinion),
        "{verdict}"
    );
}

pub(super) async fn a_redeploy_takes_nothing_that_was_kept(world: Arc<dyn World>) {
    let d = Driver::new(world);
    let first = d.deploy(Build::V1).await;
    d.deploy(Build::V2).await;
    let mut anew = d.operation_to(Build::V1).await;
    anew.reuse = Reuse::Never;
    let unprepared = anew.clone();
    d.must(Step::Prepare, &mut anew).await;
    assert_ne!(placed(&anew).handle, placed(&first).handle);
    // Again it takes what this very deployment has made, planned or placed.
    for mut again in [unprepared, anew.clone()] {
        d.must(Step::Prepare, &mut again).await;
        assert_eq!(placed(&again), placed(&anew));
    }
    let anew = d.finish(anew).await;
    d.expect(Build::V1, Some(&placed(&anew))).await;
}

pub(super) async fn a_release_that_is_live_is_placed_anew_where_nothing_may_be_reused(
    world: Arc<dyn World>,
) {
    let d = Driver::new(world);
    let first = d.deploy(Build::V1).await;
    let anew = async || {
        let mut op = d.operation_to(Build::V1).await;
        op.reuse = Reuse::Never;
        d.must(Step::Prepare, &mut op).await;
        assert_ne!(placed(&op).handle, placed(&first).handle);
        op
    };
    // A release task fails, say: nothing but what was prepared is thrown away.
    let op = anew().await;
    d.go_back(&op).await;
    d.expect(Build::V1, Some(&placed(&first))).await;
    let again = d.finish(anew().await).await;
    d.expect(Build::V1, Some(&placed(&again))).await;
}
