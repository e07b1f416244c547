//! What a container wears of [`LiveLabels`](crate::LiveLabels): put on before it goes live, put away
//! once it stands by.
//!
//! The other body of a container has the same handle. Before it goes live, the one that wears the labels
//! gets the better claim to it by the names of both, as a recreation does; once it stands by, the one
//! that does not. So a step that was cut off leaves one container that has the handle, and the next
//! look sees how far it got.

use std::collections::BTreeMap;
use std::sync::Arc;

use rollback_core::backend::Operation;
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind, Chain};
use rollback_core::release::Release;

use crate::anew::Anew;
use crate::backend::DockerBackend;
use crate::client::Client;
use crate::container::Container;
use crate::inventory::Inventory;
use crate::live_labels::{Configured, LiveLabels, NewContainer, Wear, Worn, has_all};
use crate::marks::Marks;
use crate::reference::Reference;
use crate::settings::CONTAINER;
use crate::summary::Summary;

impl DockerBackend {
    /// What a new container of a release, whose image is here, wears.
    pub(crate) async fn wear(
        &self,
        cx: &Context,
        client: &Client,
        release: &Release,
        image: &str,
    ) -> Result<Option<Wear>, BackendError> {
        let Some(live) = &self.config.live_labels else {
            return Ok(None);
        };
        self.name_image(client, release, image).await?;
        self.provide(cx, client, live.as_ref(), release).await?;
        let labels = self.given(cx, live.as_ref(), release, image).await?;
        Ok(Some(Wear::On(Worn {
            prefix: live.prefix().to_owned(),
            labels,
        })))
    }

    async fn given(
        &self,
        cx: &Context,
        live: &dyn LiveLabels,
        release: &Release,
        image: &str,
    ) -> Result<BTreeMap<String, String>, BackendError> {
        let bare = self.bare(release.artifact().clone());
        let today = self
            .config
            .wanted
            .today(CONTAINER, &bare, None, &self.key().await?);
        let configured = match today.facets() == release.facets() {
            true => Configured::Today,
            false => Configured::Otherwise,
        };
        let made = NewContainer {
            release,
            image,
            configured,
        };
        let labels = live.labels(cx, &made).await?;
        cx.check()?;
        Ok(labels)
    }

    /// What a container has on.
    pub(crate) fn worn_by(container: &Container) -> Option<Worn> {
        let marks = container.summary.ours.as_ref()?;
        Some(Worn::of(container, marks.wears.as_deref()?))
    }

    /// The container, with the labels on that it goes live with.
    pub(crate) async fn dressed(
        &self,
        cx: &Context,
        client: &Client,
        old: Arc<Container>,
        release: &Release,
    ) -> Result<Arc<Container>, BackendError> {
        let summary = &old.summary;
        let Some(live) = &self.config.live_labels else {
            return Ok(old);
        };
        let (Some(marks), Some(anew), Some(aside)) =
            (&summary.ours, summary.anew_name(), summary.broken_name())
        else {
            return Ok(old);
        };
        let is_live = summary.is_up() || summary.name == self.config.container;
        if summary.wears() || is_live {
            return Ok(old);
        }
        self.sweep(client, &summary.handle()).await?;
        if summary.name == anew {
            client.rename(&summary.id, &aside).await?;
        }
        self.name_image(client, release, &summary.image).await?;
        let mut worn = Worn::of(&old, live.prefix());
        if worn.labels.is_empty() {
            let given = self.given(cx, live.as_ref(), release, &summary.image);
            worn.labels = given.await?;
        }
        cx.check()?;
        let anew = Anew {
            old: &old,
            name: &anew,
            marks: Marks {
                release: release.clone(),
                fence: cx.fence().or(marks.fence.as_ref()).cloned(),
                ..marks.clone()
            },
            wear: Some(Wear::On(worn)),
        };
        let new = self.make_anew(cx, client, anew).await?;
        // From here on the new one has the handle.
        if summary.name != aside {
            client.rename(&summary.id, &aside).await?;
        }
        Ok(Arc::new(new))
    }

