//! What a rollback can go to, and what stays within reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use rollback_core::context::Context;
use rollback_core::engine::Workload;
use rollback_core::guard::{Guard, Ruling};
use rollback_core::id::GuardName;
use rollback_core::policy::{Keep, Retention};
use rollback_core::prelude::*;
use rollback_testkit::fake::{FakeTarget, FakeWorld};
use rollback_testkit::world::{Build, World};

use crate::support::{Door, api, id, me, on_every_store, to};

fn keeping(records: Keep, artifacts: Keep) -> impl Fn(Workload) -> Workload {
    move |workload| workload.policy(Policy::default().retention(Retention::new(records, artifacts)))
}

/// Nothing is kept for its age.
const ONE: Keep = Keep::new(1, 0);

#[tokio::test]
async fn ask_01_last_successful_not_n_minus_1() {
    on_every_store(async |setup| {
        let b = setup.engine();
        b.deploy("v1").await;
        assert_eq!(b.deploy("broken2").await.outcome(), Outcome::Failed);
        assert_eq!(b.deploy("broken3").await.outcome(), Outcome::Failed);
        let back = b.back(Goal::LastHealthy).await.unwrap();
        assert!(back.succeeded());
        assert_eq!(b.live(), "v1");
        b.at_rest().await;
    })
    .await;
}

#[tokio::test]
async fn ask_03_prune_must_not_eat_targets_nor_cross_workloads() {
    on_every_store(async |setup| {
        let b = setup.with(keeping(ONE, ONE));
        // A neighbour with the same rules, on the same store and another target.
        let mut next_door = setup.clone();
        next_door.target = FakeTarget::replacing();
        let web = id("web@fake");
        let workload = keeping(Keep::new(9, 0), Keep::new(9, 0));
        let neighbour = next_door.built(|e| e.workload(workload(next_door.workload(web.clone()))));
        let deploy = |reference| Request::deploy(web.clone(), reference, me());
        let first = neighbour.run(deploy("v1")).await.unwrap();
        neighbour.run(deploy("v2")).await.unwrap();

        for n in 1..=4 {
            b.deploy(&format!("v{n}")).await;
        }
        for n in 5..=9 {
            b.deploy(&format!("broken{n}")).await;
        }
        b.engine.clean_up(&api(), None, &me()).await.unwrap();
        let plan = b.plan_back(Goal::LastHealthy).await.unwrap();
        assert_eq!(plan.release().unwrap().artifact().digest, "v4");
        assert_eq!(*plan.availability(), Availability::Standby);
        assert!(b.back(Goal::LastHealthy).await.unwrap().succeeded());
        assert_eq!(b.live(), "v4");

        let query = Query::workload(&web);
        let rows = neighbour.engine.history(&query).await.unwrap().rows;
        assert_eq!(rows.len(), 2, "the neighbour's history is whole");
        let request = Request::rollback(web.clone(), to(&first), me());
        let plan = neighbour.engine.preview(&request).await.unwrap();
        assert_eq!(*plan.availability(), Availability::Standby);
    })
    .await;
}

#[tokio::test]
async fn ask_04_failed_releases_must_not_evict_good_ones() {
    on_every_store(async |setup| {
        let two = keeping(Keep::new(200, 0), Keep::new(2, 0));
        let b = setup.with(two);
        let v1 = b.deploy("v1").await;
        let v2 = b.deploy("v2").await;
        b.deploy("v3").await;
        for n in 4..=13 {
            b.deploy(&format!("broken{n}")).await;
        }
        b.back(Goal::LastHealthy).await.unwrap();
        assert_eq!(b.live(), "v3");
        let plan = b.plan_back(to(&v2)).await.unwrap();
        assert_eq!(*plan.availability(), Availability::Standby);
        let plan = b.plan_back(to(&v1)).await.unwrap();
        let far = Availability::Local;
        assert_eq!(
            *plan.availability(),
            far,
            "a third good one is one too many"
        );
    })
    .await;
}

#[tokio::test]
async fn ask_05_the_bad_release_is_kept_for_debugging() {
    on_every_store(async |setup| {
        let b = setup.armed();
        b.deploy("v1").await;
        let bad = b.deploy("broken2").await;
        assert_eq!(b.live(), "v1", "it was rolled back");
        let record = b.engine.get(bad.deployment().id()).await.unwrap();
        let Verdict::Failed { diagnostic } = record.verdict() else {
            panic!("{:?}", record.verdict())
        };
        assert_eq!(diagnostic, "broken2 answers 500");
        let kept = b.engine.preview_clean_up(&api(), None).await.unwrap();
        assert!(kept.window.contains(record.id()), "within reach");
        let plan = b.plan_back(to(&bad)).await.unwrap();
        assert_eq!(*plan.availability(), Availability::Standby);
    })
    .await;
}

