//! The built-in guards: dependencies, migrations, holds; and what forcing one does not force.

use async_trait::async_trait;
use rollback_core::context::Context;
use rollback_core::guard::{Guard, Ruling};
use rollback_core::id::GuardName;
use rollback_core::prelude::*;
use rollback_testkit::fake::FakeTarget;

use crate::support::{Bench, Door, Setup, api, id, me, text, to};

/// `api` needs `db`, `web` needs `api`; each on a target of its own.
struct Stack {
    b: Bench,
    door: Door,
}

impl Stack {
    async fn new() -> Self {
        let setup = Setup::new().await;
        let door = Door::before("slow");
        let beside = |name: &str| {
            let mut next_door = setup.clone();
            next_door.target = FakeTarget::replacing();
            next_door.workload(id(name)).check(door.check())
        };
        let b = setup.built(|e| {
            e.workload(beside("db@fake"))
                .workload(setup.workload(api()).depends_on(id("db@fake")))
                .workload(beside("web@fake").depends_on(api()))
        });
        Self { b, door }
    }

    async fn on(&self, workload: &str, reference: &str) -> Outcome {
        let forced = Request::deploy(id(workload), reference, me());
        let forced = forced.force(GuardName::dependencies());
        self.b.run(forced).await.unwrap().outcome()
    }

