//! Commands that change nothing.

use std::process::ExitCode;
use std::time::Duration;

use rollback_core::engine::{CanRollBack, Row};
use rollback_core::event::Event;
use rollback_core::history::{Query, Sequence, WorkloadState};
use rollback_core::id::{DeploymentId, ServiceName, WorkloadId};
use rollback_core::lineage::Standing;
use rollback_core::prelude::*;
use serde_json::{Value, json};

use crate::args::List;
use crate::end::{AWAY, End, FAILED, UNKNOWN, USAGE};
use crate::text::{ago, ended, release, span, table, took};
use crate::world::World;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) async fn list(world: &World, list: List) -> Result<ExitCode, End> {
    let json = list.json;
    let history = world.engine.history(&query(world, list)?).await?;
    if json {
        let rows: Vec<Value> = history.rows.iter().map(as_json).collect::<Result<_, _>>()?;
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else if history.rows.is_empty() {
        println!("No deployments.");
    } else {
        let rows = history.rows.iter().map(|row| line(world, row)).collect();
        let header = [
            "", "ID", "WORKLOAD", "WHAT", "RELEASE", "OUTCOME", "HEALTH", "BY", "WHEN", "TOOK",
        ];
        println!("{}", table(&header, rows));
        println!("\n* live   + last healthy   ! no rollback point (show ID says why)");
        if let Some(next) = history.next {
            println!("More: --before {next}");
        }
    }
    for unreadable in &history.unreadable {
        eprintln!("history: unreadable: {unreadable}");
    }
    Ok(ExitCode::SUCCESS)
}

fn query(world: &World, list: List) -> Result<Query, End> {
    let mut query = Query::default().limit(list.limit);
    query.service = list.service;
    query.target = list.target;
    query.backend = list.backend.map(|b| b.parse()).transpose()?;
    query.outcome = list.outcome.map(|o| word("outcome", &o)).transpose()?;
    query.trigger = list.trigger.map(|t| word("trigger", &t)).transpose()?;
    query.actor = list.actor.map(|a| a.parse()).transpose()?;
    query.label = match list.label {
        Some(label) => match label.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => return Err(End::new(USAGE, "write a label as name=value")),
        },
        None => None,
    };
    query.since = list.days.map(|days| world.now.minus(DAY * days));
    query.before = list.before.map(Sequence);
    Ok(query)
}

/// One of the words that records use.
fn word<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, End> {
    let text = text.replace(['-', ' '], "_");
    serde_json::from_value(Value::String(text.clone()))
        .map_err(|_| End::new(USAGE, format!("{text} is no {what}; see list --help")))
}

fn line(world: &World, row: &Row) -> Vec<String> {
    let d = &row.deployment;
    let mark = match (row.standing, row.last_healthy, row.is_rollback_point()) {
        (Standing::Live, _, _) => "*",
        (_, true, _) => "+",
        (_, _, false) => "!",
        _ => "",
    };
    vec![
        mark.to_owned(),
        d.id().to_string(),
        d.workload().to_string(),
        d.trigger().kind().to_string(),
        release(d),
        ended(d),
        health(d),
        d.actor().name().to_string(),
        ago(d.new_deployment().opened_at, world.now),
        took(d),
    ]
}

fn health(d: &Deployment) -> String {
    match d.verdict() {
        Verdict::Unknown => "not checked".to_owned(),
        Verdict::Passed => "passed".to_owned(),
        Verdict::Healed { by } => format!("healed by {by}"),
        _ => "failed".to_owned(),
    }
}

/// The record, and what scripts ask first of it at its top.
fn as_json(row: &Row) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(row)?;
    let d = &row.deployment;
    value["user"] = json!(d.actor().name());
    value["service"] = json!(d.workload().service());
    value["machine"] = json!(d.workload().target());
    value["status"] = json!(d.outcome().map_or("in_progress", |o| o.as_str()));
    value["health"] = serde_json::to_value(d.verdict().kind())?;
    value["release"] = json!(release(d));
    value["duration_ms"] = json!(d.duration().map(|t| t.as_millis() as u64));
    value["rollback_point"] = json!(row.is_rollback_point());
    Ok(value)
}

