//! What a [`MemoryStore`](super::MemoryStore) holds, and its rules.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::deployment::{Deployment, LiveRecord, Opening, Phase};
use crate::error::{StoreError, StoreErrorKind as Kind};
use crate::history::{
    Claim, Epoch, Exclusion, Finish, Holder, Identity, InFlight, Lease, Liveness, Renewal,
    Sequence, Settings, Trust, Version, WorkloadState, capped_json,
};
use crate::id::{Actor, DeploymentId, IdempotencyKey, WorkloadId};

#[derive(Debug, Default)]
pub(super) struct Inner {
    identity: Option<Identity>,
    pub(super) ttl: Option<Duration>,
    pub(super) sequence: u64,
    pub(super) deployments: BTreeMap<Sequence, Deployment>,
    pub(super) by_id: BTreeMap<DeploymentId, Sequence>,
    pub(super) workloads: BTreeMap<WorkloadId, Entry>,
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) version: u64,
    pub(super) epoch: u64,
    pub(super) live: LiveRecord,
    pub(super) held: Option<Held>,
    pub(super) settings: Settings,
    pub(super) excluded: Option<Excluded>,
    /// How often it was excluded.
    exclusions: u64,
    /// The last `finish`, so that repeating it is recognised.
    pub(super) finished: Option<(DeploymentId, u64)>,
}

impl Entry {
    fn in_flight(&self) -> Option<&DeploymentId> {
        self.held.as_ref().map(|h| &h.deployment)
    }
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) deployment: DeploymentId,
    pub(super) holder: Holder,
    pub(super) life: Life,
    pub(super) cancel_requested_by: Option<Actor>,
}

impl Held {
    pub(super) fn liveness(&self) -> Liveness {
        if self.life.is_over() {
            Liveness::Dead
        } else {
            Liveness::Alive
        }
    }
}

/// Upkeep that keeps deployments from beginning.
#[derive(Debug)]
pub(super) struct Excluded {
    epoch: Epoch,
    life: Life,
}

/// How long a lease or an exclusion lives.
#[derive(Debug)]
pub(super) enum Life {
    /// As long as somebody keeps this.
    While(Weak<()>),
    /// Until this instant, unless it is granted anew.
    Until(Instant),
}

impl Life {
    fn is_over(&self) -> bool {
        match self {
            Self::While(kept) => kept.strong_count() == 0,
            Self::Until(then) => Instant::now() >= *then,
        }
    }
}

impl Inner {
    pub(super) fn phase(&self, id: &DeploymentId) -> Phase {
        self.deployment(id).map_or(Phase::Opened, Deployment::phase)
    }

    pub(super) fn deployment(&self, id: &DeploymentId) -> Option<&Deployment> {
        self.deployments.get(self.by_id.get(id)?)
    }

    pub(super) fn deployment_mut(
        &mut self,
        id: &DeploymentId,
    ) -> Result<&mut Deployment, StoreError> {
        let sequence = self.by_id.get(id);
        sequence
            .and_then(|sequence| self.deployments.get_mut(sequence))
            .ok_or_else(|| StoreError::unknown(id))
    }

    /// The deployment that was opened under this key.
    pub(super) fn keyed(
        &self,
        workload: &WorkloadId,
        key: &IdempotencyKey,
    ) -> Option<&DeploymentId> {
        let has = |d: &&Deployment| {
            let asked = d.opening().asked.as_ref();
            d.workload() == workload && asked.is_some_and(|asked| asked.key == *key)
        };
        self.deployments.values().find(has).map(Deployment::id)
    }

    pub(super) fn open(&mut self, new: &Opening) -> Result<Sequence, StoreError> {
        capped_json(&new.id, new)?;
        if self.by_id.contains_key(&new.id) {
            return Err(StoreError::known(&new.id));
        }
        self.sequence += 1;
        let sequence = Sequence(self.sequence);
        self.by_id.insert(new.id.clone(), sequence);
        self.deployments
            .insert(sequence, Deployment::open(new.clone(), sequence));
        Ok(sequence)
    }

    pub(super) fn entry(&mut self, workload: &WorkloadId) -> &mut Entry {
        self.workloads.entry(workload.clone()).or_default()
    }

    pub(super) fn not_excluded(&self, workload: &WorkloadId) -> Result<(), StoreError> {
        let excluded = self
            .workloads
            .get(workload)
            .and_then(|e| e.excluded.as_ref());
        if excluded.is_none_or(|e| e.life.is_over()) {
            return Ok(());
        }
        Err(StoreError::excluded(workload))
    }

    /// A lease, and how long it lives.
    pub(super) fn lease(
        &self,
        workload: &WorkloadId,
        deployment: &DeploymentId,
        epoch: Epoch,
    ) -> (Life, Lease) {
        let alive = Arc::new(());
        let life = self.life(&alive);
        let lease = Lease::new(workload.clone(), deployment.clone(), epoch, alive);
        match self.ttl {
            None => (life, lease),
            Some(span) => (life, lease.trusted_for(span)),
        }
    }

    fn life(&self, kept: &Arc<()>) -> Life {
        match self.ttl {
            None => Life::While(Arc::downgrade(kept)),
            Some(span) => Life::Until(Instant::now() + span),
        }
    }