    /// Puts the labels away of whatever wears them and stands by, and says which image the live
    /// container's name means.
    ///
    /// That it cannot be done for one is no reason to stop: what is live runs, and the next deployment
    /// tries again.
    pub(crate) async fn undress_all(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
    ) -> Result<(), BackendError> {
        let Some(live) = &self.config.live_labels else {
            return Ok(());
        };
        let inventory = Inventory::take(client).await?;
        let mut all = Vec::new();
        for container in inventory.ours().iter().filter(|c| c.wears()) {
            all.extend(inventory.container(&container.id).await?);
        }
        // What the tool has made is in no list of ours.
        if let Some(from) = op.from.instance()
            && let Some(made) = client.inspect(from.handle.as_str()).await?
            && made.summary.ours.is_none()
            && has_all(&made, &live.counted_by())
        {
            all.push(Arc::new(made));
        }
        all.retain(|c| !c.summary.is_up() && c.summary.name != self.config.container);
        for container in &all {
            cx.check()?;
            match self.undress(cx, client, op, container, live.prefix()).await {
                Ok(()) => {}
                Err(e) if must_go_on(&e) => return Err(e),
                Err(e) => {
                    let name = &container.summary.name;
                    tracing::warn!(container = %name, error = %Chain::of(&e), "it keeps its labels");
                    cx.say(format!("{name} keeps the labels of what is live: {e}"));
                }
            }
        }
        match (op.to.release(), inventory.at(&op.to).await?) {
            (Some(release), Some(to)) => self.name_image(client, release, &to.summary.image).await,
            _ => Ok(()),
        }
    }

    async fn undress(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        old: &Arc<Container>,
        prefix: &str,
    ) -> Result<(), BackendError> {
        let summary = &old.summary;
        let marks = match &summary.ours {
            Some(marks) => marks.clone(),
            // As it was recorded: its restart policy is off by now.
            None => Marks {
                deployment: op.deployment.to_string(),
                release: match op.from.release() {
                    Some(release) => release.clone(),
                    None => return Ok(()),
                },
                park: summary.parked(&self.config.container),
                stands_for: None,
                fence: None,
                wears: None,
            },
        };
        let elsewhere = match (cx.fence(), &marks.fence) {
            (Some(own), Some(its)) => own.history != its.history,
            _ => false,
        };
        if elsewhere {
            return Ok(());
        }
        let park = marks.park.clone();
        let inventory = Inventory::take(client).await?;
        let is_other = |c: &&Summary| {
            c.handle() == summary.handle() && c.id != summary.id && c.is_sound() && !c.wears()
        };
        let made = inventory.ours().iter().find(is_other);
        let (bare, name) = match made {
            Some(made) => (made.id.clone(), made.name.clone()),
            None => {
                let name = format!("{park}-bare");
                let anew = Anew {
                    old,
                    name: &name,
                    marks: Marks {
                        fence: cx.fence().or(marks.fence.as_ref()).cloned(),
                        ..marks
                    },
                    wear: Some(Wear::Away(Worn::of(old, prefix))),
                };
                let made = self.make_anew(cx, client, anew).await?;
                (made.summary.id, name)
            }
        };
        cx.check()?;
        client.remove(&summary.id).await?;
        if name != park {
            client.rename(&bare, &park).await?;
        }
        Ok(())
    }

    /// Lets the name by which a release was asked for mean its image at this daemon, as it would if the
    /// tool had pulled it: it looks there for what the live container should be made of. An image that
    /// was built here and has no other name keeps it.
    pub(crate) async fn name_image(
        &self,
        client: &Client,
        release: &Release,
        image: &str,
    ) -> Result<(), BackendError> {
        if self.config.live_labels.is_none() {
            return Ok(());
        }
        let reference = Reference::parse(&release.artifact().reference);
        let Ok(Reference::Tag { repository, tag }) = reference else {
            return Ok(());
        };
        if let Some(now) = client.image(&format!("{repository}:{tag}")).await? {
            let pulled = now.repo_digests.iter().flatten().next().is_some();
            if now.id.as_deref() == Some(image) || !pulled {
                return Ok(());
            }
        }
        client.tag(image, &repository, &tag).await.map(drop)
    }
}

/// What is no reason to let it be: whoever goes on meets the same.
fn must_go_on(e: &BackendError) -> bool {
    matches!(
        e.kind(),
        Kind::Unreachable | Kind::Cancelled | Kind::DeadlineExceeded | Kind::Fenced
    )
}
