//! Planning's input and output: gathers state, records and an observation, and lets the pure
//! planner choose.

use std::time::Duration;

use super::ask;
use super::choose::{self, Choice};
use super::guards;
use super::inner::Inner;
use super::rules::Rules;
use super::warnings::{migrations, not_judged_beside, reference_stays, warnings};
use crate::backend::{Backend, End, Instance, Observation};
use crate::compare::Diff;
use crate::deployment::{Deployment, Trigger};
use crate::drift::{Change, changes, drift};
use crate::engine::Workload;
use crate::error::{Error, StoreError};
use crate::history::{
    Conflict, Published, ReleaseSummary, Sequence, Summaries, Summary, WorkloadState,
};
use crate::id::{DeploymentId, GuardName, WorkloadId};
use crate::lineage::{Lineage, Standing};
use crate::plan::{Plan, Refusal, Warning};
use crate::planner::Selection;
use crate::points::NoPoint;
use crate::release::{Release, Restore};
use crate::request::{Request, Wish};
use crate::withheld::Withheld;

/// How many of the newest records a plan goes by at first; where they do not answer, by twice as many.
/// Whether a deploy goes back without saying so is told by these alone.
pub(super) const NEWEST: usize = 64;

/// Refuses while something is in flight.
pub(super) async fn idle(inner: &Inner, workload: &WorkloadId) -> Result<WorkloadState, Error> {
    let state = inner.store.workload(workload).await?;
    let Some(in_flight) = &state.in_flight else {
        return Ok(state);
    };
    let phase = inner.record(&in_flight.deployment).await?.phase();
    let conflict = Conflict::new(workload.clone(), in_flight, phase, inner.clock.now());
    Err(StoreError::held(conflict).into())
}

/// Makes the plan for a request, guards asked.
pub(super) async fn plan(inner: &Inner, request: &Request) -> Result<Plan, Error> {
    let workload = inner.workload(&request.workload)?;
    inner.authorize(&request.action()).await?;
    guards::known(workload, &request.forced)?;
    let state = idle(inner, &request.workload).await?;
    let forced_hold = refuse_held(&state, request)?;
    let rules = workload.rules(&state);
    let asked = Asking {
        inner,
        workload,
        request,
        rules: &rules,
        state: &state,
    };
    let mut limit = NEWEST;
    loop {
        let past = inner.summaries(&request.workload, limit).await?;
        // On the heap: whoever asks for a plan does not carry what it is made of.
        match Box::pin(asked.plan(&past, forced_hold.clone())).await {
            Ok(Some(plan)) => return Ok(plan),
            Ok(None) => limit = limit.saturating_mul(2),
            // Older ones may answer what none of these does.
            Err(e) if !past.is_whole && found_nothing(&e) => limit = usize::MAX,
            Err(e) => return Err(e),
        }
    }
}

fn found_nothing(e: &Error) -> bool {
    matches!(
        e.refusal(),
        Some(Refusal::NoRollbackPoint { .. } | Refusal::NotFound { .. })
    )
}

/// Who asks for what.
struct Asking<'a> {
    inner: &'a Inner,
    workload: &'a Workload,
    request: &'a Request,
    rules: &'a Rules,
    state: &'a WorkloadState,
}

