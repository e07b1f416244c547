//! Finding records by the beginning of their ids, from indexes alone.

use rollback_core::id::DeploymentId;
use rusqlite::{Connection, params};

use crate::error::Failure;

/// Each half is a range of an index that holds the ids; no record is read.
pub(crate) const SQL: &str = "
SELECT id FROM (
    SELECT id, sequence FROM deployments WHERE id >= ?1 AND id < ?2
    UNION
    SELECT id, sequence FROM deployments WHERE substr(id, 24) >= ?1 AND substr(id, 24) < ?2
) ORDER BY id = ?1 DESC, sequence DESC LIMIT ?3";

/// Ids that begin with this text, or whose random part does.
pub(crate) fn find(
    connection: &Connection,
    beginning: &str,
    limit: usize,
) -> Result<Vec<DeploymentId>, Failure> {
    // Nothing that a text begins with is beyond its last character.
    let end = format!("{beginning}{}", char::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(SQL)?;
    // One that is no id, or no text, belongs to a damaged record, which nobody can ask for.
    let ids = statement.query_map(params![beginning, end, limit], |row| {
        Ok(row.get::<_, String>(0).ok())
    })?;
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    Ok(ids
        .iter()
        .flatten()
        .filter_map(|id| id.parse().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn ids_are_found_in_indexes_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
        let plan: Vec<String> = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {SQL}"))
            .unwrap()
            .query_map(params!["a", "b", 1], |row| row.get(3))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let reads: Vec<_> = plan.iter().filter(|s| s.contains("deployments")).collect();
        assert_eq!(reads.len(), 2, "{plan:?}");
        for read in reads {
            assert!(read.contains("COVERING INDEX"), "{plan:?}");
            assert!(read.starts_with("SEARCH"), "{plan:?}");
        }
    }
}
