//! Forward and back, in one process.

use rollback_core::engine::GroupReport;
use rollback_core::prelude::*;
use rollback_core::stack::StackRequest;
use rollback_testkit::world::Build;

use crate::seen::Seen;
use crate::shop::{ALL, Shop, id, last_healthy};

async fn run(engine: &RollbackEngine, request: StackRequest) -> GroupReport {
    engine.run_stack(request).await.unwrap().await
}

async fn succeeds(engine: &RollbackEngine, request: StackRequest) {
    let report = run(engine, request).await;
    assert!(report.succeeded(), "{}", report.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn checkout_container_and_unit_go_forward_as_one_and_back_as_one() {
    let Some(shop) = Shop::open() else { return };
    let place = &shop.place;
    let engine = place.engine(place.store().await);
    succeeds(&engine, place.deploy(|_| Build::V1)).await;
    assert_eq!(shop.at_rest(&engine, "v1 deployed").await, Build::V1);
    let first = shop.seen().await;
    succeeds(&engine, place.deploy(|_| Build::V2)).await;
    assert_eq!(shop.at_rest(&engine, "v2 deployed").await, Build::V2);
    let second = shop.seen().await;
    assert_ne!(second.api.id, first.api.id);
    assert_ne!(second.site.to, first.site.to);
    assert_ne!(second.worker.main_pid, first.worker.main_pid);

    succeeds(&engine, last_healthy()).await;
    assert_eq!(shop.at_rest(&engine, "rolled back").await, Build::V1);
    let back = shop.seen().await;
    assert_eq!(back.api.id, first.api.id, "what stood by runs again");
    assert_eq!(back.site.to, first.site.to, "what stood by is served again");
    assert_ne!(back.worker.main_pid, second.worker.main_pid);
}

/// Deploys v2 of all but one, which is broken. What was before, and is now, and which were never switched.
async fn one_is_broken(
    engine: &RollbackEngine,
    shop: &Shop,
    broken: &str,
) -> (Seen, Seen, Vec<String>) {
    let before = shop.seen().await;
    let build = |name: &str| match name == broken {
        true => Build::Broken,
        false => Build::V2,
    };
    let report = run(engine, shop.place.deploy(build)).await;
    let mut untouched = Vec::new();
    for name in ALL {
        let member = report.members()[&id(name)].as_ref();
        let member = member.unwrap_or_else(|e| panic!("{broken} is broken, {name}: {e}"));
        let expected = match name == broken {
            true => Outcome::FailedAndRolledBack,
            false => Outcome::Cancelled,
        };
        assert_eq!(member.outcome(), expected, "{name}: {}", report.summary());
        if !member.deployment().switch_began() {
            untouched.push(name.to_owned());
        }
    }
    let context = format!("{broken} was broken");
    assert_eq!(shop.at_rest(engine, &context).await, Build::V1);
    let after = shop.seen().await;
    assert_eq!(after.api.id, before.api.id, "{context}");
    assert_eq!(after.site, before.site, "{context}");
    (before, after, untouched)
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_fails_its_gate_all_are_as_before_and_what_was_not_switched_runs_on() {
    let Some(shop) = Shop::open() else { return };
    let engine = shop.place.engine(shop.place.store().await);
    succeeds(&engine, shop.place.deploy(|_| Build::V1)).await;
    assert_eq!(shop.at_rest(&engine, "v1 deployed").await, Build::V1);

    let (before, after, untouched) = one_is_broken(&engine, &shop, "worker").await;
    assert_eq!(untouched, ["api", "site"]);
    assert_eq!(after.api, before.api, "the container was started anew");
    assert_ne!(after.worker.main_pid, before.worker.main_pid);

    let (before, after, untouched) = one_is_broken(&engine, &shop, "api").await;
    assert_eq!(untouched, ["site"]);
    assert_ne!(after.api, before.api, "the same container, started anew");
    assert_ne!(after.worker.main_pid, before.worker.main_pid);

    let (before, after, untouched) = one_is_broken(&engine, &shop, "site").await;
    assert!(untouched.is_empty(), "{untouched:?}");
    assert_ne!(after.api, before.api, "the same container, started anew");
    assert_ne!(after.worker.main_pid, before.worker.main_pid);

    // Not even v2 is worn out by it.
    succeeds(&engine, shop.place.deploy(|_| Build::V2)).await;
    assert_eq!(shop.at_rest(&engine, "v2 deployed").await, Build::V2);
}
