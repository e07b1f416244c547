//! Awaiting a deployment that somebody else has set going, in this process or in another one, or that
//! has ended long ago.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::cancel::cancel;
use super::inner::Inner;
use super::run::{Channels, EndsWithRun, Run};
use super::{AutomaticRollback, Report, recovery};
use crate::context::{Cancellation, ProgressSink};
use crate::deployment::{Asked, Deployment, LiveRecord, NotAttempted, Phase, Trigger};
use crate::error::{Chain, Error, ErrorKind, StoreError};
use crate::history::{Liveness, Summary};
use crate::id::{Actor, DeploymentId, WorkloadId};
use crate::plan::Refusal;
use crate::policy::RollbackMode;

/// How often the store is asked how far another process is.
const POLL: Duration = Duration::from_millis(500);

/// How often a record may be seen unsettled, and not in flight, before it is said to be lost.
const LOST: u32 = 4;

/// How many looks in a row may fail before it is no longer followed: five minutes, or as much longer as
/// the store takes to fail.
const AWAY: u32 = 600;

/// How many of the newest records are looked through at first for what followed a deployment.
const FOLLOWING: usize = 16;

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
    actor: &Actor,
) -> Result<Option<Run>, Error> {
    let Some(asked) = asked else {
        return Ok(None);
    };
    let Some(id) = inner.store.keyed(workload, &asked.key).await? else {
        return Ok(None);
    };
    // Retention may have let it go meanwhile, and its key with it.
    let Some(record) = inner.store.get(&id).await? else {
        return Ok(None);
    };
    if record.opening().asked.as_ref() == Some(asked) {
        return Ok(Some(attach(inner, record, actor.clone())));
    }
    Err(Refusal::KeyTaken {
        key: asked.key.clone(),
        deployment: id,
    }
    .into())
}

/// A handle on a deployment, whoever runs or ran it. What is cancelled through it, this actor cancels.
pub(super) fn attach(inner: &Arc<Inner>, record: Deployment, actor: Actor) -> Run {
    let id = record.id().clone();
    let (phase, seen) = watch::channel((id.clone(), record.phase()));
    let local = inner.running(&id);
    let channels = Channels {
        cancellation: Cancellation::new(),
        phase: local.as_ref().map_or(seen, |local| local.phase.clone()),
        said: match &local {
            Some(local) => local.said.clone(),
            None => ProgressSink::channel().1,
        },
    };
    let follower = Follower {
        inner: Arc::clone(inner),
        local,
        cancellation: channels.cancellation.clone(),
        actor,
        heard: Heard::NotYet,
        phase,
    };
    let cancellation = channels.cancellation.clone();
    let task = tokio::spawn(follower.follow(record));
    Run {
        id,
        channels,
        follows: Some(EndsWithRun {
            task: task.abort_handle(),
            cancellation,
        }),
        task,
    }
}

/// What came of asking a deployment to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Asked,
    /// By the authorizer, or because it is not cancelled: asking again would not help.
    Refused,
    /// The store did not answer.
    NotYet,
}

/// Follows a deployment, and the automatic rollback that it set off, to the end.
struct Follower {
    inner: Arc<Inner>,
    /// How the run is heard of, where it is this engine's.
    local: Option<Channels>,
    cancellation: Cancellation,
    /// Who cancels, if that is done through the handle.
    actor: Actor,
    /// What came of it.
    heard: Heard,
    phase: watch::Sender<(DeploymentId, Phase)>,
}

impl Follower {
    async fn follow(mut self, mut record: Deployment) -> Result<Report, Error> {
        if let Some(mut local) = self.local.take() {
            // It closes with the run, an automatic rollback included.
            loop {
                tokio::select! {
                    changed = local.phase.changed() => if changed.is_err() { break },
                    () = self.cancellation.cancelled(), if self.heard == Heard::NotYet => {
                        self.heard = self.cancels(record.id()).await;
                        if self.heard == Heard::Asked {
                            local.cancellation.cancel();
                        }
                    }
                }
            }
            match self.inner.record(record.id()).await {
                Ok(read) => record = read,
                Err(e) if e.is_transient() => {}
                Err(e) => return Err(e),
            }
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
                // One that cannot be read says nothing of its health.
                let target = match self.inner.store.get(target).await {
                    Err(e) if e.is_unreadable() => None,
                    target => target?,
                };
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
    async fn settled(&mut self, mut record: Deployment) -> Result<Deployment, Error> {
        let (mut lost, mut away) = (0, 0);
        while record.settlement().is_none() {
            self.phase
                .send_replace((record.id().clone(), record.phase()));
            let looked = self.look(&record).await;
            self.pause(record.id()).await;
            // The run goes on whether or not it can be looked at.
            match self
                .inner
                .record(record.id())
                .await
                .and_then(|read| Ok((looked?, read)))
            {
                Ok((in_flight, read)) => {
                    record = read;
                    away = 0;
                    // Settled since it was asked, or its state is that of an older copy.
                    lost = if in_flight { 0 } else { lost + 1 };
                }
                Err(e) if e.is_transient() && away < AWAY => {
                    if away == 0 {
                        tracing::warn!(deployment = %record.id(), error = %Chain::of(&e), "it cannot be followed for now");
                    }
                    away += 1;
                }
                Err(e) => return Err(e),
            }
            if lost >= LOST && record.settlement().is_none() {
                return Err(lost_in_flight(record.id()));
            }
        }
        Ok(record)
    }

    /// Whether it is in flight. If its process has died, it is recovered.
    async fn look(&self, record: &Deployment) -> Result<bool, Error> {
        let liveness = self.liveness(record).await?;
        if liveness == Some(Liveness::Dead) {
            recovery::first(&self.inner, record.workload()).await?;
        }
        Ok(liveness.is_some())
    }

    /// Until it is time to look again, or somebody wants a stop.
    async fn pause(&mut self, id: &DeploymentId) {
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = self.cancellation.cancelled(), if self.heard == Heard::NotYet => {
                self.heard = self.cancels(id).await;
            }
        }
    }

    /// Whether its process lives; `None`: it is not in flight.
    async fn liveness(&self, record: &Deployment) -> Result<Option<Liveness>, StoreError> {
        let state = self.inner.store.workload(record.workload()).await?;
        let held = state.in_flight.filter(|f| f.deployment == *record.id());
        Ok(held.map(|f| f.liveness))
    }

    /// Asks it to stop, as whoever holds the handle.
    async fn cancels(&self, id: &DeploymentId) -> Heard {
        match cancel(&self.inner, id, &self.actor).await {
            Ok(()) => Heard::Asked,
            Err(error) if error.is_transient() => {
                tokio::time::sleep(POLL).await;
                Heard::NotYet
            }
            Err(error) => {
                tracing::warn!(deployment = %id, error = %Chain::of(&error), "it was not cancelled");
                Heard::Refused
            }
        }
    }

    /// The automatic rollback that this deployment has set off.
    async fn successor_of(&self, failed: &Deployment) -> Result<Option<DeploymentId>, Error> {
        if !failed.verdict().is_failed() {
            return Ok(None);
        }
        let of_it = |s: &Summary| s.failed.as_ref() == Some(failed.id());
        let mut limit = FOLLOWING;
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

fn lost_in_flight(id: &DeploymentId) -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "it is unsettled, and its workload does not know of it: nobody will settle it",
    )
    .on(id)
    .advice("an older copy of the workload's state was put back: verify the history, then adopt")
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
