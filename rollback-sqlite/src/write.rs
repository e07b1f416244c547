//! The writes, each inside one immediate transaction that the caller commits.

use rollback_core::deployment::{Annotations, Deployment, LiveRecord, NewDeployment, Settlement};
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{Annotation, Epoch, Holder, Lease, Liveness, Sequence, Then, Version};
use rollback_core::id::{Actor, DeploymentId, WorkloadId};
use rollback_core::memory::MAX_NOTES;
use rollback_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Failure, fenced, illegal, unknown, unreadable};
use crate::record::{decode, encode, insert, load, push};
use crate::state::{Entry, ensure};
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
        match Entry::find(tx, &self.workload)? {
            Some(entry) if entry.epoch == signed(self.epoch) && entry.holds(&self.deployment) => {
                Ok(entry)
            }
            _ => Err(fenced(&self.deployment).into()),
        }
    }
}

/// The caller holds the workload's lock: whoever is in flight is dead.
pub(crate) fn begin(
    tx: &Connection,
    new: &NewDeployment,
    holder: &Holder,
    expected: Version,
) -> Result<(Epoch, Sequence), Failure> {
    let entry = Entry::find(tx, &new.workload)?;
    if let Some(entry) = &entry
        && let Some(conflict) = entry.conflict(tx, Liveness::Dead)?
    {
        return Err(conflict.into());
    }
    if entry.map_or(0, |e| e.version) != signed(expected.0) {
        return Err(
            StoreError::new(Kind::Stale, "the workload changed since the plan was made")
                .on(&new.workload)
                .advice("preview again")
                .into(),
        );
    }
    let sequence = insert(tx, new)?;
    ensure(tx, &new.workload)?;
    let epoch: i64 = tx
        .prepare_cached(
            "UPDATE workloads SET version = version + 1, epoch = epoch + 1, in_flight = ?2,
               holder = ?3, cancel_by = NULL
             WHERE id = ?1 RETURNING epoch",
        )?
        .query_row(
            params![new.workload.to_string(), new.id.as_str(), encode(holder)?],
            |row| row.get(0),
        )?;
    Ok((Epoch(u64::try_from(epoch).unwrap_or(0)), sequence))
}

/// Gives the record as it is afterwards. `known` is what the caller remembers of it.
pub(crate) fn append(
    tx: &Connection,
    claim: &Claim,
    event: &TimedEvent,
    known: Option<Deployment>,
) -> Result<Deployment, Failure> {
    if matches!(event.event, Event::Settled(_) | Event::RolledBackBy { .. }) {
        let why = format!("only finish writes the event {}", event.event.name());
        return Err(illegal(&claim.deployment, why).into());
    }
    let mut deployment = claimed(tx, claim, known)?;
    if deployment.events().last() != Some(event) {
        push(tx, &mut deployment, event, None)?;
    }
    Ok(deployment)
}

/// The record of a lease that still holds: what the caller remembers of it, if as many events are
/// stored. Nobody but the lease's holder adds any, but two store values may share a lease.
fn claimed(
    tx: &Connection,
    claim: &Claim,
    known: Option<Deployment>,
) -> Result<Deployment, Failure> {
    if let Some(known) = known
        && is_current(tx, claim, &known)?
    {
        return Ok(known);
    }
    claim.check(tx)?;
    Ok(load(tx, &claim.deployment)?.ok_or_else(|| unknown(&claim.deployment))?)
}

/// Whether the claim holds and the record is as it is stored, in one look.
fn is_current(tx: &Connection, claim: &Claim, known: &Deployment) -> Result<bool, Failure> {
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

/// Gives the successor's place in the order, if one was opened.
pub(crate) fn finish(
    tx: &Connection,
    claim: &Claim,
    settlement: &Settlement,
    at: Timestamp,
    then: &Then,
    known: Option<Deployment>,
) -> Result<Option<Sequence>, Failure> {
    let settled = TimedEvent {
        at,
        event: Event::Settled(settlement.clone()),
    };
    if let Some(done) = finished_before(tx, claim, &settled, then)? {
        return Ok(done);
    }
    let mut deployment = claimed(tx, claim, known)?;
    push(tx, &mut deployment, &settled, Some(claim.epoch))?;
    let workload = claim.workload.to_string();
    tx.prepare_cached(
        "UPDATE workloads SET version = version + 1, live = ?2, in_flight = NULL,
           cancel_by = NULL WHERE id = ?1",
    )?
    .execute(params![workload, encode(&settlement.live)?])?;
    match then {
        Then::Release => {
            release(tx, &workload)?;
            Ok(None)
        }
        Then::ReleaseAndAmend(failed) if *failed == claim.deployment => {
            let why = "a deployment cannot have been rolled back by itself";
            Err(illegal(failed, why).into())
        }
        Then::ReleaseAndAmend(failed) => {
            let mut failed = load(tx, failed)?.ok_or_else(|| unknown(failed))?;
            same_workload(claim, failed.workload(), failed.id())?;
            let event = Event::RolledBackBy {
                deployment: claim.deployment.clone(),
            };
            push(tx, &mut failed, &TimedEvent { at, event }, None)?;
            release(tx, &workload)?;
            Ok(None)
        }
        Then::Open(new) => {
            same_workload(claim, &new.workload, &new.id)?;
            let sequence = insert(tx, new)?;
            tx.prepare_cached("UPDATE workloads SET in_flight = ?2 WHERE id = ?1")?
                .execute(params![workload, new.id.as_str()])?;
            Ok(Some(sequence))
        }
    }
}

fn release(tx: &Connection, workload: &str) -> Result<(), Failure> {
    tx.prepare_cached("UPDATE workloads SET holder = NULL WHERE id = ?1")?
        .execute([workload])?;
    Ok(())
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
            let Some(entry) = Entry::find(tx, &claim.workload)? else {
                return Ok(None);
            };
            let successor = load(tx, &new.id)?.filter(|s| {
                s.new_deployment() == &**new
                    && entry.holds(&new.id)
                    && entry.epoch == signed(claim.epoch)
            });
            Ok(successor.map(|s| Some(s.sequence())))
        }
        Then::ReleaseAndAmend(failed) => {
            let amended =
                load(tx, failed)?.is_some_and(|f| f.rolled_back_by() == Some(&claim.deployment));
            Ok(amended.then_some(None))
        }
        Then::Release => Ok(Some(None)),
    }
}

