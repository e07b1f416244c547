//! One group in full: the decision, what each member did, what was left alone.

use std::process::ExitCode;

use rollback_core::deployment::Deployment;
use rollback_core::id::DeploymentId;
use rollback_examples::abbreviation::Abbreviation;

use super::told::Told;
use crate::end::End;
use crate::out::say;
use crate::text::{self, ago, ended, field, release, took, verdict};
use crate::world::World;

pub(crate) async fn run(world: &World, typed: &Abbreviation, json: bool) -> Result<ExitCode, End> {
    let (id, _) = world.group(typed).await?;
    let told = Told::of(world, world.engine.group(&id).await?).await?;
    if json {
        let mut value = told.as_json()?;
        value["records"] = serde_json::to_value(&told.records)?;
        say!("{}", serde_json::to_string_pretty(&value)?);
        return Ok(ExitCode::SUCCESS);
    }
    let group = &told.group;
    let ids = world.ids(told.ids()).await?;
    say!("{id}\n");
    field("stack", group.stack.to_string());
    field("what", told.what(&ids));
    let when = ago(group.opened_at, world.now);
    field("by", format!("{}, {when}", group.actor));
    if let Some(reason) = &group.reason {
        field("because", reason.to_string());
    }
    field("way", told.way());
    field("decision", told.decision());
    field("took", told.took());
    for (workload, id) in group.roll.moves() {
        say!();
        field(&workload.to_string(), id.to_string());
        match told.records.get(workload).and_then(Option::as_ref) {
            Some(record) => member(record),
            None => field("  outcome", "its record is gone, or cannot be read"),
        }
    }
    for (workload, live, why) in told.left_alone() {
        say!();
        field(&workload.to_string(), format!("left alone: {why}"));
        if let Some(live) = live {
            field("  live", on_record(world, live).await);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn member(d: &Deployment) {
    let new = d.opening();
    let was = new.from.release();
    field("  release", release(d));
    field(
        "  was live",
        was.map_or_else(|| "nothing".to_owned(), ToString::to_string),
    );
    if let Some(purpose) = d.purpose() {
        field("  purpose", text::purpose(purpose));
    }
    field("  outcome", ended(d));
    field("  health", verdict(d));
    field("  took", took(d));
    for guard in &new.forced {
        field("  forced", guard.to_string());
    }
    for warning in &new.warnings {
        field("  warning", warning.to_string());
    }
    if let Some(settlement) = d.settlement() {
        field("  in words", &settlement.summary);
    }
}

/// What was live all the while.
async fn on_record(world: &World, id: &DeploymentId) -> String {
    match world.engine.get(id).await {
        Ok(record) => format!("{}\n{id}", release(&record)),
        Err(_) => id.to_string(),
    }
}
