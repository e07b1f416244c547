//! The writes, each inside one immediate transaction that the caller commits.

use rollback_core::deployment::{LiveRecord, Opening, Settlement};
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{
    Amendment, Annotation, Epoch, Holder, Lease, Liveness, Sequence, Then, Version, check_version,
};
use rollback_core::id::{Actor, DeploymentId, WorkloadId};
use rollback_core::memory::MAX_NOTES;
use rollback_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{Failure, fenced, illegal, unknown, unreadable};
use crate::record::{Sealed, encode, insert, load, load_sealed, push};
use crate::seal::Seal;
use crate::state::Entry;
use crate::summaries;

/// The fields of a lease that a write is checked against.
pub(crate) struct Claim {
    pub(crate) workload: WorkloadId,
    pub(crate) deployment: DeploymentId,
    pub(crate) epoch: u64,
}

impl From<&Lease> for Claim {
    fn from(lease: &Lease) -> Self {
        Self {
            workload: lease.workload().clone(),
            deployment: lease.deployment().clone(),
            epoch: lease.epoch().0,
        }
    }
}

impl Claim {
    /// The workload's row, if this claim still holds it.
    pub(crate) fn check(&self, tx: &Connection) -> Result<Entry, Failure> {
        match Entry::sound(tx, &self.workload)? {
            Some(entry) if entry.epoch == signed(self.epoch) && entry.holds(&self.deployment) => {
                Ok(entry)
            }
            _ => Err(fenced(&self.deployment).into()),
        }
    }
}

/// The caller holds the workload's lock, and `liveness` says what that means for a holder on
/// record. `holder` names the lock.
pub(crate) fn begin(
    tx: &Connection,
    new: &Opening,
    holder: &Holder,
    expected: Version,
    liveness: impl FnOnce(&Holder) -> Liveness,
) -> Result<(Epoch, Sequence), Failure> {
    let entry = Entry::sound(tx, &new.workload)?;
    if let Some(entry) = &entry
        && let Some(conflict) = entry.conflict(tx, |holder| Ok(liveness(holder)))?
    {
        return Err(conflict.into());
    }
    if entry.as_ref().map_or(0, |e| e.version) != signed(expected.0) {
        return Err(
            StoreError::new(Kind::Stale, "the workload changed since the plan was made")
                .on(&new.workload)
                .advice("preview again")
                .into(),
        );
    }
    let sequence = insert(tx, new)?;
    let mut entry = entry.map_or_else(|| Entry::unseen(&new.workload), Ok)?;
    entry.version += 1;
    entry.epoch += 1;
    entry.in_flight = Some(new.id.as_str().to_owned());
    entry.holder = Some(encode(holder)?);
    entry.cancel_by = None;
    entry.write(tx)?;
    Ok((epoch(&entry), sequence))
}

fn epoch(entry: &Entry) -> Epoch {
    Epoch(u64::try_from(entry.epoch).unwrap_or(0))
}

/// Gives the record as it is afterwards. `known` is what the caller remembers of it.
pub(crate) fn append(
    tx: &Connection,
    claim: &Claim,
    event: &TimedEvent,
    known: Option<Sealed>,
) -> Result<Sealed, Failure> {
    if matches!(event.event, Event::Settled(_) | Event::RolledBackBy { .. }) {
        let why = format!("only finish writes the event {}", event.event.name());
        return Err(illegal(&claim.deployment, why).into());
    }
    let mut record = claimed(tx, claim, known)?;
    if record.deployment.events().last() != Some(event) {
        push(tx, &mut record, event, None)?;
    }
    Ok(record)
}

/// The record of a lease that still holds: what the caller remembers of it, if as many events are
/// stored. Nobody but the lease's holder adds any, but two store values may share a lease.
fn claimed(tx: &Connection, claim: &Claim, known: Option<Sealed>) -> Result<Sealed, Failure> {
    if let Some(known) = known
        && is_current(tx, claim, &known)?
    {
        return Ok(known);
    }
    claim.check(tx)?;
    Ok(load_sealed(tx, &claim.deployment)?.ok_or_else(|| unknown(&claim.deployment))?)
}

/// Whether the claim holds and the record is as it is stored, in one look.
fn is_current(tx: &Connection, claim: &Claim, known: &Sealed) -> Result<bool, Failure> {
    let known = &known.deployment;
    let signed_len = i64::try_from(known.events().len()).unwrap_or(i64::MAX);
    let current = tx
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM workloads WHERE id = ?1 AND epoch = ?2 AND in_flight = ?3)
               AND (SELECT coalesce(max(ordinal) + 1, 0) FROM events WHERE deployment = ?4) = ?5",
        )?
        .query_row(
            params![
                claim.workload.to_string(),
                signed(claim.epoch),
                claim.deployment.as_str(),
                signed(known.sequence().0),
                signed_len
            ],
            |row| row.get(0),
        )?;
    Ok(current)
}

