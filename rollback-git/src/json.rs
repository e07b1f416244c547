//! Records of our own as JSON. On a full disk the reserve makes room for them.

use std::fs;
use std::io;
use std::path::Path;

use rollback_core::error::{BackendError, BackendErrorKind, Chain};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::reserve::with_reserve;
use crate::{error, file};

/// Writes a record, durably.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), BackendError> {
    let bytes = to_json(path, value)?;
    with_reserve(path, || file::write_once(path, file::PRIVATE, &bytes))
}

/// Its name is durable with the next sync of the directory.
pub(crate) fn put<T: Serialize>(path: &Path, value: &T) -> Result<(), BackendError> {
    let bytes = to_json(path, value)?;
    with_reserve(path, || file::put(path, file::PRIVATE, &bytes))
}

fn to_json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, BackendError> {
    serde_json::to_vec(value)
        .map_err(|e| error::io("cannot write a record", path.display(), e.into()))
}

/// A record; `None` where there is none. `Corrupt` if it does not parse.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, BackendError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            error::corrupt("a record of the deploy root does not parse", path.display()).because(e)
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(error::io("cannot read a record", path.display(), e)),
    }
}

/// The same where nothing depends on a damaged one: it is said, and as good as none.
pub(crate) fn read_sound<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, BackendError> {
    match read(path) {
        Err(e) if e.kind() == BackendErrorKind::Corrupt => {
            tracing::warn!(error = %Chain::of(&e), "a damaged record is passed over");
            Ok(None)
        }
        read => read,
    }
}
