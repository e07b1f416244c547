//! Redeploying: an earlier artifact anew, which is a deploy and not a rollback.

use rollback_core::prelude::*;

use crate::support::{Log, Setup, Task, api, digest, me, on_every_store, text, to};

#[tokio::test]
async fn it_has_its_own_trigger_a_fresh_instance_and_todays_configuration() {
    on_every_store(async |setup| {
        let b = setup.engine();
        setup.registry.env("MODE", "old");
        let v1 = b.deploy("v1").await;
        setup.registry.env("MODE", "new");
        let v2 = b.deploy("v2").await;
        let of = v1.deployment().id();
        let request = Request::redeploy(api(), of.clone(), me());
        let plan = b.engine.preview(&request).await.unwrap();
        assert!(plan.rollback_point().is_none(), "it goes back to nothing");
        let report = b.run(request).await.unwrap();
        assert!(report.succeeded());
        let d = report.deployment();
        assert_eq!(*d.trigger(), Trigger::Redeploy { of: of.clone() });
        assert_eq!(d.trigger().restores(), None);
        assert_eq!(digest(d), "v1");
        let [old, new] = [&v1, &v2].map(|r| r.deployment().release().unwrap());
        let now = d.release().unwrap();
        assert_eq!(now.facets(), new.facets(), "today's configuration");
        assert_ne!(now.facets(), old.facets());
        // The standby of v1 was there, and was left where it stood.
        let standby = &v1.deployment().instance().unwrap().handle;
        assert_ne!(&d.instance().unwrap().handle, standby);
        assert!(setup.target.stands(standby));
        b.at_rest().await;
    })
    .await;
}

#[tokio::test]
async fn with_an_unchanged_configuration_the_standby_is_not_reused_either() {
    let b = Setup::new().await.engine();
    let v1 = b.deploy("v1").await;
    b.deploy("v2").await;
    let standby = v1.deployment().instance().unwrap().handle.clone();
    let of = v1.deployment().id();
    let run = b.engine.redeploy(of, me()).await.unwrap();
    let report = run.await.unwrap();
    let fresh = &report.deployment().instance().unwrap().handle;
    assert_ne!(*fresh, standby);
    // Of what is live as well: that is how a process is started anew.
    let run = b.engine.redeploy(report.deployment().id(), me()).await;
    let again = run.unwrap().await.unwrap();
    assert_ne!(again.deployment().instance().unwrap().handle, *fresh);
    assert_eq!(b.live(), "v1");
    b.at_rest().await;
}

#[tokio::test]
async fn release_tasks_see_a_redeploy_as_one() {
    let (setup, log) = (Setup::new().await, Log::default());
    let task = Task {
        name: "migrate",
        log: log.clone(),
        on: vec![TriggerKind::Deploy, TriggerKind::Redeploy],
    };
    let b = setup.with(|w| w.task(task));
    let v1 = b.deploy("v1").await;
    b.deploy("v2").await;
    let of = v1.deployment().id();
    b.engine.redeploy(of, me()).await.unwrap().await.unwrap();
    assert_eq!(log.take(), ["migrate v1", "migrate v2", "migrate v1"]);
}

#[tokio::test]
async fn one_that_fails_its_gate_is_rolled_back_like_any_deploy() {
    let b = Setup::new().await.armed();
    let v1 = b.deploy("v1").await;
    let bad = b.deploy("broken2").await;
    let of = bad.deployment().id();
    let run = b.engine.redeploy(of, me()).await.unwrap();
    let report = run.await.unwrap();
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    assert_eq!(b.live(), digest(v1.deployment()));
    b.at_rest().await;
}

#[tokio::test]
async fn what_is_marked_bad_is_not_redeployed() {
    let b = Setup::new().await.engine();
    let v1 = b.deploy("v1").await;
    b.deploy("v2").await;
    let id = v1.deployment().id();
    b.engine.mark_bad(id, text("leaks"), &me()).await.unwrap();
    let no = b.engine.redeploy(id, me()).await.unwrap_err();
    assert_eq!(no.kind(), ErrorKind::InvalidRequest);
    assert!(no.to_string().contains("marked bad: leaks"), "{no}");
}

#[tokio::test]
async fn what_is_marked_bad_is_not_redeployed_though_it_was_never_placed() {
    let b = Setup::new().await.beside().engine();
    b.deploy("v1").await;
    // Beside what is live it is found out before the switch.
    let bad = b.deploy("broken2").await;
    let id = bad.deployment().id();
    b.engine.mark_bad(id, text("leaks"), &me()).await.unwrap();
    let no = b.engine.redeploy(id, me()).await.map(|_| "it runs");
    assert_eq!(no.unwrap_err().kind(), ErrorKind::InvalidRequest);
}

#[tokio::test]
async fn one_whose_artifact_is_lost_leaves_what_is_live_alone() {
    let b = Setup::new().await.engine();
    let v1 = b.deploy("v1").await;
    b.deploy("v2").await;
    b.setup.target.lose("v1");
    let request = Request::redeploy(api(), v1.deployment().id().clone(), me());
    let plan = b.engine.preview(&request).await.unwrap();
    assert!(
        plan.to_string().contains("available:  gone: it was lost"),
        "{plan}"
    );
    let report = b.run(request).await.unwrap();
    assert_eq!(report.outcome(), Outcome::Failed);
    assert_eq!(b.live(), "v2");
    b.at_rest().await;
}

#[tokio::test]
async fn a_rollback_after_a_redeploy_of_what_was_rolled_back_to_went_to_what_was_abandoned() {
    on_every_store(async |setup| {
        let b = setup.engine();
        b.deploy("v1").await;
        let v2 = b.deploy("v2").await;
        b.deploy("v3").await;
        let back = b
            .run(Request::rollback(api(), Goal::LastHealthy, me()))
            .await;
        let of = back.unwrap().deployment().id().clone();
        let again = b.engine.redeploy(&of, me()).await.unwrap().await.unwrap();
        let origin = again.deployment().opening().origin.clone().unwrap();
        assert_eq!(origin.deployment, *v2.deployment().id());
        for goal in [Goal::Previous, Goal::LastHealthy] {
            let request = Request::rollback(api(), goal, me());
            let plan = b.engine.preview(&request).await.unwrap();
            let to = plan.release().unwrap();
            assert_eq!(to.artifact().digest, "v1", "v3 was gone back from");
        }
        b.at_rest().await;
    })
    .await;
}

#[tokio::test]
async fn what_had_stopped_and_was_deployed_once_more_forgot_where_it_came_from() {
    for remove in [false, true] {
        let setup = Setup::new().await;
        let b = setup.engine();
        b.deploy("v1").await;
        let v2 = b.deploy("v2").await;
        b.deploy("v3").await;
        b.back(to(&v2)).await.unwrap();
        match remove {
            false => setup.target.stop_by_hand(),
            true => setup.target.remove_by_hand(),
        }
        let again = b.deploy("v2").await;
        let origin = again.deployment().opening().origin.clone().unwrap();
        assert_eq!(origin.deployment, *v2.deployment().id());
        let plan = b.plan_back(Goal::LastHealthy).await.unwrap();
        assert_eq!(plan.release().unwrap().artifact().digest, "v1");
        // What somebody has put in its place was not there before.
        setup.target.put_live_by_hand("v4");
        let other = b.deploy("v2").await;
        assert_eq!(other.deployment().opening().origin, None);
    }
}
