//! Awaiting a deployment that somebody else has set going, in this process or in another one, or that
//! has ended long ago.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::inner::Inner;
use super::run::{Channels, Run};
use super::{AutomaticRollback, Report, recovery};
use crate::context::{Cancellation, ProgressSink};
use crate::deployment::{Asked, Deployment, LiveRecord, NotAttempted, Phase, Trigger};
use crate::error::Error;
use crate::history::{Liveness, Summary};
use crate::id::{Actor, DeploymentId, WorkloadId};
use crate::plan::Refusal;
use crate::policy::RollbackMode;

/// How often the store is asked how far another process is.
const POLL: Duration = Duration::from_millis(500);

/// How many of the newest records are looked through at first for what followed a deployment.
const NEWEST: usize = 16;

/// A handle on a deployment of this workload that was asked for under the same key; `None`: there is
/// none.
///
/// # Errors
///
/// A refusal if something else was asked for under the key.
pub(super) async fn asked_before(
    inner: &Arc<Inner>,
    workload: &WorkloadId,
    asked: Option<&Asked>,
) -> Result<Option<Run>, Error> {
    let Some(asked) = asked else {
        return Ok(None);
    };
    let Some(id) = inner.store.keyed(workload, &asked.key).await? else {
        return Ok(None);
    };
    let run = attach(inner, &id).await?;
    let before = inner.record(&id).await?;
    if before.opening().asked.as_ref() == Some(asked) {
        return Ok(Some(run));
    }
    Err(Refusal::KeyTaken {
        key: asked.key.clone(),
        deployment: id,
    }
    .into())
}

/// A handle on a deployment, whoever runs or ran it.
pub(super) async fn attach(inner: &Arc<Inner>, id: &DeploymentId) -> Result<Run, Error> {
    let record = inner.record(id).await?;
    let (phase, seen) = watch::channel((id.clone(), record.phase()));
    let local = inner.running(id);
    let channels = local.clone().unwrap_or_else(|| Channels {
        cancellation: Cancellation::new(),
        phase: seen,
        said: ProgressSink::channel().1,
    });
    let follower = Follower {
        inner: Arc::clone(inner),
        local,
        cancellation: channels.cancellation.clone(),
        phase,
    };
    let task = tokio::spawn(follower.follow(record));
    Ok(Run {
        id: id.clone(),
        channels,
        task,
    })
}

/// Follows a deployment, and the automatic rollback that it set off, to the end.
struct Follower {
    inner: Arc<Inner>,
    /// How the run is heard of, where it is this engine's.
    local: Option<Channels>,
    cancellation: Cancellation,
    phase: watch::Sender<(DeploymentId, Phase)>,
}

impl Follower {
    async fn follow(mut self, record: Deployment) -> Result<Report, Error> {
        if let Some(local) = &mut self.local {
            // It closes with the run, an automatic rollback included.
            while local.phase.changed().await.is_ok() {}
        }
        let deployment = self.settled(record).await?;
        let Some(id) = self.successor_of(&deployment).await? else {
            return Ok(Report {
                live: live_after(&deployment),
                automatic_rollback: match not_attempted(&deployment) {
                    Some(reason) => AutomaticRollback::NotAttempted { reason },
                    None => AutomaticRollback::NotNeeded,
                },
                deployment,
            });
        };
        let successor = self.inner.record(&id).await?;
        let successor = self.settled(successor).await?;
        let to_last_healthy = match successor.trigger().restores() {
            Some(target) => {
                let target = self.inner.store.get(target).await?;
                target.is_some_and(|d| d.verdict().is_good())
            }
            None => false,
        };
        Ok(Report {
            // Its record says by now what its automatic rollback made of it.
            deployment: self.inner.record(deployment.id()).await?,
            live: live_after(&successor),
            automatic_rollback: AutomaticRollback::Attempted {
                recovered: successor.went_live() && !successor.verdict().is_failed(),
                to_last_healthy,
                deployment: Box::new(successor),
            },
        })
    }

    /// The record once it is settled. One whose process has died is recovered.
    async fn settled(&self, mut record: Deployment) -> Result<Deployment, Error> {
        let mut asked_to_stop = false;
        while record.settlement().is_none() {
            self.phase
                .send_replace((record.id().clone(), record.phase()));
            let state = self.inner.store.workload(record.workload()).await?;
            let held = state.in_flight.filter(|f| f.deployment == *record.id());
            match held.map(|f| f.liveness) {
                Some(Liveness::Dead) => {
                    recovery::first(&self.inner, record.workload()).await?;
                }
                // Settled since the record was read.
                None => {}
                Some(_) => tokio::select! {
                    () = tokio::time::sleep(POLL) => {}
                    () = self.cancellation.cancelled(), if !asked_to_stop => {
                        asked_to_stop = true;
                        let by = Actor::engine("attached");
                        // It may have ended just now.
                        let _ = self.inner.store.request_cancel(record.id(), &by).await;
                    }
                },
            }
            record = self.inner.record(record.id()).await?;
        }
        Ok(record)
    }

    /// The automatic rollback that this deployment has set off.
    async fn successor_of(&self, failed: &Deployment) -> Result<Option<DeploymentId>, Error> {
        if !failed.verdict().is_failed() {
            return Ok(None);
        }
        let of_it = |s: &Summary| s.failed.as_ref() == Some(failed.id());
        let mut limit = NEWEST;
        loop {
            let newest = self.inner.store.summaries(failed.workload(), limit).await?;
            if let Some(found) = newest.summaries.iter().find(|s| of_it(s)) {
                return Ok(Some(found.id.clone()));
            }
            let reaches = |s: &Summary| s.sequence <= failed.sequence();
            if newest.is_whole || newest.summaries.last().is_some_and(reaches) {
                return Ok(None);
            }
            limit = limit.saturating_mul(2);
        }
    }
}

fn live_after(d: &Deployment) -> LiveRecord {
    d.settlement()
        .map_or(LiveRecord::Unknown, |settlement| settlement.live.clone())
}

/// Why it was not rolled back by itself; records of before this was kept say it by their trigger alone.
fn not_attempted(d: &Deployment) -> Option<NotAttempted> {
    let settlement = d.settlement()?;
    let stays = d.verdict().is_failed() && settlement.live.known() == Some(d.id());
    settlement.not_attempted.or(match d.trigger() {
        _ if !stays => None,
        Trigger::Rollback { .. } | Trigger::AutomaticRollback { .. } => {
            Some(NotAttempted::WasARollback)
        }
        _ if d.opening().policy.rollback != RollbackMode::Auto => Some(NotAttempted::NotArmed),
        _ => Some(NotAttempted::NoRollbackPoint),
    })
}
