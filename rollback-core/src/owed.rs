//! What is owed: that what is live only for now goes back, whoever is there to see to it. Pure.

use crate::deployment::{Deployment, Outcome, Purpose};
use crate::history::Summary;
use crate::time::Timestamp;

/// That what is live has to go back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owed {
    /// From when on.
    pub at: Timestamp,
    /// What the deployment that goes back is for.
    pub purpose: Purpose,
}

/// What is owed for a deployment that is live; `None`: it stays. What members of a group owe, their
/// coordinator's record says.
pub fn owed(live: &Deployment) -> Option<Owed> {
    let id = live.id().clone();
    let settled = live.settled_at().filter(|_| live.went_live())?;
    if live.purpose() == Some(&Purpose::Drill) {
        return Some(Owed {
            at: settled,
            purpose: Purpose::DrillEnds { drill: id },
        });
    }
    let within = live.opening().confirm_within?;
    // Where nothing was on record, there is nothing to go back to.
    live.opening().replaces.known()?;
    if live.annotations().confirmed.is_some() {
        return None;
    }
    Some(Owed {
        at: settled.plus(within),
        purpose: Purpose::Unconfirmed { deployment: id },
    })
}

/// Whether it was tried, and is not tried again: what did not come to rest is, what failed or was refused
/// is for a person.
pub fn was_tried(purpose: &Purpose, newest: &[Summary]) -> bool {
    let tried = |d: &&Summary| d.purpose.as_ref() == Some(purpose);
    let last = newest.iter().find(tried);
    last.and_then(Summary::outcome)
        .is_some_and(|outcome| outcome != Outcome::Interrupted)
}
