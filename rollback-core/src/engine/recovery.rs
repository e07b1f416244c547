//! Recovery: takes over what a dead process left unfinished, and enters the run path again.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ask::Late;
use super::back::{LEFT, NEWER, PUT_BACK, as_interrupted};
use super::inner::Inner;
use super::report::{Recovered, Report};
use super::runner::Step;
use super::start::{self, Start};
use super::tenure::Tenure;
use super::together::InGroup;
use super::{adopt, ask, fate, owing};
use crate::backend::Observation;
use crate::deployment::{Deployment, LiveRecord, Need};
use crate::engine::Workload;
use crate::error::{Chain, Error, ErrorKind, HookError};
use crate::event::Cause;
use crate::group::{self, Fate};
use crate::history::{Holder, Liveness};
use crate::id::{DeploymentId, GuardName, WorkloadId};
use crate::plan::Refusal;
use crate::points::NoPoint;
use crate::recover::{Decision, decide, live_by_look};
use crate::withheld::Withheld;

/// How many workloads are recovered at once: one whose platform does not answer keeps no other
/// waiting.
const AT_ONCE: usize = 8;

/// How long a child may hold the lock of a process that is gone.
const INHERITED: Duration = Duration::from_secs(2);

/// What to do where recovery cannot end what was begun.
const GIVE_UP: &str = "give the workload back what it needs and recover again; or abandon it, look \
    at the platform, and adopt what is live";

/// Recovers every workload whose holder is dead.
pub(super) async fn all(inner: &Arc<Inner>) -> Result<Vec<Recovered>, Error> {
    let mut done = Vec::new();
    let mut at_work: JoinSet<Option<Recovered>> = JoinSet::new();
    let all = inner.store.workloads().await?;
    for damaged in all.damaged {
        let error = Error::on_store(damaged.error, "the workload's state cannot be read")
            .on(&damaged.workload)
            .advice(GIVE_UP);
        tracing::error!(workload = %damaged.workload, error = %Chain::of(&error), "a workload cannot be read");
        done.push(Recovered {
            workload: damaged.workload,
            deployment: None,
            result: Err(error),
        });
    }
    let mut idle = Vec::new();
    for state in all.states {
        let Some(in_flight) = state.in_flight else {
            let live = state.live.known().cloned();
            idle.extend(live.map(|live| (state.workload, live)));
            continue;
        };
        let liveness = match in_flight.liveness {
            Liveness::Alive if in_flight.holder.is_gone() => settled(inner, &state.workload).await,
            liveness => liveness,
        };
        if liveness != Liveness::Dead {
            continue;
        }
        if at_work.len() >= AT_ONCE {
            done.extend(at_work.join_next().await.and_then(Result::ok).flatten());
        }
        at_work.spawn(in_turn(
            Arc::clone(inner),
            state.workload,
            in_flight.deployment,
        ));
    }
    while let Some(joined) = at_work.join_next().await {
        done.extend(joined.ok().flatten());
    }
    // On the heap: whoever recovers does not carry what that takes.
    done.extend(Box::pin(owing::all(inner, idle)).await);
    done.sort_by(|a, b| a.workload.cmp(&b.workload));
    Ok(done)
}

/// The liveness of a holder whose process is gone, once what it was about to start holds its lock no
/// longer: between fork and exec a child has the descriptors of its parent.
async fn settled(inner: &Inner, workload: &WorkloadId) -> Liveness {
    let until = Instant::now() + INHERITED;
    loop {
        let state = inner.store.workload(workload).await;
        match state.map(|s| s.in_flight.map(|f| f.liveness)) {
            Ok(Some(Liveness::Alive)) if Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(Some(liveness)) => {
                if liveness == Liveness::Alive {
                    tracing::warn!(
                        %workload,
                        "its process is gone, but something that it started holds its lock"
                    );
                }
                return liveness;
            }
            _ => return Liveness::Alive,
        }
    }
}

