//! Commands that deploy: forward, back, anew.

use std::path::Path;
use std::process::ExitCode;

use rollback_core::engine::Report;
use rollback_core::history::{Conflict, Liveness};
use rollback_core::id::WorkloadId;
use rollback_core::plan::{Plan, Refusal};
use rollback_core::prelude::*;
use rollback_examples::abbreviation::Abbreviation;
use serde::de::DeserializeOwned;

use crate::args::{Back, Go, How, Preview, RestoreWhat, Retrace};
use crate::ask;
use crate::end::{self, End, FAILED, REFUSED, UNKNOWN, USAGE};
use crate::follow;
use crate::out::{aside, say};
use crate::words;
use crate::world::World;

/// Where to, and on which workload.
async fn goal(world: &World, back: &Back) -> Result<(WorkloadId, Goal), End> {
    let id = match back.id.as_ref().or(back.before.as_ref()) {
        Some(typed) => Some(world.id(typed).await?),
        None => None,
    };
    let workload = match (&back.how.workload, &id) {
        // The id alone says which workload is meant.
        (None, Some(id)) => Some(world.engine.get(id).await?.workload().clone()),
        (named, _) => named.clone(),
    };
    let goal = match (id, back.at) {
        (Some(id), _) if back.before.is_some() => Goal::Before(id),
        (Some(id), _) => Goal::To(id),
        (None, Some(time)) => Goal::AsOf(time),
        (None, None) if back.previous => Goal::Previous,
        (None, None) => Goal::LastHealthy,
    };
    Ok((world.workload(workload)?, goal))
}

async fn request(world: &World, back: &Back) -> Result<Request, End> {
    let (workload, goal) = goal(world, back).await?;
    to(world, workload, goal, back)
}

fn to(world: &World, workload: WorkloadId, goal: Goal, back: &Back) -> Result<Request, End> {
    let request = Request::rollback(workload, goal, world.actor.clone());
    let mut request = restoring(request, back.restore);
    if back.mark_skipped_bad {
        request = request.mark_skipped_bad();
    }
    if back.reapply {
        request = request.reapply();
    }
    with(request, &back.how)
}

fn restoring(request: Request, what: Option<RestoreWhat>) -> Request {
    match what {
        Some(RestoreWhat::Artifact) => request.restore(Restore::Artifact),
        Some(RestoreWhat::Everything) => request.restore(Restore::Everything),
        None => request,
    }
}

fn with(mut request: Request, how: &How) -> Result<Request, End> {
    if let Some(key) = &how.idempotency_key {
        request = request.idempotency_key(key.clone());
    }
    for guard in &how.force {
        request = request.force(guard.clone());
    }
    if let Some(reason) = &how.reason {
        request = request.because(reason.parse()?);
    }
    Ok(request)
}

