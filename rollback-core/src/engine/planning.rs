//! Planning's input and output: gathers state, records and an observation, and lets the pure
//! planner choose.

use std::sync::Arc;

use super::inner::Inner;
use crate::backend::{Availability, Backend, End, Instance, Live, Observation, WayBack};
use crate::context::Context;
use crate::deployment::{Deployment, LiveRecord, NewDeployment, Trigger};
use crate::drift::{Drift, changes, drift};
use crate::engine::Workload;
use crate::error::{Error, StoreError};
use crate::guard::Ruling;
use crate::history::{Conflict, WorkloadState};
use crate::id::{Actor, DeploymentId, WorkloadId};
use crate::lineage::{Lineage, Standing, release_of};
use crate::plan::{PassedOver, Plan, Refusal, Warning};
use crate::planner::{Selection, effective_release, end_for};
use crate::policy::Policy;
use crate::release::{Release, Restore};
use crate::request::{Goal, Reapply, Request, Wish};

/// How many candidates are looked at in one `observe`.
const CHUNK: usize = 4;

/// What a rollback never brings back.
const NEVER_RESTORED: [&str; 4] = ["data", "database schema", "volumes", "domains"];

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

/// What was chosen to be made live.
struct Choice {
    to: End,
    target: Option<DeploymentId>,
    passed_over: Vec<PassedOver>,
    availability: Availability,
    observed: Observation,
    healthy: bool,
}

/// Makes the plan for a request, guards asked.
pub(super) async fn plan(inner: &Inner, request: &Request) -> Result<Plan, Error> {
    let workload = inner.workload(&request.workload)?;
    let state = idle(inner, &request.workload).await?;
    let policy = state
        .policy
        .clone()
        .unwrap_or_else(|| workload.policy.clone());
    let is_deploy = matches!(request.wish, Wish::Deploy { .. });
    refuse_held(&state, request, is_deploy)?;
    let records = inner.records(&request.workload).await?;
    let lineage = Lineage::new(&records, &state.live);
    let cx = Context::new(policy.deadlines.observe);
    let recorded = lineage.live().and_then(Deployment::instance);

    let choice = match &request.wish {
        Wish::Deploy { reference } => {
            let release = workload.backend.resolve(&cx, reference).await?;
            let to = End::Planned(release);
            let observed = workload
                .backend
                .observe(&cx, std::slice::from_ref(&to))
                .await?;
            let availability = observed
                .availability
                .first()
                .cloned()
                .unwrap_or(Availability::Remote);
            Choice {
                to,
                target: None,
                passed_over: Vec::new(),
                availability,
                observed,
                healthy: true,
            }
        }
        Wish::Rollback { goal } => {
            let observed = workload.backend.observe(&cx, &[]).await?;
            let default = workload.backend.default_restore();
            let restore = request
                .restore
                .as_ref()
                .or(policy.restore.as_ref())
                .unwrap_or(&default);
            let today = live_end(&observed, recorded)?;
            let selection = Selection {
                workload: &request.workload,
                goal,
                lineage: &lineage,
                today: today.release(),
                restore,
                policy: &policy,
                reapply: request.reapply,
            };
            choose(&cx, workload.backend.as_ref(), &selection, observed).await?
        }
    };

    let from = live_end(&choice.observed, recorded)?;
    let drift = drift(recorded, &choice.observed);
    let skipped = skipped(&lineage, choice.target.as_ref());
    let way_back = way_back(&choice.observed);
    let mut warnings = warnings(&choice, &lineage, &drift, &way_back);
    let trigger = match &choice.target {
        Some(to) => Trigger::Rollback { to: to.clone() },
        None => Trigger::Deploy,
    };
    let now = inner.clock.now();
    let new = NewDeployment {
        id: DeploymentId::generate(now),
        workload: request.workload.clone(),
        trigger,
        actor: request.actor.clone(),
        reason: request.reason.clone(),
        opened_at: now,
        replaces: state.live.clone(),
        fallback: fallback(&state.live, recorded, &from),
        to: fresh_if_live(choice.to, &from),
        from,
        gate: workload.gate.clone(),
        policy,
        forced: request.forced.clone(),
        warnings: Vec::new(),
        labels: request.labels.clone(),
        correlation: request.correlation.clone(),
        group: None,
    };
    let changes = match (new.from.release(), new.to.release()) {
        (Some(from), Some(to)) => changes(from, to),
        _ => Vec::new(),
    };
    let goal = match &request.wish {
        Wish::Rollback { goal } => Some(goal.clone()),
        Wish::Deploy { .. } => None,
    };
    let mut plan = Plan {
        new,
        version: state.version,
        goal,
        target: choice.target,
        passed_over: choice.passed_over,
        skipped,
        changes,
        drift,
        availability: choice.availability,
        way_back,
    };
    warnings.extend(ask_guards(&cx, workload, &plan).await?);
    plan.new.warnings = warnings;
    Ok(plan)
}

