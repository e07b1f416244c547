//! A workload's row: its version, epoch, what is live, who holds it, and what people have set.

use rollback_core::deployment::{LiveRecord, Phase};
use rollback_core::error::StoreError;
use rollback_core::history::{
    Claim, Damaged, Epoch, Holder, InFlight, Liveness, Settings, Version, WorkloadState,
    capped_json,
};
use rollback_core::id::{DeploymentId, WorkloadId};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::columns::{decode, encode};
use crate::error::{Failure, unreadable};
use crate::record::load;
use crate::seal::Seal;

/// A workload's row as it is stored, JSON not yet parsed.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) workload: WorkloadId,
    pub(crate) version: i64,
    pub(crate) epoch: i64,
    pub(crate) live: String,
    pub(crate) in_flight: Option<String>,
    pub(crate) holder: Option<String>,
    pub(crate) cancel_by: Option<String>,
    hold: Option<String>,
    policy: Option<String>,
    amendments: Option<String>,
    recalls: Option<String>,
    floor: Option<String>,
    seal: Option<Seal>,
}

/// Makes a text say this, unless it does.
fn put<T>(of: &WorkloadId, text: &mut Option<String>, new: Option<&T>) -> Result<(), StoreError>
where
    T: Serialize + DeserializeOwned + PartialEq,
{
    let says = |text: &String, new: &T| serde_json::from_str::<T>(text).is_ok_and(|t| t == *new);
    match (&*text, new) {
        (None, None) => {}
        (Some(text), Some(new)) if says(text, new) => {}
        (_, new) => *text = new.map(|new| capped_json(of, new)).transpose()?,
    }
    Ok(())
}

impl Entry {
    const COLUMNS: &'static str = "id, version, epoch, live, in_flight, holder, cancel_by, hold, \
                                   policy, amended, recalls, floor, seal";

    /// The row of a workload that has none.
    pub(crate) fn unseen(workload: &WorkloadId) -> Result<Self, StoreError> {
        Ok(Self {
            workload: workload.clone(),
            version: 0,
            epoch: 0,
            live: encode(&LiveRecord::Nothing)?,
            in_flight: None,
            holder: None,
            cancel_by: None,
            hold: None,
            policy: None,
            amendments: None,
            recalls: None,
            floor: None,
            seal: None,
        })
    }

    /// The row of one workload, if it has one; whatever it says.
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

    /// The same, as it was sealed.
    pub(crate) fn sound(
        connection: &Connection,
        workload: &WorkloadId,
    ) -> Result<Option<Self>, Failure> {
        let entry = Self::find(connection, workload)?;
        if let Some(entry) = &entry {
            entry.check()?;
        }
        Ok(entry)
    }

    /// The same, if this claim still holds it.
    pub(crate) fn claimed(tx: &Connection, claim: &Claim) -> Result<Self, Failure> {
        let entry = Self::sound(tx, claim.workload())?;
        let entry = entry.ok_or_else(|| StoreError::fenced(claim.deployment()))?;
        claim.check(entry.epoch(), entry.deployment_in_flight().as_ref())?;
        Ok(entry)
    }

    /// All rows by id, and those that cannot be had. One whose id does not parse is left out and
    /// said in the log.
    pub(crate) fn all(connection: &Connection) -> Result<(Vec<Self>, Vec<Damaged>), Failure> {
        let (mut all, mut damaged) = (Vec::new(), Vec::new());
        for workload in Self::names(connection)? {
            match Self::find(connection, &workload) {
                Ok(found) => all.extend(found),
                Err(e) if e.is_of_one_record() => {
                    let error = unreadable(&workload, e);
                    damaged.push(Damaged::new(workload, error));
                }
                Err(e) => return Err(e),
            }
        }
        all.sort_by(|a, b| a.workload.cmp(&b.workload));
        Ok((all, damaged))
    }

