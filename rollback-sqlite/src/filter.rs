//! A query as SQL, which means exactly what [`Query::matches`] means.
//!
//! Lists read an index in the order of the sequence and stop when the page is full; counts read
//! an index that covers what they count. Neither sorts, and neither reads the whole table.

use rollback_core::history::Query;
use rollback_core::time::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::columns::split;
use crate::error::Failure;

/// A label on more records than this is not where a search begins, if anything else is asked for.
const COMMON: usize = 1_000;

/// Tables and conditions, with the conditions' parameters.
pub(crate) struct Filter {
    label_leads: bool,
    pub(crate) conditions: String,
    pub(crate) values: Vec<Value>,
}

impl Filter {
    /// For a page, in the order of the sequence.
    ///
    /// The order of opening is almost that of the sequence, but not quite: clocks are set, and
    /// records are imported. So a span of time becomes the span of sequences that lie in it, which
    /// bounds a walk along any index, and is compared again record by record.
    pub(crate) fn page(connection: &Connection, query: &Query) -> Result<Self, Failure> {
        let mut filter = Self::all_but_times(connection, query)?;
        if query.since.is_some() || query.until.is_some() {
            let (first, last) = sequences(connection, query)?;
            let key = filter.key();
            filter.and(
                &format!(" AND {key} BETWEEN ? AND ?"),
                [first, last].map(Value::Integer),
            );
        }
        if let Some(before) = query.before {
            let before = i64::try_from(before.0).unwrap_or(i64::MAX);
            let key = filter.key();
            filter.and(&format!(" AND {key} < ?"), [Value::Integer(before)]);
        }
        // The plus hides the column from SQLite's planner, which would rather sort than walk.
        filter.times(query, "+d.opened_us");
        Ok(filter)
    }

    /// For counts, in any order; the query's page does not matter.
    pub(crate) fn count(connection: &Connection, query: &Query) -> Result<Self, Failure> {
        let mut filter = Self::all_but_times(connection, query)?;
        filter.times(query, "d.opened_us");
        Ok(filter)
    }

    /// What follows `FROM`. The deployments are called `d`.
    pub(crate) fn tables(&self) -> &'static str {
        if self.label_leads {
            // CROSS JOIN keeps SQLite from turning the order round.
            "labels l CROSS JOIN deployments d ON d.sequence = l.deployment"
        } else {
            "deployments d"
        }
    }

    /// The sequence, by the name under which an index has it in order.
    pub(crate) fn key(&self) -> &'static str {
        if self.label_leads {
            "l.deployment"
        } else {
            "d.sequence"
        }
    }

    fn all_but_times(connection: &Connection, query: &Query) -> Result<Self, Failure> {
        let mut filter = Self {
            label_leads: false,
            conditions: "TRUE".to_owned(),
            values: Vec::new(),
        };
        let columns = [
            ("service", query.service.as_ref().map(|s| s.as_str())),
            ("target", query.target.as_ref().map(|t| t.as_str())),
            ("backend", query.backend.as_ref().map(|b| b.as_str())),
            ("outcome", query.outcome.map(|o| o.as_str())),
            ("trigger", query.trigger.map(|t| t.as_str())),
            ("actor", query.actor.as_ref().map(|a| a.as_str())),
        ];
        for (column, value) in columns {
            if let Some(value) = value {
                filter.and(&format!(" AND d.{column} = ?"), [text(value)]);
            }
        }
        if let Some((name, value)) = &query.label {
            filter.label_leads = filter.values.is_empty() || !common(connection, name, value)?;
            let condition = if filter.label_leads {
                " AND l.name = ? AND l.value = ?"
            } else {
                " AND EXISTS (SELECT 1 FROM labels l
                    WHERE l.name = ? AND l.value = ? AND l.deployment = d.sequence)"
            };
            filter.and(condition, [text(name), text(value)]);
        }
        Ok(filter)
    }

    fn times(&mut self, query: &Query, column: &str) {
        for (time, comparison) in [(query.since, ">="), (query.until, "<")] {
            if let Some(time) = time {
                self.and(
                    &format!(" AND ({column}, d.opened_ns) {comparison} (?, ?)"),
                    instant(time),
                );
            }
        }
    }

    fn and<const N: usize>(&mut self, condition: &str, values: [Value; N]) {
        self.conditions.push_str(condition);
        self.values.extend(values);
    }
}

/// The first and the last sequence that were opened in the query's span; the last before the
/// first if none was.
fn sequences(connection: &Connection, query: &Query) -> Result<(i64, i64), Failure> {
    let mut span = Query::default();
    span.service.clone_from(&query.service);
    (span.since, span.until) = (query.since, query.until);
    let filter = Filter::count(connection, &span)?;
    let sql = format!(
        "SELECT coalesce(min(d.sequence), 1), coalesce(max(d.sequence), 0) FROM {} WHERE {}",
        filter.tables(),
        filter.conditions
    );
    let found = connection
        .prepare_cached(&sql)?
        .query_row(params_from_iter(filter.values), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    Ok(found)
}

/// Whether more records than a few have a label.
fn common(connection: &Connection, name: &str, value: &str) -> Result<bool, Failure> {
    let sql = format!(
        "SELECT count(*) > {COMMON} FROM (SELECT 1 FROM labels WHERE name = ?1 AND value = ?2
           LIMIT {COMMON} + 1)"
    );
    Ok(connection
        .prepare_cached(&sql)?
        .query_row([name, value], |row| row.get(0))?)
}

