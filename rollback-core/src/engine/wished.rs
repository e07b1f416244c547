//! What a wish comes to: the release that is to be live, and where it is known from.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ask;
use super::choose::{self, Choice};
use super::inner::Inner;
use super::rules::Rules;
use crate::backend::{Backend, End, Instance};
use crate::deployment::{Deployment, Purpose, Trigger};
use crate::engine::Workload;
use crate::error::Error;
use crate::history::{ReleaseSummary, Summary, WorkloadState};
use crate::id::{DeploymentId, WorkloadId};
use crate::lineage::Lineage;
use crate::no_point::NoPoint;
use crate::plan::Refusal;
use crate::planner::Selection;
use crate::release::{Release, Restore};
use crate::request::{Goal, Request, Wish};

/// Who asks for what.
pub(super) struct Asking<'a> {
    pub(super) inner: &'a Inner,
    pub(super) workload: &'a Workload,
    pub(super) request: &'a Request,
    pub(super) rules: &'a Rules,
    pub(super) state: &'a WorkloadState,
    /// What may move as one with it.
    pub(super) others: &'a BTreeSet<WorkloadId>,
}

/// What a wish comes to.
pub(super) struct Chosen {
    /// What the deployment will be recorded as.
    pub(super) trigger: Trigger,
    /// What is to be live, and what was seen on the way there.
    pub(super) choice: Choice,
    /// Today's configuration, with what is live.
    pub(super) today: Option<Release>,
    /// The deployment whose release a rollback brings back.
    pub(super) point: Option<Deployment>,
    /// What the deployment is for.
    pub(super) purpose: Option<Purpose>,
}

impl Asking<'_> {
    /// What is to be live, and what the deployment will be recorded as.
    pub(super) async fn choose(
        &self,
        lineage: &Lineage<'_, Summary>,
        recorded: Option<&Instance>,
    ) -> Result<Chosen, Error> {
        let Self {
            inner,
            request,
            rules,
            ..
        } = *self;
        let (backend, limit) = (
            self.workload.backend.as_ref(),
            rules.policy.deadlines.observe,
        );
        match &request.wish {
            Wish::Deploy { reference } => {
                let release = ask::resolve(limit, backend, reference).await?;
                let observed = ask::observe(limit, backend).await?;
                let to = End::Planned(release.clone());
                Ok(Chosen {
                    trigger: Trigger::Deploy,
                    choice: choose::anew(limit, backend, to, observed).await?,
                    // A reference is resolved with today's configuration.
                    today: Some(release),
                    point: None,
                    purpose: request.purpose.clone(),
                })
            }
            Wish::Redeploy { of } => {
                let observed = ask::observe(limit, backend).await?;
                let live = choose::live_end(&observed, recorded)?;
                let today = today(limit, backend, live.release()).await?;
                let record = match lineage.get(of) {
                    Some(_) => inner.store.get(of).await?,
                    None => None,
                };
                let release = to_redeploy(record.as_ref(), request, of, today.as_ref())?;
                Ok(Chosen {
                    trigger: Trigger::Redeploy { of: of.clone() },
                    choice: choose::anew(limit, backend, End::Planned(release), observed).await?,
                    today,
                    point: None,
                    purpose: request.purpose.clone(),
                })
            }
            Wish::Rollback { goal } => {
                let observed = ask::observe(limit, backend).await?;
                let live = choose::live_end(&observed, recorded)?;
                let today = today(limit, backend, live.release()).await?;
                let live = live.release().map(ReleaseSummary::of);
                let configured = today.as_ref().map(ReleaseSummary::of);
                let retraced = lineage.retraced(goal);
                let selection = Selection {
                    workload: &request.workload,
                    goal: retraced.as_ref().map_or(goal, |retraced| &retraced.goal),
                    lineage,
                    live: live.as_ref(),
                    today: configured.as_ref(),
                    restore: self.restores(goal),
                    policy: &rules.policy,
                    reapply: request.reapply,
                };
                let found =
                    choose::candidate(inner, backend, &selection, today.as_ref(), observed).await?;
                let (point, choice) = found;
                Ok(Chosen {
                    trigger: Trigger::Rollback {
                        to: point.id().clone(),
                    },
                    choice,
                    today,
                    point: Some(point),
                    purpose: retraced.map_or_else(
                        || request.purpose.clone(),
                        |retraced| Some(retraced.purpose),
                    ),
                })
            }
        }
    }
}

impl<'a> Asking<'a> {
    /// How much a rollback restores.
    fn restores(&self, goal: &Goal) -> &'a Restore {
        match (&self.request.restore, goal) {
            (Some(asked), _) => asked,
            // They go to a state.
            (None, Goal::Undo | Goal::Redo) => &Restore::Everything,
            (None, _) => &self.rules.restore,
        }
    }
}

/// What is live as today's configuration would have it: the program's, where the backend has one.
pub(super) async fn today(
    limit: Duration,
    backend: &dyn Backend,
    live: Option<&Release>,
) -> Result<Option<Release>, Error> {
    let configured = ask::configured(limit, backend, live).await?;
    Ok(configured.or_else(|| live.cloned()))
}

/// An earlier artifact with today's configuration.
fn to_redeploy(
    point: Option<&Deployment>,
    request: &Request,
    of: &DeploymentId,
    today: Option<&Release>,
) -> Result<Release, Refusal> {
    let point = point.ok_or_else(|| Refusal::NotFound {
        workload: request.workload.clone(),
        deployment: of.clone(),
    })?;
    let invalid = |why: String| Refusal::NotARollbackPoint {
        deployment: of.clone(),
        why,
    };
    if let Some(why) = &point.annotations().bad {
        let why = why.to_string();
        return Err(invalid(NoPoint::MarkedBad { why }.to_string()));
    }
    let release = point
        .release()
        .ok_or_else(|| invalid(NoPoint::NeverPlaced.to_string()))?;
    Ok(release.brought_back(today, &Restore::Artifact))
}
