//! What rollbacks are kept from: recalls, and the floor.

use std::process::ExitCode;

use rollback_core::history::HistoryReader;
use rollback_core::id::WorkloadId;
use rollback_examples::abbreviation::Abbreviation;

use crate::end::End;
use crate::out::say;
use crate::world::World;

pub(crate) async fn recall(world: &World, artifact: &str, why: &str) -> Result<ExitCode, End> {
    let engine = &world.engine;
    let on = engine.recall(artifact, why.parse()?, &world.actor).await?;
    say!("{artifact} is recalled on {}.", names(&on));
    if !is_on_record(world, &on, artifact).await? {
        say!(
            "No deployment there has it: what is recalled is a digest, whole, as list --json has it."
        );
    }
    say!("What is live stays live; to go there all the same, --force recall.");
    Ok(ExitCode::SUCCESS)
}

/// Whether any deployment of these workloads has this artifact: a tag, or a part of a digest, is
/// recalled as well, and keeps rollbacks from nothing.
async fn is_on_record(world: &World, on: &[WorkloadId], artifact: &str) -> Result<bool, End> {
    for workload in on {
        let all = world.store.summaries(workload, usize::MAX).await?.summaries;
        let mut releases = all.iter().filter_map(|s| s.release.as_ref());
        if releases.any(|r| r.artifact == artifact) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(crate) async fn clear_recall(world: &World, artifact: &str) -> Result<ExitCode, End> {
    let on = world.engine.clear_recall(artifact, &world.actor).await?;
    if on.is_empty() {
        say!("{artifact} was not recalled.");
    } else {
        say!("{artifact} is recalled no more on {}.", names(&on));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn floor(
    world: &World,
    deployment: &Abbreviation,
    why: &str,
) -> Result<ExitCode, End> {
    let id = world.id(deployment).await?;
    let engine = &world.engine;
    engine.set_floor(&id, why.parse()?, &world.actor).await?;
    say!("Rollbacks go no further back than {id}, but with --force floor.");
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn clear_floor(
    world: &World,
    workload: Option<WorkloadId>,
) -> Result<ExitCode, End> {
    let workload = world.workload(workload)?;
    world.engine.clear_floor(&workload, &world.actor).await?;
    say!("{workload}: rollbacks go to any deployment.");
    Ok(ExitCode::SUCCESS)
}

fn names(of: &[WorkloadId]) -> String {
    let names: Vec<String> = of.iter().map(ToString::to_string).collect();
    names.join(", ")
}
