//! The reads: pages and counts, filtered in SQL exactly as [`Query::matches`] would.

use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::history::{Page, Query, Sequence, Stats};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::error::Failure;
use crate::record::{Raw, split};

/// Conditions on `deployments d`, and their parameters.
struct Filter {
    sql: String,
    values: Vec<Value>,
}

impl Filter {
    /// What a query means, its page aside.
    fn of(query: &Query) -> Self {
        let mut filter = Self {
            sql: "TRUE".to_owned(),
            values: Vec::new(),
        };
        if let Some(service) = &query.service {
            filter.and(" AND d.service = ?", [text(service.as_str())]);
        }
        if let Some(target) = &query.target {
            filter.and(" AND d.target = ?", [text(target.as_str())]);
        }
        if let Some(backend) = &query.backend {
            filter.and(" AND d.backend = ?", [text(backend.as_str())]);
        }
        if let Some(outcome) = query.outcome {
            filter.and(" AND d.outcome = ?", [text(outcome.as_str())]);
        }
        if let Some(trigger) = query.trigger {
            filter.and(" AND d.trigger = ?", [text(trigger.as_str())]);
        }
        if let Some(actor) = &query.actor {
            filter.and(" AND d.actor = ?", [text(actor.as_str())]);
        }
        if let Some((name, value)) = &query.label {
            filter.and(
                " AND d.sequence IN (SELECT deployment FROM labels WHERE name = ? AND value = ?)",
                [text(name), text(value)],
            );
        }
        if let Some(since) = query.since {
            let (us, ns) = split(since);
            filter.and(
                " AND (d.opened_us, d.opened_ns) >= (?, ?)",
                [Value::Integer(us), Value::Integer(ns.into())],
            );
        }
        if let Some(until) = query.until {
            let (us, ns) = split(until);
            filter.and(
                " AND (d.opened_us, d.opened_ns) < (?, ?)",
                [Value::Integer(us), Value::Integer(ns.into())],
            );
        }
        filter
    }

    fn and<const N: usize>(&mut self, sql: &str, values: [Value; N]) {
        self.sql.push_str(sql);
        self.values.extend(values);
    }
}

fn text(s: &str) -> Value {
    Value::Text(s.to_owned())
}

/// A page, newest first, by the sequence number: what is written meanwhile moves nothing.
pub(crate) fn list(connection: &Connection, query: &Query) -> Result<Page, Failure> {
    let limit = query.limit.clamp(1, 1_000);
    let mut filter = Filter::of(query);
    if let Some(before) = query.before {
        let before = i64::try_from(before.0).unwrap_or(i64::MAX);
        filter.and(" AND d.sequence < ?", [Value::Integer(before)]);
    }
    let sql = format!(
        "SELECT {} FROM deployments d WHERE {} ORDER BY d.sequence DESC LIMIT {}",
        Raw::COLUMNS,
        filter.sql,
        limit + 1
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(filter.values))?;
    let mut page = Page::default();
    let mut seen = 0;
    let mut last = None;
    while let Some(row) = rows.next()? {
        if seen == limit {
            page.next = last;
            break;
        }
        seen += 1;
        let sequence: i64 = row.get(0)?;
        last = Some(Sequence(u64::try_from(sequence).unwrap_or(0)));
        // A column of the wrong type is one record's trouble too, not the page's.
        let read = Raw::from_row(row)
            .map_err(Failure::from)
            .and_then(|raw| raw.deployment(connection));
        match read {
            Ok(deployment) => page.deployments.push(deployment),
            Err(Failure::Store(e)) if e.kind() == Kind::Corrupt => {
                page.unreadable.push(e.to_string());
            }
            Err(Failure::Sqlite(e)) if e.sqlite_error_code().is_none() => {
                page.unreadable.push(format!("sequence {sequence}: {e}"));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(page)
}

/// Counts, as [`Stats::of`] would count.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn stats(connection: &Connection, query: &Query) -> Result<Stats, Failure> {
    let filter = Filter::of(query);
    let counted = format!(
        "FROM deployments d WHERE {} AND d.duration_ms IS NOT NULL
           AND d.trigger NOT IN ('adopt', 'import')",
        filter.sql
    );
    let mut stats = Stats::default();
    let mut sum = 0i64;
    {
        let sql = format!(
            "SELECT d.outcome, count(*), sum(d.duration_ms),
               sum(d.trigger IN ('rollback', 'automatic_rollback')) {counted} GROUP BY d.outcome"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(&filter.values))?;
        while let Some(row) = rows.next()? {
            let count = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
            stats.by_outcome.insert(row.get(0)?, count);
            stats.total += count;
            sum = sum.saturating_add(row.get(2)?);
            stats.rollbacks += u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0);
        }
    }
    if stats.total == 0 {
        return Ok(stats);
    }
    stats.mean_ms = Some(sum as f64 / stats.total as f64);
    let rank = (stats.total * 95).div_ceil(100).max(1);
    let sql = format!(
        "SELECT d.duration_ms {counted} ORDER BY d.duration_ms LIMIT 1 OFFSET {}",
        rank - 1
    );
    let p95: i64 = connection
        .prepare(&sql)?
        .query_row(params_from_iter(&filter.values), |row| row.get(0))?;
    stats.p95_ms = u64::try_from(p95).ok();
    let sql = format!(
        "SELECT d.id {counted} AND d.outcome <> 'succeeded' ORDER BY d.sequence DESC LIMIT 5"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(&filter.values))?;
    while let Some(row) = rows.next()? {
        if let Ok(id) = row.get::<_, String>(0)?.parse() {
            stats.recent_failures.push(id);
        }
    }
    Ok(stats)
}
