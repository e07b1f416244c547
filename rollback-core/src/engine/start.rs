//! Setting a run going.

use std::sync::Arc;

use tokio::time::Instant;

use super::inner::Inner;
use super::run::Run;
use super::runner::{Runner, Step};
use super::tenure::Tenure;
use super::together::InGroup;
use crate::deployment::{Deployment, Opening};
use crate::error::{Error, ErrorKind};
use crate::event::Cause;
use crate::history::{Holder, Identity, Lease, Version};
use crate::plan::Plan;

/// How a run enters the path.
pub(super) enum Start {
    /// From the beginning.
    Fresh(Box<Step>),
    /// By recovery's decision: at this step, or by turning round for this cause.
    Recovered {
        decision: String,
        step: Box<Result<Step, Cause>>,
    },
}

/// What a plan opens: what runs is this program's, whoever made the plan.
pub(super) fn opening(inner: &Inner, plan: &Plan) -> Result<Opening, Error> {
    let mut new = plan.new.clone();
    new.opened_at = inner.clock.now();
    let entry = inner.workload(&new.workload)?;
    new.reuse = entry.reuse(&new.trigger);
    new.composition = Some(entry.composition(new.trigger.kind()));
    Ok(new)
}

/// Opens a deployment, and takes its lease.
pub(super) async fn open(
    inner: &Inner,
    identity: &Identity,
    mut new: Opening,
    expected: Version,
) -> Result<(Tenure<Lease>, Deployment), Error> {
    let holder = Holder::this_process(new.opened_at);
    new.history = Some(identity.clone());
    new.holder = Some(holder.clone());
    let asked = Instant::now();
    let begun = inner.store.begin(&new, &holder, expected).await?;
    let tenure = Tenure::of(&inner.store, begun.lease, asked);
    Ok((tenure, Deployment::open(new, begun.sequence)))
}

/// Opens a deployment and sets it going.
///
/// In a task of its own: who asks may go away while the store is at it, and what has been opened
/// must have somebody who runs it.
pub(super) async fn begin(
    inner: &Arc<Inner>,
    new: Opening,
    expected: Version,
    step: Step,
) -> Result<Run, Error> {
    inner.workload(&new.workload)?;
    let inner = Arc::clone(inner);
    let task = tokio::spawn(async move {
        let identity = inner.identity().await?;
        let (tenure, deployment) = open(&inner, &identity, new, expected).await?;
        let start = Start::Fresh(Box::new(step));
        self::start(&inner, identity, tenure, deployment, None, start)
    });
    task.await.unwrap_or_else(|e| {
        Err(
            Error::new(ErrorKind::Interrupted, "the deployment was not opened")
                .advice("look for a panic in the log; recover settles what was opened")
                .because(e),
        )
    })
}

/// Sets a run going; it does not depend on anybody waiting for it.
pub(super) fn start(
    inner: &Arc<Inner>,
    identity: Identity,
    tenure: Tenure<Lease>,
    deployment: Deployment,
    group: Option<InGroup>,
    start: Start,
) -> Result<Run, Error> {
    let workload = inner.workload(deployment.workload())?.clone();
    inner.observing.start();
    let id = deployment.id().clone();
    let own = Arc::clone(inner);
    let mut runner = Runner::new(own, workload, identity, tenure, deployment, group);
    let channels = runner.channels();
    inner.note_running(&id, channels.clone());
    let task = tokio::spawn(async move {
        match start {
            Start::Fresh(step) => {
                runner.announce(None);
                Box::pin(runner.drive(*step)).await
            }
            Start::Recovered { decision, step } => {
                runner.taken_over(&decision).await?;
                let step = match *step {
                    Ok(step) => step,
                    Err(cause) => runner.go_back(cause).await?,
                };
                Box::pin(runner.drive(step)).await
            }
        }
    });
    Ok(Run {
        id,
        channels,
        task,
        follows: None,
    })
}
