//! Pages of records, and what is left of them in a damaged file.

use rollback_core::deployment::Deployment;
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::history::{Fault, Page, Query, Sequence};
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use crate::error::Failure;
use crate::filter::Filter;
use crate::record::{Raw, sequences};

/// A page, newest first, by the sequence number: what is written meanwhile moves nothing.
pub(crate) fn list(connection: &Connection, query: &Query) -> Result<Page, Failure> {
    match walk(connection, query) {
        Ok(Some(page)) => Ok(page),
        Ok(None) => salvage(connection, query),
        Err(e) if e.is_damage() => salvage(connection, query),
        Err(e) => Err(e),
    }
}

/// The query of a page.
pub(crate) fn sql(filter: &Filter, limit: usize) -> String {
    format!(
        "SELECT {} FROM {} WHERE {} ORDER BY {} DESC LIMIT {}",
        Raw::COLUMNS,
        filter.tables(),
        filter.conditions,
        filter.key(),
        limit + 1
    )
}

/// The page as SQLite finds it; `None` if a record's number cannot be where it is, which SQLite does
/// not notice.
fn walk(connection: &Connection, query: &Query) -> Result<Option<Page>, Failure> {
    let limit = query.limit.clamp(1, 1_000);
    let filter = Filter::page(connection, query)?;
    let mut statement = connection.prepare_cached(&sql(&filter, limit))?;
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
        // The key of the next page: what cannot be one, or is out of order, hides all before it.
        let key = u64::try_from(sequence).ok().filter(|key| *key > 0);
        let key = key.filter(|key| last.is_none_or(|last: Sequence| *key < last.0));
        let Some(key) = key else {
            return Ok(None);
        };
        last = Some(Sequence(key));
        // A column of the wrong type is one record's trouble too, not the page's.
        let read = Raw::from_row(row)
            .map_err(Failure::from)
            .and_then(|raw| raw.deployment(connection));
        match readable(read, sequence, &mut page.unreadable)? {
            Some(deployment) => page.deployments.push(deployment),
            None if is_indexed(connection, row, sequence)? => {}
            None => return Ok(None),
        }
    }
    Ok(Some(page))
}

/// Whether the number of a record that cannot be read is the one that an index knows it by.
fn is_indexed(connection: &Connection, row: &Row<'_>, sequence: i64) -> Result<bool, Failure> {
    let Ok(id) = row.get::<_, String>(1) else {
        return Ok(false);
    };
    let known: Option<i64> = connection
        .prepare_cached("SELECT sequence FROM deployments WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    Ok(known == Some(sequence))
}

/// A page of a file in which a page of SQLite's is damaged: the records are found through an index
/// and read one by one. Slow, and complete but for what is lost.
fn salvage(connection: &Connection, query: &Query) -> Result<Page, Failure> {
    let limit = query.limit.clamp(1, 1_000);
    let before = query
        .before
        .map_or(i64::MAX, |b| i64::try_from(b.0).unwrap_or(i64::MAX));
    let mut page = Page::default();
    let mut last = None;
    for sequence in sequences(connection)?.into_iter().rev() {
        let Some(key) = u64::try_from(sequence).ok().filter(|key| *key > 0) else {
            continue;
        };
        if sequence >= before {
            continue;
        }
        let full = page.deployments.len() + page.unreadable.len() == limit;
        let read = Raw::at(connection, sequence).and_then(|raw| raw.deployment(connection));
        let found = readable(read, sequence, &mut page.unreadable)?;
        if found.as_ref().is_some_and(|d| !query.matches(d)) {
            continue;
        }
        if full {
            // It was read only to learn that there is a next page.
            page.unreadable.truncate(limit - page.deployments.len());
            page.next = last;
            break;
        }
        page.deployments.extend(found);
        last = Some(Sequence(key));
    }
    Ok(page)
}

/// A record, or `None` after what is wrong with it alone has been noted.
pub(crate) fn readable(
    read: Result<Deployment, Failure>,
    sequence: i64,
    unreadable: &mut Vec<Fault>,
) -> Result<Option<Deployment>, Failure> {
    match read {
        Ok(deployment) => Ok(Some(deployment)),
        Err(Failure::Store(e)) if e.kind() == Kind::Corrupt => {
            unreadable.push(Fault::of(&e, format!("sequence {sequence}")));
            Ok(None)
        }
        Err(e) if e.is_of_one_record() => {
            unreadable.push(Fault::new(format!("sequence {sequence}"), e.to_string()));
            Ok(None)
        }
        Err(e) => Err(e),
    }
}
