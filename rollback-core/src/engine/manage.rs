//! What people change outside of deployments: annotations, holds, policies, retention.

use serde::Serialize;

use super::rules::{PolicySource, Rules};
use crate::deployment::{Annotation, Note};
use crate::engine::RollbackEngine;
use crate::error::{Error, ErrorKind};
use crate::guard::Verb;
use crate::history::{Amend, Amendment, Hold, PolicySet, Version, WorkloadState};
use crate::id::{Actor, DeploymentId, ShortText, WorkloadId};
use crate::plan::Refusal;
use crate::policy::{Policy, PolicyChange};
use crate::time::Timestamp;

/// What a configuration changes, or has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Configured {
    /// The workload whose policy it is.
    pub workload: WorkloadId,
    /// Each setting that differs; empty: nothing does.
    pub changes: Vec<PolicyChange>,
    /// The rules afterwards.
    pub rules: Rules,
}

impl RollbackEngine {
    /// The state of one workload of the catalog.
    ///
    /// # Errors
    ///
    /// [`NotRegistered`](ErrorKind::NotRegistered) and [`Store`](ErrorKind::Store), as of [all
    /// verbs](RollbackEngine#errors-of-all-verbs).
    pub async fn state(&self, workload: &WorkloadId) -> Result<WorkloadState, Error> {
        self.inner().workload(workload)?;
        Ok(self.inner().store.workload(workload).await?)
    }

    /// The rules that hold for a workload, and where they come from.
    ///
    /// # Errors
    ///
    /// [`NotRegistered`](ErrorKind::NotRegistered) and [`Store`](ErrorKind::Store), as of [all
    /// verbs](RollbackEngine#errors-of-all-verbs).
    pub async fn rules(&self, workload: &WorkloadId) -> Result<Rules, Error> {
        let entry = self.inner().workload(workload)?;
        let state = self.inner().store.workload(workload).await?;
        Ok(entry.rules(&state))
    }

    /// What [`configure`](Self::configure) would change; changes nothing. `None` stands for the
    /// catalog's policy.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`](ErrorKind::InvalidRequest) for a policy that cannot hold, with the gate
    /// of the catalog where it has none; [`NotRegistered`](ErrorKind::NotRegistered) and
    /// [`Store`](ErrorKind::Store), as of [all verbs](RollbackEngine#errors-of-all-verbs).
    pub async fn preview_configure(
        &self,
        workload: &WorkloadId,
        policy: Option<&Policy>,
    ) -> Result<Configured, Error> {
        let entry = self.inner().workload(workload)?;
        let before = self.rules(workload).await?;
        let (after, origin) = match policy {
            Some(policy) => (policy.clone(), PolicySource::Store),
            None => (entry.policy.clone(), PolicySource::Catalog),
        };
        after.check_with(&entry.gate).map_err(|e| {
            Error::new(ErrorKind::InvalidRequest, e.to_string())
                .on(workload)
                .advice("nothing was set; correct the policy")
        })?;
        Ok(Configured {
            workload: workload.clone(),
            changes: before.policy.changes(&after),
            rules: entry.rules_by(after, origin),
        })
    }

    /// Sets the workload's policy for good, in place of the catalog's; `None` goes back to the
    /// catalog's. Holds from the next deployment on; one in flight keeps its own. Records and
    /// rollback points stay, whatever is set.
    ///
    /// # Errors
    ///
    /// As [`preview_configure`](Self::preview_configure), and as [what
    /// amends](RollbackEngine#errors-of-all-verbs).
    pub async fn configure(
        &self,
        workload: &WorkloadId,
        policy: Option<&Policy>,
        actor: &Actor,
    ) -> Result<Configured, Error> {
        self.allow(actor, workload, Verb::Configure, None).await?;
        let mut configured = self.preview_configure(workload, policy).await?;
        let state = self.inner().store.workload(workload).await?;
        let what = match policy {
            Some(policy) => Amend::SetPolicy(Box::new(policy.clone())),
            None => Amend::ClearPolicy,
        };
        let at = self.amend(workload, state.version, what, actor).await?;
        configured.rules.set = policy.map(|_| PolicySet {
            by: actor.clone(),
            at,
        });
        tracing::info!(%workload, %actor, changes = configured.changes.len(), "policy set");
        Ok(configured)
    }

