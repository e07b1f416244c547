//! Forgetting old records: what would go is said, and asked about, before it goes.

use std::collections::HashSet;
use std::process::ExitCode;
use std::time::Duration;

use rollback_core::engine::CleanedUp;
use rollback_core::history::Query;
use rollback_core::id::{DeploymentId, WorkloadId};
use rollback_core::policy::{Keep, Retention};
use rollback_core::prelude::Deployment;

use crate::args::Cleanup;
use crate::ask;
use crate::end::{End, REFUSED};
use crate::out::say;
use crate::text::{DAY, ago, ended, release};
use crate::world::World;

/// What a clean-up is about to do to one workload.
struct Goes {
    workload: WorkloadId,
    rules: Retention,
    /// Whole records, newest first.
    records: Vec<Deployment>,
    /// Releases that can be rolled back to today, and not afterwards.
    releases: Vec<String>,
    will: CleanedUp,
}

pub(crate) async fn run(world: &World, cleanup: Cleanup) -> Result<ExitCode, End> {
    let workloads = match &cleanup.workload {
        Some(workload) => {
            world
                .knows(Some(workload.service()), Some(workload.target()))
                .await?;
            vec![workload.clone()]
        }
        None => everywhere(world).await?,
    };
    let everything = cleanup.newest == Some(0) && cleanup.days == Some(0);
    if everything && !cleanup.yes && !cleanup.dry_run {
        let text = "0 records and 0 days keep only what no rule lets go; nothing was forgotten; \
                    say --yes if that is meant";
        return Err(End::new(REFUSED, text));
    }
    let mut all = Vec::new();
    for workload in workloads {
        all.push(goes(world, workload, &cleanup).await?);
    }
    let mut count = 0;
    for goes in &all {
        if !cleanup.json {
            tell(world, goes).await?;
        }
        count += goes.records.len();
    }
    if cleanup.dry_run {
        let will: Vec<&CleanedUp> = all.iter().map(|goes| &goes.will).collect();
        match cleanup.json {
            true => say!("{}", serde_json::to_string_pretty(&will)?),
            false => say!("{} would be forgotten.", records(count)),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let anything = all
        .iter()
        .any(|g| !g.records.is_empty() || !g.releases.is_empty());
    if anything && !cleanup.yes {
        ask::confirm()?;
    }
    let mut all_done = Vec::new();
    for goes in all {
        let rules = Some(goes.rules);
        let done = world.engine.clean_up(&goes.workload, rules, &world.actor);
        all_done.push(done.await?);
    }
    if cleanup.json {
        say!("{}", serde_json::to_string_pretty(&all_done)?);
        return Ok(ExitCode::SUCCESS);
    }
    let forgotten: usize = all_done.iter().map(|done| done.forgotten.len()).sum();
    let verb = if forgotten == 1 { "was" } else { "were" };
    say!("{} {verb} forgotten.", records(forgotten));
    Ok(ExitCode::SUCCESS)
}

/// The workloads of the file; without one, those on record.
async fn everywhere(world: &World) -> Result<Vec<WorkloadId>, End> {
    if let Ok(catalog) = world.catalog() {
        return Ok(catalog.to_vec());
    }
    let states = world.store.workloads().await?.states;
    Ok(states.into_iter().map(|s| s.workload).collect())
}

async fn goes(world: &World, workload: WorkloadId, cleanup: &Cleanup) -> Result<Goes, End> {
    let mut rules = world.engine.rules(&workload).await?.policy.retention;
    let held = rules.records;
    rules.records = Keep::new(
        cleanup.newest.unwrap_or(held.newest),
        cleanup.days.unwrap_or(held.days),
    );
    let preview = world.engine.preview_clean_up(&workload, Some(rules));
    let will = preview.await?;
    let mut records = Vec::new();
    for id in &will.forgotten {
        records.push(world.engine.get(id).await?);
    }
    Ok(Goes {
        releases: releases(world, &workload, &will).await?,
        workload,
        rules,
        records,
        will,
    })
}

/// What can be rolled back to today, and not once nothing stays within reach but this window.
async fn releases(
    world: &World,
    workload: &WorkloadId,
    will: &CleanedUp,
) -> Result<Vec<String>, End> {
    let window: HashSet<&DeploymentId> = will.window.iter().collect();
    let (mut stay, mut go) = (HashSet::new(), Vec::new());
    let mut query = Query::workload(workload).limit(1_000);
    loop {
        let page = world.engine.history(&query).await?;
        for row in &page.rows {
            let Some(release) = row.deployment.release() else {
                continue;
            };
            let id = row.deployment.id();
            if window.contains(id) {
                stay.insert(release.digest());
            } else if row.is_rollback_point() {
                go.push((release.digest(), release.to_string()));
            }
        }
        match page.next {
            Some(next) => query.before = Some(next),
            None => break,
        }
    }
    // One release may have been deployed often.
    let mut names = Vec::new();
    for (digest, name) in go {
        if stay.insert(digest) {
            names.push(name);
        }
    }
    Ok(names)
}

async fn tell(world: &World, goes: &Goes) -> Result<(), End> {
    let Goes { workload, will, .. } = goes;
    match goes.records.len() {
        0 => say!("{workload}: no record goes"),
        1 => say!("{workload}: 1 record goes"),
        count => say!("{workload}: {count} records go"),
    }
    let ids = world.ids(goes.records.iter().map(Deployment::id)).await?;
    for d in &goes.records {
        let when = ago(d.opening().opened_at, world.now);
        let (what, how) = (d.trigger().kind(), ended(d));
        say!(
            "  {}  {what} {}, {how}, {when}",
            ids.short(d.id()),
            release(d)
        );
    }
    if !goes.releases.is_empty() {
        say!(
            "  no rollback goes to these any more: {}",
            goes.releases.join(", ")
        );
    }
    if world.deploys(workload).is_err() {
        say!(
            "  how this workload is deployed is not known, so what its records let go stays there"
        );
    }
    let numbers = by_the_numbers(world, goes).await?;
    say!("  {numbers} {} kept: {}", are(numbers), goes.rules.records);
    let more = will.kept - numbers;
    if more > 0 {
        say!(
            "  {more} more {} kept: live, last healthy, pinned, or pointed at",
            are(more)
        );
    }
    Ok(())
}

/// How many of the records that stay are new enough to.
async fn by_the_numbers(world: &World, goes: &Goes) -> Result<usize, End> {
    let keep = goes.rules.records;
    let span = Duration::from_secs(u64::from(keep.days) * DAY.as_secs());
    let mut query = Query::workload(&goes.workload).limit(1_000);
    let (mut seen, mut count) = (0, 0);
    loop {
        let page = world.engine.list(&query).await?;
        for d in &page.deployments {
            let young = world.now.since(d.opening().opened_at) < span;
            count += usize::from(seen < keep.newest || young);
            seen += 1;
        }
        match page.next {
            Some(next) => query.before = Some(next),
            None => return Ok(count.min(goes.will.kept)),
        }
    }
}

fn records(count: usize) -> String {
    match count {
        1 => "1 record".to_owned(),
        count => format!("{count} records"),
    }
}

fn are(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}
