//! A workload's row: its version, epoch, what is live, and who holds it.

use rollback_core::deployment::{LiveRecord, Phase};
use rollback_core::error::StoreError;
use rollback_core::history::{Conflict, Epoch, Holder, InFlight, Liveness, Version, WorkloadState};
use rollback_core::id::{DeploymentId, WorkloadId};
use rollback_core::time::{Clock, SystemClock};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::Failure;
use crate::record::{decode, encode, load};

/// A workload's row as it is stored, JSON not yet parsed.
pub(crate) struct Entry {
    pub(crate) workload: WorkloadId,
    pub(crate) version: i64,
    pub(crate) epoch: i64,
    live: String,
    in_flight: Option<String>,
    holder: Option<String>,
    pub(crate) cancel_by: Option<String>,
    hold: Option<String>,
    policy: Option<String>,
}

impl Entry {
    const COLUMNS: &'static str =
        "id, version, epoch, live, in_flight, holder, cancel_by, hold, policy";

    /// The row of one workload, if it has one.
    pub(crate) fn find(
        connection: &Connection,
        workload: &WorkloadId,
    ) -> Result<Option<Self>, Failure> {
        let sql = format!("SELECT {} FROM workloads WHERE id = ?1", Self::COLUMNS);
        Ok(connection
            .prepare_cached(&sql)?
            .query_row([workload.to_string()], |row| {
                Self::from_row(workload.clone(), row)
            })
            .optional()?)
    }

    /// All rows. One whose id does not parse is left out and said in the log.
    pub(crate) fn all(connection: &Connection) -> Result<Vec<Self>, Failure> {
        let sql = format!("SELECT {} FROM workloads", Self::COLUMNS);
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            match id.parse::<WorkloadId>() {
                Ok(workload) => all.push(Self::from_row(workload, row)?),
                Err(error) => tracing::warn!(%id, %error, "a workload cannot be read"),
            }
        }
        all.sort_by(|a, b| a.workload.cmp(&b.workload));
        Ok(all)
    }

    fn from_row(workload: WorkloadId, row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            workload,
            version: row.get(1)?,
            epoch: row.get(2)?,
            live: row.get(3)?,
            in_flight: row.get(4)?,
            holder: row.get(5)?,
            cancel_by: row.get(6)?,
            hold: row.get(7)?,
            policy: row.get(8)?,
        })
    }

    pub(crate) fn live(&self) -> Result<LiveRecord, StoreError> {
        decode(&self.workload, &self.live)
    }

    /// The deployment in flight and who runs it.
    pub(crate) fn in_flight(&self) -> Result<Option<(DeploymentId, Holder)>, StoreError> {
        let (Some(id), Some(holder)) = (&self.in_flight, &self.holder) else {
            return Ok(None);
        };
        let id = id
            .parse()
            .map_err(|e| crate::error::unreadable(&self.workload, e))?;
        Ok(Some((id, decode(&self.workload, holder)?)))
    }

    pub(crate) fn holds(&self, deployment: &DeploymentId) -> bool {
        self.in_flight.as_deref() == Some(deployment.as_str())
    }

    /// Whether a deployment is in flight without a holder, which no write of ours leaves.
    pub(crate) fn is_half_held(&self) -> bool {
        self.in_flight.is_some() && self.holder.is_none()
    }

    /// The state; `liveness` is asked only while something is in flight.
    pub(crate) fn state(
        &self,
        liveness: impl FnOnce(&WorkloadId) -> Result<Liveness, StoreError>,
    ) -> Result<WorkloadState, StoreError> {
        let in_flight = match self.in_flight()? {
            Some((deployment, holder)) => Some(InFlight {
                deployment,
                holder,
                liveness: liveness(&self.workload)?,
                epoch: Epoch(u64::try_from(self.epoch).unwrap_or(0)),
            }),
            None => None,
        };
        let hold = self.hold.as_deref().map(|t| decode(&self.workload, t));
        let policy = self.policy.as_deref().map(|t| decode(&self.workload, t));
        Ok(WorkloadState {
            workload: self.workload.clone(),
            version: Version(u64::try_from(self.version).unwrap_or(0)),
            live: self.live()?,
            in_flight,
            hold: hold.transpose()?,
            policy: policy.transpose()?,
            amendments: Vec::new(),
        })
    }

    /// The conflict with whoever is in flight; `None` if nobody is.
    pub(crate) fn conflict(
        &self,
        connection: &Connection,
        liveness: Liveness,
    ) -> Result<Option<StoreError>, Failure> {
        let Some((deployment, holder)) = self.in_flight()? else {
            return Ok(None);
        };
        // A record that cannot be read is in the way all the same.
        let phase = match load(connection, &deployment) {
            Ok(Some(d)) => d.phase(),
            Ok(None) | Err(Failure::Store(_)) => Phase::Opened,
            Err(e) => return Err(e),
        };
        Ok(Some(StoreError::held(Conflict {
            workload: self.workload.clone(),
            deployment,
            age: SystemClock.now().since(holder.since),
            holder,
            liveness,
            phase,
        })))
    }
}

/// Makes sure that a workload has a row.
pub(crate) fn ensure(connection: &Connection, workload: &WorkloadId) -> Result<(), Failure> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO workloads (id, live) VALUES (?1, ?2)")?
        .execute(params![workload.to_string(), encode(&LiveRecord::Nothing)?])?;
    Ok(())
}
