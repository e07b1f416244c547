//! Recovery: takes over what a dead process left unfinished, and enters the run path again.

use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};

use super::inner::{Inner, Start};
use super::report::Report;
use super::runner::Step;
use super::{adopt, ask};
use crate::deployment::{LiveRecord, Outcome, Settlement};
use crate::error::{Error, ErrorKind};
use crate::history::{Holder, Liveness, Then};
use crate::id::{DeploymentId, WorkloadId};
use crate::recover::{Decision, decide};

/// How many workloads are recovered at once: one whose platform does not answer keeps no other
/// waiting.
const AT_ONCE: usize = 8;

/// What recovery did with one unfinished deployment.
#[derive(Debug)]
pub struct Recovered {
    /// The workload.
    pub workload: WorkloadId,
    /// The deployment.
    pub deployment: DeploymentId,
    /// How it ended. An error stops no other recovery; the record stays unfinished.
    pub result: Result<Report, Error>,
}

/// Recovers every workload whose holder is dead.
pub(super) async fn all(inner: &Arc<Inner>) -> Result<Vec<Recovered>, Error> {
    let mut done = Vec::new();
    let mut at_work: JoinSet<Option<Recovered>> = JoinSet::new();
    for state in inner.store.workloads().await? {
        let Some(in_flight) = state.in_flight else {
            continue;
        };
        if in_flight.liveness != Liveness::Dead {
            continue;
        }
        if at_work.len() >= AT_ONCE {
            done.extend(at_work.join_next().await.and_then(ended));
        }
        at_work.spawn(in_turn(
            Arc::clone(inner),
            state.workload,
            in_flight.deployment,
        ));
    }
    while let Some(joined) = at_work.join_next().await {
        done.extend(ended(joined));
    }
    done.sort_by(|a, b| a.workload.cmp(&b.workload));
    Ok(done)
}

async fn in_turn(
    inner: Arc<Inner>,
    workload: WorkloadId,
    deployment: DeploymentId,
) -> Option<Recovered> {
    let result = one(&inner, &workload).await;
    match &result {
        // Another process was quicker, and has settled it.
        Err(e) if e.kind() == ErrorKind::NotFound => return None,
        Err(e) => tracing::error!(%workload, error = %e, "recovery failed"),
        Ok(_) => {}
    }
    Some(Recovered {
        workload,
        deployment,
        result,
    })
}

/// What a recovery gave. One that panicked gives nothing: its record stays unfinished, and is found
/// by the next.
fn ended(joined: Result<Option<Recovered>, JoinError>) -> Option<Recovered> {
    joined.unwrap_or_else(|error| {
        tracing::error!(%error, "recovery ended before it was done");
        None
    })
}

/// Recovers one workload.
pub(super) async fn one(inner: &Arc<Inner>, id: &WorkloadId) -> Result<Report, Error> {
    let workload = inner.workload(id)?;
    let lease = inner
        .store
        .take_over(id, &Holder::this_process(inner.clock.now()))
        .await?;
    let deployment = inner.record(lease.deployment()).await?;
    let limit = deployment.new_deployment().policy.deadlines.observe;
    let op = deployment.operation();
    let observed = ask::observe(limit, workload.backend.as_ref(), &[op.to, op.from])
        .await
        .map_err(|e| {
            Error::new(
                ErrorKind::Interrupted,
                "what is live could not be observed, so nothing was done",
            )
            .on(deployment.id())
            .advice("run recover again when the platform answers")
            .because(e)
        })?;
    let decision = decide(&deployment, &observed);
    let settle = |outcome, live, summary: &str| {
        Some(Step::Settle(
            Box::new(Settlement {
                outcome,
                verdict: deployment.verdict().clone(),
                live,
                summary: summary.to_owned(),
            }),
            Box::new(Then::Release),
        ))
    };
    let step = match decision {
        Decision::GoBack => None,
        Decision::Prepare => Some(Step::Prepare),
        Decision::ContinueBack if deployment.switch_began() => Some(Step::SwitchBack),
        Decision::ContinueBack => Some(Step::RetireBack),
        Decision::Switch => Some(Step::Switch),
        Decision::Gate => Some(Step::Gate),
        Decision::Conclude => Some(Step::Conclude),
        Decision::Drop => settle(
            Outcome::Interrupted,
            deployment.new_deployment().fallback.clone(),
            adopt::INTERRUPTED,
        ),
        Decision::Leave => settle(
            Outcome::Interrupted,
            LiveRecord::Unknown,
            "Something else is live than this deployment knows; nothing was touched. \
             Look at the platform, then adopt or deploy.",
        ),
    };
    let start = Start::Recovered {
        decision: decision.to_string(),
        step: Box::new(step),
    };
    inner.spawn(lease, deployment, start).await?.await
}