/// Gives the successor's place in the order, if one was opened. The record is read anew: what its
/// writer remembers is without what others have annotated since.
pub(crate) fn finish(
    tx: &Connection,
    claim: &Claim,
    settlement: &Settlement,
    at: Timestamp,
    then: &Then,
) -> Result<Option<Sequence>, Failure> {
    let settled = TimedEvent::new(at, Event::Settled(settlement.clone()));
    if let Some(done) = finished_before(tx, claim, &settled, then)? {
        return Ok(done);
    }
    let mut entry = claim.check(tx)?;
    let mut record =
        load_sealed(tx, &claim.deployment)?.ok_or_else(|| unknown(&claim.deployment))?;
    push(tx, &mut record, &settled, Some(claim.epoch))?;
    entry.version += 1;
    entry.set_live(&settlement.live)?;
    let opened = match then {
        Then::Release => {
            entry.release();
            None
        }
        Then::ReleaseAndAmend(failed) if *failed == claim.deployment => {
            let why = "a deployment cannot have been rolled back by itself";
            return Err(illegal(failed, why).into());
        }
        Then::ReleaseAndAmend(failed) => {
            let mut failed = load_sealed(tx, failed)?.ok_or_else(|| unknown(failed))?;
            let of = &failed.deployment;
            same_workload(claim, of.workload(), of.id())?;
            let event = Event::RolledBackBy {
                deployment: claim.deployment.clone(),
            };
            push(tx, &mut failed, &TimedEvent::new(at, event), None)?;
            entry.release();
            None
        }
        Then::Open(new) => {
            same_workload(claim, &new.workload, &new.id)?;
            let sequence = insert(tx, new)?;
            entry.in_flight = Some(new.id.as_str().to_owned());
            entry.cancel_by = None;
            Some(sequence)
        }
    };
    entry.write(tx)?;
    Ok(opened)
}

fn same_workload(claim: &Claim, of: &WorkloadId, id: &DeploymentId) -> Result<(), StoreError> {
    if *of == claim.workload {
        return Ok(());
    }
    Err(illegal(
        id,
        format!("this deployment is of {of}, not of {}", claim.workload),
    ))
}

/// A commit that failed may be durable after all: the same settlement by the same epoch is then
/// found done, and done again without a change.
fn finished_before(
    tx: &Connection,
    claim: &Claim,
    settled: &TimedEvent,
    then: &Then,
) -> Result<Option<Option<Sequence>>, Failure> {
    let epoch: Option<i64> = tx
        .prepare_cached("SELECT settled_epoch FROM deployments WHERE id = ?1")?
        .query_row([claim.deployment.as_str()], |row| row.get(0))
        .optional()?
        .flatten();
    if epoch != Some(signed(claim.epoch)) {
        return Ok(None);
    }
    let Some(deployment) = load(tx, &claim.deployment)? else {
        return Ok(None);
    };
    if !deployment.events().contains(settled) {
        return Ok(None);
    }
    match then {
        Then::Open(new) => {
            let Some(entry) = Entry::sound(tx, &claim.workload)? else {
                return Ok(None);
            };
            let successor = load(tx, &new.id)?.filter(|s| {
                s.opening() == &**new && entry.holds(&new.id) && entry.epoch == signed(claim.epoch)
            });
            Ok(successor.map(|s| Some(s.sequence())))
        }
        Then::ReleaseAndAmend(failed) => {
            let amended =
                load(tx, failed)?.is_some_and(|f| f.rolled_back_by() == Some(&claim.deployment));
            Ok(amended.then_some(None))
        }
        // Under the same epoch only a successor can be in flight: that `finish` was another one.
        Then::Release => Ok(match Entry::sound(tx, &claim.workload)? {
            Some(entry) if entry.epoch == signed(claim.epoch) && entry.in_flight.is_some() => None,
            _ => Some(None),
        }),
    }
}

/// The caller holds the workload's lock, and `liveness` says what that means for the holder on
/// record. `holder` names the lock.
pub(crate) fn take_over(
    tx: &Connection,
    workload: &WorkloadId,
    holder: &Holder,
    liveness: impl FnOnce(&Holder) -> Liveness,
) -> Result<(DeploymentId, Epoch), Failure> {
    let nothing = || Failure::from(nothing_in_flight(workload));
    let mut entry = Entry::sound(tx, workload)?.ok_or_else(nothing)?;
    let (deployment, former) = entry.in_flight()?.ok_or_else(nothing)?;
    if liveness(&former) == Liveness::Alive {
        let conflict = entry.conflict(tx, |_| Ok(Liveness::Alive))?;
        return Err(conflict.map_or_else(nothing, Failure::from));
    }
    entry.epoch += 1;
    entry.holder = Some(encode(holder)?);
    entry.write(tx)?;
    Ok((deployment, epoch(&entry)))
}

pub(crate) fn nothing_in_flight(workload: &WorkloadId) -> StoreError {
    StoreError::new(Kind::NotFound, "no deployment is in flight").on(workload)
}