    /// Why the guard refuses a deploy of `api`.
    async fn why(&self) -> String {
        let request = Request::deploy(api(), "v9", me());
        let no = self.b.engine.preview(&request).await.unwrap_err();
        assert_eq!(no.http_status(), 403, "{no}");
        match no.refusal() {
            Some(Refusal::Guard { guard, why }) if *guard == GuardName::dependencies() => {
                why.clone()
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_dependency_that_is_down_refuses_and_a_dependent_that_never_ran_does_not() {
    let s = Stack::new().await;
    assert_eq!(s.why().await, "dependency db@fake: nothing is live on it");
    assert_eq!(s.on("db@fake", "broken1").await, Outcome::Failed);
    let why = s.why().await;
    assert!(
        why.starts_with("dependency db@fake: it is unhealthy since"),
        "{why}"
    );
    assert_eq!(s.on("db@fake", "v1").await, Outcome::Succeeded);
    assert!(s.b.deploy("v1").await.succeeded());
}

#[tokio::test]
async fn a_dependent_that_is_degraded_refuses() {
    let s = Stack::new().await;
    s.on("db@fake", "v1").await;
    s.b.deploy("v1").await;
    s.on("web@fake", "broken1").await;
    s.on("web@fake", "v2").await;
    let broken = Query::workload(&id("web@fake")).limit(2);
    let broken = s.b.engine.list(&broken).await.unwrap().deployments[1].clone();
    let goal = Goal::To(broken.id().clone());
    let back = s.b.run(Request::rollback(id("web@fake"), goal, me())).await;
    assert_eq!(back.unwrap().outcome(), Outcome::Degraded);
    let why = s.why().await;
    assert!(
        why.starts_with("dependent web@fake: it is degraded since"),
        "{why}"
    );
    // Rolling back is looked at the same way.
    s.on("api@fake", "v2").await;
    let no = s.b.back(Goal::LastHealthy).await.unwrap_err();
    assert!(matches!(no.refusal(), Some(Refusal::Guard { .. })), "{no}");
}

#[tokio::test]
async fn a_dependency_in_flight_refuses() {
    let s = Stack::new().await;
    let request = Request::deploy(id("db@fake"), "slow", me());
    let run = s.b.engine.run(request).await.unwrap();
    s.door.arrived().await;
    let why = s.why().await;
    assert_eq!(
        why,
        format!("dependency db@fake: {} is in flight", run.id())
    );
    s.door.open();
    run.await.unwrap();
    assert!(s.b.deploy("v1").await.succeeded());
}

#[tokio::test]
async fn what_is_forced_by_name_is_recorded_and_warned_of() {
    let s = Stack::new().await;
    let guard = GuardName::dependencies();
    let request = Request::deploy(api(), "v1", me()).force(guard.clone());
    let plan = s.b.engine.preview(&request).await.unwrap();
    let message = "forced: dependency db@fake: nothing is live on it".to_owned();
    let warning = Warning::Guard {
        guard: guard.clone(),
        message,
    };
    assert_eq!(plan.warnings(), std::slice::from_ref(&warning));
    let report = s.b.run(request).await.unwrap();
    let new = report.deployment().opening();
    assert_eq!(new.forced, [guard]);
    assert_eq!(new.warnings, [warning]);
    // Another guard's name forces nothing.
    let request = Request::deploy(api(), "v2", me()).force(GuardName::migrations());
    let no = s.b.run(request).await.unwrap_err();
    assert_eq!(no.kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn a_hold_that_is_forced_is_warned_of_as_well() {
    let b = Setup::new().await.engine();
    b.engine.hold(&api(), text("freeze"), me()).await.unwrap();
    let request = Request::deploy(api(), "v1", me()).force(GuardName::hold());
    let plan = b.engine.preview(&request).await.unwrap();
    let of_hold =
        |w: &Warning| matches!(w, Warning::Guard { guard, .. } if *guard == GuardName::hold());
    assert!(plan.warnings().iter().any(of_hold), "{:?}", plan.warnings());
}

#[tokio::test]
async fn a_hold_can_be_forced_by_name_and_stays() {
    let b = Setup::new().await.engine();
    b.engine.hold(&api(), text("freeze"), me()).await.unwrap();
    let request = Request::deploy(api(), "v1", me()).force(GuardName::hold());
    let report = b.run(request).await.unwrap();
    assert!(report.succeeded());
    assert_eq!(report.deployment().opening().forced, [GuardName::hold()]);
    assert!(b.state().await.hold.is_some());
}

#[tokio::test]
async fn a_workload_that_depends_on_itself_can_be_deployed() {
    let b = Setup::new().await.with(|w| w.depends_on(api()));
    let request = Request::deploy(api(), "v1", me()).force(GuardName::dependencies());
    b.run(request).await.unwrap();
    let report = b.run(Request::deploy(api(), "v2", me())).await.unwrap();
    assert_eq!(report.outcome(), Outcome::Succeeded, "{}", report.summary());
}

/// Refuses everything, under a name that forces nothing else.
#[derive(Debug)]
struct Never;

#[async_trait]
impl Guard for Never {
    fn name(&self) -> GuardName {
        "never".parse().unwrap()
    }

    async fn check(&self, _: &Context, _: &Plan) -> Ruling {
        Ruling::Refuse("never".into())
    }
}

/// Every guard there is, and names that sound as if they were one.
fn forced(mut request: Request) -> Request {
    for name in ["dependencies", "migrations", "hold", "never"] {
        request = request.force(name.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn forcing_never_skips_validity() {
    let b = Setup::new().await.with(|w| w.guard(Never));
    let deploy = |reference| b.run(forced(Request::deploy(api(), reference, me())));
    for name in ["validity", "conflict", "stale", "authorization"] {
        let request = Request::deploy(api(), "v1", me()).force(name.parse().unwrap());
        let no = b.run(request).await.unwrap_err();
        assert!(
            matches!(no.refusal(), Some(Refusal::UnknownGuard { .. })),
            "{no}"
        );
    }
    let v1 = deploy("v1").await.unwrap();
    let v2 = deploy("v2").await.unwrap();
    deploy("v3").await.unwrap();
    assert_eq!(deploy("missing").await.unwrap_err().http_status(), 404);
    let id = v2.deployment().id();
    b.engine.mark_bad(id, text("leaks"), &me()).await.unwrap();
    let bad = b.run(forced(Request::rollback(api(), to(&v2), me()))).await;
    assert_eq!(bad.unwrap_err().http_status(), 400);
    b.setup.target.lose("v1");
    let gone = b.run(forced(Request::rollback(api(), to(&v1), me()))).await;
    let gone = gone.unwrap_err();
    assert_eq!(gone.http_status(), 400);
    assert!(gone.to_string().contains("it was lost"), "{gone}");
    assert_eq!(b.live(), "v3");
}

#[tokio::test]
async fn forcing_never_skips_conflict_nor_staleness() {
    let door = Door::before("slow");
    let b = Setup::new()
        .await
        .with(|w| w.check(door.check()).guard(Never));
    let deploy = |reference| Request::deploy(api(), reference, me());
    b.run(forced(deploy("v1"))).await.unwrap();
    let request = forced(Request::deploy(api(), "v2", me()));
    let plan = b.engine.preview(&request).await.unwrap();
    b.engine.hold(&api(), text("freeze"), me()).await.unwrap();
    let stale = b.engine.execute(plan).await.unwrap_err();
    assert_eq!(stale.http_status(), 412, "{stale}");
    b.engine.lift_hold(&api(), &me()).await.unwrap();
    let run = b.engine.run(forced(deploy("slow"))).await.unwrap();
    door.arrived().await;
    let busy = b.run(request).await.unwrap_err();
    assert_eq!(busy.http_status(), 409, "{busy}");
    door.open();
    run.await.unwrap();
    b.at_rest().await;
}
