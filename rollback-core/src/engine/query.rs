//! Reading the history through the engine: rows that say what a record alone cannot.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;
use tokio::task::JoinSet;

use super::inner::Inner;
use super::planning;
use super::rules::Rules;
use crate::compare::Comparison;
use crate::deployment::{Deployment, LiveRecord};
use crate::engine::RollbackEngine;
use crate::error::{Chain, Error, ErrorKind};
use crate::history::{Fault, Query, Sequence, Stats};
use crate::id::{Actor, DeploymentId, WorkloadId};
use crate::lineage::Standing;
use crate::plan::{Plan, Refusal};
use crate::points::NoPoint;
use crate::request::{Goal, Request};
use crate::told::{Telling, Told};
use crate::withheld::Withheld;

/// One deployment as the history shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// The record itself, all of it.
    #[serde(flatten)]
    pub deployment: Deployment,
    /// What has become of it.
    pub standing: Standing,
    /// Whether a bare rollback would go to it, by the records.
    pub last_healthy: bool,
    /// Why it is no rollback point; `None`: it is one.
    pub no_rollback_point: Option<NoPoint>,
    /// The next one that went live after it; for one that never did, the automatic rollback that
    /// put right what it broke.
    pub replaced_by: Option<DeploymentId>,
    /// The rollback that went past it.
    pub abandoned_by: Option<DeploymentId>,
}

impl Row {
    /// Whether a rollback can go to it, by the records.
    pub fn is_rollback_point(&self) -> bool {
        self.no_rollback_point.is_none()
    }
}

/// A page of the history, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct History {
    /// The deployments that the query asked for, newest first.
    pub rows: Vec<Row>,
    /// `before` of the next page; `None` at the end.
    pub next: Option<Sequence>,
    /// Records that could not be read.
    pub unreadable: Vec<Fault>,
}

/// Whether a bare rollback would go ahead now.
#[derive(Debug)]
#[non_exhaustive]
pub enum CanRollBack {
    /// It would, like this.
    Yes(Box<Plan>),
    /// It would be refused, for this reason.
    No(Refusal),
    /// Something is in flight, or the platform or the store does not answer.
    NotNow(Error),
}

/// How many records are read at first, beside as many as are to be told of; each further look reads
/// twice as many.
const BESIDE: usize = 16;

/// What is told of these deployments of one workload.
async fn look(
    inner: Arc<Inner>,
    workload: WorkloadId,
    ids: Vec<DeploymentId>,
) -> Result<Vec<Told>, Error> {
    let mut limit = ids.len() + BESIDE;
    loop {
        let state = inner.store.workload(&workload).await?;
        let entry = inner.catalog.get(&workload);
        let rules = match entry {
            Some(entry) => entry.rules(&state),
            None => Rules::of_stranger(&state),
        };
        let telling = Telling {
            live: &state.live,
            restore: rules.restore,
            policy: &rules.policy,
            withheld: Withheld::of(&state),
            now: inner.clock.now(),
        };
        let records = inner.store.summaries(&workload, limit).await?;
        if let Some(told) = telling.of(&records, &ids) {
            return Ok(told);
        }
        limit = limit.saturating_mul(2);
    }
}

impl Row {
    fn of(deployment: Deployment, told: Told) -> Self {
        Self {
            deployment,
            standing: told.standing,
            last_healthy: told.last_healthy,
            no_rollback_point: told.no_rollback_point,
            replaced_by: told.replaced_by,
            abandoned_by: told.abandoned_by,
        }
    }
}

impl RollbackEngine {
    /// Deployments as the history shows them: with standing, rollback points and what replaced
    /// them. Reads the records alone, never the platform.
    ///
    /// # Errors
    ///
    /// [`Store`](ErrorKind::Store); [`Interrupted`](ErrorKind::Interrupted) if something panicked
    /// while it was read. A record that cannot be read is no error: the page names it.
    pub async fn history(&self, query: &Query) -> Result<History, Error> {
        let inner = self.inner();
        let page = inner.store.list(query).await?;
        let shown: BTreeSet<&WorkloadId> =
            page.deployments.iter().map(Deployment::workload).collect();
        // One workload's summaries are read while another's are gone through.
        let mut looks = JoinSet::new();
        for workload in shown {
            let of_it = |d: &&Deployment| d.workload() == workload;
            let ids = page.deployments.iter().filter(of_it);
            let ids = ids.map(|d| d.id().clone()).collect();
            looks.spawn(look(Arc::clone(inner), workload.clone(), ids));
        }
        let mut seen = HashMap::new();
        while let Some(look) = looks.join_next().await {
            let look = look.map_err(|e| {
                Error::new(
                    ErrorKind::Interrupted,
                    "the history was not read to its end",
                )
                .advice("ask again")
                .because(e)
            })?;
            seen.extend(look?.into_iter().map(|told| (told.of.clone(), told)));
        }
        // What was forgotten since the page was read is not shown.
        let rows = page.deployments.into_iter().filter_map(|deployment| {
            let told = seen.remove(deployment.id())?;
            Some(Row::of(deployment, told))
        });
        Ok(History {
            rows: rows.collect(),
            next: page.next,
            unreadable: page.unreadable,
        })
    }

    /// How two deployments differ; they may be of two workloads.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) without one of the records; [`Store`](ErrorKind::Store) if
    /// one cannot be read.
    pub async fn compare(
        &self,
        from: &DeploymentId,
        to: &DeploymentId,
    ) -> Result<Comparison, Error> {
        let (from, to) = (
            self.inner().record(from).await?,
            self.inner().record(to).await?,
        );
        Ok(Comparison::of(&from, &to))
    }

    /// Counts over what a query means.
    ///
    /// # Errors
    ///
    /// [`Store`](ErrorKind::Store).
    pub async fn stats(&self, query: &Query) -> Result<Stats, Error> {
        Ok(self.inner().store.stats(query).await?)
    }

    /// Whether a bare rollback would go ahead now, guards and platform asked; the plan it would
    /// carry out. Changes nothing.
    pub async fn can_roll_back(&self, workload: &WorkloadId, actor: Actor) -> CanRollBack {
        let request = Request::rollback(workload.clone(), Goal::LastHealthy, actor);
        match planning::plan(self.inner(), &request).await {
            Ok(plan) => CanRollBack::Yes(Box::new(plan)),
            Err(e) => match e.refusal() {
                Some(refusal) => CanRollBack::No(refusal.clone()),
                None => CanRollBack::NotNow(e),
            },
        }
    }

    /// Reads everything the store has kept and says what is wrong with it; empty when all is
    /// well. Also that a workload's live deployment has a record.
    ///
    /// # Errors
    ///
    /// [`Store`](ErrorKind::Store) if the store as a whole cannot be read. What is wrong with what
    /// it has kept is what this gives.
    pub async fn verify(&self) -> Result<Vec<Fault>, Error> {
        let inner = self.inner();
        let mut faults = inner.store.verify().await?;
        for state in inner.store.workloads().await?.states {
            let LiveRecord::Known(id) = &state.live else {
                continue;
            };
            let what = match inner.store.get(id).await {
                Ok(Some(d)) if d.workload() == &state.workload => continue,
                Ok(Some(d)) => format!("its live deployment {id} is of {}", d.workload()),
                Ok(None) => format!("its live deployment {id} has no record"),
                Err(e) => format!("its live deployment {id} cannot be read: {}", Chain::of(&e)),
            };
            faults.push(Fault {
                place: state.workload.to_string(),
                what,
            });
        }
        Ok(faults)
    }
}
