//! The order's counter: a hint for whoever begins next in another workload at the same time. What
//! it says is never believed over a state or a record, so it is written whole, but not durably.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::history::Sequence;
use rollback_fs::{durable, owner, system};
use serde::{Deserialize, Serialize};

use crate::record::read;
use crate::seal::{self, FORMAT, Unreadable};

#[derive(Serialize, Deserialize)]
struct Counter {
    format: u32,
    sequence: Sequence,
}

/// The last number that was given; `None` if it is damaged, or nobody has written it.
pub(crate) fn last(path: &Path) -> Result<Option<Sequence>, StoreError> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    match seal::open::<Counter>(&bytes) {
        Ok(counter) => Ok(Some(counter.sequence)),
        Err(why @ Unreadable::Newer(_)) => {
            Err(StoreError::new(Kind::NewerSchema, why.to_string()).on(path.display()))
        }
        // Format 1 has a plain number.
        Err(Unreadable::Damaged(_)) => Ok(plain(&bytes)),
    }
}

fn plain(bytes: &[u8]) -> Option<Sequence> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.trim().parse().ok().map(Sequence)
}

/// Writes it. For who holds the order's lock.
pub(crate) fn write(path: &Path, last: Sequence) -> Result<(), StoreError> {
    let bytes = seal::seal(&Counter {
        format: FORMAT,
        sequence: last,
    })?;
    let aside = path.with_file_name(format!("{}sequence", durable::TEMPORARY));
    let write = || -> io::Result<()> {
        let mut file = owner::open_or_create(&aside)?;
        file.set_len(0)?;
        file.write_all(&bytes)?;
        fs::rename(&aside, path)
    };
    write().map_err(|e| system("the order's counter cannot be written", path, e))
}
