//! The groups of a stack, newest first, each with what it did to its members.

use std::process::ExitCode;

use rollback_core::id::StackName;
use rollback_examples::abbreviation::Ids;
use serde_json::Value;

use super::told::Told;
use crate::end::End;
use crate::out::say;
use crate::text::{ago, ended, release, took, verdict};
use crate::world::World;

/// Between two columns.
const GAP: &str = "  ";

pub(crate) async fn run(
    world: &World,
    stack: Option<StackName>,
    limit: u16,
    json: bool,
) -> Result<ExitCode, End> {
    let stack = world.stack(stack.as_ref())?.name();
    let mut all = Vec::new();
    let limit = usize::from(limit);
    // One more, to know whether there are more.
    let mut groups = world.engine.groups(stack, limit + 1).await?;
    let more = groups.len() > limit;
    groups.truncate(limit);
    for group in groups {
        all.push(Told::of(world, group).await?);
    }
    if json {
        let all: Vec<Value> = all.iter().map(Told::as_json).collect::<Result<_, _>>()?;
        say!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(ExitCode::SUCCESS);
    }
    if all.is_empty() {
        say!("{stack} was never moved as one.");
        return Ok(ExitCode::SUCCESS);
    }
    let ids = world.ids(all.iter().flat_map(Told::ids)).await?;
    let heads: Vec<_> = all.iter().map(|told| head(world, &ids, told)).collect();
    let members: Vec<_> = all.iter().map(|told| members(&ids, told)).collect();
    let counts: Vec<usize> = members.iter().map(Vec::len).collect();
    let mut lines = aligned(&members.concat()).into_iter();
    for (head, count) in aligned(&heads).into_iter().zip(counts) {
        say!("{head}");
        for line in lines.by_ref().take(count) {
            say!("{GAP}{line}");
        }
    }
    if more {
        say!("\nMore: --limit {}", limit * 2);
    }
    Ok(ExitCode::SUCCESS)
}

fn head(world: &World, ids: &Ids, told: &Told) -> Vec<String> {
    let group = &told.group;
    vec![
        ids.short(group.id.coordinator()).to_owned(),
        ago(group.opened_at, world.now),
        group.actor.name().to_string(),
        told.what(ids),
        told.way(),
        told.took(),
    ]
}

fn members(ids: &Ids, told: &Told) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (workload, id) in told.group.roll.moves() {
        let mut row = vec![ids.short(id).to_owned(), workload.to_string()];
        match told.records.get(workload).and_then(Option::as_ref) {
            Some(d) => row.extend([release(d), ended(d), verdict(d), took(d)]),
            None => row.push("its record is gone, or cannot be read".to_owned()),
        }
        rows.push(row);
    }
    for (workload, _, why) in told.left_alone() {
        let why = format!("left alone: {why}");
        rows.push(vec!["-".to_owned(), workload.to_string(), why]);
    }
    rows
}

/// The rows as lines, whose columns are as wide as the widest in them. What ends a line makes no column
/// wide.
fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        let inner = row.len().saturating_sub(1);
        widths.resize(widths.len().max(inner), 0);
        for (width, cell) in widths.iter_mut().zip(&row[..inner]) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            match widths.get(i) {
                Some(width) => line.push_str(&format!("{cell:<width$}{GAP}")),
                None => line.push_str(cell),
            }
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
