//! Giving up what a dead holder has left, however damaged.

use rollback_core::deployment::LiveRecord;
use rollback_core::error::StoreError;
use rollback_core::history::{Abandonment, Holder, Liveness};
use rollback_core::id::{DeploymentId, WorkloadId};
use rusqlite::{Connection, OptionalExtension};

use crate::error::Failure;
use crate::record::{load_sealed, push};
use crate::state::Entry;

/// The caller holds the workload's lock, and `liveness` says what that means for the holder on
/// record. A row that cannot be read is written anew from what is left of it.
pub(crate) fn abandon(
    tx: &Connection,
    workload: &WorkloadId,
    abandonment: &Abandonment,
    liveness: impl FnOnce(&Holder) -> Liveness,
) -> Result<DeploymentId, Failure> {
    let nothing = || Failure::from(StoreError::nothing_in_flight(workload));
    let mut entry = Entry::find(tx, workload)?.ok_or_else(nothing)?;
    let sound = entry.state(|_, _| Ok(Liveness::Dead)).is_ok() && !entry.is_half_held();
    match entry.in_flight() {
        Ok(None) if sound => return Err(nothing()),
        Ok(Some((_, holder))) if liveness(&holder) == Liveness::Alive => {
            let conflict = entry.conflict(tx, |_| Ok(Liveness::Alive))?;
            return Err(conflict.map_or_else(nothing, Failure::from));
        }
        // A holder that cannot be read has no lock: the caller has it.
        _ => {}
    }
    let named = entry.in_flight.as_deref().and_then(|id| id.parse().ok());
    let id = match named {
        Some(id) => id,
        None => newest(tx, workload)?.ok_or_else(nothing)?,
    };
    match load_sealed(tx, &id) {
        Ok(Some(mut record)) if record.deployment.settlement().is_none() => {
            let settled = abandonment.settled(&record.deployment);
            push(tx, &mut record, &settled, Some(entry.epoch()))?;
        }
        Ok(_) => {}
        // It is left as it is.
        Err(e) if e.is_of_one_record() => {}
        Err(e) => return Err(e),
    }
    let mut settings = entry.settings_left();
    settings.abandoned(&id, abandonment);
    entry.set(&settings)?;
    entry.set_live(&LiveRecord::Unknown)?;
    entry.release();
    entry.version = entry.version.max(0) + 1;
    entry.epoch = entry.epoch.max(0) + 1;
    entry.write(tx)?;
    Ok(id)
}

/// The newest record of a workload, unfinished ones before all others.
fn newest(tx: &Connection, workload: &WorkloadId) -> Result<Option<DeploymentId>, Failure> {
    let id: Option<String> = tx
        .prepare_cached(
            "SELECT id FROM deployments WHERE service = ?1 AND target = ?2
             ORDER BY outcome IS NULL DESC, sequence DESC LIMIT 1",
        )?
        .query_row(
            [workload.service().as_str(), workload.target().as_str()],
            |row| row.get(0),
        )
        .optional()?;
    Ok(id.and_then(|id| id.parse().ok()))
}