fn instant(at: Timestamp) -> [Value; 2] {
    let (us, ns) = split(at);
    [Value::Integer(us), Value::Integer(ns.into())]
}

fn text(s: &str) -> Value {
    Value::Text(s.to_owned())
}

#[cfg(test)]
mod tests {
    use rollback_core::deployment::{Outcome, TriggerKind};
    use rollback_core::history::Sequence;

    use super::*;
    use crate::{read, schema, stats};

    type Named = (&'static str, fn(&mut Query));

    /// Each filter by name, set to something.
    const FILTERS: [Named; 10] = [
        ("service", |q| q.service = "api".parse().ok()),
        ("target", |q| q.target = "web-1".parse().ok()),
        ("backend", |q| q.backend = "git".parse().ok()),
        ("outcome", |q| q.outcome = Some(Outcome::Failed)),
        ("trigger", |q| q.trigger = Some(TriggerKind::Rollback)),
        ("actor", |q| q.actor = "ann".parse().ok()),
        ("label", |q| q.label = Some(("team".into(), "core".into()))),
        ("since", |q| q.since = Some(Timestamp::UNIX_EPOCH)),
        ("until", |q| q.until = Some(Timestamp::UNIX_EPOCH)),
        ("before", |q| q.before = Some(Sequence(9))),
    ];

    fn empty() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
        connection
    }

    /// What SQLite says it will do.
    fn plan(connection: &Connection, sql: &str, values: &[Value]) -> String {
        let mut statement = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let rows = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3));
        rows.unwrap()
            .map(Result::unwrap)
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn page_plan(connection: &Connection, query: &Query) -> String {
        let filter = Filter::page(connection, query).unwrap();
        plan(connection, &read::sql(&filter, 50), &filter.values)
    }

    fn count_plan(connection: &Connection, query: &Query) -> String {
        let filter = Filter::count(connection, query).unwrap();
        plan(connection, &stats::sql(&filter), &filter.values)
    }

    #[test]
    fn a_page_is_found_by_an_index_and_never_sorted_whatever_the_filters() {
        let connection = empty();
        // A label that is on many records is looked at last.
        let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
            INSERT INTO labels SELECT 'team', 'core', i FROM n";
        for labelled in ["", many] {
            connection
                .pragma_update(None, "foreign_keys", false)
                .unwrap();
            connection.execute_batch(labelled).unwrap();
            for chosen in 1u32..1 << FILTERS.len() {
                let mut query = Query::default();
                let mut names = Vec::new();
                for (n, (name, set)) in FILTERS.iter().enumerate() {
                    if chosen & (1 << n) != 0 {
                        set(&mut query);
                        names.push(name);
                    }
                }
                let plan = page_plan(&connection, &query);
                assert!(plan.starts_with("SEARCH"), "{names:?}: {plan}");
                assert!(!plan.contains("SCAN"), "{names:?}: {plan}");
                assert!(!plan.contains("TEMP B-TREE"), "{names:?}: {plan}");
            }
        }
        // Everything, newest first, is a walk from the end of the table, ended by the limit.
        assert_eq!(page_plan(&connection, &Query::default()), "SCAN d");
    }

    #[test]
    fn counts_over_a_span_read_an_index_and_no_record() {
        let connection = empty();
        let mut query = Query::default();
        assert!(count_plan(&connection, &query).contains("COVERING INDEX deployments_opened"));
        query.since = Some(Timestamp::UNIX_EPOCH);
        let plan = count_plan(&connection, &query);
        assert!(
            plan.contains("SEARCH d USING COVERING INDEX deployments_opened"),
            "{plan}"
        );
        for target in [None, "web-1".parse().ok()] {
            query.service = "api".parse().ok();
            query.target = target;
            for until in [None, Some(Timestamp::UNIX_EPOCH)] {
                query.until = until;
                let plan = count_plan(&connection, &query);
                let wanted = "SEARCH d USING COVERING INDEX deployments_service_opened (service=?";
                assert!(plan.starts_with(wanted), "{plan}");
                assert!(plan.contains("opened_us"), "{plan}");
            }
        }
    }

    #[test]
    fn a_span_is_found_in_an_index_alone() {
        let connection = empty();
        let sql = "SELECT coalesce(min(d.sequence), 1), coalesce(max(d.sequence), 0)
            FROM deployments d WHERE TRUE AND (d.opened_us, d.opened_ns) >= (?, ?)";
        let plan = plan(&connection, sql, &[Value::Integer(1), Value::Integer(2)]);
        assert!(plan.contains("COVERING INDEX deployments_opened"), "{plan}");
        let mut span = Query::default();
        span.since = Some(Timestamp::UNIX_EPOCH);
        assert_eq!(sequences(&connection, &span).unwrap(), (1, 0));
    }
}
