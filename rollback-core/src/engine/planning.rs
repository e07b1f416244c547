//! Planning's input and output: gathers state, records and an observation, and lets the pure
//! planner choose.

use std::time::Duration;

use super::ask;
use super::choose::{self, Choice};
use super::guards;
use super::inner::Inner;
use super::rules::Rules;
use super::warnings::{migrations, not_judged_beside, reference_stays, warnings};
use crate::backend::{Backend, End, Observation};
use crate::compare::Diff;
use crate::deployment::{Deployment, Trigger};
use crate::drift::{Change, changes, drift};
use crate::engine::Workload;
use crate::error::{Error, StoreError};
use crate::history::{Conflict, Published, Sequence, WorkloadState};
use crate::id::{DeploymentId, GuardName, WorkloadId};
use crate::lineage::{Lineage, Standing};
use crate::plan::{Plan, Refusal, Warning};
use crate::planner::Selection;
use crate::points::NoPoint;
use crate::release::{Release, Restore};
use crate::request::{Request, Wish};
use crate::withheld::Withheld;

/// Refuses while something is in flight.
pub(super) async fn idle(inner: &Inner, workload: &WorkloadId) -> Result<WorkloadState, Error> {
    let state = inner.store.workload(workload).await?;
    let Some(in_flight) = &state.in_flight else {
        return Ok(state);
    };
    let phase = inner.record(&in_flight.deployment).await?.phase();
    Err(StoreError::held(Conflict {
        workload: workload.clone(),
        deployment: in_flight.deployment.clone(),
        holder: in_flight.holder.clone(),
        liveness: in_flight.liveness,
        phase,
        age: inner.clock.now().since(in_flight.holder.since),
    })
    .into())
}

/// Makes the plan for a request, guards asked.
pub(super) async fn plan(inner: &Inner, request: &Request) -> Result<Plan, Error> {
    let workload = inner.workload(&request.workload)?;
    inner.authorize(&request.action()).await?;
    guards::known(workload, &request.forced)?;
    let state = idle(inner, &request.workload).await?;
    let forced_hold = refuse_held(&state, request)?;
    let rules = workload.rules(&state);
    let (records, unreadable) = inner.records_and_unreadable(&request.workload).await?;
    let withheld = Withheld::of(&state);
    let lineage =
        Lineage::new(&records, &state.live).withholding(withheld.clone().forcing(&request.forced));
    let limit = rules.policy.deadlines.observe;
    let recorded = lineage.live().and_then(Deployment::instance);
    let (trigger, choice, today) = choose(workload, request, &lineage, &rules).await?;
    let (published, past) = published(inner, &choice.observed, request, &records).await?;

    let from = choose::live_end(&choice.observed, recorded)?;
    let drift = drift(recorded, &choice.observed);
    let back_to = back_to(&choice, &lineage);
    let migrations = match back_to {
        Some(target) => Some(migrations(limit, workload, target).await),
        None => None,
    };
    let mut warnings = warnings(&choice, back_to, &drift, migrations.as_ref());
    warnings.extend(published);
    warnings.extend(not_judged_beside(workload));
    let note = choice.to.release().and_then(|r| r.artifact().note.clone());
    warnings.extend(note.map(|note| Warning::Resolved { note }));
    if let (Some(_), Some(live)) = (&choice.target, lineage.live()) {
        warnings.extend(reference_stays(workload.backend.as_ref(), live, &choice.to).await);
    }
    let now = inner.clock.now();
    let mut new = workload.opening(trigger, request.actor.clone(), now, &rules);
    new.reason = request.reason.clone();
    new.replaces = state.live.clone();
    new.fallback = choose::fallback(&state.live, recorded, &from);
    new.to = choose::fresh_if_live(choice.to, &from);
    new.from = from;
    new.forced = request.forced.clone();
    new.skips = skips(&lineage, back_to);
    new.skipped = request.skipped;
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
        target: choice.target,
        passed_over: choice.passed_over,
        drift,
        availability: choice.availability,
        way_back: choose::way_back(&choice.observed),
        past,
        withheld,
        new,
    };
    if !unreadable.is_empty() && plan.target.is_some() {
        warnings.push(Warning::Unreadable {
            records: unreadable.iter().map(ToString::to_string).collect(),
        });
    }
    warnings.extend(forced_hold);
    warnings.extend(guards::ask(inner, workload, &plan).await?);
    plan.new.warnings = warnings;
    Ok(plan)
}

