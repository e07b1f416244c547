//! Who may: asked for every verb, with the actor, the workload and the deployment; never forced.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rollback_core::guard::{Action, Authorizer, Verb};
use rollback_core::id::GuardName;
use rollback_core::prelude::*;
use rollback_testkit::fake::FakeWorld;
use rollback_testkit::world::{Build, World};

use crate::support::{Bench, Door, Setup, api, me, text, to};

type Asked = (String, String, Verb, Option<DeploymentId>);

/// Writes down what it is asked, and says no to everybody of this name.
#[derive(Debug, Clone, Default)]
struct Porter(Arc<Mutex<Vec<Asked>>>);

impl Porter {
    fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[async_trait]
impl Authorizer for Porter {
    async fn authorize(&self, action: &Action<'_>) -> Result<(), String> {
        let asked = (
            action.actor.to_string(),
            action.workload.to_string(),
            action.verb,
            action.deployment.cloned(),
        );
        self.0.lock().unwrap().push(asked);
        match action.actor.name().as_str() {
            "mallory" => Err("is on the other side".into()),
            _ => Ok(()),
        }
    }
}

async fn guarded() -> (Bench, Porter, Door) {
    let (setup, porter, door) = (Setup::new().await, Porter::default(), Door::before("slow"));
    let workload = setup.workload(api()).auto_rollback().check(door.check());
    let b = setup.built(|e| e.workload(workload).authorizer(porter.clone()));
    (b, porter, door)
}

/// Does everything there is to do, as somebody; what came of each.
async fn everything(
    b: &Bench,
    actor: &Actor,
    id: &DeploymentId,
) -> Vec<(Verb, Option<DeploymentId>, Result<(), Error>)> {
    let (e, api, named) = (&b.engine, api(), Some(id.clone()));
    let a = || actor.clone();
    let done = |r: Result<rollback_core::engine::Report, Error>| r.map(|_| ());
    let run = |request| async { done(b.run(request).await) };
    let all = |request| e.preview(request);
    let adopted = match e.adopt(&api, a()).await {
        Ok(run) => run.await,
        Err(e) => Err(e),
    };
    let mut did = vec![(Verb::Adopt, None, done(adopted))];
    let deploy = Request::deploy(api.clone(), "v5", a());
    did.push((Verb::Deploy, None, all(&deploy).await.map(|_| ())));
    did.push((Verb::Deploy, None, run(deploy).await));
    let back = |goal| Request::rollback(api.clone(), goal, a());
    let goal = Goal::To(id.clone());
    did.push((Verb::Rollback, named.clone(), run(back(goal)).await));
    did.push((Verb::Rollback, None, run(back(Goal::LastHealthy)).await));
    let again = Request::redeploy(api.clone(), id.clone(), a());
    did.push((Verb::Redeploy, named.clone(), run(again).await));
    did.push((Verb::Cancel, named.clone(), e.cancel(id, actor).await));
    for annotated in [
        e.pin(id, actor).await,
        e.note(id, text("hm"), actor).await,
        e.mark_bad(id, text("hm"), actor).await,
        e.clear_bad(id, actor).await,
        e.unpin(id, actor).await,
    ] {
        did.push((Verb::Annotate, named.clone(), annotated));
    }
    let held = e.hold(&api, text("hm"), a()).await.map(|_| ());
    did.push((Verb::Hold, None, held));
    let lifted = e.lift_hold(&api, actor).await.map(|_| ());
    did.push((Verb::Hold, None, lifted));
    let policy = Policy::default();
    let set = e.configure(&api, Some(&policy), actor).await.map(|_| ());
    did.push((Verb::Configure, None, set));
    let cleaned = e.clean_up(&api, None, actor).await.map(|_| ());
    did.push((Verb::CleanUp, None, cleaned));
    did
}

#[tokio::test]
async fn every_verb_is_asked_about_with_actor_workload_and_deployment() {
    let (b, porter, _) = guarded().await;
    let v1 = b.deploy("v1").await;
    b.deploy("v2").await;
    let eve = Actor::user_via("eve", "cli").unwrap();
    porter.take();
    let did = everything(&b, &eve, v1.deployment().id()).await;
    let mut expected: Vec<Asked> = did
        .into_iter()
        .map(|(verb, named, _)| ("eve (cli)".into(), "api@fake".into(), verb, named))
        .collect();
    let mut asked = porter.take();
    // What is planned and carried out is asked about twice.
    asked.dedup();
    expected.dedup();
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn a_no_is_a_403_that_names_who_and_what_and_changes_nothing() {
    let (b, _, _) = guarded().await;
    let v1 = b.deploy("v1").await;
    let before = (b.state().await, b.rows().await);
    let mallory = Actor::user("mallory").unwrap();
    for (verb, _, result) in everything(&b, &mallory, v1.deployment().id()).await {
        let no = result.unwrap_err();
        assert_eq!(no.http_status(), 403, "{verb}: {no}");
        let Some(Refusal::Unauthorized { actor, why, .. }) = no.refusal() else {
            panic!("{verb}: {no}")
        };
        assert_eq!(
            (actor.as_str(), why.as_str()),
            ("mallory", "is on the other side")
        );
        let said = format!("mallory may not {verb} api@fake: is on the other side");
        assert!(no.to_string().starts_with(&said), "{no}");
    }
    assert_eq!((b.state().await, b.rows().await), before);
}

#[tokio::test]
async fn it_cannot_be_forced_and_is_asked_before_the_target_is() {
    let (b, _, _) = guarded().await;
    b.setup.target.cut();
    let mut request = Request::deploy(api(), "v1", Actor::user("mallory").unwrap());
    for name in ["dependencies", "migrations", "hold", "authorization"] {
        request = request.force(name.parse::<GuardName>().unwrap());
    }
    let no = b.run(request).await.unwrap_err();
    assert_eq!(no.http_status(), 403, "{no}");
}

#[tokio::test]
async fn what_the_engine_does_by_itself_is_not_asked_about() {
    let (b, porter, _) = guarded().await;
    FakeWorld::on(b.setup.target.clone())
        .install_by_hand(Build::V1)
        .await;
    b.engine.adopt(&api(), me()).await.unwrap().await.unwrap();
    porter.take();
    let bad = b.deploy("broken2").await;
    assert_eq!(bad.outcome(), Outcome::FailedAndRolledBack);
    let verbs: Vec<Verb> = porter.take().into_iter().map(|a| a.2).collect();
    assert_eq!(verbs, [Verb::Deploy, Verb::Deploy]);
}

#[tokio::test]
async fn a_stranger_cannot_cancel_what_runs() {
    let (b, _, door) = guarded().await;
    b.deploy("v1").await;
    let run = b.engine.deploy(&api(), "slow", me()).await.unwrap();
    door.arrived().await;
    let mallory = Actor::user("mallory").unwrap();
    let no = b.engine.cancel(run.id(), &mallory).await.unwrap_err();
    assert_eq!(no.http_status(), 403);
    door.open();
    let report = run.await.unwrap();
    assert!(report.succeeded());
    assert_eq!(b.live(), "slow");
    let _ = to(&report);
}
