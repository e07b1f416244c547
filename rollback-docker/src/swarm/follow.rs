//! A rollout, followed to its true end: the tasks of the new specification run, and no other.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::models::Task;
use rollback_core::backend::Evidence;
use rollback_core::context::{Context, RolloutProgress};
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use tokio::time::Instant;

use super::backend::SwarmBackend;
use super::nodes::Down;
use super::prepare::{changed_by_hand, stranger};
use super::record::Record;
use super::service::{Seen, Update};
use super::tasks::{Standing, alive};
use crate::client::Client;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the managers may be away while a rollout is followed: it goes on without them.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a rollout ended that did not fail.
#[derive(Debug)]
pub(super) enum Followed {
    /// What was asked for runs, and nothing else.
    InPlace(Evidence),
    /// Swarm has given it up for tasks that got in the way of those before them, which have ended
    /// by now: ask again.
    ///
    /// It starts a task in place of one that is being started without waiting for the one before
    /// that, which may still be stopping. With the error that it is where that was asked for often
    /// enough.
    Collided(BackendError),
}

/// Since when which tasks are seen to run.
#[derive(Debug, Default)]
struct Watch(BTreeMap<String, Instant>);

impl SwarmBackend {
    /// Waits until a record that was asked for is in place.
    pub(super) async fn follow(
        &self,
        cx: &Context,
        record: &Record,
    ) -> Result<Followed, BackendError> {
        let (mut watch, mut down, mut said) = (Watch::default(), Down::default(), None);
        let mut away: Option<Instant> = None;
        loop {
            let (seen, tasks) = match self.look_once(&mut down).await {
                Ok(looked) => looked,
                Err(e) => {
                    let since = *away.get_or_insert_with(Instant::now);
                    if !e.is_transient() || since.elapsed() > PATIENCE {
                        return Err(e);
                    }
                    wait(cx).await?;
                    continue;
                }
            };
            away = None;
            let seen = seen.ok_or_else(vanished)?;
            refuse_other(&seen, record)?;
            let now = Standing::of(&seen, tasks, &down);
            let progress = watch.progress(&now, &seen, self.config.monitor);
            if said != Some(progress) {
                said = Some(progress);
                cx.rolls_out(progress);
                // A boundary: something has changed.
                cx.check()?;
            }
            let goes_on = match &seen.update {
                Update::Paused(_) if now.is_collision && now.blocking > 0 => true,
                Update::Paused(message) if now.is_collision => {
                    return Ok(Followed::Collided(self.failed(&seen, &now, message)));
                }
                Update::Paused(message) => return Err(self.failed(&seen, &now, message)),
                // Without an update, as of a new service, Swarm starts tasks again for ever.
                Update::None if !now.is_collision && now.is_failing() => {
                    return Err(self.failed(&seen, &now, "a task failed"));
                }
                Update::None | Update::Done | Update::Reverted(_) => !now.is_complete(),
                Update::Rolling | Update::Reverting(_) => true,
            };
            if !goes_on {
                return Ok(Followed::InPlace(now.evidence(&seen)));
            }
            wait(cx).await?;
        }
    }

    /// The service and its tasks, by whichever dockerd is there now.
    async fn look_once(&self, down: &mut Down) -> Result<(Option<Seen>, Vec<Task>), BackendError> {
        let client = &self.client().await?;
        let workload = self.config.workload.to_string();
        let seen = Seen::look(client, &workload, &self.config.service).await?;
        let tasks = client.tasks(&self.config.service).await?;
        down.refresh(client).await?;
        Ok((seen, tasks))
    }

    /// Waits until no task of a service with this name is left.
    pub(super) async fn wait_for_none(
        &self,
        cx: &Context,
        client: &Client,
    ) -> Result<(), BackendError> {
        let (mut said, mut down) = (None, Down::default());
        loop {
            down.refresh(client).await?;
            let left = alive(&client.tasks(&self.config.service).await?, &down);
            if left == 0 {
                return Ok(());
            }
            if said != Some(left) {
                said = Some(left);
                cx.say(format!("waiting for {left} tasks to end"));
                cx.check()?;
            }
            wait(cx).await?;
        }
    }

    /// What Swarm gave up.
    fn failed(&self, seen: &Seen, now: &Standing, message: &str) -> BackendError {
        let why = now.last_failure().unwrap_or_default();
        let why = self.without_secrets(seen, &format!("{message}: {why}"));
        BackendError::new(Kind::Failed, format!("the rollout failed ({why})"))
            .on(&self.config.service)
            .advice("see `docker service ps --no-trunc` and the log of the task")
    }
}

impl Watch {
    /// A task is available once Swarm has watched it for as long as it watches new ones.
    fn progress(&mut self, now: &Standing, seen: &Seen, monitor: Duration) -> RolloutProgress {
        let ids = now.running.iter().filter_map(|task| task.id.clone());
        let running: Vec<String> = ids.collect();
        self.0.retain(|id, _| running.contains(id));
        for id in running {
            self.0.entry(id).or_insert_with(Instant::now);
        }
        let mut progress = now.progress(&seen.update);
        if seen.update == Update::Rolling {
            let old = self.0.values().filter(|since| since.elapsed() >= monitor);
            progress.available = u32::try_from(old.count()).unwrap_or(u32::MAX);
        }
        progress
    }
}

/// Somebody has asked for something else, or Swarm has by itself.
fn refuse_other(seen: &Seen, record: &Record) -> Result<(), BackendError> {
    let own = seen.handle() == record.handle;
    let is_whole = || !seen.is_ending() && seen.is_like(record);
    if own && is_whole() {
        return Ok(());
    }
    match &seen.update {
        Update::Reverting(message) | Update::Reverted(message) if !own => Err(BackendError::new(
            Kind::Failed,
            format!("Swarm itself went back to what was before ({message})"),
        )
        .on(&seen.id)
        .advice("leave going back to the engine: do not run `docker service rollback`")),
        _ if !own || seen.is_ending() => Err(stranger(seen)),
        _ => Err(changed_by_hand(seen, record)),
    }
}

fn vanished() -> BackendError {
    BackendError::new(
        Kind::Conflict,
        "the service was removed while it was rolled out",
    )
    .transient(false)
}

/// A pause that ends when the call should stop. It is no boundary: nothing has happened.
async fn wait(cx: &Context) -> Result<(), BackendError> {
    let pause = PAUSE.min(cx.remaining());
    let stopped = tokio::select! {
        () = cx.cancellation().cancelled() => true,
        () = tokio::time::sleep(pause) => cx.remaining().is_zero(),
    };
    if stopped { cx.check() } else { Ok(()) }
}