fn refuse_held(state: &WorkloadState, request: &Request, is_deploy: bool) -> Result<(), Refusal> {
    match &state.hold {
        Some(hold) if is_deploy && !request.forced.iter().any(|g| g.as_str() == "hold") => {
            Err(Refusal::Held {
                workload: request.workload.clone(),
                by: hold.by.to_string(),
                why: hold.why.to_string(),
            })
        }
        _ => Ok(()),
    }
}

/// The first candidate that can be had.
async fn choose(
    cx: &Context,
    backend: &dyn Backend,
    selection: &Selection<'_>,
    observed: Observation,
) -> Result<Choice, Error> {
    let found = selection.candidates()?;
    let mut passed_over = found.passed_over;
    let by_name = *selection.goal != Goal::LastHealthy;
    for chunk in found.candidates.chunks(CHUNK) {
        let ends: Vec<End> = chunk
            .iter()
            .map(|d| {
                effective_release(d, selection.today, selection.restore)
                    .map_or(End::Nothing, |release| end_for(d, release))
            })
            .collect();
        let seen = backend.observe(cx, &ends).await?;
        for ((d, to), availability) in chunk.iter().zip(ends).zip(seen.availability) {
            match availability {
                Availability::Gone(why) if by_name => {
                    return Err(Refusal::InvalidTarget {
                        deployment: d.id().clone(),
                        why: format!("its release is gone: {why}"),
                    }
                    .into());
                }
                Availability::Gone(why) => passed_over.push(PassedOver {
                    deployment: d.id().clone(),
                    why: format!("is gone: {why}"),
                }),
                availability => {
                    return Ok(Choice {
                        to,
                        target: Some(d.id().clone()),
                        passed_over,
                        availability,
                        observed,
                        healthy: d.verdict().is_good(),
                    });
                }
            }
        }
    }
    Err(selection.none(passed_over).into())
}

/// What is live at the platform, as the end an operation starts from.
fn live_end(observed: &Observation, recorded: Option<&Instance>) -> Result<End, Refusal> {
    match &observed.live {
        Live::Nothing => Ok(End::Nothing),
        Live::One(sighting) => Ok(End::Placed(sighting.instance.clone())),
        // Of several, the recorded one is the one to come from; a switch leaves only its `to`.
        Live::Mixed(sightings, why) => sightings
            .iter()
            .map(|s| &s.instance)
            .find(|i| recorded.is_some_and(|r| r.handle == i.handle))
            .map(|i| End::Placed(i.clone()))
            .ok_or_else(|| Refusal::MixedLive { why: why.clone() }),
    }
}

/// What history may say is live after going back to `from`.
fn fallback(live: &LiveRecord, recorded: Option<&Instance>, from: &End) -> LiveRecord {
    match (from, recorded) {
        (End::Nothing, _) => LiveRecord::Nothing,
        (End::Placed(from), Some(recorded)) if from.handle == recorded.handle => live.clone(),
        _ => LiveRecord::Unknown,
    }
}

/// The live instance cannot be put in its own place: its release is prepared anew.
fn fresh_if_live(to: End, from: &End) -> End {
    match (to, from) {
        (End::Placed(to), End::Placed(from)) if to.handle == from.handle => {
            End::Planned(to.release)
        }
        (to, _) => to,
    }
}

fn way_back(observed: &Observation) -> WayBack {
    match &observed.live {
        Live::Nothing => WayBack::Exact,
        Live::One(sighting) => sighting.way_back.clone(),
        Live::Mixed(_, why) => WayBack::Lossy(vec![why.clone()]),
    }
}