pub(crate) async fn show(world: &World, id: &DeploymentId, json: bool) -> Result<ExitCode, End> {
    let record = world.engine.get(id).await?;
    let mut query = Query::workload(record.workload());
    query.before = Some(Sequence(record.sequence().0 + 1));
    let history = world.engine.history(&query.limit(1)).await?;
    let Some(row) = history.rows.into_iter().find(|r| r.deployment.id() == id) else {
        return Err(End::new(UNKNOWN, format!("{id} cannot be shown")));
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&as_json(&row)?)?);
        return Ok(ExitCode::SUCCESS);
    }
    let d = &row.deployment;
    let new = d.new_deployment();
    let say = |label: &str, text: String| println!("{label:<14}{text}");
    println!("{id}\n");
    say("workload", d.workload().to_string());
    say("what", trigger(d));
    say("release", release(d));
    say(
        "by",
        format!("{}, {}", d.actor(), ago(new.opened_at, world.now)),
    );
    if let Some(reason) = &new.reason {
        say("because", reason.to_string());
    }
    if let Some(correlation) = &new.correlation {
        say("correlation", correlation.to_string());
    }
    for (name, value) in &new.labels {
        say("label", format!("{name}={value}"));
    }
    say("outcome", ended(d));
    say("health", d.verdict().to_string());
    say("took", took(d));
    if let Some(replaced) = new.replaces.known() {
        say("replaced", replaced.to_string());
    }
    if let Some(by) = &row.replaced_by {
        let how = match row.standing {
            Standing::RolledBack => "abandoned by",
            _ => "replaced by",
        };
        say(how, by.to_string());
    }
    say(
        "rollback point",
        match &row.no_rollback_point {
            None => " yes".to_owned(),
            Some(why) => format!(" no: {why}"),
        },
    );
    for guard in &new.forced {
        say("forced", guard.to_string());
    }
    for warning in &new.warnings {
        say("warning", warning.to_string());
    }
    if d.annotations().pinned {
        say("pinned", "kept from clean-ups".to_owned());
    }
    for note in d.annotations().bad.iter() {
        say("marked bad", note.to_string());
    }
    for note in &d.annotations().notes {
        say("note", note.to_string());
    }
    println!();
    for timed in d.events() {
        let after = span(timed.at.since(new.opened_at));
        println!("{after:>10}  {}", event(&timed.event));
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
        Event::GoingBack(cause) => format!("{name}: {cause}"),
        Event::TakenOver { decision } => format!("{name}: {decision}"),
        Event::Settled(settlement) => format!("{name}: {}", settlement.summary),
        Event::RolledBackBy { deployment } => format!("{name} {deployment}"),
        _ => name,
    }
}

