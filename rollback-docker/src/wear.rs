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
use crate::naming::Naming;
use crate::settings::CONTAINER;
use crate::summary::Summary;

impl DockerBackend {
    /// What a new container of a release, whose image is here, wears, and the name that its image is
    /// given for it.
    pub(crate) async fn wear(
        &self,
        cx: &Context,
        client: &Client,
        inventory: &Inventory<'_>,
        release: &Release,
        image: &str,
    ) -> Result<(Option<Wear>, Option<String>), BackendError> {
        let Some(live) = &self.config.live_labels else {
            return Ok((None, None));
        };
        self.provide(cx, client, live.as_ref(), release).await?;
        let naming = Naming::of(client, release, image).await?;
        let asked = self.given(cx, client, live.as_ref(), (release, image), &naming);
        let worn = Wear::On(Worn {
            prefix: live.prefix().to_owned(),
            labels: asked.await?,
        });
        Ok((Some(worn), naming.given(inventory, release)))
    }

    /// The labels for a new container of a release and an image. What the tool says follows from what the
    /// name means while it is asked.
    async fn given(
        &self,
        cx: &Context,
        client: &Client,
        live: &dyn LiveLabels,
        (release, image): (&Release, &str),
        naming: &Naming,
    ) -> Result<BTreeMap<String, String>, BackendError> {
        let bare = self.bare(release.artifact().clone());
        let today = self
            .config
            .wanted
            .today(CONTAINER, &bare, None, &self.key().await?);
        let configured = match today.facets() == release.facets() && naming.is_true() {
            true => Configured::Today,
            false => Configured::Otherwise,
        };
        let made = NewContainer {
            release,
            image,
            configured,
        };
        naming.give(client, image).await?;
        let labels = live.labels(cx, &made).await;
        naming.put_back(client).await?;
        let labels = labels?;
        let prefix = live.prefix();
        if let Some(other) = labels.keys().find(|name| !name.starts_with(prefix)) {
            let what = "a label for the live container does not begin as they all do";
            return Err(BackendError::new(Kind::InvalidReference, what)
                .on(other)
                .advice(format!("begin it with {prefix}")));
        }
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
        // `down` has removed what it needs.
        self.provide(cx, client, live.as_ref(), release).await?;
        self.sweep(client, &summary.handle()).await?;
        if summary.name == anew {
            client.rename(&summary.id, &aside).await?;
        }
        let mut worn = Worn::of(&old, live.prefix());
        if worn.labels.is_empty() {
            let naming = Naming::of(client, release, &summary.image).await?;
            let of = (release, summary.image.as_str());
            let given = self.given(cx, client, live.as_ref(), of, &naming);
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
        // What a later deployment has made it is about to need.
        all.retain(|c| {
            let rests = !c.summary.is_up() && c.summary.name != self.config.container;
            rests && cx.may_publish(c.summary.fence()).is_ok()
        });
        let to = inventory.at(&op.to).await?;
        for container in &all {
            cx.check()?;
            // One that has published since needs them as they are.
            let image = to.as_ref().unwrap_or(container).summary.image.as_str();
            self.claim(cx, client, Some(image)).await?;
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
        match (op.to.release(), to) {
            (Some(release), Some(to)) => {
                self.refuse_late(cx, client).await?;
                self.name_image(client, release, &to.summary.image).await
            }
            _ => Ok(()),
        }
    }

    /// Refuses a container of the tool's that could not be made anew without its labels once it is
    /// replaced.
    pub(crate) async fn refuse_stuck(
        &self,
        from: &Arc<Container>,
        release: &Release,
    ) -> Result<(), BackendError> {
        match &self.config.live_labels {
            Some(live) if from.summary.ours.is_none() && has_all(from, &live.counted_by()) => {
                self.blueprint_anew(from, release).await.map(drop)
            }
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
                gave: None,
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
}

/// What is no reason to let it be: whoever goes on meets the same.
fn must_go_on(e: &BackendError) -> bool {
    matches!(
        e.kind(),
        Kind::Unreachable | Kind::Cancelled | Kind::DeadlineExceeded | Kind::Fenced
    )
}