impl Asking<'_> {
    /// The plan by these newest records; `None`: older ones may change it.
    async fn plan(
        &self,
        past: &Summaries,
        forced_hold: Option<Warning>,
    ) -> Result<Option<Plan>, Error> {
        let Self {
            inner,
            workload,
            request,
            rules,
            state,
        } = *self;
        let withheld = Withheld::of(state);
        let lineage = Lineage::new(&past.summaries, &state.live)
            .withholding(withheld.clone().forcing(&request.forced));
        if !past.is_whole && !is_enough(&lineage, request, rules) {
            return Ok(None);
        }
        let limit = rules.policy.deadlines.observe;
        let live = inner.live(&state.live).await?;
        let recorded = live.as_ref().and_then(Deployment::instance);
        let Chosen {
            trigger,
            choice,
            today,
            target,
        } = self.choose(&lineage, recorded).await?;
        let (published, behind) = self.published(&choice.observed, past).await?;

        let from = choose::live_end(&choice.observed, recorded)?;
        let drift = drift(recorded, &choice.observed);
        let target = match target {
            Some(target) => Some(target),
            None => match goes_back(&choice, &lineage) {
                Some(earlier) => inner.store.get(&earlier.id).await?,
                None => None,
            },
        };
        let back_to = target.as_ref();
        let migrations = match back_to {
            Some(target) => Some(migrations(limit, workload, target).await),
            None => None,
        };
        let mut warnings = warnings(&choice, back_to, &drift, migrations.as_ref());
        warnings.extend(published);
        warnings.extend(not_judged_beside(workload));
        let note = choice.to.release().and_then(|r| r.artifact().note.clone());
        warnings.extend(note.map(|note| Warning::Resolved { note }));
        if let (Some(_), Some(live)) = (&choice.target, &live) {
            warnings.extend(reference_stays(workload.backend.as_ref(), live, &choice.to).await);
        }
        let now = inner.clock.now();
        let mut new = workload.opening(trigger, request.actor.clone(), now, rules);
        new.reason = request.reason.clone();
        new.replaces = state.live.clone();
        new.fallback = choose::fallback(&state.live, recorded, &from);
        new.to = choose::fresh_if_live(choice.to, &from);
        new.from = from;
        new.forced = request.forced.clone();
        new.skipped = skips(&lineage, back_to);
        new.of_skipped = request.of_skipped;
        new.labels = request.labels.clone();
        new.correlation = request.correlation.clone();
        new.asked = request.asked();
        let (before, after) = (new.from.release(), new.to.release());
        let withheld = withheld_from(&withheld, &lineage, after, choice.target.as_ref());
        let mut plan = Plan {
            changes: match (before, after) {
                (Some(before), Some(after)) => changes(before, after),
                _ => Vec::new(),
            },
            diff: Diff::between(before, after),
            from_today: from_today(back_to, after),
            configured: facets_that_differ(before, today.as_ref()),
            dependents: inner
                .graph
                .affected_by(&request.workload)
                .into_iter()
                .collect(),
            migrations,
            goal: match &request.wish {
                Wish::Rollback { goal } => Some(goal.clone()),
                _ => None,
            },
            version: state.version,
            rollback_point: choice.target,
            passed_over: choice.passed_over,
            drift,
            availability: choice.availability,
            way_back: choose::way_back(&choice.observed),
            past: behind,
            withheld,
            new,
        };
        if !past.unreadable.is_empty() && plan.rollback_point.is_some() {
            warnings.push(Warning::Unreadable {
                records: past.unreadable.iter().map(ToString::to_string).collect(),
            });
        }
        warnings.extend(forced_hold);
        warnings.extend(guards::ask(inner, workload, &plan).await?);
        plan.new.warnings = warnings;
        Ok(Some(plan))
    }

    /// Refuses to go on from a history that is behind what is live; warns where another one has
    /// published, and where nothing is live that would have to be adopted: the history then has to get
    /// past what it published.
    async fn published(
        &self,
        observed: &Observation,
        past: &Summaries,
    ) -> Result<(Option<Warning>, Option<Sequence>), Error> {
        let workload = &self.request.workload;
        match self.inner.published(observed, workload, past).await? {
            Published::Nothing | Published::Known => Ok((None, None)),
            Published::Elsewhere(fence) => {
                let published = Box::new(fence.clone());
                Ok((Some(Warning::PublishedElsewhere { published }), None))
            }
            // Nothing, or a mixture, cannot be adopted.
            Published::Ahead(fence) if observed.heading().is_none() => {
                let published = Box::new(fence.clone());
                let warning = Warning::HistoryBehind { published };
                Ok((Some(warning), Some(fence.sequence)))
            }
            Published::Ahead(fence) => Err(Refusal::HistoryBehind {
                workload: workload.clone(),
                published: Box::new(fence.clone()),
            }
            .into()),
        }
    }

    /// What is to be live, and what the deployment will be recorded as.
    async fn choose(
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
                    target: None,
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
                    target: None,
                })
            }
            Wish::Rollback { goal } => {
                let observed = ask::observe(limit, backend).await?;
                let live = choose::live_end(&observed, recorded)?;
                let today = today(limit, backend, live.release()).await?;
                let live = live.release().map(ReleaseSummary::of);
                let configured = today.as_ref().map(ReleaseSummary::of);
                let selection = Selection {
                    workload: &request.workload,
                    goal,
                    lineage,
                    live: live.as_ref(),
                    today: configured.as_ref(),
                    restore: request.restore.as_ref().unwrap_or(&rules.restore),
                    policy: &rules.policy,
                    reapply: request.reapply,
                };
                let found =
                    choose::candidate(inner, backend, &selection, today.as_ref(), observed).await?;
                let (target, choice) = found;
                Ok(Chosen {
                    trigger: Trigger::Rollback {
                        to: target.id().clone(),
                    },
                    choice,
                    today,
                    target: Some(target),
                })
            }
        }
    }
}

