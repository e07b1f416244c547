//! A stack that is live only for now.

use std::time::Duration;

use rollback_core::deployment::Purpose;
use rollback_core::engine::GroupReport;
use rollback_core::prelude::*;
use rollback_core::stack::{StackGoal, StackRequest};

use crate::shop::{Shop, deploy, id, shop};
use crate::support::me;

const SOON: Duration = Duration::from_millis(150);

async fn for_now(s: &Shop, reference: &str) -> GroupReport {
    let request = deploy(&[("api", reference), ("db", reference)]).confirm_within(SOON);
    let report = s.run(request).await.unwrap();
    assert!(report.succeeded(), "{}", report.summary());
    report
}

async fn until_live(s: &Shop, live: [&str; 3]) {
    for _ in 0..500 {
        let settled = s.newest("db").await.settlement().is_some()
            && s.newest("api").await.settlement().is_some();
        if settled && s.live() == live {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?} are live", s.live());
}

#[tokio::test]
async fn a_stack_that_nobody_confirms_goes_back_as_one() {
    let s = Shop::new();
    s.everything("v1").await;
    for_now(&s, "v2").await;
    assert_eq!(s.live(), ["v2", "v2", "v1"]);
    until_live(&s, ["v1", "v1", "v1"]).await;
    let group = &s.engine.groups(&shop(), 1).await.unwrap()[0];
    assert_eq!(group.members.len(), 2);
    for name in ["api", "db"] {
        let purpose = s.newest(name).await.purpose().cloned();
        assert!(
            matches!(purpose, Some(Purpose::Unconfirmed { .. })),
            "{purpose:?}"
        );
    }
    assert_eq!(s.engine.recover().await.unwrap().len(), 0);
}

#[tokio::test]
async fn any_member_confirms_all_of_its_group() {
    let s = Shop::new();
    s.everything("v1").await;
    for_now(&s, "v2").await;
    let db = s.newest("db").await;
    assert!(db.coordinates().is_none());
    let text = "both serve".parse().unwrap();
    s.engine.confirm(db.id(), text, &me()).await.unwrap();
    tokio::time::sleep(SOON * 2).await;
    assert_eq!(s.engine.recover().await.unwrap().len(), 0);
    assert_eq!(s.live(), ["v2", "v2", "v1"]);
}

#[tokio::test]
async fn a_stack_of_which_a_part_has_moved_on_is_left_to_a_person() {
    let s = Shop::new();
    s.everything("v1").await;
    for_now(&s, "v2").await;
    let alone = s.engine.deploy(&id("db"), "v3", me()).await;
    alone.unwrap().await.unwrap();
    tokio::time::sleep(SOON * 2).await;
    assert_eq!(s.engine.recover().await.unwrap().len(), 0);
    assert_eq!(s.live(), ["v2", "v3", "v1"]);
}

#[tokio::test]
async fn a_drill_takes_all_of_a_stack_there_and_back() {
    let s = Shop::new();
    s.everything("v1").await;
    s.deploy(&[("api", "v2"), ("db", "v2")]).await;
    let request = StackRequest::rollback(shop(), StackGoal::Previous, me());
    let now = SystemClock.now();
    let window = now..now.plus(Duration::from_secs(60));
    let report = s.engine.drill_stack(request, window).await.unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!((report.there.len(), report.back.len()), (2, 2));
    assert_eq!(s.live(), ["v2", "v2", "v1"]);
    s.rollback(StackGoal::Undo).await.unwrap();
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
}
