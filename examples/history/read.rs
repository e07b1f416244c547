//! Commands that change nothing.

use std::process::ExitCode;
use std::time::Duration;

use rollback_core::event::Event;
use rollback_core::history::{Query, Sequence};
use rollback_core::id::ServiceName;
use rollback_core::prelude::*;
use rollback_examples::abbreviation::Abbreviation;
use serde_json::json;

use crate::end::{AWAY, End, FAILED, UNKNOWN};
use crate::list::as_json;
use crate::out::say;
use crate::text::{self, DAY, ago, fate, field, release, span, took};
use crate::words;
use crate::world::World;

pub(crate) async fn show(world: &World, id: &Abbreviation, json: bool) -> Result<ExitCode, End> {
    let id = &world.id(id).await?;
    let record = world.engine.get(id).await?;
    let mut query = Query::workload(record.workload());
    query.before = Some(Sequence(record.sequence().0 + 1));
    let history = world.engine.history(&query.limit(1)).await?;
    let Some(row) = history.rows.into_iter().find(|r| r.deployment.id() == id) else {
        return Err(End::new(UNKNOWN, format!("{id} cannot be shown")));
    };
    if json {
        say!("{}", serde_json::to_string_pretty(&as_json(&row)?)?);
        return Ok(ExitCode::SUCCESS);
    }
    let d = &row.deployment;
    let new = d.opening();
    say!("{id}\n");
    field("workload", d.workload().to_string());
    if let Some(backend) = new.backend() {
        field("backend", backend.as_str());
    }
    field("what", trigger(d));
    if let Some(purpose) = d.purpose() {
        field("purpose", text::purpose(purpose));
    }
    if let Some(group) = d.group() {
        let (id, stack) = (&group.id, &group.stack);
        field(
            "group",
            format!("{id}, of {stack}; stack show has all of it"),
        );
    }
    field("release", release(d));
    field(
        "by",
        format!("{}, {}", d.actor(), ago(new.opened_at, world.now)),
    );
    if let Some(reason) = &new.reason {
        field("because", reason.to_string());
    }
    if let Some(correlation) = &new.correlation {
        field("correlation", correlation.to_string());
    }
    for (name, value) in &new.labels {
        field("label", format!("{name}={value}"));
    }
    field("outcome", fate(&row));
    field("health", d.verdict().to_string());
    field("took", took(d));
    field(
        "was live",
        new.from
            .release()
            .map_or_else(|| "nothing".to_owned(), ToString::to_string),
    );
    if let Some(replaced) = new.replaces.known() {
        field("replaced", replaced.to_string());
    }
    // What put right what it broke is its end, and took no place.
    if let Some(by) = row.replaced_by.as_ref().filter(|_| d.went_live()) {
        field("replaced by", by.to_string());
    }
    if let Some(by) = &row.abandoned_by {
        field("abandoned by", by.to_string());
    }
    field(
        "rollback point",
        match &row.no_rollback_point {
            None => "yes".to_owned(),
            Some(why) => format!("no: {why}"),
        },
    );
    for guard in &new.forced {
        field("forced", guard.to_string());
    }
    for warning in &new.warnings {
        field("warning", warning.to_string());
    }
    if d.annotations().pinned {
        field("pinned", "kept from clean-ups");
    }
    for note in d.annotations().bad.iter() {
        field("marked bad", note.to_string());
    }
    for note in &d.annotations().notes {
        field("note", note.to_string());
    }
    say!();
    for timed in d.events() {
        let after = span(timed.at.since(new.opened_at));
        say!("{after:>10}  {}", event(&timed.event));
    }
    Ok(ExitCode::SUCCESS)
}

fn trigger(d: &Deployment) -> String {
    let kind = d.trigger().kind();
    match d.trigger() {
        Trigger::Redeploy { of } => format!("{kind} of {of}"),
        Trigger::Rollback { to } => format!("{kind} to {to}"),
        Trigger::AutomaticRollback { to, failed } => format!("{kind} of {failed} to {to}"),
        _ => kind.to_string(),
    }
}

