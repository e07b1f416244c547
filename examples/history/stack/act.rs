//! Commands that move a stack: forward, back, anew.

use std::path::Path;
use std::process::ExitCode;

use rollback_core::engine::GroupReport;
use rollback_core::history::Liveness;
use rollback_core::id::{GroupId, StackName, WorkloadId};
use rollback_core::stack::{StackGoal, StackPlan, StackRequest};
use rollback_examples::abbreviation::Abbreviation;
use serde_json::{Map, Value, json};

use super::follow;
use super::told::Told;
use crate::act::{read_plan, settle_first};
use crate::args::{Reference, StackBack, StackGo, StackHow, StackPreview};
use crate::ask;
use crate::end::{self, End, UNKNOWN, USAGE};
use crate::out::say;
use crate::words;
use crate::world::World;

/// The stack that is meant, of those that can be moved.
fn meant(world: &World, how: &StackHow) -> Result<StackName, End> {
    let stack = world.stack(how.stack.as_ref());
    let stack = stack.map_err(|e| match how.stack {
        None if world.stacks().is_ok() => End::new(USAGE, format!("{} with --stack", e.text())),
        _ => e,
    });
    Ok(stack?.name().clone())
}

/// Where to, and which stack.
async fn goal(
    world: &World,
    back: &StackBack,
    how: &StackHow,
) -> Result<(StackName, StackGoal), End> {
    let group = match back.group.as_ref().or(back.before.as_ref()) {
        Some(typed) => Some(of_stack(world, typed, how).await?),
        None => None,
    };
    if let Some((stack, group)) = group {
        let goal = match back.before {
            Some(_) => StackGoal::Before(group),
            None => StackGoal::To(group),
        };
        return Ok((stack, goal));
    }
    let goal = match back.at {
        Some(time) => StackGoal::AsOf(time),
        None if back.previous => StackGoal::Previous,
        None => StackGoal::LastHealthy,
    };
    Ok((meant(world, how)?, goal))
}

/// A group, and the stack that it moved: it says which one is meant.
async fn of_stack(
    world: &World,
    typed: &Abbreviation,
    how: &StackHow,
) -> Result<(StackName, GroupId), End> {
    let (group, stack) = world.group(typed).await?;
    world.stack(Some(&stack))?;
    match &how.stack {
        Some(named) if *named != stack => {
            let text = format!("{group} moved {stack}, not {named}; nothing was changed");
            Err(End::new(UNKNOWN, text))
        }
        _ => Ok((stack, group)),
    }
}

/// The stack that a workload belongs to: there is one at most.
fn that_has(world: &World, workload: &WorkloadId) -> Result<StackName, End> {
    let stacks = world.stacks()?;
    let that = stacks.iter().find(|s| s.workloads().contains(workload));
    that.map(|stack| stack.name().clone()).ok_or_else(|| {
        let text = format!(
            "{workload} belongs to no stack; nothing was changed; deploy it by itself, or add it to \
             one in workloads.json"
        );
        End::new(USAGE, text)
    })
}

/// Refuses what does not belong to the stack.
fn belongs(world: &World, stack: &StackName, workload: &WorkloadId) -> Result<(), End> {
    let has = world.stack(Some(stack))?.workloads();
    if has.contains(workload) {
        return Ok(());
    }
    let names: Vec<String> = has.iter().map(ToString::to_string).collect();
    let text = format!(
        "{workload} does not belong to {stack}, which has {}; nothing was changed",
        names.join(", ")
    );
    Err(End::new(USAGE, text))
}

fn with(world: &World, mut request: StackRequest, how: &StackHow) -> Result<StackRequest, End> {
    for guard in &how.force {
        request = request.force(guard.clone());
    }
    for workload in &how.without_way_back {
        belongs(world, request.stack(), workload)?;
        request = request.without_way_back(workload.clone());
    }
    if let Some(reason) = &how.reason {
        request = request.because(reason.parse()?);
    }
    Ok(request)
}

