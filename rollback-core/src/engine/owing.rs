//! Seeing to what is owed: what is live only for now goes back, in this program or in the next one.

use std::sync::Arc;
use std::time::Duration;

use super::confirmed::speaks_for;
use super::inner::{Inner, NEWEST};
use super::report::Recovered;
use super::runner::Step;
use super::{group_run, planning, stacks, start};
use crate::deployment::{Deployment, Purpose};
use crate::error::{Chain, Error, ErrorKind};
use crate::id::{Actor, DeploymentId, GuardName, ShortText, WorkloadId};
use crate::owed::{owed, was_tried};
use crate::release::Restore;
use crate::request::{Goal, Request};
use crate::stack::{Purposes, StackGoal, StackRequest};
use crate::time::Timestamp;

/// A clock may be put forward, or the machine asleep: how long is waited at most before one looks again.
const LOOK: Duration = Duration::from_secs(30);

/// How long is waited before what is in the way is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What came of looking whether something is owed.
enum Seen {
    Nothing,
    Later(Box<Deployment>, Timestamp),
    Done(Vec<Recovered>),
}

/// Sees to what is owed on these workloads, on which this is live: what is due is done, for the rest this
/// program waits.
pub(super) async fn all(
    inner: &Arc<Inner>,
    live: Vec<(WorkloadId, DeploymentId)>,
) -> Vec<Recovered> {
    let mut done = Vec::new();
    for (workload, id) in live {
        if inner.catalog.contains_key(&workload) && !inner.owing.is_free(&workload, &id) {
            match see_to(inner, &workload).await {
                Ok(Seen::Done(more)) => done.extend(more),
                Ok(Seen::Later(of, at)) => arm(inner, &of, at),
                Ok(Seen::Nothing) => {}
                // Somebody was quicker, or is at it.
                Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::Stale) => {}
                Err(e) => {
                    tracing::warn!(%workload, error = %Chain::of(&e), "what is live only for now was not taken back");
                    done.push(Recovered {
                        workload,
                        deployment: Some(id),
                        result: Err(e),
                    });
                }
            }
        }
    }
    done
}

/// Waits for what was just settled, if it is live only for now and nobody here does so yet.
pub(super) fn settled(inner: &Arc<Inner>, deployment: &Deployment) {
    let is_member = deployment.group().is_some() && deployment.coordinates().is_none();
    let is_drill = deployment.purpose() == Some(&Purpose::Drill);
    if is_member || is_drill && inner.owing.is_a_drill_held(deployment.workload()) {
        return;
    }
    if let Some(owed) = owed(deployment) {
        arm(inner, deployment, owed.at);
    }
}

/// Waits in a task of its own.
fn arm(inner: &Arc<Inner>, of: &Deployment, at: Timestamp) {
    if !inner.owing.begins_to_wait(of.id()) {
        return;
    }
    let (inner, id, workload) = (Arc::clone(inner), of.id().clone(), of.workload().clone());
    tokio::spawn(async move {
        let mut due = at;
        loop {
            let now = inner.clock.now();
            if now < due {
                tokio::time::sleep(due.since(now).clamp(Duration::from_millis(1), LOOK)).await;
                continue;
            }
            match see_to(&inner, &workload).await {
                Ok(Seen::Later(of, at)) if of.id() == &id => due = at,
                Ok(_) => break,
                // Something is in flight, or in the way for a moment.
                Err(e) if is_in_the_way(&e) => tokio::time::sleep(AGAIN).await,
                Err(e) => {
                    tracing::error!(deployment = %id, error = %Chain::of(&e), "it is live only for now, and was not taken back; recover tries again");
                    break;
                }
            }
        }
        inner.owing.waits_no_more(&id);
    });
}

pub(super) fn is_in_the_way(e: &Error) -> bool {
    e.is_transient() || matches!(e.kind(), ErrorKind::Conflict | ErrorKind::Stale)
}

/// Does what is owed on a workload, now, and waits for its end.
pub(super) async fn pay(
    inner: &Arc<Inner>,
    workload: &WorkloadId,
) -> Result<Vec<Recovered>, Error> {
    Ok(match see_to(inner, workload).await? {
        Seen::Done(done) => done,
        Seen::Nothing | Seen::Later(..) => Vec::new(),
    })
}

