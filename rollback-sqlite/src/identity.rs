//! Which history a file is of.

use rollback_core::history::{HistoryId, Identity};
use rusqlite::Connection;

use crate::error::{Failure, unreadable};

/// Which history a file is of.
pub(crate) fn identity(connection: &Connection) -> Result<Identity, Failure> {
    let (history, incarnation): (String, String) = connection
        .prepare_cached("SELECT id, incarnation FROM history")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let id = |text: String| -> Result<HistoryId, Failure> {
        Ok(text
            .parse()
            .map_err(|e| unreadable("the history's id", e))?)
    };
    Ok(Identity::new(id(history)?, id(incarnation)?))
}
