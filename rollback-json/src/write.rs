//! The writes, each under a workload's write lock, each committed by one rename.

mod abandon;
mod forget;

use rollback_core::deployment::{Annotation, Deployment, Opening};
use rollback_core::error::{Chain, StoreError, StoreErrorKind as Kind};
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{
    Amendment as Change, Claim, Epoch, Finish, Holder, Sequence, Version, capped_json,
    check_version,
};
use rollback_core::id::{Actor, DeploymentId};

use crate::folder::{Folder, Found, Writing};
use crate::layout::shard_of;
use crate::state::{Amendment, Finished, Held, Pending, Placed, State};

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
            tracing::warn!(workload = %state.workload, error = %Chain::of(&error), "left to the next writer");
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
        capped_json(&new.id, new)?;
        if self.folder.shard_with(&new.id)?.is_some() {
            return Err(StoreError::known(&new.id));
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
        check_version(&new.workload, Version(state.version), expected)?;
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

    /// Says who has asked for a stop.
    pub(crate) fn append(
        &mut self,
        claim: &Claim,
        events: &[TimedEvent],
    ) -> Result<Option<Actor>, StoreError> {
        let state = self.folder.state()?;
        let held = state.check(claim)?;
        let shard = held.shard;
        let deployment = self.folder.current(shard, claim.deployment())?;
        let unwritten = claim.unwritten(&deployment, events)?;
        let all = |is: fn(&Event) -> bool| events.iter().all(|timed| is(&timed.event));
        if !all(|event| !matches!(event, Event::SwitchIntended)) {
            self.folder.keep_room(shard, &deployment)?;
        }
        // What only tells leaves the room to what ends the deployment.
        if !all(|event| matches!(event, Event::Diagnosed(_))) {
            self.writing.ends();
        }
        if unwritten.is_empty() {
            // Written before, and perhaps not durable: the first attempt may have failed between.
            self.folder.sync_shard(self.writing, shard)?;
        } else {
            let deployment = deployment.with(unwritten)?;
            self.folder.write_current(self.writing, shard, deployment)?;
        }
        Ok(held.cancel_by.clone())
    }

    /// Gives the successor's place in the order, if one was opened.
    pub(crate) fn finish(
        &mut self,
        finish: &Finish,
        number: impl Fn(&Opening, Sequence) -> Result<Sequence, StoreError>,
    ) -> Result<Option<Sequence>, StoreError> {
        self.writing.ends();
        let claim = finish.claim();
        let mut state = self.state()?;
        if let Some(done) = self.finished_before(&state, finish)? {
            return Ok(done);
        }
        let held = state.check(claim)?.clone();
        let own = self.folder.current(held.shard, &held.deployment)?;
        let mut changes = amendments(held.shard, own, finish.events())?;
        if let Some((failed, event)) = finish.amends() {
            let (shard, failed) = self.committed(&state, failed)?;
            changes.extend(amendments(shard, failed, &[event])?);
        }
        state.in_flight = None;
        let mut opened = None;
        if let Some(new) = finish.opens() {
            let Placed {
                sequence, shard, ..
            } = self.open(&mut state, new, number)?;
            state.in_flight = Some(Held {
                deployment: new.id.clone(),
                sequence,
                shard,
                cancel_by: None,
                ..held
            });
            opened = Some(sequence);
        }
        state.version += 1;
        state.live = finish.live().clone();
        state.finished = Some(Finished {
            deployment: claim.deployment().clone(),
            epoch: claim.epoch().0,
        });
        state.pending.events = changes;
        self.commit(&state)?;
        Ok(opened)
    }

    fn finished_before(
        &mut self,
        state: &State,
        finish: &Finish,
    ) -> Result<Option<Option<Sequence>>, StoreError> {
        let claim = finish.claim();
        let Some(last) = &state.finished else {
            return Ok(None);
        };
        if last.deployment != *claim.deployment() || last.epoch != claim.epoch().0 {
            return Ok(None);
        }
        let (_, own) = self.committed(state, claim.deployment())?;
        let in_flight = state.deployment_in_flight();
        let in_flight = in_flight.filter(|_| state.epoch == claim.epoch().0);
        finish.was_made(&own, in_flight, |id| {
            let (_, other) = self.committed(state, id)?;
            Ok(Some(other))
        })
    }

    /// A record of this workload that must be there, and its directory.
    fn committed(
        &mut self,
        state: &State,
        id: &DeploymentId,
    ) -> Result<(u64, Deployment), StoreError> {
        let Some(shard) = self.folder.shard_with(id)? else {
            return Err(StoreError::unknown(id));
        };
        match self.folder.get(state, shard, id) {
            Found::Record(d) => Ok((shard, *d)),
            Found::Unreadable(e) => Err(e),
            Found::Nothing => Err(StoreError::unknown(id)),
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
            return Err(StoreError::nothing_in_flight(&state.workload));
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
            _ => return Err(StoreError::not_in_flight(id)),
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
        let deployment = deployment.annotated(what)?;
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

/// Events for a record in this shard, if they can follow what the record says.
fn amendments(
    shard: u64,
    record: Deployment,
    events: &[TimedEvent],
) -> Result<Vec<Amendment>, StoreError> {
    let record = record.with(events)?;
    let amendment = |event: &TimedEvent| Amendment {
        deployment: record.id().clone(),
        sequence: record.sequence(),
        shard,
        event: event.clone(),
    };
    Ok(events.iter().map(amendment).collect())
}
