//! Commands that change the history and its rules, and deploy nothing.

use std::process::ExitCode;

use rollback_core::id::WorkloadId;
use rollback_core::plan::Refusal;
use rollback_core::policy::{AfterRollback, Keep};
use rollback_examples::abbreviation::Abbreviation;

use crate::args::Configure;
use crate::ask;
use crate::end::{End, REFUSED};
use crate::out::say;
use crate::place::Kind;
use crate::text::ago;
use crate::world::World;

pub(crate) async fn pin(world: &World, id: &Abbreviation) -> Result<ExitCode, End> {
    let id = world.id(id).await?;
    world.engine.pin(&id, &world.actor).await?;
    say!("{id} is kept from clean-ups.");
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn unpin(world: &World, id: &Abbreviation) -> Result<ExitCode, End> {
    let id = world.id(id).await?;
    world.engine.unpin(&id, &world.actor).await?;
    say!("{id} is left to clean-ups.");
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn note(world: &World, id: &Abbreviation, text: &str) -> Result<ExitCode, End> {
    let id = world.id(id).await?;
    world.engine.note(&id, text.parse()?, &world.actor).await?;
    say!("Noted.");
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn mark_bad(world: &World, id: &Abbreviation, why: &str) -> Result<ExitCode, End> {
    let id = world.id(id).await?;
    let before = world.engine.get(&id).await?.annotations().bad.clone();
    world
        .engine
        .mark_bad(&id, why.parse()?, &world.actor)
        .await?;
    say!("No rollback will go to {id}.");
    if let Some(note) = before {
        let when = ago(note.at, world.now);
        say!("This replaces what {} said {when}: {}", note.by, note.text);
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn clear_bad(world: &World, id: &Abbreviation) -> Result<ExitCode, End> {
    let id = world.id(id).await?;
    world.engine.clear_bad(&id, &world.actor).await?;
    say!("Rollbacks may go to {id} again.");
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn hold(
    world: &World,
    why: &str,
    workload: Option<WorkloadId>,
) -> Result<ExitCode, End> {
    let workload = world.workload(workload)?;
    let before = world.engine.state(&workload).await?.hold;
    let asked = world
        .engine
        .hold(&workload, why.parse()?, world.actor.clone());
    asked.await.map_err(|e| match e.refusal() {
        Some(Refusal::Held { workload, by, why }) => End::new(
            REFUSED,
            format!(
                "{workload} is held already, by {by}: {why}; that stays as it is (lift-hold ends it)"
            ),
        ),
        _ => End::from(e),
    })?;
    say!("{workload}: nothing but rollbacks goes through until the hold is lifted.");
    if let Some(hold) = before {
        let since = ago(hold.since, world.now);
        say!("This replaces your hold of {since}: {}", hold.why);
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn lift_hold(
    world: &World,
    workload: Option<WorkloadId>,
) -> Result<ExitCode, End> {
    let workload = world.workload(workload)?;
    match world.engine.lift_hold(&workload, &world.actor).await? {
        Some(hold) => say!(
            "{workload}: deploys go through again; {} had held them: {}",
            hold.by,
            hold.why
        ),
        None => say!("{workload}: nothing was held."),
    }
    Ok(ExitCode::SUCCESS)
}

/// Gives up what recovery cannot end. Nothing is done at the platform.
pub(crate) async fn abandon(
    world: &World,
    workload: WorkloadId,
    why: &str,
    yes: bool,
) -> Result<ExitCode, End> {
    let why = why.parse()?;
    if !yes {
        say!("What is in flight on {workload} is given up; nothing is done at the platform.");
        ask::confirm()?;
    }
    let actor = world.actor.clone();
    let id = world.engine.abandon(&workload, why, actor).await?;
    say!(
        "{id} was given up. What is live is not known: look at the platform, then adopt or deploy."
    );
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn rebuild_index(world: &World) -> Result<ExitCode, End> {
    match &world.opened.kind {
        Kind::Json(store) => {
            store.rebuild_index().await?;
            say!("The index was made anew from the records.");
        }
        Kind::Sqlite(_) => say!("Only a JSON history has an index of its own; nothing was done."),
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn configure(world: &World, c: Configure) -> Result<ExitCode, End> {
    let workload = world.workload(c.workload)?;
    let mut policy = world.engine.rules(&workload).await?.policy;
    if let Some(mode) = c.rollback {
        policy.rollback = mode;
    }
    let records = &mut policy.retention.records;
    *records = Keep::new(
        c.keep_records.unwrap_or(records.newest),
        c.keep_days.unwrap_or(records.days),
    );
    if let Some(hold) = c.hold_after_rollback {
        policy.after_rollback = match hold {
            true => AfterRollback::Hold,
            false => AfterRollback::Nothing,
        };
    }
    let policy = (!c.reset).then_some(policy);
    let done = if c.dry_run {
        world
            .engine
            .preview_configure(&workload, policy.as_ref())
            .await?
    } else {
        let actor = &world.actor;
        world
            .engine
            .configure(&workload, policy.as_ref(), actor)
            .await?
    };
    if c.json {
        say!("{}", serde_json::to_string_pretty(&done)?);
        return Ok(ExitCode::SUCCESS);
    }
    for change in &done.changes {
        say!("{change}");
    }
    match (done.changes.is_empty(), c.dry_run) {
        (true, _) => say!("{workload}: nothing changes."),
        (false, true) => say!("{workload}: nothing was changed yet."),
        (false, false) => say!("{workload}: set."),
    }
    Ok(ExitCode::SUCCESS)
}