    /// The ids of all workloads; one that is no id hides no other, and `verify` reports it. Where
    /// the table is damaged, those that have records as well.
    fn names(connection: &Connection) -> Result<Vec<WorkloadId>, Failure> {
        let mut names: Vec<String> = Vec::new();
        let name = |row: &Row<'_>| {
            let name = row.get(0);
            name.inspect_err(|error| tracing::warn!(%error, "a workload cannot be read"))
                .ok()
        };
        let mut statement = connection.prepare_cached("SELECT id FROM workloads")?;
        let mut rows = statement.query([])?;
        let hurt = loop {
            match rows.next() {
                Ok(Some(row)) => names.extend(name(row)),
                Ok(None) => break false,
                Err(e) => {
                    let e = Failure::from(e);
                    if !e.is_damage() {
                        return Err(e);
                    }
                    break true;
                }
            }
        };
        if hurt {
            let sql = "SELECT DISTINCT service || '@' || target FROM deployments";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                names.extend(name(row));
            }
        }
        names.sort();
        names.dedup();
        let parsed = names.into_iter().filter_map(|id| {
            id.parse()
                .inspect_err(|error| tracing::warn!(%id, %error, "a workload cannot be read"))
                .ok()
        });
        Ok(parsed.collect())
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
            amendments: row.get(9)?,
            recalls: row.get(10)?,
            floor: row.get(11)?,
            seal: row.get(12)?,
        })
    }

    /// Refuses a row that was changed by hand.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match self.seal {
            Some(seal) if seal != self.sealed()? => Err(unreadable(
                &self.workload,
                "its seal does not fit: the workload's row was changed by hand",
            )),
            _ => Ok(()),
        }
    }

    /// Whether there is a seal at all; only what was damaged when it was to be sealed has none.
    pub(crate) fn is_sealed(&self) -> bool {
        self.seal.is_some()
    }

    fn sealed(&self) -> Result<Seal, StoreError> {
        let row = (
            self.workload.to_string(),
            self.version,
            self.epoch,
            &self.live,
            &self.in_flight,
            &self.holder,
            &self.cancel_by,
            &self.hold,
            &self.policy,
            &self.amendments,
        );
        let mut row = encode(&row)?;
        // What was sealed before there were these is sealed as it was.
        if self.recalls.is_some() || self.floor.is_some() {
            row.push_str(&encode(&(&self.recalls, &self.floor))?);
        }
        Ok(Seal::of_workload(&row))
    }

    /// Writes the row as it is now, sealed.
    pub(crate) fn write(&mut self, tx: &Connection) -> Result<(), Failure> {
        let seal = Some(self.sealed()?);
        if self.seal == seal {
            return Ok(());
        }
        self.seal = seal;
        tx.prepare_cached(
            "INSERT INTO workloads (id, version, epoch, live, in_flight, holder, cancel_by, hold,
               policy, amended, recalls, floor, seal)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
             ON CONFLICT (id) DO UPDATE SET version = ?2, epoch = ?3, live = ?4, in_flight = ?5,
               holder = ?6, cancel_by = ?7, hold = ?8, policy = ?9, amended = ?10, recalls = ?11,
               floor = ?12, seal = ?13",
        )?
        .execute(params![
            self.workload.to_string(),
            self.version,
            self.epoch,
            self.live,
            self.in_flight,
            self.holder,
            self.cancel_by,
            self.hold,
            self.policy,
            self.amendments,
            self.recalls,
            self.floor,
            self.seal,
        ])?;
        Ok(())
    }

    pub(crate) fn live(&self) -> Result<LiveRecord, StoreError> {
        decode(&self.workload, &self.live)
    }

    pub(crate) fn set_live(&mut self, live: &LiveRecord) -> Result<(), StoreError> {
        self.live = encode(live)?;
        Ok(())
    }

    /// What people have set.
    pub(crate) fn settings(&self) -> Result<Settings, StoreError> {
        fn read<T: DeserializeOwned>(
            of: &WorkloadId,
            text: Option<&str>,
        ) -> Result<Option<T>, StoreError> {
            text.map(|text| decode(of, text)).transpose()
        }
        let of = &self.workload;
        Ok(Settings {
            hold: read(of, self.hold.as_deref())?,
            policy: read(of, self.policy.as_deref())?,
            recalls: read(of, self.recalls.as_deref())?.unwrap_or_default(),
            floor: read(of, self.floor.as_deref())?,
            amendments: read(of, self.amendments.as_deref())?.unwrap_or_default(),
        })
    }

    /// The settings of a row that may be damaged: those of them that can be read.
    pub(crate) fn settings_left(&self) -> Settings {
        fn left<T: DeserializeOwned>(text: Option<&str>) -> Option<T> {
            serde_json::from_str(text?).ok()
        }
        Settings {
            hold: left(self.hold.as_deref()),
            policy: left(self.policy.as_deref()),
            recalls: left(self.recalls.as_deref()).unwrap_or_default(),
            floor: left(self.floor.as_deref()),
            amendments: left(self.amendments.as_deref()).unwrap_or_default(),
        }
    }

    /// Changes what people have set. What stays is not written anew: a newer library may have said
    /// more in it.
    pub(crate) fn set(&mut self, settings: &Settings) -> Result<(), StoreError> {
        let (amendments, recalls) = (&settings.amendments, &settings.recalls);
        let recalls = Some(recalls).filter(|all| !all.is_empty());
        let amendments = Some(amendments).filter(|all| !all.is_empty());
        let of = &self.workload;
        put(of, &mut self.hold, settings.hold.as_ref())?;
        put(of, &mut self.policy, settings.policy.as_ref())?;
        put(of, &mut self.floor, settings.floor.as_ref())?;
        put(of, &mut self.recalls, recalls)?;
        put(of, &mut self.amendments, amendments)
    }

    /// The deployment in flight and who runs it.
    pub(crate) fn in_flight(&self) -> Result<Option<(DeploymentId, Holder)>, StoreError> {
        let (Some(id), Some(holder)) = (&self.in_flight, &self.holder) else {
            return Ok(None);
        };
        let id = id.parse().map_err(|e| unreadable(&self.workload, e))?;
        Ok(Some((id, decode(&self.workload, holder)?)))
    }

    /// Nothing is in flight any more.
    pub(crate) fn release(&mut self) {
        self.in_flight = None;
        self.holder = None;
        self.cancel_by = None;
    }

    /// What is in flight, whoever runs it; what is no id is nothing.
    pub(crate) fn deployment_in_flight(&self) -> Option<DeploymentId> {
        self.in_flight.as_deref()?.parse().ok()
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
        liveness: impl FnOnce(&WorkloadId, &Holder) -> Result<Liveness, StoreError>,
    ) -> Result<WorkloadState, StoreError> {
        self.check()?;
        let in_flight = match self.in_flight()? {
            Some((deployment, holder)) => {
                let liveness = liveness(&self.workload, &holder)?;
                Some(self.held_by(deployment, holder, liveness))
            }
            None => None,
        };
        let state = WorkloadState::unseen(self.workload.clone());
        let mut state = state.with_settings(self.settings()?);
        state.version = self.version();
        state.live = self.live()?;
        state.in_flight = in_flight;
        Ok(state)
    }

    /// The conflict with whoever is in flight; `None` if nobody is.
    pub(crate) fn conflict(
        &self,
        connection: &Connection,
        liveness: impl FnOnce(&Holder) -> Result<Liveness, StoreError>,
    ) -> Result<Option<StoreError>, Failure> {
        let Some((deployment, holder)) = self.in_flight()? else {
            return Ok(None);
        };
        // A record that cannot be read is in the way all the same.
        let phase = match load(connection, &deployment) {
            Ok(Some(d)) => d.phase(),
            Ok(None) => Phase::Opened,
            Err(e) if e.is_of_one_record() => Phase::Opened,
            Err(e) => return Err(e),
        };
        let liveness = liveness(&holder)?;
        let in_flight = self.held_by(deployment, holder, liveness);
        Ok(Some(StoreError::in_flight(
            &self.workload,
            &in_flight,
            phase,
        )))
    }

    fn held_by(&self, deployment: DeploymentId, holder: Holder, liveness: Liveness) -> InFlight {
        InFlight::new(deployment, holder, liveness, self.epoch())
    }

    pub(crate) fn version(&self) -> Version {
        Version(u64::try_from(self.version).unwrap_or(0))
    }

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(u64::try_from(self.epoch).unwrap_or(0))
    }
}
