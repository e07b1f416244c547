//! The errors of this store that no file system gives.

use std::fmt;

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::id::{DeploymentId, WorkloadId};

pub(crate) fn unknown(id: &DeploymentId) -> StoreError {
    StoreError::new(Kind::NotFound, "no such deployment").on(id)
}

pub(crate) fn nothing_in_flight(workload: &WorkloadId) -> StoreError {
    StoreError::new(Kind::NotFound, "no deployment is in flight").on(workload)
}

pub(crate) fn fenced(deployment: &DeploymentId) -> StoreError {
    StoreError::new(
        Kind::Fenced,
        "the lease is over: the deployment is settled, or another process has taken it",
    )
    .on(deployment)
    .advice("stop; whoever holds the workload now settles what is left")
}

pub(crate) fn known(id: &DeploymentId) -> StoreError {
    illegal(id, "this deployment exists already").advice("begin with a new id")
}

pub(crate) fn illegal(id: &DeploymentId, why: impl Into<String>) -> StoreError {
    StoreError::new(Kind::IllegalEvent, why).on(id)
}

pub(crate) fn busy(what: impl fmt::Display) -> StoreError {
    StoreError::new(
        Kind::Busy,
        "another process keeps the history busy and does not go on",
    )
    .on(what)
    .advice("try again; if it lasts, look for a stopped process")
}

pub(crate) fn kept(id: &DeploymentId) -> StoreError {
    StoreError::new(
        Kind::Conflict,
        "this deployment is live, in flight or pinned; nothing was forgotten",
    )
    .on(id)
    .advice("leave it out, or unpin it")
}
