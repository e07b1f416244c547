//! Counts over a span of history.

use std::collections::{BTreeMap, BTreeSet};

use rollback_core::deployment::{Outcome, TriggerKind};
use rollback_core::history::{Query, Stats};
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use crate::error::Failure;
use crate::filter::Filter;

/// So many of the newest failures are named.
const FAILURES: usize = 5;

/// The query of the counted rows: what an index covers, so that no record is read.
pub(crate) fn sql(filter: &Filter) -> String {
    format!(
        "SELECT d.outcome, d.trigger, d.duration_ms, d.sequence FROM {} WHERE {}",
        filter.tables(),
        filter.conditions
    )
}

/// Counts, as [`Stats::of`] would count.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn stats(connection: &Connection, query: &Query) -> Result<Stats, Failure> {
    let filter = Filter::count(connection, query)?;
    let mut statement = connection.prepare_cached(&sql(&filter))?;
    let mut rows = statement.query(params_from_iter(filter.values))?;
    let (rollback, automatic) = (TriggerKind::Rollback, TriggerKind::AutomaticRollback);
    let mut by_outcome: BTreeMap<String, u64> = BTreeMap::new();
    let mut rollbacks = 0;
    let mut durations: Vec<u64> = Vec::new();
    let mut failures: BTreeSet<i64> = BTreeSet::new();
    while let Some(row) = rows.next()? {
        // A damaged record is not counted, and `verify` reports it.
        let outcome = row.get_ref(0)?.as_str_or_null().unwrap_or_default();
        let duration: Option<i64> = row.get(2).unwrap_or_default();
        let (Some(outcome), Some(duration)) = (outcome, duration) else {
            continue;
        };
        let Ok(trigger) = row.get_ref(1)?.as_str() else {
            continue;
        };
        if trigger == TriggerKind::Adopt.as_str() || trigger == TriggerKind::Import.as_str() {
            continue;
        }
        match by_outcome.get_mut(outcome) {
            Some(count) => *count += 1,
            None => drop(by_outcome.insert(outcome.to_owned(), 1)),
        }
        if trigger == rollback.as_str() || trigger == automatic.as_str() {
            rollbacks += 1;
        }
        if outcome != Outcome::Succeeded.as_str() {
            failures.insert(row.get(3)?);
            if failures.len() > FAILURES {
                failures.pop_first();
            }
        }
        durations.push(u64::try_from(duration).unwrap_or(0));
    }
    let total = durations.len();
    let mut stats = Stats {
        total: total as u64,
        by_outcome,
        rollbacks,
        ..Stats::default()
    };
    if total > 0 {
        let sum: u128 = durations.iter().map(|d| u128::from(*d)).sum();
        stats.mean_ms = Some(sum as f64 / total as f64);
        let rank = (total * 95).div_ceil(100).max(1);
        let (_, p95, _) = durations.select_nth_unstable(rank - 1);
        stats.p95_ms = Some(*p95);
    }
    for sequence in failures.into_iter().rev() {
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
