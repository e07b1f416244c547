//! [`RecreateContainer`]: the live container, made anew.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::backend::{Instance, Operation};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind, Chain, HookError};
use rollback_core::guard::Remediation;

use crate::anew::Anew;
use crate::backend::{DockerBackend, refuse_swarm};
use crate::client::Client;
use crate::container::Container;
use crate::inventory::Inventory;
use crate::live_labels::Wear;
use crate::marks::Marks;
use crate::summary::Summary;

/// What has to be left of the deadline besides the container's own time to stop.
const MARGIN: Duration = Duration::from_secs(5);

/// Heals what a restart does not: a damaged file in the container's own layer, a wrong network
/// endpoint, limits that somebody changed. The container is made anew from the same image and the
/// recorded configuration, takes the live name and the recorded handle, and the broken one is
/// removed.
///
/// - **Kept**: the handle, so that record, drift and the way back hold; directories of the host,
///   named volumes, and anonymous volumes, which are mounted again by their names.
/// - **Lost**: what was written to the container's own layer, its log, networks that it was
///   connected to by hand, and its id. dockerd gives every container a new id: the record's handle
///   stays the first one's, the new one bears it as the label `rollback.handle`.
/// - **Refused**, with nothing touched: a container that is not the recorded one; a task of a Swarm
///   service; one that was made by hand, since this crate removes none of those; one whose recorded values nobody has, or with
///   a volume that cannot be mounted again; a deadline that leaves too little time to stop it.
///
/// The new one is made while the broken one runs on. If it cannot take its place, the broken one
/// is put back. A recreation that was cut off leaves one container that has the handle, and
/// switching to it, or trying again, finishes it.
#[derive(Debug, Clone)]
pub struct RecreateContainer {
    backend: Arc<DockerBackend>,
}

impl RecreateContainer {
    /// Recreates this backend's live container. The backend is shared with the workload:
    /// `Workload::new(Arc::clone(&backend))`.
    pub fn new(backend: Arc<DockerBackend>) -> Self {
        Self { backend }
    }

    async fn recreate(&self, cx: &Context, op: &Operation) -> Result<String, BackendError> {
        let untouched = BackendError::untouched;
        cx.check().map_err(untouched)?;
        let client = &self.backend.client().await.map_err(untouched)?;
        let (instance, old) = self.recorded(client, op).await.map_err(untouched)?;
        if Some(&old.summary.name) == old.summary.anew_name().as_ref() {
            self.backend.swap(cx, op).await?;
            self.backend.sweep(client, &instance.handle).await?;
            return Ok(format!(
                "finished what was cut off: container {} is live",
                old.summary.short_id()
            ));
        }
        self.backend.myself.spare(&old.summary).map_err(untouched)?;
        refuse_haste(cx, &old).map_err(untouched)?;
        let new = self.anew(cx, client, instance, &old).await;
        let new = new.map_err(untouched)?;
        // Making it may have taken its time.
        refuse_haste(cx, &old).map_err(untouched)?;
        cx.check().map_err(untouched)?;
        let cx = &self.backend.while_stopping(cx, std::slice::from_ref(&old));
        match self.replace(cx, client, op, &old).await {
            Ok(()) => {}
            // Told to stop: whoever goes on, or back, finds the handle's container.
            Err(e) if matches!(e.kind(), Kind::Cancelled | Kind::DeadlineExceeded) => {
                return Err(e.advice(
                    "the recreation was cut off: try again, or recover, and it is finished",
                ));
            }
            Err(e) => return Err(self.put_back(cx, client, op, [&old, &new], e).await),
        }
        self.backend.sweep(client, &instance.handle).await?;
        Ok(format!(
            "made container {} anew as {}",
            old.summary.short_id(),
            new.summary.short_id()
        ))
    }

