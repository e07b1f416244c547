//! The switch: what was live is stopped, keeps its settings and gives up its name; what shall be
//! live takes the name and runs. Every step is told from what dockerd shows, by id and label, so
//! that a switch cut off anywhere goes on where it stopped.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{join, try_join};
use rollback_core::backend::{End, Evidence, Operation};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind, Chain};

use crate::backend::DockerBackend;
use crate::client::Client;
use crate::container::Container;
use crate::drain::Drain;
use crate::error;
use crate::inventory::Inventory;
use crate::restart::RestartPolicy;
use crate::summary::Summary;
use crate::traffic::Names;

/// How long the rest may take once the old container has been stopped.
const TO_THE_END: Duration = Duration::from_secs(120);

impl DockerBackend {
    pub(crate) async fn swap(
        &self,
        cx: &Context,
        op: &Operation,
    ) -> Result<Evidence, BackendError> {
        let untouched = BackendError::untouched;
        cx.check().map_err(untouched)?;
        let client = &self.client().await.map_err(untouched)?;
        let inventory = Inventory::with_others(client).await.map_err(untouched)?;
        let ends = [&op.from, &op.to];
        let looked = try_join!(inventory.look_at(&ends), self.refuse_late(cx, client));
        let ((), pins) = looked.map_err(untouched)?;
        let to = self.target(&inventory, op).await.map_err(untouched)?;
        let others = self.others(cx, &inventory, op, to.as_deref());
        let others = others.await;
        let others = others.map_err(untouched)?;
        let mut images = to.iter().chain(&others).map(|c| c.summary.image.as_str());
        let image = images.next();
        let claimed = self.publish(cx, client, &pins, image).await;
        claimed.map_err(untouched)?;
        cx.check().map_err(untouched)?;
        // What was put away from beside its successor has lost its names; what was started beside what is
        // live, by a program that was configured so, never had them.
        if let (Some(to), Some(release)) = (&to, op.to.release())
            && (!to.summary.is_up() || to.summary.name != self.config.container)
        {
            let names = self.rename_in_networks(cx, client, to, release, Names::All);
            names.await.map_err(untouched)?;
        }
        let to = match (to, op.to.release()) {
            (Some(to), Some(release)) => {
                let dressed = self.dressed(cx, client, to, release).await;
                Some(dressed.map_err(untouched)?)
            }
            (to, _) => to,
        };
        let cx = &self.while_stopping(cx, &others);
        let aside = async {
            let mut told = Vec::new();
            for other in &others {
                told.extend(self.put_aside(cx, client, op, other).await?);
            }
            Ok(told)
        };
        // dockerd has time for it as long as the former one stops.
        let (told, ()) = join!(aside, self.supersede_held(cx, client, &pins));
        let mut told = told?;
        let (Some(to), Some(release)) = (to, op.to.release()) else {
            self.tell(cx, told);
            return Ok(Evidence::default().with("container", "none"));
        };
        let id = &to.summary.id;
        if to.summary.name != self.config.container {
            client.rename(id, &self.config.container).await?;
            cx.check()?;
        }
        let policy = RestartPolicy::of(release);
        if to.restart() != policy && !to.removes_itself() {
            client.set_restart(id, policy).await?;
            cx.check()?;
        }
        if !to.summary.is_up() {
            cx.say("starting the container");
            client.start(&to).await?;
        }
        self.name_image(client, release, &to.summary.image).await?;
        // What exits at once is for the health gate to tell: it has the log to show.
        let now = client.inspect(id).await?.ok_or_else(|| {
            BackendError::new(
                BackendErrorKind::Conflict,
                "the container vanished as it was started",
            )
            .on(id)
        })?;
        tracing::debug!(workload = %op.workload, container = %now.summary.id, "switched");
        told.extend(
            self.see_to_dependents(cx, client, &inventory, &now, &others)
                .await,
        );
        self.tell(cx, told);
        Ok(now.evidence())
    }

    /// From when the first of these is told to stop until something runs again, no deadline is to
    /// pass, or nothing would run: the time that a container has for stopping is its own, and comes
    /// on top of the caller's.
    pub(crate) fn while_stopping(&self, cx: &Context, containers: &[Arc<Container>]) -> Context {
        let up = containers.iter().filter(|c| c.summary.is_up());
        let drained = self.config.swap.drain.as_ref();
        let drained = drained.map_or(Duration::ZERO, Drain::longest);
        let longest = up.map(|c| drained.saturating_add(Duration::from_secs(c.stop_timeout())));
        let longest = longest.fold(TO_THE_END, Duration::saturating_add);
        cx.detached(longest)
    }

    pub(crate) async fn target(
        &self,
        inventory: &Inventory<'_>,
        op: &Operation,
    ) -> Result<Option<Arc<Container>>, BackendError> {
        match &op.to {
            End::Nothing => Ok(None),
            End::Planned(release) => Err(BackendError::new(
                BackendErrorKind::Failed,
                "the release was not prepared",
            )
            .on(release)),
            End::Placed(instance) => match inventory.of(&instance.handle).await? {
                Some(container) if container.summary.is_sound() => Ok(Some(container)),
                _ => Err(error::gone("the container is gone", &instance.handle)),
            },
        }
    }