async fn in_turn(
    inner: Arc<Inner>,
    workload: WorkloadId,
    deployment: DeploymentId,
) -> Option<Recovered> {
    let (own, id) = (Arc::clone(&inner), workload.clone());
    // In a task of its own: a panic in somebody's backend is one workload's trouble, and is said.
    let recovery = tokio::spawn(async move { one_after_its_group(&own, &id).await });
    let result = recovery.await.unwrap_or_else(|panic| {
        Err(
            Error::new(ErrorKind::Interrupted, "recovery ended before it was done")
                .on(&deployment)
                .advice("look for a panic in the log; the record stays unfinished")
                .because(panic),
        )
    });
    if let Err(e) = &result {
        if is_settled(&inner, &workload, &deployment).await {
            // Another process was quicker.
            return None;
        }
        tracing::error!(%workload, error = %Chain::of(e), "recovery failed");
    }
    Some(Recovered {
        workload,
        deployment: Some(deployment),
        result,
    })
}

/// Recovers one workload. Its lease may be held for a moment by whoever recovers another member of its
/// group, to put on record that the group goes back.
async fn one_after_its_group(inner: &Arc<Inner>, id: &WorkloadId) -> Result<Report, Error> {
    let until = Instant::now() + INHERITED;
    loop {
        match one(inner, id, &[]).await {
            Err(e) if e.kind() == ErrorKind::Conflict && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            recovered => return recovered,
        }
    }
}

/// Whether a deployment is in flight no more.
async fn is_settled(inner: &Inner, workload: &WorkloadId, deployment: &DeploymentId) -> bool {
    let state = inner.store.workload(workload).await;
    state.is_ok_and(|s| s.in_flight.is_none_or(|f| f.deployment != *deployment))
}

/// Recovers a workload before something else is done with it, or sees that somebody was quicker.
pub(super) async fn first(inner: &Arc<Inner>, id: &WorkloadId) -> Result<(), Error> {
    match one(inner, id, &[]).await {
        Err(e) if e.kind() == ErrorKind::Conflict || is_idle(&e) => Ok(()),
        recovered => recovered.map(drop),
    }
}

/// Whether there was nothing to take over.
fn is_idle(e: &Error) -> bool {
    e.kind() == ErrorKind::NotFound
}

/// Recovers a workload with what this program has, whatever it was begun with. `None`: there is
/// nothing to recover.
pub(super) async fn forced(
    inner: &Arc<Inner>,
    id: &WorkloadId,
    forced: &[GuardName],
) -> Result<Option<Report>, Error> {
    let workload = inner.workload(id)?;
    let known = GuardName::composition();
    if let Some(guard) = forced.iter().find(|guard| **guard != known) {
        return Err(Refusal::UnknownGuard {
            guard: guard.clone(),
            known: vec![known],
        }
        .into());
    }
    match one(inner, &workload.id, forced).await {
        Err(e) if is_idle(&e) => Ok(None),
        recovered => recovered.map(Some),
    }
}

/// Refuses to finish what was begun with something that this program lacks, and that it takes.
fn is_composed_for(
    workload: &Workload,
    deployment: &Deployment,
    decision: Decision,
    forced: &[GuardName],
) -> Result<(), Refusal> {
    let here = workload.composition(deployment.trigger().kind());
    let begun = deployment.opening().composition.as_ref();
    let lacks = begun.map(|begun| begun.lacking_in(&here, need(decision, deployment)));
    let mut lacks = lacks.unwrap_or_default();
    // What it has begun it must be able to end, whatever it does next.
    if let Some(running) = running_on(workload, deployment)
        && !lacks.contains(&running)
    {
        lacks.push(running);
    }
    if lacks.is_empty() || forced.contains(&GuardName::composition()) {
        return Ok(());
    }
    Err(Refusal::ComposedDifferently {
        deployment: deployment.id().clone(),
        lacks,
    })
}

/// The release task or remediation that was begun, may run on, and that this program cannot end, for
/// it does not have it.
fn running_on(workload: &Workload, deployment: &Deployment) -> Option<String> {
    let task = deployment.task_in_doubt();
    let task = task.filter(|name| workload.tasks.iter().all(|t| t.name() != *name));
    let remedy = deployment.remediation_in_doubt();
    let remedy = remedy.filter(|name| workload.remediations.iter().all(|r| r.name() != *name));
    let task = task.map(|name| format!("the release task {name} is gone"));
    task.or(remedy.map(|name| format!("the remediation {name} is gone")))
}