pub(crate) async fn preview(world: &World, asked: Preview) -> Result<ExitCode, End> {
    let Preview { back, undo, redo } = asked;
    let retraced = match (undo, redo) {
        (true, _) => Some(Goal::Undo),
        (_, true) => Some(Goal::Redo),
        _ => None,
    };
    let request = match retraced {
        Some(goal) => to(
            world,
            world.workload(back.how.workload.clone())?,
            goal,
            &back,
        )?,
        None => request(world, &back).await?,
    };
    let plan = world.engine.preview(&request).await?;
    if back.json {
        say!("{}", serde_json::to_string_pretty(&plan)?);
    } else {
        say!("{plan}");
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn rollback(world: &World, back: Back, yes: bool) -> Result<ExitCode, End> {
    let plan = plan(world, &request(world, &back).await?, yes).await?;
    go(world, plan, yes, back.json).await
}

/// Undo, or redo.
pub(crate) async fn retrace(world: &World, goal: Goal, asked: Retrace) -> Result<ExitCode, End> {
    let Retrace { restore, go: go_ } = asked;
    let workload = world.workload(go_.how.workload.clone())?;
    let request = Request::rollback(workload, goal, world.actor.clone());
    let request = with(restoring(request, restore), &go_.how)?;
    let plan = plan(world, &request, go_.yes).await?;
    go(world, plan, go_.yes, go_.json).await
}

pub(crate) async fn redeploy(world: &World, id: &Abbreviation, go_: Go) -> Result<ExitCode, End> {
    let id = world.id(id).await?;
    let workload = world.engine.get(&id).await?.workload().clone();
    let workload = world.workload(Some(workload))?;
    let request = Request::redeploy(workload, id, world.actor.clone());
    let plan = plan(world, &with(request, &go_.how)?, go_.yes).await?;
    go(world, plan, go_.yes, go_.json).await
}

pub(crate) async fn deploy(world: &World, reference: String, go_: Go) -> Result<ExitCode, End> {
    let workload = world.workload(go_.how.workload.clone())?;
    let request = Request::deploy(workload, reference, world.actor.clone());
    let plan = plan(world, &with(request, &go_.how)?, go_.yes).await?;
    go(world, plan, go_.yes, go_.json).await
}

/// Carries out what was shown to somebody before: if anything has moved since, it is stale.
pub(crate) async fn execute(
    world: &World,
    file: &Path,
    yes: bool,
    json: bool,
) -> Result<ExitCode, End> {
    let plan: Plan = read_plan(file, "preview --json")?;
    world.deploys(plan.workload())?;
    go(world, plan, yes, json).await
}

/// A plan that another command has made.
pub(crate) fn read_plan<T: DeserializeOwned>(file: &Path, made_by: &str) -> Result<T, End> {
    let text = match file == Path::new("-") {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(file),
    };
    let file = file.display();
    let text = text.map_err(|e| End::new(USAGE, format!("{file} cannot be read: {e}")))?;
    serde_json::from_str(&text)
        .map_err(|e| End::new(USAGE, format!("{file} is no plan of {made_by}: {e}")))
}

/// The plan. What a dead process left unfinished on the workload is settled first, as the engine
/// does for who does not ask it for a plan.
async fn plan(world: &World, request: &Request, yes: bool) -> Result<Plan, End> {
    let e = match world.engine.preview(request).await {
        Ok(plan) => return Ok(plan),
        Err(e) => e,
    };
    match e.conflict() {
        Some(c) if c.liveness == Liveness::Dead => settle_first(world, c, yes).await?,
        _ => return Err(e.into()),
    }
    Ok(world.engine.preview(request).await?)
}

pub(crate) async fn settle_first(world: &World, left: &Conflict, yes: bool) -> Result<(), End> {
    if !yes {
        // That changes something, so somebody has to be there who wants it.
        ask::somebody()?;
    }
    let (id, phase) = (&left.deployment, left.phase);
    aside!("{id} was interrupted while {phase}; recovering it first");
    for one in world.engine.recover().await? {
        match one.result {
            Ok(report) => aside!("{}", follow::ending(&report)),
            Err(e) if one.workload == left.workload => return Err(e.into()),
            // Another workload's trouble is not in the way of this one.
            Err(e) => aside!("history: {}: {}", one.workload, words::of(&e)),
        }
    }
    Ok(())
}

/// Shows the plan, asks, carries it out, and says how it ended.
async fn go(world: &World, plan: Plan, yes: bool, json: bool) -> Result<ExitCode, End> {
    if !json {
        say!("{plan}\n");
    }
    if !yes {
        ask::confirm()?;
    }
    told(&Box::pin(follow::to_the_end(world, plan)).await?, json)
}

pub(crate) async fn adopt(
    world: &World,
    workload: Option<WorkloadId>,
    json: bool,
) -> Result<ExitCode, End> {
    let workload = world.workload(workload)?;
    let adopted = world.engine.adopt(&workload, world.actor.clone()).await;
    let run = adopted.map_err(|e| match e.refusal() {
        // Unlike a rollback, this has nothing to reapply.
        Some(Refusal::AlreadyLive {
            deployment,
            release,
        }) => End::new(
            REFUSED,
            format!("{release} is live and on record already as {deployment}; nothing to adopt"),
        ),
        _ => End::from(e),
    })?;
    told(&run.await?, json)
}

/// Says how a run ended.
fn told(report: &Report, json: bool) -> Result<ExitCode, End> {
    if json {
        say!("{}", serde_json::to_string_pretty(report)?);
    } else {
        say!("{}", follow::ending(report));
    }
    Ok(end::code_of_run(report))
}

pub(crate) async fn recover(
    world: &World,
    forced: Option<WorkloadId>,
    json: bool,
) -> Result<ExitCode, End> {
    if let Some(workload) = forced {
        let guards = [GuardName::composition()];
        return match world.engine.recover_forcing(&workload, &guards).await? {
            Some(report) => told(&report, json),
            None => Err(End::new(UNKNOWN, "nothing was left unfinished there")),
        };
    }
    let recovered = world.engine.recover().await?;
    if json {
        say!("{}", serde_json::to_string_pretty(&recovered)?);
        let failed = recovered.iter().any(|one| one.result.is_err());
        return Ok(ExitCode::from(if failed { FAILED } else { 0 }));
    }
    if recovered.is_empty() {
        say!("Nothing was left unfinished.");
    }
    let mut worst = ExitCode::SUCCESS;
    for one in recovered {
        match one.result {
            Ok(report) => say!("{}", follow::ending(&report)),
            Err(e) => {
                aside!("history: {}: {}", one.workload, words::of(&e));
                worst = ExitCode::from(FAILED);
            }
        }
    }
    Ok(worst)
}
