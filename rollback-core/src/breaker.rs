//! The breaker: how often remediations may still be tried on a workload. Pure.
//!
//! It is derived from the history rather than stored: every attempt is an event that was durable
//! before it was made, so a crash can neither lose one nor count it twice.

use crate::deployment::Deployment;
use crate::event::Event;
use crate::policy::Breaker;
use crate::time::Timestamp;

/// What the breaker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Another attempt may be made.
    No,
    /// None until an older one is out of the span: so many were made in it.
    Yes {
        /// Remediations begun in the span, all of them recorded.
        attempts: usize,
    },
}

/// Whether remediations rest. `records`: the workload's, newest first.
pub fn rest(records: &[Deployment], breaker: &Breaker, now: Timestamp) -> Rest {
    let attempts = records
        .iter()
        .flat_map(Deployment::events)
        .filter(|e| matches!(e.event, Event::RemediationIntended { .. }))
        .filter(|e| now.since(e.at) < breaker.per)
        .count();
    if attempts >= usize::try_from(breaker.attempts).unwrap_or(usize::MAX) {
        Rest::Yes { attempts }
    } else {
        Rest::No
    }
}
