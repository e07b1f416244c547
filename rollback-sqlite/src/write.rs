//! The writes, each inside one immediate transaction that the caller commits.

use rollback_core::deployment::{LiveRecord, Opening};
use rollback_core::error::StoreError;
use rollback_core::event::TimedEvent;
use rollback_core::history::{
    Amendment, Annotation, Claim, Epoch, Finish, Holder, Liveness, Sequence, Version, check_version,
};
use rollback_core::id::{Actor, DeploymentId, WorkloadId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::columns::{decode, encode, signed};
use crate::error::{Failure, unreadable};
use crate::kept;
use crate::record::{Sealed, insert, load, load_sealed, push};
use crate::seal::Seal;
use crate::state::Entry;

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
    let mut entry = entry.map_or_else(|| Entry::unseen(&new.workload), Ok)?;
    check_version(&new.workload, entry.version(), expected)?;
    let sequence = insert(tx, new)?;
    entry.version += 1;
    entry.epoch += 1;
    entry.in_flight = Some(new.id.as_str().to_owned());
    entry.holder = Some(encode(holder)?);
    entry.cancel_by = None;
    entry.write(tx)?;
    Ok((entry.epoch(), sequence))
}

/// Gives the record as it is afterwards, and who has asked for a stop. `known` is what the caller
/// remembers of the record.
pub(crate) fn append(
    tx: &Connection,
    claim: &Claim,
    events: &[TimedEvent],
    known: Option<Sealed>,
) -> Result<(Sealed, Option<Actor>), Failure> {
    let (mut record, cancel_by) = claimed(tx, claim, known)?;
    for event in claim.unwritten(&record.deployment, events)? {
        push(tx, &mut record, event, None)?;
    }
    Ok((record, canceller(claim, cancel_by)?))
}

/// Who has asked the lease's holder to stop.
pub(crate) fn renew(connection: &Connection, claim: &Claim) -> Result<Option<Actor>, Failure> {
    canceller(claim, Entry::claimed(connection, claim)?.cancel_by)
}

fn canceller(claim: &Claim, cancel_by: Option<String>) -> Result<Option<Actor>, Failure> {
    let by = cancel_by.map(|by| decode(claim.workload(), &by));
    Ok(by.transpose()?)
}

/// The record of a lease that still holds: what the caller remembers of it, if as many events are
/// stored. Nobody but the lease's holder adds any, but two store values may share a lease.
fn claimed(
    tx: &Connection,
    claim: &Claim,
    known: Option<Sealed>,
) -> Result<(Sealed, Option<String>), Failure> {
    if let Some(known) = known
        && let Some(cancel_by) = is_current(tx, claim, &known)?
    {
        return Ok((known, cancel_by));
    }
    let entry = Entry::claimed(tx, claim)?;
    Ok((stored(tx, claim.deployment())?, entry.cancel_by))
}

/// Whether the claim holds and the record is as it is stored, in one look: if so, who asked for a stop.
fn is_current(
    tx: &Connection,
    claim: &Claim,
    known: &Sealed,
) -> Result<Option<Option<String>>, Failure> {
    let known = &known.deployment;
    let signed_len = i64::try_from(known.events().len()).unwrap_or(i64::MAX);
    let current = tx
        .prepare_cached(
            "SELECT cancel_by FROM workloads WHERE id = ?1 AND epoch = ?2 AND in_flight = ?3
               AND (SELECT coalesce(max(ordinal) + 1, 0) FROM events WHERE deployment = ?4) = ?5",
        )?
        .query_row(
            params![
                claim.workload().to_string(),
                signed(claim.epoch().0),
                claim.deployment().as_str(),
                signed(known.sequence().0),
                signed_len
            ],
            |row| row.get(0),
        )
        .optional()?;
    Ok(current)
}