/// Live deployments after the target whose changes go away.
fn skipped(lineage: &Lineage<'_>, target: Option<&DeploymentId>) -> Vec<DeploymentId> {
    let Some(target) = target.and_then(|id| lineage.get(id)) else {
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

fn warnings(
    choice: &Choice,
    lineage: &Lineage<'_>,
    drift: &Drift,
    way_back: &WayBack,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut goes_back = choice.target.is_some();
    match &choice.target {
        Some(target) if !choice.healthy => {
            warnings.push(Warning::NotKnownHealthy {
                deployment: target.clone(),
            });
        }
        Some(_) => {}
        None => {
            let digest = choice.to.release().map(Release::digest);
            let live = lineage.live().and_then(release_of).map(Release::digest);
            let earlier = lineage
                .records()
                .iter()
                .find(|d| d.went_live() && release_of(d).map(Release::digest) == digest);
            if let Some(earlier) = earlier
                && live != digest
            {
                goes_back = true;
                warnings.push(Warning::GoesBack {
                    to: earlier.id().clone(),
                });
            }
        }
    }
    if goes_back {
        let what = NEVER_RESTORED.iter().map(ToString::to_string).collect();
        warnings.push(Warning::NotRestored { what });
    }
    if drift.is_drift() {
        warnings.push(Warning::Drifted {
            how: drift.to_string(),
        });
    }
    match way_back {
        WayBack::Lossy(losses) => {
            warnings.push(Warning::LossyWayBack {
                losses: losses.clone(),
            });
        }
        WayBack::None(why) => {
            warnings.push(Warning::LossyWayBack {
                losses: vec![why.clone()],
            });
        }
        _ => {}
    }
    warnings
}

async fn ask_guards(
    cx: &Context,
    workload: &Workload,
    plan: &Plan,
) -> Result<Vec<Warning>, Refusal> {
    let mut warnings = Vec::new();
    for guard in &workload.guards {
        let name = guard.name();
        match guard.check(cx, plan).await {
            Ruling::Allow => {}
            Ruling::Warn(more) => warnings.extend(more),
            Ruling::Refuse(why) if plan.new.forced.contains(&name) => {
                warnings.push(Warning::Guard {
                    guard: name,
                    message: format!("forced: {why}"),
                });
            }
            Ruling::Refuse(why) => return Err(Refusal::Guard { guard: name, why }),
        }
    }
    Ok(warnings)
}

/// An automatic rollback to be opened.
pub(super) struct SuccessorPlan {
    pub(super) new: NewDeployment,
    pub(super) to_last_healthy: bool,
}

/// The automatic rollback after `failed`, which is live; `None` if there is nowhere to go.
pub(super) async fn successor(
    inner: &Arc<Inner>,
    workload: &Workload,
    failed: &Deployment,
) -> Result<Option<SuccessorPlan>, Error> {
    let records = inner.records(failed.workload()).await?;
    // The failed release is what is live, though its settlement is yet to be written.
    let live = LiveRecord::Known(failed.id().clone());
    let lineage = Lineage::new(&records, &live);
    let own = failed.new_deployment();
    let policy: Policy = own.policy.clone();
    let restore = policy.restore.clone().unwrap_or(Restore::Everything);
    let today = failed.operation().to;
    let selection = Selection {
        workload: failed.workload(),
        goal: &Goal::LastHealthy,
        lineage: &lineage,
        today: today.release(),
        restore: &restore,
        policy: &policy,
        reapply: Reapply::No,
    };
    let cx = Context::new(policy.deadlines.observe);
    let observed = workload.backend.observe(&cx, &[]).await?;
    let choice = match choose(&cx, workload.backend.as_ref(), &selection, observed).await {
        Ok(choice) => choice,
        Err(e) if e.refusal().is_some() => return Ok(None),
        Err(e) => return Err(e),
    };
    let Some(to) = choice.target.clone() else {
        return Ok(None);
    };
    let way_back = way_back(&choice.observed);
    let warnings = warnings(&choice, &lineage, &Drift::None, &way_back);
    let now = inner.clock.now();
    Ok(Some(SuccessorPlan {
        to_last_healthy: choice.healthy,
        new: NewDeployment {
            id: DeploymentId::generate(now),
            workload: failed.workload().clone(),
            trigger: Trigger::AutomaticRollback {
                to,
                failed: failed.id().clone(),
            },
            actor: Actor::engine("automatic-rollback"),
            reason: None,
            opened_at: now,
            replaces: live.clone(),
            fallback: live.clone(),
            from: today,
            to: choice.to,
            gate: own.gate.clone(),
            policy,
            forced: Vec::new(),
            warnings,
            labels: own.labels.clone(),
            correlation: own.correlation.clone(),
            group: own.group.clone(),
        },
    }))
}
