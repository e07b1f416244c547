//! Verification: reads everything, and says what is wrong with it.

use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::history::Fault;
use rusqlite::Connection;

use crate::error::Failure;
use crate::record::Raw;
use crate::state::Entry;

/// SQLite's own check, then each record and each workload, read as they are read in use.
pub(crate) fn verify(connection: &Connection) -> Result<Vec<Fault>, Failure> {
    let mut faults = Vec::new();
    let mut check = connection.prepare("PRAGMA integrity_check")?;
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()? {
        let said: String = row.get(0)?;
        if said != "ok" {
            faults.push(Fault {
                place: "the file".into(),
                what: said,
            });
        }
    }
    let mut check = connection.prepare("PRAGMA foreign_key_check")?;
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()? {
        let table: String = row.get(0)?;
        faults.push(Fault {
            place: format!("table {table}"),
            what: "a row belongs to a deployment that is not there".into(),
        });
    }
    records(connection, &mut faults)?;
    for entry in Entry::all(connection)? {
        let live = entry.live().err();
        let in_flight = entry.in_flight().err();
        for e in live.into_iter().chain(in_flight) {
            faults.push(Fault {
                place: entry.workload.to_string(),
                what: e.to_string(),
            });
        }
    }
    Ok(faults)
}

fn records(connection: &Connection, faults: &mut Vec<Fault>) -> Result<(), Failure> {
    let sql = format!(
        "SELECT {}, d.workload, d.trigger, d.outcome FROM deployments d ORDER BY d.sequence",
        Raw::COLUMNS
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let sequence: i64 = row.get(0)?;
        let read = Raw::from_row(row)
            .map_err(Failure::from)
            .and_then(|raw| raw.deployment(connection));
        let deployment = match read {
            Ok(deployment) => deployment,
            Err(Failure::Store(e)) if e.kind() == Kind::Corrupt => {
                faults.push(Fault {
                    place: format!("record {sequence}"),
                    what: e.to_string(),
                });
                continue;
            }
            Err(Failure::Sqlite(e)) if e.sqlite_error_code().is_none() => {
                faults.push(Fault {
                    place: format!("record {sequence}"),
                    what: e.to_string(),
                });
                continue;
            }
            Err(e) => return Err(e),
        };
        let columns: (String, String, Option<String>) = (row.get(4)?, row.get(5)?, row.get(6)?);
        let told = (
            deployment.workload().to_string(),
            deployment.trigger().kind().as_str().to_owned(),
            deployment.outcome().map(|o| o.as_str().to_owned()),
        );
        if columns != told {
            faults.push(Fault {
                place: deployment.id().to_string(),
                what: format!(
                    "the columns say {columns:?} and the record says {told:?}: \
                     filters and counts may be wrong, the record is not"
                ),
            });
        }
    }
    Ok(())
}