/// What of its composition it takes to go on with a deployment like this.
fn need(decision: Decision, deployment: &Deployment) -> Need {
    match decision {
        Decision::Prepare => Need::All,
        Decision::Switch | Decision::Gate | Decision::Conclude => Need::Checks,
        Decision::ContinueBack if deployment.switch_began() => Need::Restarts,
        _ => Need::Place,
    }
}

/// Whether it can be recovered, before the lease is taken: one that is only dropped again keeps others
/// out until it expires, and those who force or abandon are among them. So what a dead process began is
/// ended now. Gives the deployment whose leftovers were.
async fn may_recover(
    inner: &Inner,
    workload: &Workload,
    forced: &[GuardName],
) -> Result<Option<DeploymentId>, Error> {
    let state = inner.store.workload(&workload.id).await?;
    let Some(left) = state.in_flight.filter(|f| f.liveness == Liveness::Dead) else {
        return Ok(None);
    };
    let deployment = read(inner, &left.deployment).await?;
    if is_composed_for(workload, &deployment, Decision::Prepare, forced).is_err() {
        let observed = look(workload, &deployment).await?;
        let mut decision = decide(&deployment, None, &observed);
        // Asked anew under the lease; who only goes back needs less.
        if let Some(fate) = fate::so_far(inner, &deployment).await? {
            decision = group::decide(decision, &fate);
        }
        is_composed_for(workload, &deployment, decision, forced)?;
    }
    end_leftovers(workload, &deployment).await?;
    Ok(Some(left.deployment))
}

/// What is live, for recovery.
async fn look(workload: &Workload, deployment: &Deployment) -> Result<Observation, Error> {
    let limit = deployment.opening().policy.deadlines.observe;
    let observed = ask::observe(limit, workload.backend.as_ref()).await;
    observed.map_err(|e| {
        Error::new(
            ErrorKind::Interrupted,
            "what is live could not be observed, so nothing was done",
        )
        .on(deployment.id())
        .advice("run recover again when the platform answers")
        .because(e)
    })
}

/// Why an interrupted automatic rollback does not go on to where it went: it was withheld meanwhile.
async fn withheld(inner: &Inner, deployment: &Deployment) -> Result<Option<NoPoint>, Error> {
    let Some(point) = deployment.trigger().restores() else {
        return Ok(None);
    };
    let state = inner.store.workload(deployment.workload()).await?;
    let deployed = match inner.store.get(point).await {
        Ok(Some(point)) => inner.deployed(&point).await?,
        Ok(None) => deployment.sequence(),
        Err(e) if e.is_unreadable() => deployment.sequence(),
        Err(e) => return Err(e.into()),
    };
    let artifact = deployment.release().map(|r| r.artifact().digest.as_str());
    Ok(Withheld::of(&state).why(artifact, deployed))
}

