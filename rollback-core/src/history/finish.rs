//! What a settlement leads to: [`Then`] asks for it, a [`Finish`] is what it comes to in any store, and
//! [`Finished`] is what has come of it.

use super::{Begun, Claim, Lease, Sequence, capped_json};
use crate::deployment::{Deployment, LiveRecord, Opening, Settlement};
use crate::error::{StoreError, StoreErrorKind as Kind};
use crate::event::{Event, TimedEvent};
use crate::id::DeploymentId;
use crate::time::Timestamp;

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

/// For stores: a settlement and what follows it. A store writes, in one atomic step: the
/// [`events`](Self::events) that end the claim's own record, the event that it
/// [`amends`](Self::amends) another one by, the record that it [`opens`](Self::opens), and the
/// workload's state: its next version, what is [`live`](Self::live), and as in flight what was opened,
/// or nothing.
#[derive(Debug, Clone)]
pub struct Finish {
    claim: Claim,
    events: Vec<TimedEvent>,
    at: Timestamp,
    live: LiveRecord,
    then: Then,
}

impl Finish {
    /// What is asked for under this lease, which may be over.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::IllegalEvent`](Kind::IllegalEvent) if a successor of another workload is to
    /// be opened, or the deployment to be rolled back by itself;
    /// [`StoreErrorKind::TooLarge`](Kind::TooLarge).
    pub fn new(
        lease: &Lease,
        last: &[TimedEvent],
        settlement: &Settlement,
        at: Timestamp,
        then: &Then,
    ) -> Result<Self, StoreError> {
        let claim = lease.claim().clone();
        match then {
            Then::Open(new) => claim.reaches(&new.id, &new.workload)?,
            Then::ReleaseAndAmend(failed) if failed == claim.deployment() => {
                let what = "a deployment cannot have been rolled back by itself; nothing was \
                            written";
                return Err(StoreError::new(Kind::IllegalEvent, what)
                    .on(failed)
                    .advice("name the deployment that failed"));
            }
            Then::ReleaseAndAmend(_) | Then::Release => {}
        }
        let mut events = last.to_vec();
        events.push(TimedEvent::new(at, Event::Settled(settlement.clone())));
        for event in &events {
            capped_json(claim.deployment(), event)?;
        }
        Ok(Self {
            claim,
            events,
            at,
            live: settlement.live.clone(),
            then: then.clone(),
        })
    }

    /// What the lease has to hold for.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// What the claim's own record ends with: what was not on record yet, and the settlement.
    pub fn events(&self) -> &[TimedEvent] {
        &self.events
    }

    /// What is live from now on.
    pub fn live(&self) -> &LiveRecord {
        &self.live
    }

    /// The deployment that failed and was put right, and the event that says so on its record, once
    /// the claim [`reaches`](Claim::reaches) it.
    pub fn amends(&self) -> Option<(&DeploymentId, TimedEvent)> {
        let Then::ReleaseAndAmend(failed) = &self.then else {
            return None;
        };
        let deployment = self.claim.deployment().clone();
        let event = Event::RolledBackBy { deployment };
        Some((failed, TimedEvent::new(self.at, event)))
    }

    /// The successor, in flight from now on under the same lease.
    pub fn opens(&self) -> Option<&Opening> {
        match &self.then {
            Then::Open(new) => Some(new),
            Then::Release | Then::ReleaseAndAmend(_) => None,
        }
    }

    /// Whether this very `finish` is on record: a commit whose answer was lost is found done, and done
    /// again without a change. `Some` if it is, with the successor's place if it opened one.
    ///
    /// To be asked only if the claim's epoch is the one that its record was settled under. `own` is that
    /// record; `in_flight` what is in flight under that epoch, nothing if the workload's is a later one by
    /// now; `get` reads another one.
    ///
    /// # Errors
    ///
    /// What `get` fails with.
    pub fn was_made<E>(
        &self,
        own: &Deployment,
        in_flight: Option<&DeploymentId>,
        get: impl FnOnce(&DeploymentId) -> Result<Option<Deployment>, E>,
    ) -> Result<Option<Option<Sequence>>, E> {
        // What came after the settlement is of other deployments.
        if !own
            .events()
            .windows(self.events.len())
            .any(|these| these == self.events)
        {
            return Ok(None);
        }
        Ok(match &self.then {
            // Under the same epoch only a successor can be in flight: that `finish` was another one.
            Then::Release => in_flight.is_none().then_some(None),
            Then::ReleaseAndAmend(failed) => {
                let by = Some(self.claim.deployment());
                let amended = get(failed)?.is_some_and(|f| f.rolled_back_by() == by);
                amended.then_some(None)
            }
            Then::Open(new) if in_flight == Some(&new.id) => {
                let successor = get(&new.id)?.filter(|s| s.opening() == &**new);
                successor.map(|s| Some(s.sequence()))
            }
            Then::Open(_) => None,
        })
    }

    /// What the lease's holder gets, now that it is durable: the lease is over, or goes on with the
    /// successor that was opened at this place.
    pub fn done(&self, lease: &Lease, opened: Option<Sequence>) -> Finished {
        match (&self.then, opened) {
            (Then::Open(new), Some(sequence)) => {
                Finished::Opened(Begun::new(lease.pass_on(new.id.clone()), sequence))
            }
            _ => {
                lease.end();
                Finished::Released
            }
        }
    }
}
