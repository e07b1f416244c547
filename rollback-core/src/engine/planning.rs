//! Planning's input and output: gathers state, records and an observation, and lets the pure
//! planner choose.

use std::collections::BTreeSet;

use super::choose::{self, Choice};
use super::guards;
use super::inner::{Inner, NEWEST};
use super::rules::Rules;
use super::warnings::{migrations, not_judged_beside, preflight, reference_stays, warnings};
use super::wished::{Asking, Chosen};
use crate::backend::Observation;
use crate::compare::Diff;
use crate::deployment::{Deployment, Origin, Purpose};
use crate::drift::{Change, Drift, changes, drift};
use crate::error::{Error, StoreError};
use crate::history::{Conflict, Published, Sequence, Summaries, Summary, WorkloadState};
use crate::id::{DeploymentId, WorkloadId};
use crate::lineage::{Lineage, Standing};
use crate::plan::{Plan, Practised, Refusal, Warning};
use crate::release::Release;
use crate::request::{Request, Wish};
use crate::time::Timestamp;
use crate::withheld::Withheld;

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
    plan_among(inner, request, &BTreeSet::new()).await
}

/// The same for a workload that may move as one with these.
pub(super) async fn plan_among(
    inner: &Inner,
    request: &Request,
    others: &BTreeSet<WorkloadId>,
) -> Result<Plan, Error> {
    let workload = inner.workload(&request.workload)?;
    // What the engine owes nobody asks for.
    if !request.purpose.as_ref().is_some_and(Purpose::is_owed) {
        inner.authorize(&request.action()).await?;
    }
    guards::known(workload, &request.forced)?;
    let state = idle(inner, &request.workload).await?;
    let forced_hold = guards::held(&state, request)?;
    let rules = workload.rules(&state);
    let asked = Asking {
        inner,
        workload,
        request,
        rules: &rules,
        state: &state,
        others,
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
            others,
        } = *self;
        let withheld = Withheld::of(state);
        let lineage = Lineage::new(&past.summaries, &state.live)
            .withholding(withheld.clone().forcing(&request.forced));
        let is_enough = is_enough(&lineage, request, rules)
            && tells_of_drills(past, rules, self.inner.clock.now());
        if !past.is_whole && !is_enough {
            return Ok(None);
        }
        let (backend, limit) = (workload.backend.as_ref(), rules.policy.deadlines.observe);
        let live = inner.live(&state.live).await?;
        let recorded = live.as_ref().and_then(Deployment::instance);
        let Chosen {
            trigger,
            choice,
            today,
            point,
            purpose,
        } = self.choose(&lineage, recorded).await?;
        let (published, behind) = self.published(&choice.observed, past).await?;

        let from = choose::live_end(&choice.observed, recorded)?;
        let drift = drift(recorded, &choice.observed);
        let point = match point {
            Some(point) => Some(point),
            None => match goes_back(&choice, &lineage) {
                Some(earlier) => inner.store.get(&earlier.id).await?,
                None => None,
            },
        };
        let back_to = point.as_ref();
        let migrations = match back_to {
            Some(point) => Some(migrations(limit, workload, point).await),
            None => None,
        };
        let mut warnings = warnings(&choice, back_to, &drift, migrations.as_ref());
        warnings.extend(published);
        warnings.extend(not_judged_beside(workload));
        let note = choice.to.release().and_then(|r| r.artifact().note.clone());
        warnings.extend(note.map(|note| Warning::Resolved { note: note.into() }));
        if let (Some(_), Some(live)) = (&choice.point, &live) {
            warnings.extend(reference_stays(backend, live, &choice.to).await);
        }
        let now = inner.clock.now();
        let mut new = workload.opening(trigger, request.actor.clone(), now, rules);
        new.reason = request.reason.clone();
        new.replaces = state.live.clone();
        new.origin = match new.trigger.restores() {
            Some(point) => lineage.origin(point),
            None => goes_on(&choice, &lineage, &drift),
        };
        new.fallback = choose::fallback(&state.live, recorded, &from);
        new.to = choose::fresh_if_live(choice.to, &from);
        warnings.extend(preflight(limit, backend, &from, &new.to).await);
        new.from = from;
        new.forced = request.forced.clone();
        new.skipped = skips(&lineage, back_to);
        new.of_skipped = request.of_skipped;
        new.labels = request.labels.clone();
        new.correlation = request.correlation.clone();
        new.asked = request.asked();
        new.purpose = purpose;
        new.confirm_within = request.confirm_within;
        let (before, after) = (new.from.release(), new.to.release());
        let withheld = guards::withheld(&withheld, &lineage, after, choice.point.as_ref());
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
            rollback_point: choice.point,
            passed_over: choice.passed_over,
            drift,
            availability: choice.availability,
            way_back: choose::way_back(&choice.observed),
            past: behind,
            withheld,
            practised: Practised::newest(&past.summaries),
            moves_with: others.clone(),
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

/// Whether a drill that the policy asks for would be among these.
fn tells_of_drills(past: &Summaries, rules: &Rules, now: Timestamp) -> bool {
    let Some(rule) = rules.policy.drill else {
        return true;
    };
    let span = std::time::Duration::from_secs(u64::from(rule.days) * 24 * 60 * 60);
    let oldest = past.summaries.last().map(|d| d.opened_at);
    Practised::newest(&past.summaries).is_some() || oldest.is_some_and(|at| now.since(at) > span)
}

/// Where the release of what is live first came from, if that is deployed once more.
fn goes_on(choice: &Choice, lineage: &Lineage<'_, Summary>, drift: &Drift) -> Option<Origin> {
    // Whatever has become of it meanwhile: nobody has put anything else in its place.
    let live = lineage.live().filter(|_| !drift.is_another())?;
    let digest = choice.to.release().map(Release::digest)?;
    lineage
        .origin(&live.id)
        .filter(|_| live.digest() == Some(&digest))
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

/// Live deployments after the rollback point whose changes go away.
fn skips(lineage: &Lineage<'_, Summary>, back_to: Option<&Deployment>) -> Vec<DeploymentId> {
    let Some(point) = back_to else {
        return Vec::new();
    };
    lineage
        .records()
        .iter()
        .filter(|d| d.sequence > point.sequence() && d.restores.is_none())
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
