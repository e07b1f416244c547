//! What every store refuses alike, in one wording: a store of your own says it by these.

use super::{StoreError, StoreErrorKind as Kind};
use crate::deployment::Phase;
use crate::history::{Conflict, InFlight};
use crate::id::{DeploymentId, IdempotencyKey, WorkloadId};
use crate::time::{Clock, SystemClock};

impl StoreError {
    /// For stores: no record has this id.
    pub fn unknown(id: &DeploymentId) -> Self {
        Self::new(Kind::NotFound, "no such deployment")
            .on(id)
            .advice("list the history for the ids it has")
    }

    /// For stores: a record has this id already, of whatever workload.
    pub fn known(id: &DeploymentId) -> Self {
        let what = "this deployment exists already; nothing was changed";
        Self::new(Kind::IllegalEvent, what)
            .on(id)
            .advice("begin with a new id")
    }

    /// For stores: another deployment of the workload has this idempotency key.
    pub fn key_taken(key: &IdempotencyKey, by: &DeploymentId) -> Self {
        let what = format!("a deployment was opened under the idempotency key {key} already");
        Self::new(Kind::KeyTaken, what)
            .on(by)
            .advice("look at that deployment, or use another key")
    }

    /// For stores: the workload's state has another version by now.
    pub fn stale(workload: &WorkloadId) -> Self {
        let what = "the workload changed since it was looked at; nothing was changed";
        Self::new(Kind::Stale, what)
            .on(workload)
            .advice("look again, or preview again")
    }

    /// For stores: this deployment is not the one in flight, or not under this lease any more.
    pub fn fenced(deployment: &DeploymentId) -> Self {
        let what = "the lease is over: the deployment is settled, or another process has taken \
                    it; nothing was written";
        Self::new(Kind::Fenced, what)
            .on(deployment)
            .advice("stop; whoever holds the workload now settles what is left")
    }

    /// For stores: this is in flight now, and in the way. `phase` says how far it is:
    /// [`Phase::Opened`] where its record cannot be read, which is in the way all the same.
    pub fn in_flight(workload: &WorkloadId, in_flight: &InFlight, phase: Phase) -> Self {
        let now = SystemClock.now();
        Self::held(Conflict::new(workload.clone(), in_flight, phase, now))
    }

    /// For stores: nothing of this workload is in flight.
    pub fn nothing_in_flight(workload: &WorkloadId) -> Self {
        Self::new(Kind::NotFound, "no deployment is in flight")
            .on(workload)
            .advice("look again: nothing has to be recovered or given up")
    }

    /// For stores: this deployment is not in flight.
    pub fn not_in_flight(id: &DeploymentId) -> Self {
        Self::new(Kind::NotFound, "this deployment is not in flight")
            .on(id)
            .advice("look at its record: it has ended, or never began")
    }

    /// For stores: somebody excludes deployments of this workload.
    pub fn excluded(workload: &WorkloadId) -> Self {
        let what = "upkeep keeps deployments from beginning just now";
        Self::new(Kind::Busy, what)
            .on(workload)
            .advice("try again in a moment")
    }

    /// For stores: an exclusion was not renewed in time.
    pub fn exclusion_over(workload: &WorkloadId) -> Self {
        Self::new(Kind::Fenced, "the exclusion is over")
            .on(workload)
            .advice("begin the upkeep anew")
    }

    /// For stores: this record may not be forgotten, and none of those that were to go with it was.
    pub fn kept(id: &DeploymentId) -> Self {
        let what = "this deployment is live, in flight or pinned; nothing was forgotten";
        Self::new(Kind::Conflict, what)
            .on(id)
            .advice("leave it out, or unpin it")
    }
}
