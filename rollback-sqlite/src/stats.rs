//! Counts over a span of history.

use std::time::Duration;

use rollback_core::history::{Query, Settled, Stats};
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use crate::error::Failure;
use crate::filter::Filter;

/// The query of the counted rows: what an index covers, so that no record is read.
pub(crate) fn sql(filter: &Filter) -> String {
    format!(
        "SELECT d.outcome, d.trigger, d.duration_ms, d.sequence FROM {} WHERE {}",
        filter.tables(),
        filter.conditions
    )
}

/// Counts, as [`Stats::of`] would count.
pub(crate) fn stats(connection: &Connection, query: &Query) -> Result<Stats, Failure> {
    let filter = Filter::count(connection, query)?;
    let mut statement = connection.prepare_cached(&sql(&filter))?;
    let mut rows = statement.query(params_from_iter(filter.values))?;
    let mut failed = None;
    let (mut stats, failures) = Stats::count(std::iter::from_fn(|| {
        loop {
            match rows.next() {
                Ok(Some(row)) => match settled(row) {
                    // A damaged record is not counted, and `verify` reports it.
                    Ok(None) => {}
                    Ok(settled) => return settled,
                    Err(e) => failed = Some(e),
                },
                Ok(None) => return None,
                Err(e) => failed = Some(e),
            }
            if failed.is_some() {
                return None;
            }
        }
    }));
    if let Some(e) = failed {
        return Err(e.into());
    }
    for sequence in failures {
        let id: Option<Option<String>> = connection
            .prepare_cached("SELECT id FROM deployments WHERE sequence = ?1")?
            .query_row([sequence], |row| Ok(row.get(0).ok()))
            .optional()?;
        if let Some(Ok(id)) = id.flatten().map(|id| id.parse()) {
            stats.recent_failures.push(id);
        }
    }
    Ok(stats)
}

/// A row's facts; `None` if it is in flight or damaged.
fn settled(row: &Row<'_>) -> rusqlite::Result<Option<Settled<i64>>> {
    let word = |n| row.get_ref(n).ok()?.as_str_or_null().ok()?;
    let took: Option<i64> = row.get(2).unwrap_or_default();
    let (Some(outcome), Some(trigger), Some(took)) = (word(0), word(1), took) else {
        return Ok(None);
    };
    let (Ok(outcome), Ok(trigger)) = (outcome.parse(), trigger.parse()) else {
        return Ok(None);
    };
    Ok(Some(Settled::new(
        row.get(3)?,
        trigger,
        outcome,
        Duration::from_millis(u64::try_from(took).unwrap_or(0)),
    )))
}