/// Gives the successor's place in the order, if one was opened. The record is read anew: what its
/// writer remembers is without what others have annotated since.
pub(crate) fn finish(tx: &Connection, finish: &Finish) -> Result<Option<Sequence>, Failure> {
    if let Some(done) = finished_before(tx, finish)? {
        return Ok(done);
    }
    let claim = finish.claim();
    let mut entry = Entry::claimed(tx, claim)?;
    let mut own = stored(tx, claim.deployment())?;
    for event in finish.events() {
        push(tx, &mut own, event, Some(claim.epoch()))?;
    }
    if let Some((failed, event)) = finish.amends() {
        let mut failed = stored(tx, failed)?;
        let of = &failed.deployment;
        claim.reaches(of.id(), of.workload())?;
        push(tx, &mut failed, &event, None)?;
    }
    let opened = match finish.opens() {
        Some(new) => {
            let sequence = insert(tx, new)?;
            entry.in_flight = Some(new.id.as_str().to_owned());
            entry.cancel_by = None;
            Some(sequence)
        }
        None => {
            entry.release();
            None
        }
    };
    entry.version += 1;
    entry.set_live(finish.live())?;
    entry.write(tx)?;
    Ok(opened)
}

/// A record that must be there.
fn stored(tx: &Connection, id: &DeploymentId) -> Result<Sealed, Failure> {
    Ok(load_sealed(tx, id)?.ok_or_else(|| StoreError::unknown(id))?)
}

/// Whether this very `finish` is on record, and where it opened the successor if it did.
fn finished_before(tx: &Connection, finish: &Finish) -> Result<Option<Option<Sequence>>, Failure> {
    let claim = finish.claim();
    let epoch: Option<i64> = tx
        .prepare_cached("SELECT settled_epoch FROM deployments WHERE id = ?1")?
        .query_row([claim.deployment().as_str()], |row| row.get(0))
        .optional()?
        .flatten();
    if epoch != Some(signed(claim.epoch().0)) {
        return Ok(None);
    }
    let Some(own) = load(tx, claim.deployment())? else {
        return Ok(None);
    };
    let entry = Entry::sound(tx, claim.workload())?.filter(|e| e.epoch() == claim.epoch());
    let in_flight = entry.and_then(|e| e.deployment_in_flight());
    finish.was_made(&own, in_flight.as_ref(), |id| load(tx, id))
}

/// The caller holds the workload's lock, and `liveness` says what that means for the holder on
/// record. `holder` names the lock.
pub(crate) fn take_over(
    tx: &Connection,
    workload: &WorkloadId,
    holder: &Holder,
    liveness: impl FnOnce(&Holder) -> Liveness,
) -> Result<(DeploymentId, Epoch), Failure> {
    let nothing = || Failure::from(StoreError::nothing_in_flight(workload));
    let mut entry = Entry::sound(tx, workload)?.ok_or_else(nothing)?;
    let (deployment, former) = entry.in_flight()?.ok_or_else(nothing)?;
    if liveness(&former) == Liveness::Alive {
        let conflict = entry.conflict(tx, |_| Ok(Liveness::Alive))?;
        return Err(conflict.map_or_else(nothing, Failure::from));
    }
    entry.epoch += 1;
    entry.holder = Some(encode(holder)?);
    entry.write(tx)?;
    Ok((deployment, entry.epoch()))
}

pub(crate) fn request_cancel(
    tx: &Connection,
    id: &DeploymentId,
    by: &Actor,
) -> Result<(), Failure> {
    let not_in_flight = || Failure::from(StoreError::not_in_flight(id));
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
    check_version(workload, entry.version(), expected)?;
    let mut settings = entry.settings()?;
    settings.amend(amendment);
    entry.set(&settings)?;
    entry.version += 1;
    entry.write(tx)?;
    Ok(entry.version())
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
    let deployment = stored(tx, id)?.deployment.annotated(what)?;
    let annotations = deployment.annotations();
    let text = encode(annotations)?;
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
    kept::keep(tx, &deployment)
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
        return Err(StoreError::kept(id).into());
    }
    Ok(())
}
