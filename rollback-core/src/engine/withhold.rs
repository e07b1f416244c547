//! What people keep rollbacks from: recalled artifacts, and the floor.

use super::RollbackEngine;
use crate::error::{Error, ErrorKind};
use crate::guard::Verb;
use crate::history::{Amend, WorkloadState};
use crate::id::{Actor, DeploymentId, ShortText, WorkloadId};

/// The longest digest that is recalled, in bytes.
const MAX_ARTIFACT: usize = 512;

impl RollbackEngine {
    /// Recalls an artifact, by its digest, on every workload of the catalog: no automatic rollback
    /// goes to it, and neither a rollback by hand nor a deploy unless the guard `recall` is forced.
    /// What is live stays live. Gives the workloads that it was recalled on.
    ///
    /// What no deployment has is recalled as well: it may come yet. Only the whole digest is meant.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`](ErrorKind::InvalidRequest) for what cannot be a digest: nothing, or more
    /// than 512 bytes. What a digest looks like is each backend's own, so a tag is no error, and
    /// recalls nothing. Else [`Refused`](ErrorKind::Refused) and [`Store`](ErrorKind::Store), as of
    /// [all verbs](RollbackEngine#errors-of-all-verbs); the workloads before the one that failed
    /// have the recall. Recalling again is harmless.
    pub async fn recall(
        &self,
        artifact: &str,
        why: ShortText,
        actor: &Actor,
    ) -> Result<Vec<WorkloadId>, Error> {
        if artifact.is_empty() || artifact.len() > MAX_ARTIFACT {
            return Err(Error::new(
                ErrorKind::InvalidRequest,
                format!("an artifact's digest has 1 to {MAX_ARTIFACT} bytes; nothing was recalled"),
            )
            .advice("give the digest that its deployments have on record"));
        }
        self.on_all(actor, |_| Amend::Recall {
            artifact: artifact.to_owned(),
            why: why.clone(),
        })
        .await
    }

    /// Takes a recall back; gives the workloads that had it.
    ///
    /// # Errors
    ///
    /// [`Refused`](ErrorKind::Refused) and [`Store`](ErrorKind::Store), as of
    /// [`recall`](Self::recall); the workloads before the one that failed have it no more.
    pub async fn clear_recall(
        &self,
        artifact: &str,
        actor: &Actor,
    ) -> Result<Vec<WorkloadId>, Error> {
        self.on_all(actor, |state| {
            let any = state.recalls.iter().any(|r| r.artifact == artifact);
            any.then(|| Amend::ClearRecall {
                artifact: artifact.to_owned(),
            })
        })
        .await
    }

    /// Sets the oldest deployment of its workload that rollbacks go to. No automatic rollback goes
    /// below it, and none by hand unless the guard `floor` is forced.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) without such a record; else as [all
    /// verbs](RollbackEngine#errors-of-all-verbs).
    pub async fn set_floor(
        &self,
        deployment: &DeploymentId,
        why: ShortText,
        actor: &Actor,
    ) -> Result<(), Error> {
        let record = self.inner().record(deployment).await?;
        let workload = record.workload();
        self.inner().workload(workload)?;
        let origin = self.inner().deployed(&record).await?;
        let floor = |_: &WorkloadState| {
            Some(Amend::SetFloor {
                deployment: deployment.clone(),
                sequence: record.sequence(),
                origin,
                why: why.clone(),
            })
        };
        self.insist(workload, Verb::Floor, actor, floor).await?;
        Ok(())
    }

    /// Takes the floor away. Nothing is set: nothing to do.
    ///
    /// # Errors
    ///
    /// As [all verbs](RollbackEngine#errors-of-all-verbs).
    pub async fn clear_floor(&self, workload: &WorkloadId, actor: &Actor) -> Result<(), Error> {
        self.inner().workload(workload)?;
        let clear = |state: &WorkloadState| state.floor.as_ref().map(|_| Amend::ClearFloor);
        self.insist(workload, Verb::Floor, actor, clear).await?;
        Ok(())
    }

    async fn on_all<A: Into<Option<Amend>>>(
        &self,
        actor: &Actor,
        what: impl Fn(&WorkloadState) -> A,
    ) -> Result<Vec<WorkloadId>, Error> {
        let mut done = Vec::new();
        for workload in self.inner().catalog.keys() {
            let what = |state: &WorkloadState| what(state).into();
            if self.insist(workload, Verb::Recall, actor, what).await? {
                done.push(workload.clone());
            }
        }
        Ok(done)
    }

    /// Makes a change that does not depend on what else moved: looks again and tries again. Says
    /// whether there was anything to do.
    async fn insist(
        &self,
        workload: &WorkloadId,
        verb: Verb,
        actor: &Actor,
        what: impl Fn(&WorkloadState) -> Option<Amend>,
    ) -> Result<bool, Error> {
        self.allow(actor, workload, verb, None).await?;
        loop {
            let state = self.inner().store.workload(workload).await?;
            let Some(change) = what(&state) else {
                return Ok(false);
            };
            match self.amend(workload, state.version, change, actor).await {
                Ok(_) => return Ok(true),
                Err(e) if e.kind() == ErrorKind::Stale => {}
                Err(e) => return Err(e),
            }
        }
    }
}
