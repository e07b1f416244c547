//! A rollout, followed to its true end: the tasks of the new specification run, and no other.

use std::collections::{BTreeMap, BTreeSet};
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
use super::task::is_same_place;
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

/// Which failed tasks were there when a rollout was looked at first.
#[derive(Debug, Default)]
struct Crashes(Option<BTreeSet<String>>);

impl SwarmBackend {
    /// Waits until a record that was asked for is in place.
    pub(super) async fn follow(
        &self,
        cx: &Context,
        record: &Record,
    ) -> Result<Followed, BackendError> {
        let (mut watch, mut down, mut said) = (Watch::default(), Down::default(), None);
        let (mut away, mut stuck): (Option<Instant>, Option<String>) = (None, None);
        let mut crashes = Crashes::default();
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
            let wants = self.want_of_a_node(&seen, &now);
            if let Some(why) = wants.as_ref().filter(|_| wants != stuck) {
                cx.say(why);
            }
            stuck = wants;
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
                // It no longer watches them, and starts them again for ever, too.
                Update::Done if crashes.are_repeated(&now) && now.is_failing() => {
                    return Err(self.failed(&seen, &now, "a task fails again and again"));
                }
                Update::None | Update::Done | Update::Reverted(_) => !now.is_complete(),
                Update::Rolling | Update::Reverting(_) => true,
            };
            if !goes_on {
                return Ok(Followed::InPlace(now.evidence(&seen)));
            }
            wait(cx).await.map_err(|e| self.late(e, stuck.as_deref()))?;
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

    /// A rollout whose time is up, with what it waited for if that is known. More time would not have
    /// helped, but a node may come at any moment: so it is waited for, and told.
    fn late(&self, e: BackendError, stuck: Option<&str>) -> BackendError {
        match stuck.filter(|_| e.kind() == Kind::DeadlineExceeded) {
            Some(why) => BackendError::new(
                e.kind(),
                format!("the rollout did not end in its time: {why}"),
            )
            .on(&self.config.service)
            .advice("see `docker node ls`, and which nodes the service may run on")
            .because(e),
            None => e,
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

impl Crashes {
    /// Whether a task has failed since then in place of one that had failed since then. One failure
    /// may be of what has been in place for long, and is healed by itself.
    fn are_repeated(&mut self, now: &Standing) -> bool {
        let id = |task: &Task| task.id.clone().unwrap_or_default();
        let all = || now.failed.iter();
        let before = self.0.get_or_insert_with(|| all().map(id).collect());
        let fresh: Vec<&Task> = all().filter(|task| !before.contains(&id(task))).collect();
        let again =
            |(n, one): (usize, &&Task)| fresh[..n].iter().any(|other| is_same_place(one, other));
        fresh.iter().enumerate().any(again)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_task_that_fails_once_is_no_sign_of_one_that_fails_again_and_again() {
        let failed = |tasks: &[(&str, i64)]| Standing {
            failed: tasks
                .iter()
                .map(|(id, slot)| serde_json::from_value(json!({"ID": id, "Slot": slot})).unwrap())
                .collect(),
            ..Standing::default()
        };
        let mut crashes = Crashes::default();
        assert!(!crashes.are_repeated(&failed(&[("old", 1), ("older", 1)])));
        assert!(!crashes.are_repeated(&failed(&[("old", 1), ("a", 1)])));
        assert!(!crashes.are_repeated(&failed(&[("a", 1), ("b", 2)])));
        assert!(crashes.are_repeated(&failed(&[("a", 1), ("b", 2), ("c", 1)])));
    }
}