async fn see_to(inner: &Arc<Inner>, workload: &WorkloadId) -> Result<Seen, Error> {
    let state = planning::idle(inner, workload).await?;
    let Some(live) = inner.live(&state.live).await? else {
        return Ok(Seen::Nothing);
    };
    let Some(own) = owed(&live) else {
        if live.opening().confirm_within.is_none() {
            inner.owing.is_free_for_ever(workload, live.id());
        }
        return Ok(Seen::Nothing);
    };
    let speaks = speaks_for(inner, live.clone()).await?;
    let Some(due) = owed(&speaks) else {
        return Ok(Seen::Nothing);
    };
    if inner.clock.now() < due.at {
        return Ok(Seen::Later(Box::new(live), due.at));
    }
    let newest = inner.summaries(workload, NEWEST).await?;
    if was_tried(&own.purpose, &newest.summaries) {
        tracing::warn!(deployment = %live.id(), "it was to go back and did not; it is left to a person");
        return Ok(Seen::Nothing);
    }
    match live.group() {
        None => alone(inner, &live, own.purpose, due.at).await,
        Some(_) => as_one(inner, &speaks, &own.purpose, due.at).await,
    }
}

fn actor(purpose: &Purpose) -> Actor {
    Actor::engine(match purpose {
        Purpose::DrillEnds { .. } => "drill",
        _ => "dead-man",
    })
}

fn why(purpose: &Purpose, at: Timestamp) -> ShortText {
    match purpose {
        Purpose::DrillEnds { .. } => ShortText::cut("the drill is over"),
        _ => ShortText::cut(&format!("nobody had confirmed it by {at}")),
    }
}

async fn alone(
    inner: &Arc<Inner>,
    live: &Deployment,
    purpose: Purpose,
    at: Timestamp,
) -> Result<Seen, Error> {
    let goal = Goal::Before(live.id().clone());
    let request = Request::rollback(live.workload().clone(), goal, actor(&purpose))
        .restore(Restore::Everything)
        .force(GuardName::dependencies())
        .because(why(&purpose, at));
    let request = Request {
        purpose: Some(purpose),
        ..request
    };
    let plan = planning::plan(inner, &request).await?;
    // Never over anything newer.
    if plan.replaces().known() != Some(live.id()) {
        return Ok(Seen::Nothing);
    }
    if let Some(past) = plan.past {
        inner.advance(past).await?;
    }
    let (new, version) = (start::opening(inner, &plan)?, plan.version);
    let run = start::begin(inner, new, version, Step::Guard(Box::new(plan))).await?;
    let deployment = run.id().clone();
    Ok(Seen::Done(vec![Recovered {
        workload: live.workload().clone(),
        deployment: Some(deployment),
        result: run.await,
    }]))
}

async fn as_one(
    inner: &Arc<Inner>,
    coordinator: &Deployment,
    purpose: &Purpose,
    at: Timestamp,
) -> Result<Seen, Error> {
    let Some((group, roll)) = coordinator
        .coordinates()
        .and_then(|group| Some((group, group.roll.as_ref()?)))
    else {
        return Ok(Seen::Nothing);
    };
    let goal = StackGoal::Before(group.id.clone());
    let mut request = StackRequest::rollback(group.stack.clone(), goal, actor(purpose))
        .force(GuardName::dependencies())
        .because(why(purpose, at));
    request.purposes = match purpose {
        Purpose::DrillEnds { .. } => Purposes::DrillEnds,
        _ => Purposes::Unconfirmed,
    };
    let plan = stacks::plan(inner, &request).await?;
    // Never over anything newer: a stack of which a part has moved on is for a person.
    for (workload, member) in roll.moves() {
        let live = inner.store.workload(workload).await?.live;
        if live.known() != Some(member) {
            tracing::warn!(group = %group.id, %workload, "it was to go back, and a part of it has moved on; it is left to a person");
            return Ok(Seen::Nothing);
        }
    }
    let run = group_run::begin(inner, plan).await?;
    let mut done = Vec::new();
    for (workload, result) in run.await.into_members() {
        done.push(Recovered {
            workload,
            deployment: result.as_ref().ok().map(|r| r.deployment().id().clone()),
            result,
        });
    }
    Ok(Seen::Done(done))
}
