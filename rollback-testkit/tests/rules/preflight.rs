//! What a plan says of what stands in its way.

use rollback_core::error::BackendErrorKind;
use rollback_core::prelude::*;
use rollback_testkit::faults::{Side, Verb, VerbFault};

use crate::support::{Setup, api, me, to};

fn remarks(plan: &Plan) -> Vec<String> {
    let warnings = plan.warnings().iter();
    let remarks = warnings.filter_map(|w| match w {
        Warning::Preflight { remark } => Some(remark.clone()),
        _ => None,
    });
    remarks.collect()
}

#[tokio::test]
async fn what_may_hinder_a_plan_is_said_beforehand_and_refuses_nothing() {
    let setup = Setup::new().await;
    let b = setup.armed();
    let tight = b.deploy("tight1").await;
    b.deploy("v2").await;
    let said = "tight3 does not fit beside v2";
    let request = Request::deploy(api(), "tight3", me());
    let plan = b.engine.preview(&request).await.unwrap();
    assert_eq!(remarks(&plan), [said]);
    assert!(
        plan.to_string().contains(&format!("warning:    {said}")),
        "{plan}"
    );
    // On record, as the plan's other warnings are.
    let report = b.deploy("tight3").await;
    assert_eq!(report.outcome(), Outcome::Succeeded);
    let warned = &report.deployment().opening().warnings;
    let remark = said.to_owned();
    assert!(
        warned.contains(&Warning::Preflight { remark }),
        "{warned:?}"
    );
    // A rollback is planned by the same rules.
    let back = Request::rollback(api(), to(&tight), me());
    let plan = b.engine.preview(&back).await.unwrap();
    assert_eq!(remarks(&plan), ["tight1 does not fit beside tight3"]);
    b.at_rest().await;
}

#[tokio::test]
async fn a_platform_that_cannot_look_ahead_is_in_nobodys_way() {
    let setup = Setup::new().await;
    let b = setup.armed();
    setup.verbs.set(VerbFault {
        verb: Verb::Preflight,
        nth: 1,
        more: 0,
        side: Side::Before,
        kind: BackendErrorKind::Failed,
    });
    let request = Request::deploy(api(), "v1", me());
    let plan = b.engine.preview(&request).await.unwrap();
    let said = remarks(&plan);
    assert!(
        said[0].starts_with("what may hinder it was not looked at: "),
        "{said:?}"
    );
    assert_eq!(said.len(), 1);
    assert_eq!(b.run(request).await.unwrap().outcome(), Outcome::Succeeded);
    b.at_rest().await;
}