/// The caller holds the workload's lock: the former holder is dead.
pub(crate) fn take_over(
    tx: &Connection,
    workload: &WorkloadId,
    holder: &Holder,
) -> Result<(DeploymentId, Epoch), Failure> {
    let in_flight = Entry::find(tx, workload)?
        .map(|e| e.in_flight())
        .transpose()?;
    let Some((deployment, _)) = in_flight.flatten() else {
        return Err(nothing_in_flight(workload).into());
    };
    let epoch: i64 = tx
        .prepare_cached(
            "UPDATE workloads SET epoch = epoch + 1, holder = ?2 WHERE id = ?1 RETURNING epoch",
        )?
        .query_row(params![workload.to_string(), encode(holder)?], |row| {
            row.get(0)
        })?;
    Ok((deployment, Epoch(u64::try_from(epoch).unwrap_or(0))))
}

pub(crate) fn nothing_in_flight(workload: &WorkloadId) -> StoreError {
    StoreError::new(Kind::NotFound, "no deployment is in flight").on(workload)
}

pub(crate) fn request_cancel(
    tx: &Connection,
    id: &DeploymentId,
    by: &Actor,
) -> Result<(), Failure> {
    // Who asked first is kept.
    let asked = tx
        .prepare_cached(
            "UPDATE workloads SET cancel_by = coalesce(cancel_by, ?2)
             WHERE id = (SELECT workload FROM deployments WHERE id = ?1) AND in_flight = ?1",
        )?
        .execute(params![id.as_str(), encode(by)?])?;
    if asked == 0 {
        return Err(
            StoreError::new(Kind::NotFound, "this deployment is not in flight")
                .on(id)
                .into(),
        );
    }
    Ok(())
}

/// Sets or clears one of the two JSON columns that people change.
pub(crate) fn set(
    tx: &Connection,
    workload: &WorkloadId,
    column: Column,
    value: Option<&impl Serialize>,
) -> Result<(), Failure> {
    ensure(tx, workload)?;
    let value = value.map(encode).transpose()?;
    let sql = match column {
        Column::Hold => "UPDATE workloads SET version = version + 1, hold = ?2 WHERE id = ?1",
        Column::Policy => "UPDATE workloads SET version = version + 1, policy = ?2 WHERE id = ?1",
    };
    tx.prepare_cached(sql)?
        .execute(params![workload.to_string(), value])?;
    Ok(())
}

#[derive(Clone, Copy)]
pub(crate) enum Column {
    Hold,
    Policy,
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
    tx.prepare_cached("UPDATE deployments SET annotations = ?2, pinned = ?3 WHERE id = ?1")?
        .execute(params![
            id.as_str(),
            keeping_unknown(tx, id, &annotations)?,
            annotations.pinned
        ])?;
    summaries::keep(tx, &deployment.with_annotations(annotations))
}

/// The annotations as JSON, with the fields that a newer library has added to them.
fn keeping_unknown(
    tx: &Connection,
    id: &DeploymentId,
    annotations: &Annotations,
) -> Result<String, Failure> {
    let stored: String = tx
        .prepare_cached("SELECT annotations FROM deployments WHERE id = ?1")?
        .query_row([id.as_str()], |row| row.get(0))?;
    let mut fields: Map<String, Value> = decode(id, &stored)?;
    fields.retain(|name, _| !matches!(&**name, "pinned" | "bad" | "notes"));
    let ours: Map<String, Value> = decode(id, &encode(annotations)?)?;
    fields.extend(ours);
    Ok(encode(&fields)?)
}

pub(crate) fn forget(tx: &Connection, ids: &[DeploymentId]) -> Result<u64, Failure> {
    let mut forgotten = 0;
    for id in ids {
        let found: Option<(String, bool)> = tx
            .prepare_cached("SELECT workload, pinned FROM deployments WHERE id = ?1")?
            .query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((workload, pinned)) = found else {
            continue;
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
        forgotten += tx
            .prepare_cached("DELETE FROM deployments WHERE id = ?1")?
            .execute([id.as_str()])?;
    }
    Ok(u64::try_from(forgotten).unwrap_or(u64::MAX))
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