/// What was chosen.
struct Chosen {
    trigger: Trigger,
    choice: Choice,
    /// Today's configuration, with what is live.
    today: Option<Release>,
    /// A rollback's target.
    target: Option<Deployment>,
}

/// Whether these newest records answer a request as the whole history would.
fn is_enough(lineage: &Lineage<'_, Summary>, request: &Request, rules: &Rules) -> bool {
    let restore = request.restore.as_ref().unwrap_or(&rules.restore);
    lineage.is_closed()
        && match &request.wish {
            Wish::Deploy { .. } => true,
            Wish::Redeploy { of } => lineage.get(of).is_some(),
            Wish::Rollback { goal } => lineage.answers(goal, restore),
        }
}

/// What a guard has to say of going to this release: an artifact that is recalled does not come back
/// by a deploy either.
fn withheld_from(
    withheld: &Withheld,
    lineage: &Lineage<'_, Summary>,
    to: Option<&Release>,
    target: Option<&DeploymentId>,
) -> Vec<(GuardName, String)> {
    let recalled = to.and_then(|to| withheld.recalled(&to.artifact().digest));
    let recalled = recalled.map(|why| format!("the artifact is recalled: {why}"));
    let target = target.and_then(|id| lineage.get(id));
    let below = target.and_then(|d| withheld.below_floor(lineage.origin(d).sequence));
    let recalled = recalled.map(|why| (GuardName::recall(), why));
    recalled
        .into_iter()
        .chain(below.map(|why| (GuardName::floor(), why)))
        .collect()
}

/// Refuses what is held; what is forced through all the same is warned of.
fn refuse_held(state: &WorkloadState, request: &Request) -> Result<Option<Warning>, Refusal> {
    let goes_forward = !matches!(request.wish, Wish::Rollback { .. });
    let Some(hold) = state.hold.as_ref().filter(|_| goes_forward) else {
        return Ok(None);
    };
    let guard = GuardName::hold();
    if request.forced.contains(&guard) {
        return Ok(Some(Warning::Guard {
            guard,
            message: format!("forced: held by {}: {}", hold.by, hold.why),
        }));
    }
    Err(Refusal::Held {
        workload: request.workload.clone(),
        by: hold.by.to_string(),
        why: hold.why.to_string(),
    })
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
    target: Option<&Deployment>,
    request: &Request,
    of: &DeploymentId,
    today: Option<&Release>,
) -> Result<Release, Refusal> {
    let target = target.ok_or_else(|| Refusal::NotFound {
        workload: request.workload.clone(),
        deployment: of.clone(),
    })?;
    let invalid = |why: String| Refusal::NotARollbackPoint {
        deployment: of.clone(),
        why,
    };
    if let Some(why) = &target.annotations().bad {
        let why = why.to_string();
        return Err(invalid(NoPoint::MarkedBad { why }.to_string()));
    }
    let release = target
        .release()
        .ok_or_else(|| invalid(NoPoint::NeverPlaced.to_string()))?;
    Ok(release.brought_back(today, &Restore::Artifact))
}

/// The earlier deployment whose release a deploy brings back without saying so, among the newest ones.
fn goes_back<'a>(choice: &Choice, lineage: &Lineage<'a, Summary>) -> Option<&'a Summary> {
    let digest = choice.to.release().map(Release::digest);
    if lineage.live().and_then(Summary::digest) == digest.as_ref() {
        return None;
    }
    let is_it = |d: &&Summary| d.went_live() && d.digest() == digest.as_ref();
    lineage.records().iter().find(is_it)
}

/// Live deployments after the target whose changes go away.
fn skips(lineage: &Lineage<'_, Summary>, back_to: Option<&Deployment>) -> Vec<DeploymentId> {
    let Some(target) = back_to else {
        return Vec::new();
    };
    lineage
        .records()
        .iter()
        .filter(|d| d.sequence > target.sequence() && d.restores.is_none())
        .filter(|d| matches!(lineage.standing(d), Standing::Live | Standing::Superseded))
        .map(|d| d.id.clone())
        .collect()
}

/// What of the recorded configuration does not come back with its artifact.
fn from_today(back_to: Option<&Deployment>, to: Option<&Release>) -> Vec<Change> {
    let Some((recorded, to)) = back_to.and_then(Deployment::release).zip(to) else {
        return Vec::new();
    };
    facets_that_differ(Some(recorded), Some(to))
}

fn facets_that_differ(a: Option<&Release>, b: Option<&Release>) -> Vec<Change> {
    let Some((a, b)) = a.zip(b) else {
        return Vec::new();
    };
    let mut changes = changes(a, b);
    changes.retain(|c| matches!(c, Change::Facet { .. }));
    changes
}
