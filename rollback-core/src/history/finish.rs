//! What a settlement leads to: [`Then`] asks for it, [`Finished`] is what has come of it.

use super::Begun;
use crate::deployment::Opening;
use crate::id::DeploymentId;

/// What follows a settlement, in the same atomic step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// The lease is freed.
    Release,
    /// The lease is freed, and this deployment, which failed, gets
    /// [`Event::RolledBackBy`](crate::event::Event::RolledBackBy) with the settled one's id.
    ReleaseAndAmend(DeploymentId),
    /// The successor is opened under the same lease.
    Open(Box<Opening>),
}

/// What `finish` leaves.
#[derive(Debug)]
pub enum Finished {
    /// The lease is free.
    Released,
    /// The successor is open.
    Opened(Begun),
}