    /// Lets nothing but rollbacks through until the hold is lifted. Somebody else's hold stays as it
    /// is: [`Refusal::Held`] says whose.
    ///
    /// # Errors
    ///
    /// [`Refused`](ErrorKind::Refused) also while somebody else holds it; else as [what
    /// amends](RollbackEngine#errors-of-all-verbs).
    pub async fn hold(
        &self,
        workload: &WorkloadId,
        why: ShortText,
        actor: Actor,
    ) -> Result<Hold, Error> {
        self.inner().workload(workload)?;
        self.allow(&actor, workload, Verb::Hold, None).await?;
        let state = self.inner().store.workload(workload).await?;
        if let Some(hold) = state.hold.filter(|hold| hold.by != actor) {
            return Err(Refusal::Held {
                workload: workload.clone(),
                by: hold.by.to_string(),
                why: hold.why.to_string(),
            }
            .into());
        }
        let what = Amend::Hold { why: why.clone() };
        let since = self.amend(workload, state.version, what, &actor).await?;
        Ok(Hold {
            by: actor,
            why,
            since,
        })
    }

    /// Lifts a hold; says whose it was. Nothing is held: nothing to do.
    ///
    /// # Errors
    ///
    /// As [what amends](RollbackEngine#errors-of-all-verbs).
    pub async fn lift_hold(
        &self,
        workload: &WorkloadId,
        actor: &Actor,
    ) -> Result<Option<Hold>, Error> {
        self.inner().workload(workload)?;
        self.allow(actor, workload, Verb::Hold, None).await?;
        let state = self.inner().store.workload(workload).await?;
        if state.hold.is_some() {
            self.amend(workload, state.version, Amend::LiftHold, actor)
                .await?;
        }
        Ok(state.hold)
    }

    /// Changes what holds for a workload whose state has this version; says when.
    pub(super) async fn amend(
        &self,
        workload: &WorkloadId,
        version: Version,
        what: Amend,
        actor: &Actor,
    ) -> Result<Timestamp, Error> {
        let amendment = Amendment {
            by: actor.clone(),
            at: self.inner().clock.now(),
            what,
        };
        let store = &self.inner().store;
        store.amend(workload, version, &amendment).await?;
        Ok(amendment.at)
    }

    /// Keeps a deployment's record and release from retention.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) without such a record; [`Refused`](ErrorKind::Refused) and
    /// [`Store`](ErrorKind::Store) as of [all verbs](RollbackEngine#errors-of-all-verbs).
    pub async fn pin(&self, id: &DeploymentId, actor: &Actor) -> Result<(), Error> {
        self.annotate(id, Annotation::Pin, actor).await
    }

    /// Gives a deployment back to retention.
    ///
    /// # Errors
    ///
    /// As [`pin`](Self::pin).
    pub async fn unpin(&self, id: &DeploymentId, actor: &Actor) -> Result<(), Error> {
        self.annotate(id, Annotation::Unpin, actor).await
    }

    /// Adds a note to a record.
    ///
    /// # Errors
    ///
    /// As [`pin`](Self::pin), and [`Store`](ErrorKind::Store) with
    /// [`TooLarge`](crate::error::StoreErrorKind::TooLarge) for one note more than a record takes.
    pub async fn note(
        &self,
        id: &DeploymentId,
        text: ShortText,
        actor: &Actor,
    ) -> Result<(), Error> {
        let note = self.say(text, actor);
        self.annotate(id, Annotation::Note(note), actor).await
    }

    /// Keeps rollbacks from ever going to a deployment.
    ///
    /// # Errors
    ///
    /// As [`pin`](Self::pin).
    pub async fn mark_bad(
        &self,
        id: &DeploymentId,
        why: ShortText,
        actor: &Actor,
    ) -> Result<(), Error> {
        let note = self.say(why, actor);
        self.annotate(id, Annotation::MarkBad(note), actor).await
    }

    /// Takes [`mark_bad`](Self::mark_bad) back.
    ///
    /// # Errors
    ///
    /// As [`pin`](Self::pin).
    pub async fn clear_bad(&self, id: &DeploymentId, actor: &Actor) -> Result<(), Error> {
        self.annotate(id, Annotation::ClearBad, actor).await
    }

    pub(super) fn say(&self, text: ShortText, actor: &Actor) -> Note {
        Note {
            by: actor.clone(),
            at: self.inner().clock.now(),
            text,
        }
    }

    async fn annotate(
        &self,
        id: &DeploymentId,
        what: Annotation,
        actor: &Actor,
    ) -> Result<(), Error> {
        let record = self.inner().record(id).await?;
        self.allow(actor, record.workload(), Verb::Annotate, Some(id))
            .await?;
        Ok(self.inner().store.annotate(id, &what).await?)
    }

    pub(super) async fn allow(
        &self,
        actor: &Actor,
        workload: &WorkloadId,
        verb: Verb,
        deployment: Option<&DeploymentId>,
    ) -> Result<(), Error> {
        self.inner().allow(actor, workload, verb, deployment).await
    }
}
