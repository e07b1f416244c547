//! The errors of this store that no file system gives.

use std::fmt;

use rollback_core::error::{StoreError, StoreErrorKind as Kind};

pub(crate) fn busy(what: impl fmt::Display) -> StoreError {
    StoreError::new(
        Kind::Busy,
        "another process keeps the history busy and does not go on",
    )
    .on(what)
    .advice("try again; if it lasts, look for a stopped process")
}
