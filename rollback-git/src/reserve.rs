//! Room that is kept for a way back: on a disk that has filled up meanwhile, a switch could not be
//! gone back from, for that writes some small files, too.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rollback_core::error::BackendError;

use crate::file;

const NAME: &str = "reserve";
/// Some files of a block each are written on a way back, and as many before.
const SIZE: usize = 64 * 1024;

/// Makes it in the directory of our own records, if it is not there.
pub(crate) fn keep(state: &Path) -> Result<(), BackendError> {
    let path = state.join(NAME);
    if path.metadata().is_ok_and(|m| m.len() >= SIZE as u64) {
        return Ok(());
    }
    file::write_once(&path, file::PRIVATE, &noise())
}

/// Gives up the one that is kept for this record; whether there was one.
pub(crate) fn give_up(record: &Path) -> bool {
    let state = record.ancestors().find(|dir| dir.ends_with(".rollback"));
    let given = state.is_some_and(|state| fs::remove_file(state.join(NAME)).is_ok());
    if given {
        tracing::warn!(record = %record.display(), "the disk is full: the reserve is given up");
    }
    given
}

/// What no file system makes smaller: neither packed, nor kept once for two that are alike.
fn noise() -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed =
        now.map_or(1, |d| d.as_nanos() as u64) ^ u64::from(std::process::id()).rotate_left(40);
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next)
        .take(SIZE / 8)
        .flatten()
        .collect()
}