/// What a guard has to say of going to this release: an artifact that is recalled does not come back
/// by a deploy either.
fn withheld_from(
    withheld: &Withheld,
    lineage: &Lineage<'_>,
    to: Option<&Release>,
    target: Option<&DeploymentId>,
) -> Vec<(GuardName, String)> {
    let recalled = to.and_then(|to| withheld.recalled(&to.artifact().digest));
    let recalled = recalled.map(|why| format!("the artifact is recalled: {why}"));
    let target = target.and_then(|id| lineage.get(id));
    let below = target.and_then(|d| withheld.below_floor(lineage.origin(d).sequence()));
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

/// Refuses to go on from a history that is behind what is live; warns where another one has
/// published, and where nothing is live that would have to be adopted: the history then has to get
/// past what it published.
async fn published(
    inner: &Inner,
    observed: &Observation,
    request: &Request,
    records: &[Deployment],
) -> Result<(Option<Warning>, Option<Sequence>), Error> {
    match inner.published(observed, records).await? {
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
            workload: request.workload.clone(),
            published: Box::new(fence.clone()),
        }
        .into()),
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

/// What is to be live, what the deployment will be recorded as, and today's configuration.
async fn choose(
    workload: &Workload,
    request: &Request,
    lineage: &Lineage<'_>,
    rules: &Rules,
) -> Result<(Trigger, Choice, Option<Release>), Error> {
    let (backend, policy) = (workload.backend.as_ref(), &rules.policy);
    let limit = policy.deadlines.observe;
    let recorded = lineage.live().and_then(Deployment::instance);
    match &request.wish {
        Wish::Deploy { reference } => {
            let release = ask::resolve(limit, backend, reference).await?;
            let observed = ask::observe(limit, backend).await?;
            let to = End::Planned(release.clone());
            let choice = choose::anew(limit, backend, to, observed).await?;
            // A reference is resolved with today's configuration.
            Ok((Trigger::Deploy, choice, Some(release)))
        }
        Wish::Redeploy { of } => {
            let observed = ask::observe(limit, backend).await?;
            let live = choose::live_end(&observed, recorded)?;
            let today = today(limit, backend, live.release()).await?;
            let release = to_redeploy(lineage, request, of, today.as_ref())?;
            let choice = choose::anew(limit, backend, End::Planned(release), observed).await?;
            Ok((Trigger::Redeploy { of: of.clone() }, choice, today))
        }
        Wish::Rollback { goal } => {
            let observed = ask::observe(limit, backend).await?;
            let restore = request.restore.as_ref().unwrap_or(&rules.restore);
            let live = choose::live_end(&observed, recorded)?;
            let today = today(limit, backend, live.release()).await?;
            let selection = Selection {
                workload: &request.workload,
                goal,
                lineage,
                live: live.release(),
                today: today.as_ref(),
                restore,
                policy,
                reapply: request.reapply,
            };
            let (to, choice) = choose::candidate(limit, backend, &selection, observed).await?;
            Ok((Trigger::Rollback { to }, choice, today))
        }
    }
}

/// An earlier artifact with today's configuration.
fn to_redeploy(
    lineage: &Lineage<'_>,
    request: &Request,
    of: &DeploymentId,
    today: Option<&Release>,
) -> Result<Release, Refusal> {
    let target = lineage.get(of).ok_or_else(|| Refusal::NotFound {
        workload: request.workload.clone(),
        deployment: of.clone(),
    })?;
    let invalid = |why: String| Refusal::InvalidTarget {
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

/// The earlier deployment whose release comes back: a rollback's target, or what a deploy
/// resolves to without saying so.
fn back_to<'a>(choice: &Choice, lineage: &Lineage<'a>) -> Option<&'a Deployment> {
    if let Some(target) = &choice.target {
        return lineage.get(target);
    }
    let digest = choice.to.release().map(Release::digest);
    let live = lineage.live().and_then(Deployment::release);
    if live.map(Release::digest) == digest {
        return None;
    }
    lineage
        .records()
        .iter()
        .find(|d| d.went_live() && d.release().map(Release::digest) == digest)
}

/// Live deployments after the target whose changes go away.
fn skips(lineage: &Lineage<'_>, back_to: Option<&Deployment>) -> Vec<DeploymentId> {
    let Some(target) = back_to else {
        return Vec::new();
    };
    lineage
        .records()
        .iter()
        .filter(|d| d.sequence() > target.sequence() && d.trigger().restores().is_none())
        .filter(|d| matches!(lineage.standing(d), Standing::Live | Standing::Superseded))
        .map(|d| d.id().clone())
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