pub(crate) async fn compare(
    world: &World,
    from: &DeploymentId,
    to: &DeploymentId,
    json: bool,
) -> Result<ExitCode, End> {
    let comparison = world.engine.compare(from, to).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&comparison)?);
    } else {
        println!("{comparison}");
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn stats(
    world: &World,
    service: Option<ServiceName>,
    days: Option<u32>,
    json: bool,
) -> Result<ExitCode, End> {
    let mut query = Query::default();
    query.service = service;
    query.since = days.map(|days| world.now.minus(DAY * days));
    let stats = world.engine.stats(&query).await?;
    if json {
        let mut value = serde_json::to_value(&stats)?;
        value["success_rate"] = json!(stats.success_rate());
        println!("{}", serde_json::to_string_pretty(&value)?);
        return Ok(ExitCode::SUCCESS);
    }
    let Some(rate) = stats.success_rate() else {
        println!("No deployments.");
        return Ok(ExitCode::SUCCESS);
    };
    println!("deployments   {}", stats.total);
    println!("success rate  {:.0} %", rate * 100.0);
    if let (Some(mean), Some(p95)) = (stats.mean_ms, stats.p95_ms) {
        let mean = Duration::from_secs_f64(mean / 1_000.0);
        println!(
            "duration      mean {}, 95 % within {}",
            span(mean),
            span(Duration::from_millis(p95))
        );
    }
    println!("rollbacks     {}", stats.rollbacks);
    for (outcome, count) in &stats.by_outcome {
        println!("  {:<24}{count}", outcome.replace('_', " "));
    }
    if !stats.recent_failures.is_empty() {
        println!("\nrecent failures");
    }
    for id in &stats.recent_failures {
        let record = world.engine.get(id).await?;
        let summary = record.settlement().map_or("", |s| s.summary.as_str());
        println!("  {id}  {summary}");
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn status(world: &World, only: Option<WorkloadId>) -> Result<ExitCode, End> {
    let known = world.engine.workloads().await?;
    let mut states = world.store.workloads().await?;
    for state in known {
        if states.iter().all(|s| s.workload != state.workload) {
            states.push(state);
        }
    }
    if let Some(only) = &only {
        states.retain(|s| s.workload == *only);
        if states.is_empty() {
            return Err(End::new(UNKNOWN, format!("nothing is known of {only}")));
        }
    }
    for (i, state) in states.iter().enumerate() {
        if i > 0 {
            println!();
        }
        one_status(world, state).await?;
    }
    if states.is_empty() {
        println!("No workloads.");
    }
    Ok(ExitCode::SUCCESS)
}

async fn one_status(world: &World, state: &WorkloadState) -> Result<(), End> {
    let say = |label: &str, text: String| println!("  {label:<14}{text}");
    println!("{}", state.workload);
    match &state.live {
        LiveRecord::Nothing => say("live", "nothing".to_owned()),
        LiveRecord::Unknown => say(
            "live",
            "not known; look at the platform, then adopt".to_owned(),
        ),
        LiveRecord::Known(id) => {
            let record = world.engine.get(id).await?;
            say(
                "live",
                format!("{}, {}", release(&record), record.verdict()),
            );
            let since = record
                .settled_at()
                .unwrap_or(record.new_deployment().opened_at);
            say("since", format!("{} ({id})", ago(since, world.now)));
        }
    }
    if let Some(in_flight) = &state.in_flight {
        let holder = &in_flight.holder;
        let alive = match in_flight.liveness {
            rollback_core::history::Liveness::Alive => "running",
            rollback_core::history::Liveness::Dead => "interrupted; run recover",
        };
        say(
            "in flight",
            format!(
                "{}, process {} on {}, {alive}",
                in_flight.deployment, holder.pid, holder.host
            ),
        );
    }
    if let Some(hold) = &state.hold {
        say(
            "held",
            format!(
                "by {}: {} ({})",
                hold.by,
                hold.why,
                ago(hold.since, world.now)
            ),
        );
    }
    // Only for a workload of the catalog is more known than the records say.
    let Ok(rules) = world.engine.rules(&state.workload).await else {
        return Ok(());
    };
    say(
        "rollback",
        format!(
            "{}; records: {}",
            rules.policy.rollback, rules.policy.retention.records
        ),
    );
    let drift = match world.engine.health(&state.workload).await {
        Ok(health) => health.drift.to_string(),
        Err(e) => format!("cannot be seen: {e}"),
    };
    say("drift", drift);
    let can = match world
        .engine
        .can_roll_back(&state.workload, world.actor.clone())
        .await
    {
        CanRollBack::Yes(plan) => {
            let to = plan.release().map_or_else(String::new, ToString::to_string);
            let id = plan.target().map_or_else(String::new, ToString::to_string);
            format!("yes, to {to} ({id})")
        }
        CanRollBack::No(refusal) => format!("no: {refusal}"),
        CanRollBack::NotNow(e) => format!("not now: {e}"),
        _ => "not known".to_owned(),
    };
    say("can roll back", can);
    Ok(())
}

pub(crate) async fn verify(world: &World) -> Result<ExitCode, End> {
    let faults = world
        .engine
        .verify()
        .await
        .map_err(|e| End::new(AWAY, e.to_string()))?;
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() {
        println!("All is well.");
        Ok(ExitCode::SUCCESS)
    } else {
        Err(End::new(
            FAILED,
            format!("{} things are wrong", faults.len()),
        ))
    }
}
