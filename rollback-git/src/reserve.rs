//! Room that is kept for a way back: on a disk that has filled up meanwhile, a switch could not be
//! gone back from, for that writes some small files, too.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use rollback_core::error::{BackendError, BackendErrorKind};

use crate::{error, file};

const NAME: &str = "reserve";
/// Some files of a block each are written on a way back, and as many before.
const SIZE: usize = 64 * 1024;

/// Makes it in the directory of our own records, if it is not there.
pub(crate) fn keep(state: &Path) -> Result<(), BackendError> {
    let path = state.join(NAME);
    if path.metadata().is_ok_and(|m| m.len() >= SIZE as u64) {
        return Ok(());
    }
    file::write_once(&path, file::PRIVATE, &noise()?)
}

/// Tries once more where the disk is full and room was kept.
pub(crate) fn with_reserve<T>(
    path: &Path,
    work: impl Fn() -> Result<T, BackendError>,
) -> Result<T, BackendError> {
    match work() {
        Err(e) if e.kind() == BackendErrorKind::Exhausted && give_up(path) => work(),
        done => done,
    }
}

/// Gives up the one that is kept for this record; whether there was one.
fn give_up(record: &Path) -> bool {
    let state = record.ancestors().find(|dir| dir.ends_with(".rollback"));
    let given = state.is_some_and(|state| fs::remove_file(state.join(NAME)).is_ok());
    if given {
        tracing::warn!(record = %record.display(), "the disk is full: the reserve is given up");
    }
    given
}

/// What no file system makes smaller: neither packed, nor kept once for two that are alike.
fn noise() -> Result<Vec<u8>, BackendError> {
    let mut noise = Vec::with_capacity(SIZE);
    let read = File::open("/dev/urandom")
        .and_then(|random| random.take(SIZE as u64).read_to_end(&mut noise));
    read.map_err(|e| error::io("no random bytes for the reserve", "/dev/urandom", e))?;
    Ok(noise)
}