    /// The container of the operation's end, if it is the live one, or was until a recreation was
    /// cut off.
    async fn recorded<'a>(
        &self,
        client: &Client,
        op: &'a Operation,
    ) -> Result<(&'a Instance, Arc<Container>), BackendError> {
        let name = &self.backend.config.container;
        let other = || {
            BackendError::new(
                Kind::Conflict,
                "the container of this deployment is not the live one",
            )
            .on(name)
            .transient(false)
        };
        let instance = op.to.instance().ok_or_else(other)?;
        let inventory = Inventory::take(client).await?;
        let container = inventory.of(&instance.handle).await?.ok_or_else(other)?;
        let found = &container.summary;
        if found.name != *name {
            let own = [found.anew_name(), found.broken_name()];
            let cut_off = own.iter().flatten().any(|n| *n == found.name);
            let taken = inventory.named().await?.is_some();
            let mut ours = inventory.ours().iter();
            if !cut_off || taken || ours.any(|c| c.is_up() && c.handle() != instance.handle) {
                return Err(other());
            }
        }
        refuse_swarm(&container)?;
        if found.ours.is_none() {
            return Err(BackendError::new(
                Kind::Unsupported,
                "the live container was made by hand: it may have what no record knows, and is \
                 not removed",
            )
            .on(name)
            .advice("restart it, or deploy its image: what a deployment made can be made anew"));
        }
        Ok((instance, container))
    }

    /// Makes the container that shall take the old one's place. It is not started.
    async fn anew(
        &self,
        cx: &Context,
        client: &Client,
        instance: &Instance,
        old: &Arc<Container>,
    ) -> Result<Container, BackendError> {
        let summary = &old.summary;
        let (Some(marks), Some(name)) = (&summary.ours, summary.anew_name()) else {
            return Err(BackendError::new(Kind::Failed, "it has no labels").on(&summary.id));
        };
        // What an earlier attempt left has the name that is needed here.
        self.backend.sweep(client, &instance.handle).await?;
        let marks = Marks {
            release: instance.release.clone(),
            fence: cx.fence().or(marks.fence.as_ref()).cloned(),
            ..marks.clone()
        };
        cx.say("creating the container anew");
        let anew = Anew {
            old,
            name: &name,
            marks,
            wear: DockerBackend::worn_by(old).map(Wear::On),
        };
        self.backend.make_anew(cx, client, anew).await
    }

    /// The broken one gives up its name first: from when it has stopped, nothing is live and the
    /// new one has the handle, so that recovery switches to it. The rest is that very switch.
    async fn replace(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        old: &Container,
    ) -> Result<(), BackendError> {
        let Summary { id, name, .. } = &old.summary;
        let aside = old.summary.broken_name().unwrap_or_default();
        if *name != aside {
            client.rename(id, &aside).await?;
            cx.check()?;
        }
        if let Some(old) = client.inspect(id).await? {
            let told = self.backend.put_aside(cx, client, op, &old).await?;
            self.backend.tell(cx, told.into_iter().collect());
        }
        self.backend.swap(cx, op).await?;
        cx.check()
    }

    /// What is sick is better than nothing: without the new one the broken one has the handle
    /// again, and is switched to.
    async fn put_back(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        [old, new]: [&Container; 2],
        why: BackendError,
    ) -> BackendError {
        let back = async {
            if client
                .inspect(&new.summary.id)
                .await?
                .is_some_and(|new| new.summary.is_up())
            {
                return Ok("it runs all the same");
            }
            // Somebody may have removed it: then the new one is all there is.
            if client.inspect(&old.summary.id).await?.is_some() {
                client.remove(&new.summary.id).await?;
            }
            self.backend.swap(cx, op).await?;
            Ok("what was live runs again")
        };
        let back: Result<&str, BackendError> = back.await;
        let text = match back {
            Ok(what) => what.to_owned(),
            Err(e) => format!("what was live could not be put back, {}", Chain::of(&e)),
        };
        BackendError::new(
            why.kind(),
            format!("the new container could not take the live one's place, and {text}"),
        )
        .on(&self.backend.config.container)
        .because(why)
    }
}

/// A deadline that passes between stop and start would leave nothing running.
fn refuse_haste(cx: &Context, old: &Container) -> Result<(), BackendError> {
    let needed = Duration::from_secs(old.stop_timeout()) + MARGIN;
    if cx.remaining() >= needed {
        return Ok(());
    }
    Err(BackendError::new(
        Kind::DeadlineExceeded,
        format!(
            "{} s are left, and stopping the container and making it anew may take {} s",
            cx.remaining().as_secs(),
            needed.as_secs()
        ),
    )
    .on(&old.summary.name)
    .advice("give tasks a longer deadline, or the container a shorter time to stop"))
}

#[async_trait]
impl Remediation for RecreateContainer {
    fn name(&self) -> String {
        format!("recreate {}", self.backend.config.container)
    }

    async fn attempt(&self, cx: &Context, op: &Operation, _: &str) -> Result<String, HookError> {
        Box::pin(self.recreate(cx, op))
            .await
            .map_err(HookError::from)
    }

    // What it asks of the platform ends by itself.
    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}
