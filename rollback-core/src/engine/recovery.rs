//! Recovery: takes over what a dead process left unfinished, and enters the run path again.

use std::sync::Arc;

use super::adopt;
use super::inner::{Inner, Start};
use super::report::Report;
use super::runner::Step;
use crate::context::Context;
use crate::deployment::{LiveRecord, Outcome, Settlement};
use crate::error::{Error, ErrorKind};
use crate::history::{Holder, Liveness, Then};
use crate::id::{DeploymentId, WorkloadId};
use crate::recover::{Decision, decide};

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
    for state in inner.store.workloads().await? {
        if let Some(in_flight) = state.in_flight
            && in_flight.liveness == Liveness::Dead
        {
            let result = one(inner, &state.workload).await;
            if matches!(&result, Err(e) if e.kind() == ErrorKind::NotFound) {
                // Another process was quicker, and has settled it.
                continue;
            }
            if let Err(e) = &result {
                tracing::error!(workload = %state.workload, error = %e, "recovery failed");
            }
            done.push(Recovered {
                workload: state.workload,
                deployment: in_flight.deployment,
                result,
            });
        }
    }
    Ok(done)
}

/// Recovers one workload.
pub(super) async fn one(inner: &Arc<Inner>, id: &WorkloadId) -> Result<Report, Error> {
    let workload = inner.workload(id)?;
    let lease = inner
        .store
        .take_over(id, &Holder::this_process(inner.clock.now()))
        .await?;
    let deployment = inner.record(lease.deployment()).await?;
    let cx = Context::new(deployment.new_deployment().policy.deadlines.observe);
    let op = deployment.operation();
    let observed = workload
        .backend
        .observe(&cx, &[op.to, op.from])
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
