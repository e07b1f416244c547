//! Deployments as a table, or as JSON.

use std::process::ExitCode;
use std::str::FromStr;

use rollback_core::deployment::Deployment;
use rollback_core::engine::Row;
use rollback_core::history::{Query, Sequence};
use rollback_core::id::InvalidId;
use rollback_core::lineage::Standing;
use rollback_examples::abbreviation::Ids;
use serde_json::{Value, json};

use crate::args::List;
use crate::end::{End, USAGE};
use crate::out::{aside, say};
use crate::table::{Column, Table, Width};
use crate::text::{DAY, ago, fate, release, took, verdict};
use crate::words;
use crate::world::World;

const COLUMNS: [Column; 10] = [
    Column::needed(""),
    Column::needed("ID"),
    Column::spare(1, "WORKLOAD"),
    Column::needed("WHAT"),
    Column::spare(2, "RELEASE"),
    Column::needed("OUTCOME"),
    Column::spare(4, "HEALTH"),
    Column::spare(3, "BY"),
    Column::needed("WHEN"),
    Column::spare(5, "TOOK"),
];

pub(crate) async fn run(world: &World, list: List) -> Result<ExitCode, End> {
    let json = list.json;
    let width = Width::or_of_terminal(list.width);
    let query = query(world, list)?;
    let history = world.engine.history(&query).await?;
    if history.rows.is_empty() {
        // What is shown is known.
        world
            .knows(query.service.as_ref(), query.target.as_ref())
            .await?;
    }
    if json {
        let rows: Vec<Value> = history.rows.iter().map(as_json).collect::<Result<_, _>>()?;
        say!("{}", serde_json::to_string_pretty(&rows)?);
    } else if history.rows.is_empty() {
        say!("No deployments.");
    } else {
        let shown = history.rows.iter().map(|row| row.deployment.id());
        let ids = world.ids(shown).await?;
        let rows = history.rows.iter().map(|row| line(world, &ids, row));
        let table = Table::new(&COLUMNS, rows.collect(), width);
        say!("{}", table.text);
        say!("\n* live   + last healthy   ! no rollback point (show ID says why)");
        if history.rows.iter().any(|r| r.deployment.group().is_some()) {
            say!("& moved with others, as one (show ID says with which)");
        }
        if !table.left_out.is_empty() {
            say!("Left out to fit: {}", table.left_out.join(", "));
        }
        if let Some(next) = history.next {
            say!("More: --before {next}");
        }
    }
    for unreadable in &history.unreadable {
        aside!(
            "history: unreadable: {}",
            words::typed(&unreadable.to_string())
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn query(world: &World, list: List) -> Result<Query, End> {
    let mut query = Query::default().limit(list.limit.into());
    query.service = list.service;
    query.target = list.target;
    query.backend = list.backend.map(|b| b.parse()).transpose()?;
    query.outcome = list.outcome.map(|o| word(&o)).transpose()?;
    query.trigger = list.trigger.map(|t| word(&t)).transpose()?;
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

/// One of the words that records use; people may write them with a dash.
fn word<T: FromStr<Err = InvalidId>>(text: &str) -> Result<T, End> {
    let word = text.replace(['-', ' '], "_").parse();
    word.map_err(|e: InvalidId| End::new(USAGE, e.to_string()))
}

fn line(world: &World, ids: &Ids, row: &Row) -> Vec<String> {
    let d = &row.deployment;
    let mark = match (row.standing, row.last_healthy, row.is_rollback_point()) {
        (Standing::Live, _, _) => "*",
        (_, true, _) => "+",
        (_, _, false) => "!",
        _ => "",
    };
    vec![
        mark.to_owned(),
        ids.short(d.id()).to_owned(),
        d.workload().to_string(),
        what(d),
        release(d),
        fate(row),
        verdict(d),
        d.actor().name().to_string(),
        ago(d.opening().opened_at, world.now),
        took(d),
    ]
}

/// What it was, and whether others moved with it.
fn what(d: &Deployment) -> String {
    let kind = d.trigger().kind();
    match d.group() {
        Some(_) => format!("{kind} &"),
        None => kind.to_string(),
    }
}

/// The record, and what scripts ask first of it at its top.
pub(crate) fn as_json(row: &Row) -> Result<Value, serde_json::Error> {
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