    /// What must not run or have the live name any longer: what the operation names, what its
    /// deployment made, and what earlier ones of the same history have left. Refuses if anything
    /// else is in the way: no later actor has published, so somebody has put it there.
    pub(crate) async fn others(
        &self,
        cx: &Context,
        inventory: &Inventory<'_>,
        op: &Operation,
        to: Option<&Container>,
    ) -> Result<Vec<Arc<Container>>, BackendError> {
        let blocks = |c: &Summary| {
            let other = to.is_none_or(|to| to.summary.id != c.id);
            other && (c.is_up() || c.name == self.config.container)
        };
        let mut all: Vec<Arc<Container>> = Vec::new();
        for container in inventory.ours().iter().filter(|c| blocks(c)) {
            all.extend(inventory.container(&container.id).await?);
        }
        // What people made by hand is in no list of ours.
        let from = op.from.instance().map(|from| &from.handle);
        if let Some(from) = from.filter(|from| inventory.holder(from).is_none()) {
            all.extend(inventory.of(from).await?);
        }
        if inventory.live().is_none() {
            let named = inventory.named().await?;
            all.extend(named.filter(|n| all.iter().all(|c| c.summary.id != n.summary.id)));
        }
        all.retain(|c| blocks(&c.summary));
        for container in &all {
            if !knows(cx, op, &container.summary)? {
                return Err(stranger(&container.summary));
            }
            self.myself.spare(&container.summary)?;
        }
        Ok(all)
    }

    /// Stops a container and keeps it: it must not come back when dockerd restarts, and the live
    /// name is free afterwards.
    ///
    /// It stops first: dockerd takes longer to change what runs, and one that cannot be stopped
    /// keeps its policy. If the machine goes down in between, dockerd may start it again when it
    /// comes up, and it is what was live: nothing else runs before the policy is off.
    ///
    /// Gives what a person should know of how it went.
    pub(crate) async fn put_aside(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        container: &Container,
    ) -> Result<Option<String>, BackendError> {
        let Summary { id, name, .. } = &container.summary;
        let parked = container.summary.parked(&self.config.container);
        let is_named = *name == self.config.container;
        // It is gone as soon as it has stopped, and its name some time after.
        if is_named && container.removes_itself() {
            client.rename(id, &parked).await?;
            cx.check()?;
        }
        let mut told = None;
        if container.summary.is_up() {
            told = self.end(cx, client, op, container).await?;
        }
        // Docker takes no other policy for a container that removes itself.
        if container.removes_itself() {
            return Ok(told);
        }
        if container.restart() != RestartPolicy::No {
            client.set_restart(id, RestartPolicy::No).await?;
            cx.check()?;
        }
        if is_named {
            client.rename(id, &parked).await?;
            cx.check()?;
        }
        Ok(told)
    }

    /// Drains and stops it. What is drained may end by that: dockerd is not to start it again. One that
    /// cannot be stopped is live still, and gets its policy back.
    async fn end(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        container: &Container,
    ) -> Result<Option<String>, BackendError> {
        let (id, policy) = (&container.summary.id, container.restart());
        let drains = self.config.swap.drain.is_some();
        let is_held = drains && policy != RestartPolicy::No && !container.removes_itself();
        if is_held {
            client.set_restart(id, RestartPolicy::No).await?;
        }
        let ended = async {
            let told = self.drain(cx, client, op, container).await;
            cx.check()?;
            if drains {
                // That took its time: somebody may have taken the workload over meanwhile.
                self.refuse_late(cx, client).await?;
            }
            cx.say("stopping the former container");
            client.stop(container).await?;
            cx.check()?;
            Ok(told)
        };
        let ended = ended.await;
        if ended.is_err()
            && is_held
            && let Err(e) = client.set_restart(id, policy).await
        {
            tracing::warn!(container = %id, error = %Chain::of(&e), "its restart policy stays off");
        }
        ended
    }

    /// Says what a person should know, in one line, and no error is made of.
    pub(crate) fn tell(&self, cx: &Context, told: Vec<String>) {
        if told.is_empty() {
            return;
        }
        let told = told.join("; ");
        let told = Vec::from_iter(told.lines().map(str::trim)).join(" ");
        tracing::warn!(workload = %self.config.workload, "{told}");
        cx.say(told);
    }
}

/// Whether a container that is in the way may be put aside.
fn knows(cx: &Context, op: &Operation, container: &Summary) -> Result<bool, BackendError> {
    let handle = container.handle();
    let named = [&op.from, &op.to]
        .iter()
        .any(|end| end.instance().is_some_and(|i| i.handle == handle));
    if named || container.is_made_by(&op.deployment) {
        return Ok(true);
    }
    if container.ours.is_none() {
        return Ok(false);
    }
    cx.may_publish(container.fence())?;
    Ok(match (cx.fence(), container.fence()) {
        (Some(own), Some(its)) => own.history == its.history,
        (own, its) => own.is_none() && its.is_none(),
    })
}

/// What somebody else has put in the way.
pub(crate) fn stranger(container: &Summary) -> BackendError {
    let what = match &container.ours {
        Some(marks) => format!(
            "a container runs that this deployment does not know: {} made it",
            marks.deployment
        ),
        None => "another container has taken the live name since".to_owned(),
    };
    BackendError::new(BackendErrorKind::Conflict, what)
        .on(format!("{} ({})", container.name, container.id))
        .advice("adopt it, stop it, or rename it")
        .transient(false)
}
