//! A plan as a person sees it, to the letter, and as a program does.

use async_trait::async_trait;
use rollback_core::context::Context;
use rollback_core::error::HookError;
use rollback_core::guard::MigrationLog;
use rollback_core::prelude::*;
use rollback_testkit::fake::FakeTarget;

use crate::support::{Bench, Setup, api, id, me, text, to};

/// Two migrations since whenever.
#[derive(Debug)]
struct Table;

#[async_trait]
impl MigrationLog for Table {
    async fn applied_since(
        &self,
        _: &Context,
        _: &WorkloadId,
        _: Timestamp,
    ) -> Result<Vec<String>, HookError> {
        Ok(vec!["0007_drop".into(), "0008_add".into()])
    }
}

/// A text with D1 for the oldest deployment's id, and so on.
async fn numbered(b: &Bench, text: &dyn std::fmt::Display) -> String {
    let rows = b.rows().await;
    let mut text = text.to_string();
    for (n, row) in rows.iter().rev().enumerate() {
        text = text.replace(row.deployment.id().as_str(), &format!("D{}", n + 1));
    }
    text
}

async fn stack() -> Bench {
    let setup = Setup::new().await;
    let mut next_door = setup.clone();
    next_door.target = FakeTarget::replacing();
    let b = setup.built(|e| {
        e.workload(setup.workload(api()).migrations(Table))
            .workload(next_door.workload(id("web@fake")).depends_on(api()))
            .workload(
                next_door
                    .workload(id("cdn@fake"))
                    .depends_on(id("web@fake")),
            )
    });
    let registry = &b.setup.registry;
    registry.tag("stable", "aaaabbbbcccc0001");
    registry.env("MODE", "old");
    registry.secret("KEY", "f1");
    registry.text("unit", "[Service]\nExecStart=/app\nUser=api\n");
    b.deploy("stable").await;
    b.deploy("broken2").await;
    registry.tag("stable", "aaaabbbbdddd0003");
    registry.env("MODE", "new");
    registry.env("EXTRA", "1");
    registry.secret("KEY", "f3");
    registry.text("unit", "[Service]\nExecStart=/app --fast\nUser=api\n");
    b.deploy("stable").await;
    b.deploy("mute4").await;
    b
}

#[tokio::test]
async fn a_full_rollback_plan_reads_like_this() {
    let b = stack().await;
    let lost = b.rows().await[1].deployment.clone();
    b.setup.target.lose("aaaabbbbdddd0003");
    let request = Request::rollback(
        api(),
        Goal::LastHealthy,
        Actor::user_via("bob", "web").unwrap(),
    )
    .because(text("checkout answers 500"));
    let plan = b.engine.preview(&request).await.unwrap();
    assert!(
        plan.passed_over()
            .iter()
            .any(|p| p.deployment == *lost.id())
    );
    let expected = "\
Roll api@fake back to stable (aaaabbbbcccc)
  goal:       the last healthy release
  back to:    D1
  asked by:   bob (web)
  because:    checkout answers 500
  live now:   mute4
  changes:    artifact mute4 -> stable (aaaabbbbcccc)
              env:
                - EXTRA = 1
                ~ KEY = (secret, changed)
                ~ MODE = new -> old
              unit:
              --- before
              +++ after
              @@ -1,3 +1,3 @@
               [Service]
              -ExecStart=/app --fast
              +ExecStart=/app
               User=api
  skips over: D4
  skips over: D3
  skips over: D2
  not:        D2 (failed its health gate)
  not:        D3 (is gone: it was lost)
  affects:    cdn@fake
  affects:    web@fake
  migrations: 2 since: 0007_drop, 0008_add
  available:  stands by at the target
  way back:   exact
  warning:    a rollback does not restore: data, database schema, volumes, domains
  warning:    2 migrations were applied since (0007_drop, 0008_add): the older code may not fit today's schema";
    assert_eq!(numbered(&b, &plan).await, expected);
}

#[tokio::test]
async fn a_rollback_of_the_artifact_alone_says_what_stays() {
    let b = stack().await;
    let first = b.rows().await[3].deployment.id().clone();
    let request = Request::rollback(api(), Goal::To(first), me()).restore(Restore::Artifact);
    let plan = b.engine.preview(&request).await.unwrap();
    let text = numbered(&b, &plan).await;
    let start = "\
Roll api@fake back to stable (aaaabbbbcccc)
  goal:       the release of D1
  back to:    D1
  asked by:   ada
  live now:   mute4
  changes:    artifact mute4 -> stable (aaaabbbbcccc)
  stays:      env: EXTRA, KEY, MODE, as it is today
  stays:      unit differs, as it is today
  skips over: D4
";
    assert!(text.starts_with(start), "{text}");
}

#[tokio::test]
async fn a_first_deploy_and_a_redeploy_read_like_this() {
    let b = Setup::new().await.engine();
    let request = Request::deploy(api(), "v1", me());
    let plan = b.engine.preview(&request).await.unwrap();
    let expected = "\
Deploy v1 to api@fake
  asked by:   ada
  live now:   nothing
  available:  its artifact is at the target
  way back:   exact";
    assert_eq!(plan.to_string(), expected);
    let v1 = b.run(request).await.unwrap();
    let request = Request::redeploy(api(), v1.deployment().id().clone(), me());
    let plan = b.engine.preview(&request).await.unwrap();
    let expected = "\
Deploy v1 to api@fake anew
  as in:      D1, with today's configuration
  asked by:   ada
  live now:   v1
  changes:    no difference
  available:  its artifact is at the target
  way back:   exact";
    assert_eq!(numbered(&b, &plan).await, expected);
}

#[tokio::test]
async fn in_json_warnings_are_always_an_array() {
    let b = Setup::new().await.engine();
    let none = b.engine.preview(&Request::deploy(api(), "v1", me())).await;
    let json = serde_json::to_value(none.unwrap()).unwrap();
    assert_eq!(json["new"]["warnings"], serde_json::json!([]), "{json:#}");
    let v1 = b.deploy("v1").await;
    let record = serde_json::to_value(v1.deployment()).unwrap();
    assert_eq!(record["warnings"], serde_json::json!([]), "{record:#}");
    b.deploy("v2").await;
    let plan = b.plan_back(to(&v1)).await.unwrap();
    let json = serde_json::to_value(&plan).unwrap();
    let warnings = json["new"]["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), plan.warnings().len());
    assert_eq!(warnings[0]["warning"], "not_restored");
    for array in ["passed_over", "changes", "from_today", "dependents"] {
        assert!(json[array].is_array(), "{array}: {json:#}");
    }
}
