//! What broke the promise once, by the name of the bug.
#![allow(clippy::unwrap_used, clippy::panic)]

mod behind;
mod composed;
mod gate;
mod giving_up;
mod hooks;
mod leases;
mod newer;
mod recovery;
#[path = "../support/mod.rs"]
mod support;
mod way_back;

use rollback_core::history::{
    Epoch, Fence, HistoryReader, HistoryStore, Holder, Sequence, WorkloadState,
};
use rollback_core::prelude::*;
use support::{Bench, me};

async fn state(b: &Bench) -> WorkloadState {
    b.store.workload(&b.api).await.unwrap()
}

/// A token that this history will give later.
async fn from_the_future(b: &Bench) -> Fence {
    let identity = b.store.identity().await.unwrap();
    Fence::new(
        identity.history,
        identity.incarnation,
        Sequence(1_000),
        Epoch(1_000),
        DeploymentId::generate(SystemClock.now()),
    )
}

/// Leaves a deployment of `reference` behind, as a process that died after these events.
async fn left_by_the_dead(b: &Bench, reference: &str, events: Vec<Event>) -> DeploymentId {
    let request = Request::deploy(b.api.clone(), reference, me());
    let plan = b.engine.preview(&request).await.unwrap();
    let new = plan.deployment().clone();
    let holder = Holder::this_process(SystemClock.now());
    let begun = b.store.begin(&new, &holder, plan.version()).await.unwrap();
    for event in events {
        let at = SystemClock.now();
        let timed = TimedEvent::new(at, event);
        b.store.append(&begun.lease, &[timed]).await.unwrap();
    }
    new.id
}

fn prepared(instance: &Instance) -> Event {
    Event::Prepared(Prepared::new(Rollout::Replace, instance.clone()))
}

fn instance(reference: &str) -> Instance {
    Instance::new(
        Release::new(
            "shelf".parse().unwrap(),
            Artifact::new(reference, reference),
        ),
        Handle::new(format!("by-hand-{reference}")),
    )
}

/// The timeline of a deployment that was live and judged healthy.
fn judged(instance: &Instance, boot: usize) -> Vec<Event> {
    vec![
        Event::PrepareIntended,
        prepared(instance),
        Event::SwitchIntended,
        Event::Switched {
            evidence: Evidence::default().with("boot", boot.to_string()),
        },
        Event::Judged {
            site: Site::Live,
            verdict: Verdict::Passed,
            notes: Vec::new(),
        },
    ]
}
