//! A request for a stack that is sent again; and how long its groups are kept.

use rollback_core::error::ErrorKind;
use rollback_core::policy::{Keep, Retention};
use rollback_core::prelude::*;
use rollback_core::stack::StackRequest;

use crate::shop::{Shop, deploy, id, shop};
use crate::support::me;

fn keyed(request: StackRequest) -> StackRequest {
    request.idempotency_key("job/7".parse().unwrap())
}

#[tokio::test]
async fn a_request_for_a_stack_that_is_sent_again_moves_nothing_again() {
    let s = Shop::new();
    s.everything("v1").await;
    let request = || keyed(deploy(&[("api", "v2"), ("db", "v2")]));
    let stale = s.engine.preview_stack(&request()).await.unwrap();
    let first = s.run(request()).await.unwrap();
    assert!(first.succeeded());
    s.everything("v3").await;
    let again = s.run(request()).await.unwrap();
    assert_eq!(again.id(), first.id());
    assert!(again.succeeded());
    assert_eq!(again.stays().keys().collect::<Vec<_>>(), [&id("web")]);
    let executed = s.engine.execute_stack(stale).await.unwrap().await;
    assert_eq!(executed.id(), first.id());
    assert_eq!(s.live(), ["v3", "v3", "v3"]);
    // Something else under the same key.
    let other = keyed(deploy(&[("web", "v2")]));
    let e = s.run(other).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::KeyTaken);
}

#[tokio::test]
async fn a_group_that_was_not_opened_has_not_taken_its_key() {
    let s = Shop::new();
    s.everything("v1").await;
    let request = || keyed(deploy(&[("api", "v2"), ("db", "v2")]));
    let plan = s.engine.preview_stack(&request()).await.unwrap();
    let quicker = s.engine.deploy(&id("db"), "v9", me()).await;
    quicker.unwrap().await.unwrap();
    let e = s.engine.execute_stack(plan).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Stale);
    let report = s.run(request()).await.unwrap();
    assert!(report.succeeded(), "{}", report.summary());
    assert_eq!(s.live(), ["v2", "v2", "v1"]);
}

/// Keeps one record, for a while that is over.
fn one() -> Policy {
    let keep = Keep::new(1, 0);
    Policy::default().retention(Retention::new(keep, keep))
}

#[tokio::test]
async fn a_group_is_kept_as_long_as_any_member_and_then_let_go_whole() {
    let s = Shop::new();
    s.engine
        .configure(&id("api"), Some(&one()), &me())
        .await
        .unwrap();
    let group = s.everything("v1").await;
    for version in ["v2", "v3", "v4", "v5"] {
        let alone = s.engine.deploy(&id("api"), version, me()).await;
        alone.unwrap().await.unwrap();
    }
    // The coordinator is one of `api`'s, whose own rules would have let it go.
    let told = s.engine.group(group.id()).await.unwrap();
    assert!(told.members.values().all(Option::is_some), "{told:?}");
    for name in ["db", "web"] {
        let workload = id(name);
        s.engine
            .configure(&workload, Some(&one()), &me())
            .await
            .unwrap();
        for version in ["v2", "v3", "v4", "v5"] {
            let alone = s.engine.deploy(&workload, version, me()).await;
            alone.unwrap().await.unwrap();
        }
    }
    // Each workload lets go of its own when it is deployed next.
    for name in ["api", "db", "web"] {
        let alone = s.engine.deploy(&id(name), "v6", me()).await;
        alone.unwrap().await.unwrap();
    }
    let e = s.engine.group(group.id()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    for name in ["api", "db", "web"] {
        let page = s.engine.list(&Query::workload(&id(name))).await.unwrap();
        let alone = page.deployments.iter().all(|d| d.group().is_none());
        assert!(alone, "{name} keeps a part of it");
    }
    assert_eq!(s.engine.groups(&shop(), 5).await.unwrap().len(), 0);
}
