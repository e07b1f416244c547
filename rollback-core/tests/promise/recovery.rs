//! Recovery looks before it acts.

use rollback_core::prelude::*;

use crate::support::Bench;
use crate::{from_the_future, instance, judged, left_by_the_dead, prepared};

#[tokio::test]
async fn recovery_put_away_what_somebody_had_put_live_before_the_switch() {
    for events in [
        vec![Event::PrepareIntended],
        vec![Event::PrepareIntended, prepared(&instance("v2"))],
        vec![
            Event::PrepareIntended,
            Event::GoingBack(rollback_core::event::Cause::Interrupted),
        ],
    ] {
        let b = Bench::new();
        b.deploy("v1").await;
        let id = left_by_the_dead(&b, "v2", events).await;
        let before = {
            let mut target = b.shelf.0.lock().unwrap();
            target.live = Some(instance("by-hand"));
            target.retires
        };
        let recovered = b.engine.recover().await.unwrap();
        let report = recovered[0].result.as_ref().unwrap();
        assert_eq!(report.deployment().id(), &id);
        assert_eq!(report.outcome(), Outcome::Interrupted);
        assert_eq!(report.live(), &LiveRecord::Unknown);
        assert_eq!(b.shelf.live().as_deref(), Some("by-hand"));
        assert_eq!(
            b.shelf.0.lock().unwrap().retires,
            before,
            "nothing is put away"
        );
    }
}

#[tokio::test]
async fn what_a_restored_history_had_in_flight_went_over_what_came_after_it() {
    let b = Bench::new();
    b.deploy("v1").await;
    left_by_the_dead(&b, "v2", vec![Event::PrepareIntended]).await;
    // Since the backup v3 was deployed, and v1's instance put back by a rollback: live is what the
    // old history knows, but by a deployment that it does not.
    b.shelf.0.lock().unwrap().published = Some(from_the_future(&b).await);
    let recovered = b.engine.recover().await.unwrap();
    let report = recovered[0].result.as_ref().unwrap();
    assert_eq!(report.live(), &LiveRecord::Unknown);
}

#[tokio::test(start_paused = true)]
async fn what_was_judged_and_then_stopped_by_a_reboot_was_called_live() {
    let b = Bench::new();
    let v1 = instance("v1");
    left_by_the_dead(&b, "v1", judged(&v1, 0)).await;
    {
        let mut target = b.shelf.0.lock().unwrap();
        (target.live, target.stopped, target.boots) = (Some(v1), true, 1);
    }
    let recovered = b.engine.recover().await.unwrap();
    assert!(recovered[0].result.as_ref().unwrap().succeeded());
    let target = b.shelf.0.lock().unwrap();
    assert!(!target.stopped, "it was started again");
}

#[tokio::test(start_paused = true)]
async fn what_runs_now_was_called_healthy_by_a_verdict_on_what_ran_before() {
    let b = Bench::new();
    let sick = instance("sick-v1");
    left_by_the_dead(&b, "sick-v1", judged(&sick, 0)).await;
    {
        let mut target = b.shelf.0.lock().unwrap();
        (target.live, target.boots) = (Some(sick), 1);
    }
    let recovered = b.engine.recover().await.unwrap();
    assert_eq!(
        recovered[0].result.as_ref().unwrap().outcome(),
        Outcome::Failed
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_started_anew_while_it_put_away_could_never_be_judged_again() {
    for (reference, ends) in [("v1", Outcome::Succeeded), ("sick-v1", Outcome::Failed)] {
        for stopped in [false, true] {
            let b = Bench::new();
            let instance = instance(reference);
            let mut events = judged(&instance, 0);
            events.push(Event::RetireIntended);
            left_by_the_dead(&b, reference, events).await;
            {
                let mut target = b.shelf.0.lock().unwrap();
                (target.live, target.boots, target.stopped) = (Some(instance), 1, stopped);
            }
            let recovered = b.engine.recover().await.unwrap();
            let report = recovered[0].result.as_ref().unwrap();
            assert_eq!(report.outcome(), ends, "{reference}, stopped: {stopped}");
        }
    }
}

#[tokio::test]
async fn recovery_undid_what_a_person_had_put_back_by_hand() {
    // The new release was live and judged sick; somebody has put the former one back since.
    let b = Bench::new();
    let v1 = b.deploy("v1").await.deployment().clone();
    let sick = instance("sick-v2");
    let mut events = judged(&sick, 0);
    events.pop();
    events.push(Event::Judged {
        site: Site::Live,
        verdict: Verdict::failed("it answers 500"),
        notes: Vec::new(),
    });
    left_by_the_dead(&b, "sick-v2", events).await;
    let switches = b.shelf.0.lock().unwrap().switches;
    let recovered = b.engine.recover().await.unwrap();
    let report = recovered[0].result.as_ref().unwrap();
    assert_eq!(report.outcome(), Outcome::Interrupted);
    assert_eq!(report.live(), &LiveRecord::Known(v1.id().clone()));
    assert_eq!(b.shelf.live().as_deref(), Some("v1"));
    assert_eq!(b.shelf.0.lock().unwrap().switches, switches);
}

#[tokio::test]
async fn recovery_put_away_a_target_that_somebody_had_made_live_by_hand() {
    let b = Bench::new();
    b.deploy("v1").await;
    let v2 = instance("v2");
    let events = vec![Event::PrepareIntended, prepared(&v2)];
    left_by_the_dead(&b, "v2", events).await;
    let before = {
        let mut target = b.shelf.0.lock().unwrap();
        target.live = Some(v2);
        target.retires
    };
    let recovered = b.engine.recover().await.unwrap();
    let report = recovered[0].result.as_ref().unwrap();
    assert_eq!(report.live(), &LiveRecord::Unknown);
    assert_eq!(b.shelf.0.lock().unwrap().retires, before);
}

#[tokio::test(start_paused = true)]
async fn a_deploy_of_what_is_live_in_its_own_place_was_taken_for_a_strangers_after_a_crash() {
    let v1 = instance("v1");
    let all = judged(&v1, 0);
    for after in 1..=all.len() {
        let b = Bench::new();
        b.shelf.0.lock().unwrap().live = Some(v1.clone());
        let before = b.adopt().await;
        let id = left_by_the_dead(&b, "v1", all[..after].to_vec()).await;
        let recovered = b.engine.recover().await.unwrap();
        let report = recovered[0].result.as_ref().unwrap();
        // Both ends are the same instance: what is live says nothing of who made it so.
        let expected = match after {
            1 | 2 => (Outcome::Interrupted, before.deployment().id()),
            _ => (Outcome::Succeeded, &id),
        };
        let live = LiveRecord::Known(expected.1.clone());
        assert_eq!(
            (report.outcome(), report.live()),
            (expected.0, &live),
            "after {after} events"
        );
    }
}