pub(crate) fn request_cancel(
    tx: &Connection,
    id: &DeploymentId,
    by: &Actor,
) -> Result<(), Failure> {
    let not_in_flight = || {
        Failure::from(StoreError::new(Kind::NotFound, "this deployment is not in flight").on(id))
    };
    let workload: String = tx
        .prepare_cached("SELECT id FROM workloads WHERE in_flight = ?1")?
        .query_row([id.as_str()], |row| row.get(0))
        .optional()?
        .ok_or_else(not_in_flight)?;
    let workload: WorkloadId = workload.parse().map_err(|e| unreadable(id, e))?;
    let mut entry = Entry::sound(tx, &workload)?.ok_or_else(not_in_flight)?;
    // Who asked first is kept.
    if entry.cancel_by.is_none() {
        entry.cancel_by = Some(encode(by)?);
        entry.write(tx)?;
    }
    Ok(())
}

/// Changes what people have set on a workload.
pub(crate) fn amend(
    tx: &Connection,
    workload: &WorkloadId,
    expected: Version,
    amendment: &Amendment,
) -> Result<Version, Failure> {
    let entry = Entry::sound(tx, workload)?;
    let mut entry = entry.map_or_else(|| Entry::unseen(workload), Ok)?;
    let version = Version(u64::try_from(entry.version).unwrap_or(0));
    check_version(workload, version, expected)?;
    let mut settings = entry.settings()?;
    settings.amend(amendment);
    entry.set(&settings)?;
    entry.version += 1;
    entry.write(tx)?;
    Ok(Version(version.0 + 1))
}

/// For a copy: what is in flight there has no lock file, and by that its holder is dead, though its
/// process may go on with the original.
pub(crate) fn without_locks(tx: &Connection) -> Result<(), Failure> {
    let (entries, _) = Entry::all(tx)?;
    for mut entry in entries {
        if let Ok(Some((_, mut holder))) = entry.in_flight()
            && entry.check().is_ok()
        {
            holder.lock = None;
            entry.holder = Some(encode(&holder)?);
            entry.write(tx)?;
        }
    }
    Ok(())
}

/// Gives no deployment a sequence up to this one.
pub(crate) fn advance(tx: &Connection, past: Sequence) -> Result<(), Failure> {
    tx.execute(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'deployments', 0
         WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'deployments')",
        [],
    )?;
    tx.execute(
        "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'deployments'",
        [signed(past.0)],
    )?;
    Ok(())
}

pub(crate) fn annotate(
    tx: &Connection,
    id: &DeploymentId,
    what: &Annotation,
) -> Result<(), Failure> {
    let deployment = load(tx, id)?.ok_or_else(|| unknown(id))?;
    let annotations = deployment
        .annotations()
        .clone()
        .annotated(what)
        .ok_or_else(|| {
            StoreError::new(Kind::TooLarge, format!("a record takes {MAX_NOTES} notes")).on(id)
        })?;
    let text = encode(&annotations)?;
    tx.prepare_cached(
        "UPDATE deployments SET annotations = ?2, pinned = ?3, annotations_seal = ?4
         WHERE id = ?1 AND annotations_seal IS NOT ?4",
    )?
    .execute(params![
        id.as_str(),
        text,
        annotations.pinned,
        Seal::of_annotations(id.as_str(), &text)
    ])?;
    summaries::keep(tx, &deployment.with_annotations(annotations))
}

/// Removes records, all or none.
pub(crate) fn forget(tx: &Connection, ids: &[DeploymentId]) -> Result<u64, Failure> {
    let mut forgotten = 0;
    for id in ids {
        may_be_forgotten(tx, id)?;
        forgotten += tx
            .prepare_cached("DELETE FROM deployments WHERE id = ?1")?
            .execute([id.as_str()])?;
    }
    Ok(u64::try_from(forgotten).unwrap_or(u64::MAX))
}

/// Refuses a record that is live, in flight or pinned, and no other.
pub(crate) fn may_be_forgotten(tx: &Connection, id: &DeploymentId) -> Result<(), Failure> {
    let found: Option<(String, bool)> = tx
        .prepare_cached("SELECT workload, pinned FROM deployments WHERE id = ?1")?
        .query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((workload, pinned)) = found else {
        return Ok(());
    };
    let workload: WorkloadId = workload.parse().map_err(|e| unreadable(id, e))?;
    let kept = match Entry::find(tx, &workload)? {
        Some(entry) => {
            entry.holds(id) || matches!(entry.live()?, LiveRecord::Known(live) if live == *id)
        }
        None => false,
    };
    if kept || pinned {
        return Err(StoreError::new(
            Kind::Conflict,
            "this deployment is live, in flight or pinned; nothing was forgotten",
        )
        .on(id)
        .advice("leave it out, or unpin it")
        .into());
    }
    Ok(())
}

pub(crate) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
