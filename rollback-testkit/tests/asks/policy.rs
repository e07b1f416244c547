//! What a failure or a rollback sets off.

use async_trait::async_trait;
use rollback_core::context::Context;
use rollback_core::engine::{AutomaticRollback, NotAttempted};
use rollback_core::error::HookError;
use rollback_core::guard::MigrationLog;
use rollback_core::id::GuardName;
use rollback_core::lineage::Standing;
use rollback_core::plan::Migrations;
use rollback_core::policy::{AfterRollback, OnMigrations};
use rollback_core::prelude::*;

use crate::support::{api, me, on_every_store, text};

#[tokio::test]
async fn ask_11_the_bad_version_does_not_come_back_with_the_next_auto_deploy() {
    on_every_store(async |setup| {
        let b = setup.with(|w| {
            w.policy(
                Policy::default()
                    .after_rollback(AfterRollback::Hold)
                    .rollback(RollbackMode::Auto),
            )
        });
        b.deploy("v1").await;
        b.deploy("v2").await;
        b.back(Goal::LastHealthy).await.unwrap();
        let robot = Actor::system("auto-deploy").unwrap();
        let again = Request::deploy(api(), "v2", robot.clone());
        let held = b.run(again.clone()).await.unwrap_err();
        assert_eq!(held.http_status(), 403);
        assert!(
            matches!(held.refusal(), Some(Refusal::Held { .. })),
            "{held}"
        );
        assert_eq!(b.live(), "v1");
        let hold = b.engine.lift_hold(&api(), &me()).await.unwrap().unwrap();
        assert_eq!(hold.by, me(), "who rolled back holds");
        assert!(b.run(again).await.unwrap().succeeded());

        // An automatic rollback holds as well; further rollbacks go through.
        assert!(!b.deploy("broken3").await.succeeded());
        assert_eq!(b.live(), "v2");
        let again = Request::deploy(api(), "broken3", robot);
        let held = b.run(again).await.unwrap_err();
        assert!(
            matches!(held.refusal(), Some(Refusal::Held { .. })),
            "{held}"
        );
        assert!(b.back(Goal::LastHealthy).await.unwrap().succeeded());
        assert_eq!(b.live(), "v1");
        b.at_rest().await;
    })
    .await;
}

#[tokio::test]
async fn ask_11_a_hold_by_hand_stops_deploys_and_redeploys_only() {
    on_every_store(async |setup| {
        let b = setup.engine();
        let v1 = b.deploy("v1").await;
        b.deploy("v2").await;
        let why = text("v3 eats the database");
        b.engine.hold(&api(), why, me()).await.unwrap();
        let of = v1.deployment().id().clone();
        for forward in [
            Request::deploy(api(), "v3", me()),
            Request::redeploy(api(), of, me()),
        ] {
            let held = b.run(forward).await.unwrap_err();
            assert!(
                matches!(held.refusal(), Some(Refusal::Held { .. })),
                "{held}"
            );
        }
        let hold = b.state().await.hold.unwrap();
        assert_eq!((hold.by, hold.why.as_str()), (me(), "v3 eats the database"));
        assert!(b.back(Goal::LastHealthy).await.unwrap().succeeded());
        assert!(b.state().await.hold.is_some(), "a person lifts it");
    })
    .await;
}

#[tokio::test]
async fn ask_16_automatic_rollback() {
    on_every_store(async |setup| {
        let b = setup.armed();
        let v1 = b.deploy("v1").await;
        let bad = b.deploy("broken2").await;
        let AutomaticRollback::Attempted {
            deployment,
            to_last_healthy: true,
            recovered: true,
        } = bad.automatic_rollback()
        else {
            panic!("{:?}", bad.automatic_rollback())
        };
        assert_eq!(deployment.trigger().restores(), Some(v1.deployment().id()));
        assert!(matches!(deployment.actor(), Actor::System { .. }));
        assert_eq!(b.live(), "v1");
        assert_eq!(b.rows().await.len(), 3, "once");
        b.at_rest().await;
    })
    .await;
}

#[tokio::test]
async fn ask_17_failed_and_rolled_back_is_not_a_success() {
    on_every_store(async |setup| {
        let b = setup.armed();
        b.deploy("v1").await;
        let bad = b.deploy("broken2").await;
        assert!(!bad.succeeded());
        let rows = b.rows().await;
        let row = &rows[1];
        let outcome = row.deployment.outcome();
        assert_eq!(outcome, Some(Outcome::FailedAndRolledBack));
        assert_eq!(row.standing, Standing::RolledBack);
        assert_eq!(row.replaced_by.as_ref(), Some(rows[0].deployment.id()));
        let stats = b.engine.stats(&Query::workload(&api())).await.unwrap();
        assert_eq!(stats.by_outcome[&Outcome::FailedAndRolledBack], 1);
        assert_eq!(stats.recent_failures, [bad.deployment().id().clone()]);
        assert_eq!(stats.success_rate(), Some(2.0 / 3.0));
    })
    .await;
}

