//! What a caller asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::deployment::{Asked, Purpose, Skipped};
use crate::guard::{Action, Verb};
use crate::id::{Actor, DeploymentId, GuardName, IdempotencyKey, ShortText, WorkloadId};
use crate::release::Restore;

pub use crate::wish::{Goal, Reapply, Wish};

/// A request: who wants what where, and why.
///
/// ```
/// use rollback_core::prelude::*;
/// # fn main() -> Result<(), rollback_core::id::InvalidId> {
/// let request = Request::rollback("api@web-1".parse()?, Goal::LastHealthy, Actor::user("ada")?)
///     .because("checkout returns 500".parse()?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Request {
    pub(crate) workload: WorkloadId,
    pub(crate) wish: Wish,
    pub(crate) actor: Actor,
    pub(crate) reason: Option<ShortText>,
    pub(crate) forced: Vec<GuardName>,
    pub(crate) restore: Option<Restore>,
    pub(crate) reapply: Reapply,
    pub(crate) of_skipped: Skipped,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) correlation: Option<ShortText>,
    pub(crate) idempotency_key: Option<IdempotencyKey>,
    pub(crate) purpose: Option<Purpose>,
    pub(crate) confirm_within: Option<Duration>,
}

impl Request {
    fn new(workload: WorkloadId, wish: Wish, actor: Actor) -> Self {
        Self {
            workload,
            wish,
            actor,
            reason: None,
            forced: Vec::new(),
            restore: None,
            reapply: Reapply::No,
            of_skipped: Skipped::Left,
            labels: BTreeMap::new(),
            correlation: None,
            idempotency_key: None,
            purpose: None,
            confirm_within: None,
        }
    }

    /// Deploy a reference.
    pub fn deploy(workload: WorkloadId, reference: impl Into<String>, actor: Actor) -> Self {
        Self::new(
            workload,
            Wish::Deploy {
                reference: reference.into(),
            },
            actor,
        )
    }

    /// Deploy an earlier deployment's artifact anew, with today's configuration. Unlike a
    /// rollback it never reuses what was kept, and release tasks run as for a deploy.
    pub fn redeploy(workload: WorkloadId, of: DeploymentId, actor: Actor) -> Self {
        Self::new(workload, Wish::Redeploy { of }, actor)
    }

    /// Roll back to a goal.
    pub fn rollback(workload: WorkloadId, goal: Goal, actor: Actor) -> Self {
        Self::new(workload, Wish::Rollback { goal }, actor)
    }

    /// Undo the last change that is not undone.
    pub fn undo(workload: WorkloadId, actor: Actor) -> Self {
        Self::rollback(workload, Goal::Undo, actor)
    }

    /// Do again what was undone last.
    pub fn redo(workload: WorkloadId, actor: Actor) -> Self {
        Self::rollback(workload, Goal::Redo, actor)
    }

    /// Says why; recorded.
    #[must_use]
    pub fn because(mut self, reason: ShortText) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Skips this guard; recorded. Validity, conflict and staleness cannot be forced.
    #[must_use]
    pub fn force(mut self, guard: GuardName) -> Self {
        if !self.forced.contains(&guard) {
            self.forced.push(guard);
        }
        self
    }

    /// Says how much a rollback restores, against the policy.
    #[must_use]
    pub fn restore(mut self, restore: Restore) -> Self {
        self.restore = Some(restore);
        self
    }

    /// Puts the release in place anew even if it is live.
    #[must_use]
    pub fn reapply(mut self) -> Self {
        self.reapply = Reapply::Yes;
        self
    }

    /// Marks the deployments that a rollback skips over as bad once it has succeeded, so that
    /// no later rollback goes to one of them.
    #[must_use]
    pub fn mark_skipped_bad(mut self) -> Self {
        self.of_skipped = Skipped::MarkedBad;
        self
    }

    /// Adds a label; recorded and searchable.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// The embedder's own id for what this belongs to; recorded.
    #[must_use]
    pub fn correlation(mut self, id: ShortText) -> Self {
        self.correlation = Some(id);
        self
    }

    /// Goes back by itself, to what was live before, unless somebody
    /// [confirms](crate::engine::RollbackEngine::confirm) it within so long of its settlement: also if
    /// this program is gone by then, as soon as any engine recovers.
    #[must_use]
    pub fn confirm_within(mut self, span: Duration) -> Self {
        self.confirm_within = Some(span);
        self
    }

    /// Makes this request, however often it is sent, one request: a second one under this key that
    /// asks for the same gets the deployment that the first one got, in flight or ended, also from
    /// another process. One that asks for something else is a conflict
    /// ([`ErrorKind::KeyTaken`](crate::error::ErrorKind::KeyTaken)).
    ///
    /// Keys are a workload's own, and are remembered as long as the deployment's record is kept.
    #[must_use]
    pub fn idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.idempotency_key = Some(key);
        self
    }

    /// What is asked under the request's key; `None`: it has none.
    pub(crate) fn asked(&self) -> Option<Asked> {
        let key = self.idempotency_key.clone()?;
        let restore = self.restore.as_ref();
        Some(Asked::new(key, &self.wish, restore, self.reapply))
    }

    /// What an authorizer is asked about, and the deployment it names.
    fn verb(&self) -> (Verb, Option<&DeploymentId>) {
        match &self.wish {
            Wish::Deploy { .. } => (Verb::Deploy, None),
            Wish::Redeploy { of } => (Verb::Redeploy, Some(of)),
            Wish::Rollback {
                goal: Goal::To(id) | Goal::Before(id),
            } => (Verb::Rollback, Some(id)),
            Wish::Rollback { .. } => (Verb::Rollback, None),
        }
    }

    /// What an authorizer is asked.
    pub(crate) fn action(&self) -> Action<'_> {
        let (verb, deployment) = self.verb();
        Action {
            actor: &self.actor,
            workload: &self.workload,
            verb,
            deployment,
            forced: &self.forced,
        }
    }

    /// The workload that is to be changed.
    pub fn workload(&self) -> &WorkloadId {
        &self.workload
    }
}