/// Recovers one workload.
async fn one(inner: &Arc<Inner>, id: &WorkloadId, forced: &[GuardName]) -> Result<Report, Error> {
    let workload = inner.workload(id).map_err(|e| e.advice(GIVE_UP))?;
    let identity = inner.identity().await?;
    let ended = may_recover(inner, workload, forced).await?;
    let asked = Instant::now();
    let lease = inner
        .store
        .take_over(id, &Holder::this_process(inner.clock.now()))
        .await?;
    let tenure = Tenure::of(&inner.store, lease, asked);
    let lease = tenure.held();
    let deployment = read(inner, lease.deployment()).await?;
    // Before it is looked at what is live: until then it could change that.
    if ended.as_ref() != Some(deployment.id()) {
        end_leftovers(workload, &deployment).await?;
    }
    let fence = lease.fence(&identity, deployment.sequence());
    let observed = look(workload, &deployment).await?;
    let mut decision = decide(&deployment, Some(&fence), &observed);
    let mut cause = Cause::Interrupted;
    if decision == Decision::Prepare
        && let Some(why) = withheld(inner, &deployment).await?
    {
        let why = format!("it was interrupted, and meanwhile where it went was withheld: {why}");
        tracing::warn!(deployment = %deployment.id(), %why, "an automatic rollback is given up");
        (decision, cause) = (Decision::GoBack, Cause::Guarded { why });
    }
    let group = match deployment.group() {
        Some(_) => Some(fate::of(inner, &deployment).await?),
        None => None,
    };
    if let Some(fate) = &group {
        decision = group::decide(decision, fate);
        if let Fate::Back(why) = fate {
            cause = group::cause(&deployment, why);
        }
    }
    is_composed_for(workload, &deployment, decision, forced)?;
    let fallback = || deployment.opening().fallback.clone();
    let settle = |live, summary| Ok(as_interrupted(&deployment, live, summary));
    let step = match decision {
        Decision::GoBack => Err(cause),
        Decision::Prepare => Ok(Step::Prepare),
        Decision::ContinueBack if deployment.switch_began() => Ok(Step::SwitchBack),
        Decision::ContinueBack => Ok(Step::RetireBack),
        Decision::Switch => Ok(Step::Switch),
        Decision::Gate => Ok(Step::Gate),
        Decision::Conclude => Ok(Step::Conclude),
        Decision::Drop => settle(fallback(), adopt::INTERRUPTED),
        Decision::PutBack => settle(fallback(), PUT_BACK),
        Decision::Leave => settle(LiveRecord::Unknown, LEFT),
        Decision::Observe => settle(live_by_look(&deployment, &observed), NEWER),
    };
    let start = Start::Recovered {
        decision: decision.to_string(),
        step: Box::new(step),
    };
    let group = group.map(InGroup::Fated);
    start::start(inner, identity, tenure, deployment, group, start)?.await
}

/// Ends what a dead process began, and what may run on: a release task, or a remediation. An error: it
/// may run on still, and nothing else is to be done beside it.
async fn end_leftovers(workload: &Workload, deployment: &Deployment) -> Result<(), Error> {
    let limit = deployment.opening().policy.deadlines.task;
    let op = &deployment.operation();
    let task = deployment.task_in_doubt();
    let task = workload.tasks.iter().find(|t| task == Some(&*t.name()));
    if let Some(task) = task {
        let ended = ask::ask(limit, |cx| async move { task.abandon(&cx, op).await }).await;
        has_ended(&task.name(), ended).map_err(|e| e.on(deployment.id()))?;
    }
    let remedy = deployment.remediation_in_doubt();
    let mut remedies = workload.remediations.iter();
    if let Some(remedy) = remedies.find(|r| remedy == Some(&*r.name())) {
        let ended = ask::ask(limit, |cx| async move { remedy.abandon(&cx, op).await }).await;
        has_ended(&remedy.name(), ended).map_err(|e| e.on(deployment.id()))?;
    }
    Ok(())
}

fn has_ended(name: &str, ended: Result<Result<(), HookError>, Late>) -> Result<(), Error> {
    let why = match ended {
        Ok(Ok(())) => return Ok(()),
        // It will panic each time: nobody else can end what it began.
        Err(Late::Panicked(how)) => {
            tracing::error!(hook = name, %how, "what a dead process began was not looked for");
            return Ok(());
        }
        Ok(Err(e)) => e.to_string(),
        Err(late) => late.to_string(),
    };
    Err(Error::new(
        ErrorKind::Interrupted,
        format!("{name}, which a dead process began, may run on, so nothing was done: {why}"),
    )
    .advice("end it and recover again; or abandon the deployment, look at the platform, and adopt"))
}

/// The record of what is to be recovered.
async fn read(inner: &Inner, id: &DeploymentId) -> Result<Deployment, Error> {
    let unread = |what: &str| {
        Error::new(ErrorKind::Interrupted, what)
            .on(id)
            .advice(GIVE_UP)
    };
    match inner.store.get(id).await {
        Ok(Some(deployment)) => Ok(deployment),
        Ok(None) => Err(unread("the deployment in flight has no record")),
        Err(e) if e.is_transient() => Err(e.into()),
        Err(e) => Err(unread("the record of the deployment in flight cannot be read").because(e)),
    }
}
