//! Setting a run going.

use std::sync::Arc;

use super::inner::Inner;
use super::run::Run;
use super::runner::{Runner, Step};
use crate::deployment::Deployment;
use crate::error::Error;
use crate::history::Lease;

/// How a run enters the path.
pub(super) enum Start {
    /// From the beginning.
    Fresh(Box<Step>),
    /// By recovery's decision. No step: turn round, because it was interrupted.
    Recovered {
        decision: String,
        step: Box<Option<Step>>,
    },
}

/// Sets a run going; it does not depend on anybody waiting for it.
pub(super) fn start(
    inner: &Arc<Inner>,
    lease: Lease,
    deployment: Deployment,
    start: Start,
) -> Result<Run, Error> {
    let workload = inner.workload(deployment.workload())?.clone();
    inner.observing.start();
    let id = deployment.id().clone();
    let mut runner = Runner::new(Arc::clone(inner), workload, lease, deployment);
    let channels = runner.channels();
    inner.note_running(&id, channels.clone());
    let task = tokio::spawn(async move {
        match start {
            Start::Fresh(step) => {
                runner.announce(None);
                runner.drive(*step).await
            }
            Start::Recovered { decision, step } => {
                runner.abandon().await;
                runner.taken_over(&decision).await?;
                let step = match *step {
                    Some(step) => step,
                    None => runner.interrupted().await?,
                };
                runner.drive(step).await
            }
        }
    });
    Ok(Run { id, channels, task })
}