    /// Grants the lease of a workload anew.
    pub(super) fn renew(&mut self, workload: &WorkloadId) -> Trust {
        let Some(span) = self.ttl else {
            return Trust::WhileHeld;
        };
        if let Some(held) = &mut self.entry(workload).held {
            held.life = Life::Until(Instant::now() + span);
        }
        Trust::For(span)
    }

    /// What the holder of a lease is told with each answer.
    pub(super) fn confirm(&mut self, workload: &WorkloadId) -> Renewal {
        let trust = self.renew(workload);
        let held = self.entry(workload).held.as_ref();
        Renewal::new(trust, held.and_then(|h| h.cancel_requested_by.clone()))
    }

    /// An exclusion, to be kept by the caller.
    pub(super) fn exclusion(&mut self, workload: &WorkloadId) -> (Excluded, Exclusion) {
        let entry = self.entry(workload);
        entry.exclusions += 1;
        let epoch = Epoch(entry.exclusions);
        let kept = Arc::new(());
        let life = self.life(&kept);
        let exclusion = match self.ttl {
            None => Exclusion::new(workload.clone(), kept),
            Some(span) => Exclusion::leased(workload.clone(), epoch, span),
        };
        (Excluded { epoch, life }, exclusion)
    }

    pub(super) fn renew_exclusion(&mut self, exclusion: &Exclusion) -> Result<Trust, StoreError> {
        let (Some(span), Some(epoch)) = (self.ttl, exclusion.epoch()) else {
            return Ok(Trust::WhileHeld);
        };
        match &mut self.entry(exclusion.workload()).excluded {
            Some(excluded) if excluded.epoch == epoch => {
                excluded.life = Life::Until(Instant::now() + span);
                Ok(Trust::For(span))
            }
            _ => Err(StoreError::exclusion_over(exclusion.workload())),
        }
    }

    pub(super) fn fence(&mut self, claim: &Claim) -> Result<(), StoreError> {
        let entry = self.entry(claim.workload());
        claim.check(Epoch(entry.epoch), entry.in_flight())
    }

    /// Settles, and gives the successor's sequence if one was opened. All checks come before the
    /// first change: the step is done whole or not at all.
    pub(super) fn finish(&mut self, finish: &Finish) -> Result<Option<Sequence>, StoreError> {
        let claim = finish.claim();
        self.fence(claim)?;
        let own = self.deployment_mut(claim.deployment())?.clone();
        let mut changed = vec![own.with(finish.events())?];
        if let Some((failed, event)) = finish.amends() {
            let failed = self.deployment_mut(failed)?.clone();
            claim.reaches(failed.id(), failed.workload())?;
            changed.push(failed.with(&[event])?);
        }
        let opened = finish.opens().map(|new| self.open(new)).transpose()?;
        for deployment in changed {
            self.deployments.insert(deployment.sequence(), deployment);
        }
        let entry = self.entry(claim.workload());
        entry.version += 1;
        entry.live = finish.live().clone();
        entry.finished = Some((claim.deployment().clone(), claim.epoch().0));
        match (finish.opens(), &mut entry.held) {
            (Some(new), Some(held)) => {
                held.deployment = new.id.clone();
                held.cancel_requested_by = None;
            }
            _ => entry.held = None,
        }
        Ok(opened)
    }

    /// Whether this very `finish` was made before, with the successor's sequence if it opened one.
    pub(super) fn finished_before(
        &self,
        finish: &Finish,
    ) -> Result<Option<Option<Sequence>>, StoreError> {
        let claim = finish.claim();
        let last = Some((claim.deployment().clone(), claim.epoch().0));
        let entry = self.workloads.get(claim.workload());
        let entry = entry.filter(|e| e.finished == last);
        let (Some(entry), Some(own)) = (entry, self.deployment(claim.deployment())) else {
            return Ok(None);
        };
        let in_flight = entry.in_flight().filter(|_| entry.epoch == claim.epoch().0);
        finish.was_made(own, in_flight, |id| Ok(self.deployment(id).cloned()))
    }

    pub(super) fn state(&self, workload: &WorkloadId) -> WorkloadState {
        let Some(entry) = self.workloads.get(workload) else {
            return WorkloadState::unseen(workload.clone());
        };
        let mut state =
            WorkloadState::unseen(workload.clone()).with_settings(entry.settings.clone());
        state.version = Version(entry.version);
        state.live = entry.live.clone();
        state.in_flight = entry.held.as_ref().map(|h| InFlight {
            deployment: h.deployment.clone(),
            holder: h.holder.clone(),
            liveness: h.liveness(),
            epoch: Epoch(entry.epoch),
        });
        state
    }

    pub(super) fn of(identity: Identity) -> Self {
        Self {
            identity: Some(identity),
            ..Self::default()
        }
    }

    pub(super) fn identity(&mut self) -> Result<Identity, StoreError> {
        if let Some(identity) = &self.identity {
            return Ok(identity.clone());
        }
        let identity = Identity::generate().map_err(|e| {
            StoreError::new(Kind::Io, "the system gives no random bytes").because(e)
        })?;
        Ok(self.identity.insert(identity).clone())
    }

    /// The deployment in flight, if its holder is dead.
    pub(super) fn left_by_the_dead(
        &self,
        workload: &WorkloadId,
    ) -> Result<DeploymentId, StoreError> {
        let state = self.state(workload);
        let left = state.left_by_the_dead(|id| self.phase(id))?;
        Ok(left.deployment.clone())
    }
}