#[tokio::test]
async fn ask_06_a_pinned_release_stays() {
    on_every_store(async |setup| {
        let b = setup.with(keeping(ONE, ONE));
        let v1 = b.deploy("v1").await;
        let first = v1.deployment().id();
        b.engine.pin(first, &me()).await.unwrap();
        for n in 2..=6 {
            b.deploy(&format!("v{n}")).await;
        }
        let plan = b.plan_back(to(&v1)).await.unwrap();
        assert_eq!(*plan.availability(), Availability::Standby);
        b.engine.unpin(first, &me()).await.unwrap();
        b.deploy("v7").await;
        let gone = b.plan_back(to(&v1)).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    })
    .await;
}

#[tokio::test]
async fn ask_08_rollback_without_an_argument() {
    on_every_store(async |setup| {
        let b = setup.engine();
        b.deploy("v1").await;
        b.deploy("v2").await;
        assert!(b.back(Goal::default()).await.unwrap().succeeded());
        assert_eq!(b.live(), "v1");
        let nowhere = b.back(Goal::default()).await.unwrap_err();
        assert!(
            matches!(nowhere.refusal(), Some(Refusal::NoRollbackPoint { .. })),
            "{nowhere}"
        );
    })
    .await;
}

#[tokio::test]
async fn ask_10_the_right_code_by_digest_not_tag() {
    on_every_store(async |setup| {
        let b = setup.engine();
        setup.registry.tag("latest", "aaa");
        let first = b.deploy("latest").await;
        setup.registry.tag("latest", "bbb");
        b.deploy("latest").await;
        assert_eq!(b.live(), "bbb");
        setup.registry.tag("latest", "ccc");
        let resolved = setup.registry.resolved();
        b.back(to(&first)).await.unwrap();
        assert_eq!(b.live(), "aaa", "what the tag meant then");
        let again = b.engine.redeploy(first.deployment().id(), me()).await;
        again.unwrap().await.unwrap();
        assert_eq!(b.live(), "aaa");
        assert_eq!(
            setup.registry.resolved(),
            resolved,
            "no tag was asked about"
        );
    })
    .await;
}

#[tokio::test]
async fn ask_21_the_first_adoption_has_a_target_too() {
    on_every_store(async |setup| {
        let b = setup.armed();
        let world = FakeWorld::on(setup.target.clone());
        world.install_by_hand(Build::V1).await;
        let found = setup.target.live();
        let adopted = b.engine.adopt(&api(), me()).await.unwrap().await.unwrap();
        assert!(adopted.succeeded());
        let bad = b.deploy("broken2").await;
        assert_eq!(bad.outcome(), Outcome::FailedAndRolledBack);
        assert_eq!(setup.target.live(), found, "what was made by hand serves");
        b.deploy("v3").await;
        b.back(to(&adopted)).await.unwrap();
        assert_eq!(setup.target.live(), found);
        b.at_rest().await;
    })
    .await;
}

/// Lets a plan pass, and refuses once the deployment is open.
#[derive(Debug, Clone, Default)]
struct SecondThoughts(Arc<AtomicUsize>);

#[async_trait]
impl Guard for SecondThoughts {
    fn name(&self) -> GuardName {
        "second-thoughts".parse().unwrap()
    }

    async fn check(&self, _: &Context, plan: &Plan) -> Ruling {
        let asked = self.0.fetch_add(1, Ordering::SeqCst);
        match plan.release() {
            Some(release) if release.artifact().digest == "refused" && asked % 2 == 1 => {
                Ruling::Refuse("not after all".into())
            }
            _ => Ruling::Allow,
        }
    }
}

#[tokio::test]
async fn ask_23_a_refused_deploy_is_no_rollback_target() {
    on_every_store(async |setup| {
        let door = Door::before("slow");
        let b = setup.with(|w| w.guard(SecondThoughts::default()).check(door.check()));
        b.deploy("v1").await;
        let refused = b.deploy("refused").await;
        assert_eq!(refused.outcome(), Outcome::Refused);
        assert_eq!(b.live(), "v1", "and nothing was touched");
        let run = b.engine.deploy(&api(), "slow", me()).await.unwrap();
        door.arrived().await;
        run.cancel();
        let cancelled = run.await.unwrap();
        assert_eq!(cancelled.outcome(), Outcome::Cancelled);
        b.deploy("v2").await;

        let never = b.back(to(&refused)).await.unwrap_err();
        assert_eq!(never.http_status(), 400, "{never}");
        for row in b.rows().await {
            let never_live = row.standing == rollback_core::lineage::Standing::NeverLive;
            let id = row.deployment.id();
            let ours = [&refused, &cancelled].map(|r| r.deployment().id());
            assert_eq!(never_live, ours.contains(&id), "{id}");
            assert!(!never_live || !row.last_healthy);
        }
        b.back(Goal::LastHealthy).await.unwrap();
        assert_eq!(b.live(), "v1");
        b.at_rest().await;
    })
    .await;
}