/// A migration tool's own table.
#[derive(Debug)]
struct Table(Result<Vec<&'static str>, &'static str>);

#[async_trait]
impl MigrationLog for Table {
    async fn applied_since(
        &self,
        _: &Context,
        _: &WorkloadId,
        _: Timestamp,
    ) -> Result<Vec<String>, HookError> {
        match &self.0 {
            Ok(names) => Ok(names.iter().map(ToString::to_string).collect()),
            Err(why) => Err((*why).into()),
        }
    }
}

fn blocking() -> Policy {
    Policy::default()
        .migrations(OnMigrations::Block)
        .rollback(RollbackMode::Auto)
}

#[tokio::test]
async fn ask_20_a_rollback_over_migrations_warns() {
    on_every_store(async |setup| {
        let b = setup.with(|w| w.migrations(Table(Ok(vec!["0007_drop", "0008_add"]))));
        b.deploy("v1").await;
        b.deploy("v2").await;
        let plan = b.plan_back(Goal::LastHealthy).await.unwrap();
        let names = vec!["0007_drop".to_owned(), "0008_add".to_owned()];
        let since = Migrations::Since {
            names: names.clone(),
        };
        assert_eq!(plan.migrations(), Some(&since));
        let warning = Warning::MigrationsSince { count: 2, names };
        assert!(plan.warnings().contains(&warning), "{plan}");
        let report = b.back(Goal::LastHealthy).await.unwrap();
        let recorded = &report.deployment().opening().warnings;
        assert!(recorded.contains(&warning), "and the record says so");
    })
    .await;
}

#[tokio::test]
async fn ask_20_a_rollback_over_migrations_is_blocked_where_the_policy_says_so() {
    on_every_store(async |setup| {
        let b = setup.with(|w| w.policy(blocking()).migrations(Table(Ok(vec!["0007_drop"]))));
        b.deploy("v1").await;
        b.deploy("v2").await;
        let no = b.back(Goal::LastHealthy).await.unwrap_err();
        assert_eq!(no.http_status(), 403);
        let Some(Refusal::Guard { guard, why }) = no.refusal() else {
            panic!("{no}")
        };
        assert_eq!(*guard, GuardName::migrations());
        assert!(why.contains("0007_drop"), "{why}");
        let by_itself = b.deploy("broken3").await;
        let reason = NotAttempted::Migrations;
        let not = AutomaticRollback::NotAttempted { reason };
        assert_eq!(*by_itself.automatic_rollback(), not);
        let forced = Request::rollback(api(), Goal::LastHealthy, me());
        let forced = b.run(forced.force(GuardName::migrations())).await.unwrap();
        assert!(forced.succeeded());
        let new = forced.deployment().opening();
        assert_eq!(new.forced, [GuardName::migrations()]);
        let warned = |w: &Warning| matches!(w, Warning::Guard { guard, .. } if *guard == GuardName::migrations());
        assert!(new.warnings.iter().any(warned), "{:?}", new.warnings);
    })
    .await;
}

#[tokio::test]
async fn ask_20_that_nobody_can_tell_is_said_and_counts_as_a_reason_to_block() {
    on_every_store(async |setup| {
        let unknown = || Table(Err("the database is away"));
        let b = setup.with(|w| w.migrations(unknown()));
        b.deploy("v1").await;
        b.deploy("v2").await;
        let plan = b.plan_back(Goal::LastHealthy).await.unwrap();
        let why = "the database is away".to_owned();
        let warning = Warning::MigrationsUnknown { why };
        assert!(plan.warnings().contains(&warning), "{plan}");
        assert!(plan.to_string().contains("unknown: the database is away"));
        for blocked in [
            setup.with(|w| w.policy(blocking()).migrations(unknown())),
            setup.with(|w| w.policy(blocking())),
        ] {
            let no = blocked.plan_back(Goal::LastHealthy).await.unwrap_err();
            let name = GuardName::migrations();
            assert!(
                matches!(no.refusal(), Some(Refusal::Guard { guard, .. }) if *guard == name),
                "{no}"
            );
        }
    })
    .await;
}