fn event(event: &Event) -> String {
    let name = event.name().replace('-', " ");
    match event {
        Event::Judged { verdict, notes, .. } if notes.is_empty() => format!("{name}: {verdict}"),
        Event::Judged { verdict, notes, .. } => {
            format!("{name}: {verdict} ({})", notes.join("; "))
        }
        Event::TaskIntended { name: task } | Event::TaskDone { name: task } => {
            format!("{name}: {task}")
        }
        Event::RemediationIntended { name: remedy } => format!("{name}: {remedy}"),
        Event::Remediated { name: remedy, did } => format!("{name}: {remedy}: {did}"),
        Event::RemediationWithheld { name: remedy, why } => format!("{name}: {remedy}: {why}"),
        Event::Diagnosed(diagnosis) => {
            let lines = diagnosis.to_string().replace('\n', "\n            ");
            format!("{name}:\n            {lines}")
        }
        Event::GoingBack(cause) => format!("{name}: {cause}"),
        Event::TakenOver { decision, .. } => format!("{name}: {decision}"),
        Event::Settled(settlement) => format!("{name}: {}", settlement.summary),
        Event::RolledBackBy { deployment } => format!("{name} {deployment}"),
        _ => name,
    }
}

pub(crate) async fn compare(
    world: &World,
    from: &Abbreviation,
    to: &Abbreviation,
    json: bool,
) -> Result<ExitCode, End> {
    let (from, to) = (world.id(from).await?, world.id(to).await?);
    let comparison = world.engine.compare(&from, &to).await?;
    if json {
        say!("{}", serde_json::to_string_pretty(&comparison)?);
    } else {
        say!("{comparison}");
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn stats(
    world: &World,
    service: Option<ServiceName>,
    days: Option<u32>,
    json: bool,
) -> Result<ExitCode, End> {
    world.knows(service.as_ref(), None).await?;
    let mut query = Query::default();
    query.service = service;
    query.since = days.map(|days| world.now.minus(DAY * days));
    let stats = world.engine.stats(&query).await?;
    if json {
        let mut value = serde_json::to_value(&stats)?;
        value["success_rate"] = json!(stats.success_rate());
        say!("{}", serde_json::to_string_pretty(&value)?);
        return Ok(ExitCode::SUCCESS);
    }
    let Some(rate) = stats.success_rate() else {
        say!("No deployments.");
        return Ok(ExitCode::SUCCESS);
    };
    say!("deployments   {}", stats.total);
    say!("success rate  {:.0} %", rate * 100.0);
    if let (Some(mean), Some(p95)) = (stats.mean_ms, stats.p95_ms) {
        let mean = Duration::from_secs_f64(mean / 1_000.0);
        say!(
            "duration      mean {}, 95 % within {}",
            span(mean),
            span(Duration::from_millis(p95))
        );
    }
    say!("rollbacks     {}", stats.rollbacks);
    for (outcome, count) in &stats.by_outcome {
        say!("  {outcome:<24}{count}");
    }
    if stats.recent_failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    say!("\nrecent failures");
    let ids = world.ids(&stats.recent_failures).await?;
    for id in &stats.recent_failures {
        let record = world.engine.get(id).await?;
        let summary = record.settlement().map_or("", |s| s.summary.as_str());
        say!("  {}  {summary}", ids.short(id));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn verify(world: &World, json: bool) -> Result<ExitCode, End> {
    let faults = world
        .engine
        .verify()
        .await
        .map_err(|e| End::new(AWAY, words::of(&e)))?;
    if json {
        say!("{}", serde_json::to_string_pretty(&faults)?);
    } else {
        for fault in &faults {
            say!("{}", words::typed(&fault.to_string()));
        }
    }
    match faults.len() {
        0 if json => Ok(ExitCode::SUCCESS),
        0 => {
            say!("All is well.");
            Ok(ExitCode::SUCCESS)
        }
        1 => Err(End::new(FAILED, "1 thing is wrong")),
        several => Err(End::new(FAILED, format!("{several} things are wrong"))),
    }
}
