//! A late actor at a real dockerd: what a later deployment has made keeps its labels.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;

use rollback_core::backend::Operation;
use rollback_core::history::{Epoch, Fence, HistoryId};
use rollback_testkit::backend_suite::{Driver, Step};
use rollback_testkit::world::{Build, World};
use support::world::ComposeWorld;

fn fence(history: &HistoryId, op: &Operation) -> Fence {
    let (sequence, deployment) = (op.sequence, op.deployment.clone());
    Fence::new(
        history.clone(),
        history.clone(),
        sequence,
        Epoch(1),
        deployment,
    )
}

async fn all(d: &Driver, history: &HistoryId, op: &mut Operation, steps: &[Step]) {
    for step in steps {
        let cx = Driver::cx().fenced(fence(history, op));
        let done = d.verb(*step, &cx, op).await;
        done.unwrap_or_else(|e| panic!("{step:?}: {e}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_retires_late_takes_no_labels_off_what_a_later_deployment_has_made() {
    let Some(fixture) = support::fixture() else {
        return;
    };
    let fixture = Arc::new(fixture);
    let world = Arc::new(ComposeWorld::new(&fixture).await);
    let service = format!("label=com.docker.compose.project={}", world.name);
    let worn = || {
        let filter = ["ps", "-aq", "--no-trunc", "--filter", &service];
        let text = fixture.must(&filter);
        let mut ids: Vec<String> = text.lines().map(str::to_owned).collect();
        ids.sort_unstable();
        ids
    };
    let (d, history) = (Driver::new(world.clone()), HistoryId::generate().unwrap());
    let to_the_end = [Step::Prepare, Step::Switch, Step::Retire];
    let mut first = d.operation_to(Build::V1).await;
    all(&d, &history, &mut first, &to_the_end).await;
    let mut late = d.operation_to(Build::V2).await;
    all(&d, &history, &mut late, &to_the_end[..2]).await;
    let mut next = d.operation_to(Build::V3).await;
    all(&d, &history, &mut next, &to_the_end[..1]).await;
    // v1 waits for the late one, v2 is live, v3 is about to be.
    let before = worn();
    assert_eq!(before.len(), 3);
    all(&d, &history, &mut late, &to_the_end[2..]).await;
    let after = worn();
    assert_eq!(after.len(), 2, "v1 has put its labels away");
    assert!(after.iter().all(|id| before.contains(id)));
    all(&d, &history, &mut next, &to_the_end[1..2]).await;
    assert_eq!(world.serving().await.as_deref(), Some("v3"));
    // And once it has published nothing is touched at all.
    let before = worn();
    let cx = Driver::cx().fenced(fence(&history, &late));
    let _ = d.verb(Step::Retire, &cx, &mut late).await;
    assert_eq!(worn(), before);
    assert_eq!(world.serving().await.as_deref(), Some("v3"));
}
