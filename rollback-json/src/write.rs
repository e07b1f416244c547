//! The writes, each under a workload's write lock, each committed by one rename.

mod abandon;
mod forget;

use rollback_core::deployment::MAX_NOTES;
use rollback_core::deployment::{Annotation, Deployment, Opening, Settlement};
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{
    Amendment as Change, Epoch, Holder, Sequence, Then, Version, check_version,
};
use rollback_core::id::{Actor, DeploymentId, WorkloadId};
use rollback_core::time::Timestamp;

use crate::error::{illegal, known, nothing_in_flight, unknown};
use crate::folder::{Folder, Found, Writing};
use crate::layout::shard_of;
use crate::record::check_size;
use crate::state::{Amendment, Claim, Finished, Held, Pending, Placed, State};

/// A workload's folder that may be written.
pub(crate) struct Writer<'a> {
    pub(crate) folder: &'a mut Folder,
    pub(crate) writing: &'a Writing,
}

impl Writer<'_> {
    /// The state to change: what was pending has been carried out.
    fn state(&mut self) -> Result<State, StoreError> {
        let mut state = self.folder.state()?;
        state.pending = Pending::default();
        Ok(state)
    }

    /// Commits, and carries out what was committed. What of that fails is left to the next writer.
    fn commit(&mut self, state: &State) -> Result<(), StoreError> {
        self.folder.commit(self.writing, state)?;
        if let Err(error) = self.folder.carry_out(self.writing, &state.pending) {
            tracing::warn!(workload = %state.workload, %error, "left to the next writer");
            self.writing.leave();
        }
        Ok(())
    }

    /// Opens a record that the next commit makes true.
    fn open(
        &mut self,
        state: &mut State,
        new: &Opening,
        number: impl Fn(&Opening, Sequence) -> Result<Sequence, StoreError>,
    ) -> Result<Placed, StoreError> {
        check_size(new)?;
        if self.folder.shard_with(&new.id)?.is_some() {
            return Err(known(&new.id));
        }
        self.folder.keep_index();
        let newest = self.folder.newest_of_own(state)?;
        let sequence = match number(new, newest) {
            Err(e) if e.kind() == Kind::Full && self.folder.make_room(self.writing) => {
                number(new, newest)?
            }
            other => other?,
        };
        let opened = Placed {
            deployment: new.id.clone(),
            sequence,
            shard: shard_of(state.count),
        };
        let deployment = Deployment::open(new.clone(), sequence);
        self.folder
            .create(self.writing, opened.shard, &deployment)?;
        if state.kept.is_none() {
            state.kept = Some(self.folder.kept()?);
        }
        state.kept = state.kept.map(|kept| kept + 1);
        state.last = sequence;
        state.count += 1;
        state.pending.opened = Some(opened.clone());
        Ok(opened)
    }

    /// Begins. The caller holds the workload's lease lock, and has found no conflict.
    pub(crate) fn begin(
        &mut self,
        new: &Opening,
        holder: &Holder,
        expected: Version,
        number: impl Fn(&Opening, Sequence) -> Result<Sequence, StoreError>,
    ) -> Result<(Epoch, Sequence), StoreError> {
        let mut state = self.state()?;
        if let Some(asked) = &new.asked
            && let Some(by) = self.folder.keyed(&state, &asked.key)?
        {
            return Err(StoreError::key_taken(&asked.key, &by));
        }
        if state.version != expected.0 {
            return Err(StoreError::new(
                Kind::Stale,
                "the workload changed since the plan was made",
            )
            .on(&new.workload)
            .advice("preview again"));
        }
        let Placed {
            sequence, shard, ..
        } = self.open(&mut state, new, number)?;
        state.version += 1;
        state.epoch += 1;
        state.in_flight = Some(Held {
            deployment: new.id.clone(),
            sequence,
            shard,
            holder: holder.clone(),
            cancel_by: None,
        });
        self.commit(&state)?;
        Ok((Epoch(state.epoch), sequence))
    }

    pub(crate) fn append(&mut self, claim: &Claim, event: &TimedEvent) -> Result<(), StoreError> {
        let state = self.folder.state()?;
        let shard = state.check(claim)?.shard;
        check_size(event)?;
        if matches!(event.event, Event::Settled(_) | Event::RolledBackBy { .. }) {
            let why = format!("only finish writes the event {}", event.event.name());
            return Err(illegal(&claim.deployment, why));
        }
        let mut deployment = self.folder.current(shard, &claim.deployment)?;
        if matches!(event.event, Event::SwitchIntended) {
            self.folder.keep_room(shard, &deployment)?;
        }
        // What only tells leaves the room to what ends the deployment.
        if !matches!(event.event, Event::Diagnosed(_)) {
            self.writing.ends();
        }
        if deployment.events().last() == Some(event) {
            // Written before, and perhaps not durable: the first attempt may have failed between.
            return self.folder.sync_shard(self.writing, shard);
        }
        apply(&mut deployment, event)?;
        self.folder.write_current(self.writing, shard, deployment)
    }

    /// Gives the successor's place in the order, if one was opened.
    pub(crate) fn finish(
        &mut self,
        claim: &Claim,
        settlement: &Settlement,
        at: Timestamp,
        then: &Then,
        number: impl Fn(&Opening, Sequence) -> Result<Sequence, StoreError>,
    ) -> Result<Option<Sequence>, StoreError> {
        self.writing.ends();
        let event = TimedEvent::new(at, Event::Settled(settlement.clone()));
        let mut state = self.state()?;
        if let Some(done) = self.finished_before(&state, claim, &event, then)? {
            return Ok(done);
        }
        let held = state.check(claim)?.clone();
        check_size(&event)?;
        let mut settled = self.folder.current(held.shard, &held.deployment)?;
        apply(&mut settled, &event)?;
        let mut changes = vec![Amendment {
            deployment: held.deployment.clone(),
            sequence: held.sequence,
            shard: held.shard,
            event,
        }];
        let mut opened = None;
        match then {
            Then::Release => state.in_flight = None,
            Then::ReleaseAndAmend(failed) => {
                changes.push(self.amendment(&state, claim, failed, at)?);
                state.in_flight = None;
            }
            Then::Open(new) => {
                same_workload(claim, &new.id, &new.workload)?;
                let Placed {
                    sequence, shard, ..
                } = self.open(&mut state, new, number)?;
                state.in_flight = Some(Held {
                    deployment: new.id.clone(),
                    sequence,
                    shard,
                    cancel_by: None,
                    ..held.clone()
                });
                opened = Some(sequence);
            }
        }
        state.version += 1;
        state.live = settlement.live.clone();
        state.finished = Some(Finished {
            deployment: held.deployment,
            epoch: claim.epoch,
        });
        state.pending.events = changes;
        self.commit(&state)?;
        Ok(opened)
    }

    fn amendment(
        &mut self,
        state: &State,
        claim: &Claim,
        failed: &DeploymentId,
        at: Timestamp,
    ) -> Result<Amendment, StoreError> {
        let event = TimedEvent::new(
            at,
            Event::RolledBackBy {
                deployment: claim.deployment.clone(),
            },
        );
        let (shard, mut amended) = self.committed(state, failed)?;
        apply(&mut amended, &event)?;
        Ok(Amendment {
            deployment: failed.clone(),
            sequence: amended.sequence(),
            shard,
            event,
        })
    }

    /// A commit whose answer was lost is found done, and done again without a change.
    fn finished_before(
        &mut self,
        state: &State,
        claim: &Claim,
        settled: &TimedEvent,
        then: &Then,
    ) -> Result<Option<Option<Sequence>>, StoreError> {
        let Some(done) = &state.finished else {
            return Ok(None);
        };
        if done.deployment != claim.deployment
            || done.epoch != claim.epoch
            || state.epoch != claim.epoch
        {
            return Ok(None);
        }
        let (_, record) = self.committed(state, &done.deployment)?;
        if !record.events().contains(settled) {
            return Ok(None);
        }
        Ok(match then {
            // Under the same epoch only a successor can be in flight: that `finish` was another one.
            Then::Release => state.in_flight.is_none().then_some(None),
            Then::ReleaseAndAmend(failed) => {
                let (_, failed) = self.committed(state, failed)?;
                (failed.rolled_back_by() == Some(&claim.deployment)).then_some(None)
            }
            Then::Open(new) => match &state.in_flight {
                Some(held) if held.deployment == new.id => {
                    let (_, successor) = self.committed(state, &new.id)?;
                    (successor.opening() == &**new).then_some(Some(held.sequence))
                }
                _ => None,
            },
        })
    }

    /// A record of this workload that must be there, and its directory.
    fn committed(
        &mut self,
        state: &State,
        id: &DeploymentId,
    ) -> Result<(u64, Deployment), StoreError> {
        let Some(shard) = self.folder.shard_with(id)? else {
            return Err(unknown(id));
        };
        match self.folder.get(state, shard, id) {
            Found::Record(d) => Ok((shard, *d)),
            Found::Unreadable(e) => Err(e),
            Found::Nothing => Err(unknown(id)),
        }
    }

    /// The caller holds the lease lock: the former holder is dead.
    pub(crate) fn take_over(
        &mut self,
        holder: &Holder,
    ) -> Result<(DeploymentId, Epoch), StoreError> {
        self.writing.ends();
        let mut state = self.state()?;
        let Some(held) = &mut state.in_flight else {
            return Err(nothing_in_flight(&state.workload));
        };
        held.holder = holder.clone();
        let deployment = held.deployment.clone();
        state.epoch += 1;
        self.commit(&state)?;
        Ok((deployment, Epoch(state.epoch)))
    }

    pub(crate) fn request_cancel(
        &mut self,
        id: &DeploymentId,
        by: &Actor,
    ) -> Result<(), StoreError> {
        self.writing.ends();
        let mut state = self.state()?;
        match &mut state.in_flight {
            Some(held) if held.deployment == *id => {
                // Who asked first is kept.
                held.cancel_by.get_or_insert_with(|| by.clone());
            }
            _ => return Err(not_in_flight(id)),
        }
        self.commit(&state)
    }

    /// Changes what people set.
    pub(crate) fn amend(
        &mut self,
        expected: Version,
        change: &Change,
    ) -> Result<Version, StoreError> {
        let mut state = self.state()?;
        check_version(&state.workload, Version(state.version), expected)?;
        let mut settings = state.settings();
        settings.amend(change);
        state.set(settings);
        state.version += 1;
        self.commit(&state)?;
        Ok(Version(state.version))
    }

    pub(crate) fn annotate(
        &mut self,
        id: &DeploymentId,
        what: &Annotation,
    ) -> Result<(), StoreError> {
        let state = self.folder.state()?;
        let (shard, deployment) = self.committed(&state, id)?;
        let annotations = deployment
            .annotations()
            .clone()
            .annotated(what)
            .ok_or_else(|| {
                StoreError::new(Kind::TooLarge, format!("a record takes {MAX_NOTES} notes")).on(id)
            })?;
        let deployment = deployment.with_annotations(annotations);
        self.folder.annotate(self.writing, shard, &deployment)
    }

    /// Makes every index of the workload anew, and takes the records that are there for all.
    pub(crate) fn rebuild(&mut self) -> Result<(), StoreError> {
        self.folder.rebuild_indices()?;
        let mut state = self.state()?;
        let kept = Some(self.folder.kept()?);
        if state.version > 0 && state.kept != kept {
            state.kept = kept;
            self.commit(&state)?;
        }
        Ok(())
    }
}

pub(crate) fn not_in_flight(id: &DeploymentId) -> StoreError {
    StoreError::new(Kind::NotFound, "this deployment is not in flight").on(id)
}

fn apply(deployment: &mut Deployment, event: &TimedEvent) -> Result<(), StoreError> {
    let id = deployment.id().clone();
    deployment
        .apply(event.clone())
        .map_err(|e| illegal(&id, e.to_string()))
}

pub(crate) fn same_workload(
    claim: &Claim,
    id: &DeploymentId,
    of: &WorkloadId,
) -> Result<(), StoreError> {
    if *of == claim.workload {
        return Ok(());
    }
    let why = format!("this deployment is of {of}, not of {}", claim.workload);
    Err(illegal(id, why))
}
