//! What every store checks before it writes, whatever it keeps its records in.

use std::fmt::Display;

use serde::Serialize;

use super::Version;
use crate::deployment::{Annotations, LiveRecord};
use crate::error::{StoreError, StoreErrorKind as Kind};
use crate::id::{DeploymentId, WorkloadId};

/// Largest record header or event that a store takes, in bytes of JSON: 1 MiB.
pub const MAX_RECORD: usize = 1024 * 1024;

/// For stores: whether a workload's state has the version that `begin` or `amend` expects.
///
/// # Errors
///
/// [`StoreErrorKind::Stale`](Kind::Stale) if it has moved.
pub fn check_version(
    workload: &WorkloadId,
    is: Version,
    expected: Version,
) -> Result<(), StoreError> {
    if is == expected {
        return Ok(());
    }
    Err(StoreError::stale(workload))
}

/// For stores: the JSON of a record's opening or event, if it is not too large to be kept. `of` is
/// whose it is.
///
/// # Errors
///
/// [`StoreErrorKind::TooLarge`](Kind::TooLarge) if it has more than [`MAX_RECORD`] bytes;
/// [`StoreErrorKind::Io`](Kind::Io) if it cannot be written as JSON.
pub fn capped_json(of: impl Display, value: &impl Serialize) -> Result<String, StoreError> {
    let text = serde_json::to_string(value).map_err(|e| {
        StoreError::new(
            Kind::Io,
            "it cannot be written as JSON; nothing was written",
        )
        .on(&of)
        .because(e)
    })?;
    if text.len() > MAX_RECORD {
        let what = format!(
            "what is to be kept has {} bytes, at most {MAX_RECORD} are; nothing was written",
            text.len()
        );
        return Err(StoreError::new(Kind::TooLarge, what)
            .on(of)
            .advice("shorten its facets, labels or diagnostic"));
    }
    Ok(text)
}

/// For stores: whether a record may be forgotten. `added` is what people added to it, `None` where it
/// cannot be read; `live` and `in_flight` are what the workload's state says now.
///
/// # Errors
///
/// [`StoreErrorKind::Conflict`](Kind::Conflict) if it is live, in flight or pinned.
pub fn may_be_forgotten(
    id: &DeploymentId,
    added: Option<&Annotations>,
    live: &LiveRecord,
    in_flight: Option<&DeploymentId>,
) -> Result<(), StoreError> {
    let pinned = added.is_some_and(|a| a.pinned);
    if pinned || live.known() == Some(id) || in_flight == Some(id) {
        return Err(StoreError::kept(id));
    }
    Ok(())
}