pub(crate) async fn preview(world: &World, asked: StackPreview) -> Result<ExitCode, End> {
    let StackPreview {
        back,
        undo,
        redo,
        how,
        json,
    } = asked;
    let (stack, goal) = match (undo, redo) {
        (true, _) => (meant(world, &how)?, StackGoal::Undo),
        (_, true) => (meant(world, &how)?, StackGoal::Redo),
        _ => goal(world, &back, &how).await?,
    };
    let request = StackRequest::rollback(stack, goal, world.actor.clone());
    let request = with(world, request, &how)?;
    let plan = world.engine.preview_stack(&request).await?;
    match json {
        true => say!("{}", serde_json::to_string_pretty(&plan)?),
        false => say!("{}", in_words(&plan)),
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn rollback(
    world: &World,
    back: StackBack,
    asked: StackGo,
) -> Result<ExitCode, End> {
    let (stack, goal) = goal(world, &back, &asked.how).await?;
    let request = StackRequest::rollback(stack, goal, world.actor.clone());
    run(world, request, &asked).await
}

/// Undo, or redo.
pub(crate) async fn retrace(
    world: &World,
    goal: StackGoal,
    asked: StackGo,
) -> Result<ExitCode, End> {
    let stack = meant(world, &asked.how)?;
    let request = StackRequest::rollback(stack, goal, world.actor.clone());
    run(world, request, &asked).await
}

pub(crate) async fn redeploy(
    world: &World,
    group: &Abbreviation,
    asked: StackGo,
) -> Result<ExitCode, End> {
    let (stack, group) = of_stack(world, group, &asked.how).await?;
    let request = StackRequest::redeploy(stack, group, world.actor.clone());
    run(world, request, &asked).await
}

pub(crate) async fn deploy(
    world: &World,
    references: Vec<Reference>,
    asked: StackGo,
) -> Result<ExitCode, End> {
    let references = Reference::each(references).map_err(|twice| {
        End::new(
            USAGE,
            format!("{twice} is named twice; nothing was changed"),
        )
    })?;
    for workload in references.keys() {
        world.deploys(workload)?;
    }
    let stack = match (&asked.how.stack, references.keys().next()) {
        (None, Some(first)) => that_has(world, first)?,
        _ => meant(world, &asked.how)?,
    };
    for workload in references.keys() {
        belongs(world, &stack, workload)?;
    }
    let request = StackRequest::deploy(stack, references, world.actor.clone());
    run(world, request, &asked).await
}

/// Carries out what was shown to somebody before: if a member has moved since, it is stale.
pub(crate) async fn execute(
    world: &World,
    file: &Path,
    yes: bool,
    json: bool,
) -> Result<ExitCode, End> {
    let plan: StackPlan = read_plan(file, "stack preview --json")?;
    world.stack(Some(plan.stack()))?;
    go(world, plan, yes, json).await
}

/// Plans, and goes. What a dead process left unfinished is settled first.
async fn run(world: &World, request: StackRequest, asked: &StackGo) -> Result<ExitCode, End> {
    let request = with(world, request, &asked.how)?;
    let plan = match world.engine.preview_stack(&request).await {
        Err(e) => match e.conflict() {
            Some(c) if c.liveness == Liveness::Dead => {
                settle_first(world, c, asked.yes).await?;
                world.engine.preview_stack(&request).await?
            }
            _ => return Err(e.into()),
        },
        Ok(plan) => plan,
    };
    go(world, plan, asked.yes, asked.json).await
}

fn in_words(plan: &StackPlan) -> String {
    plan.to_string().trim_end().to_owned()
}

/// Shows the plan, asks, carries it out, and says how it ended.
async fn go(world: &World, plan: StackPlan, yes: bool, json: bool) -> Result<ExitCode, End> {
    if !json {
        say!("{}\n", in_words(&plan));
    }
    if !yes {
        ask::confirm()?;
    }
    let report = Box::pin(follow::to_the_end(world, plan)).await?;
    let told = Told::of(world, world.engine.group(report.id()).await?).await?;
    match json {
        true => say!(
            "{}",
            serde_json::to_string_pretty(&as_json(&told, &report)?)?
        ),
        false => say!("{}", ending(&told, &report)),
    }
    Ok(end::code_of_group(&report))
}

/// Which way the group went and how long it took; and the same of each workload, in words.
fn ending(told: &Told, report: &GroupReport) -> String {
    let (id, way, took) = (report.id(), told.way(), told.took());
    let mut lines = vec![format!("{id}: {way}, {took}"), report.summary()];
    for (workload, stays) in report.stays() {
        lines.push(format!("{workload} stays as it was: {}", stays.why));
    }
    lines.join("\n")
}

/// The `group`, and by workload what `members` did, or the `error` in words.
fn as_json(told: &Told, report: &GroupReport) -> Result<Value, serde_json::Error> {
    let mut members = Map::new();
    for (workload, member) in report.members() {
        let member = match member {
            Ok(report) => serde_json::to_value(report)?,
            Err(e) => json!({ "error": words::of(e) }),
        };
        members.insert(workload.to_string(), member);
    }
    Ok(json!({
        "group": told.as_json()?,
        "succeeded": report.succeeded(),
        "members": members,
    }))
}
