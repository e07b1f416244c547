//! [`Client`]: dockerd's API, as far as this crate needs it.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::models::{ContainerCreateBody, ContainerUpdateBody, ImageInspect, RestartPolicy};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, InspectContainerOptions,
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder, RenameContainerOptionsBuilder,
    StartContainerOptions, StopContainerOptionsBuilder, TagImageOptionsBuilder,
};
use futures_util::StreamExt;
use rollback_core::backend::Handle;
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};

use crate::config::DockerConfig;
use crate::container::{self, Container, HANDLE, WORKLOAD};
use crate::error;

/// Longest answer that is waited for, a stop's own timeout aside.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How long a name or a port may stay busy after it was freed.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(150);
/// Most log that is read, in bytes.
const MAX_LOG: usize = 16 * 1024;

/// One connection, its API version agreed on with the daemon.
#[derive(Debug)]
pub(crate) struct Client {
    docker: Docker,
    workload: String,
    live_name: String,
    credentials: Option<DockerCredentials>,
}

impl Client {
    pub(crate) async fn connect(config: &DockerConfig) -> Result<Self, BackendError> {
        let fail = |e| error::docker("cannot connect", config.socket.display(), e).untouched();
        let path = config.socket.to_string_lossy();
        let docker =
            Docker::connect_with_unix(&path, TIMEOUT.as_secs(), bollard::API_DEFAULT_VERSION)
                .map_err(fail)?
                .negotiate_version()
                .await
                .map_err(fail)?;
        let credentials = config.credentials.as_ref();
        Ok(Self {
            docker,
            workload: config.workload.to_string(),
            live_name: config.container.clone(),
            credentials: credentials.map(|(user, password)| DockerCredentials {
                username: Some(user.clone()),
                password: Some(password.0.clone()),
                ..Default::default()
            }),
        })
    }

    /// The container of this id or name; `None` if there is none.
    pub(crate) async fn inspect(&self, id: &str) -> Result<Option<Container>, BackendError> {
        let answer = self
            .docker
            .inspect_container(id, None::<InspectContainerOptions>)
            .await;
        match answer {
            Ok(inspect) => Container::new(&self.workload, inspect)
                .ok_or_else(|| {
                    BackendError::new(
                        BackendErrorKind::Unsupported,
                        "dockerd's answer lacks an id, an image or a name",
                    )
                    .on(id)
                })
                .map(Some),
            Err(e) if error::status(&e) == Some(404) => Ok(None),
            Err(e) => Err(error::docker("cannot inspect the container", id, e)),
        }
    }

    /// The container of a recorded handle. What is not an id cannot be one of dockerd's.
    pub(crate) async fn of(&self, handle: &Handle) -> Result<Option<Container>, BackendError> {
        let id = handle.as_str();
        if !container::is_id(id) {
            return Ok(None);
        }
        let mut all = self.labelled(&format!("{HANDLE}={id}")).await?;
        all.extend(self.inspect(id).await?);
        all.retain(|c| c.handle() == *handle);
        Ok(all.into_iter().min_by_key(|c| c.claim(&self.live_name)))
    }

    /// The containers that this crate made for the workload, oldest first.
    pub(crate) async fn ours(&self) -> Result<Vec<Container>, BackendError> {
        let all = self
            .labelled(&format!("{WORKLOAD}={}", self.workload))
            .await?;
        let leftover = |c: &Container| {
            let others = all.iter().filter(|o| o.handle() == c.handle());
            let best = others.min_by_key(|o| o.claim(&self.live_name));
            best.is_some_and(|best| best.id != c.id)
        };
        let marked = |c: &Container| Container {
            leftover: leftover(c),
            ..c.clone()
        };
        Ok(all.iter().map(marked).collect())
    }

    /// Those of our containers that have this label, oldest first.
    async fn labelled(&self, label: &str) -> Result<Vec<Container>, BackendError> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let mut listed = self
            .docker
            .list_containers(Some(options))
            .await
            .map_err(|e| error::docker("cannot list the containers", &self.workload, e))?;
        listed.sort_by_key(|c| c.created);
        let mut out = Vec::new();
        for id in listed.into_iter().filter_map(|c| c.id) {
            // Gone since it was listed: then it is not there.
            out.extend(self.inspect(&id).await?.filter(|c| c.ours.is_some()));
        }
        Ok(out)
    }

    /// The local image of this name, digest or id.
    pub(crate) async fn image(&self, name: &str) -> Result<Option<ImageInspect>, BackendError> {
        match self.docker.inspect_image(name).await {
            Ok(image) => Ok(Some(image)),
            Err(e) if error::status(&e) == Some(404) => Ok(None),
            Err(e) => Err(error::docker("cannot inspect the image", name, e)),
        }
    }

    /// The manifest digest that the registry has for a name now.
    pub(crate) async fn remote(&self, cx: &Context, name: &str) -> Result<String, BackendError> {
        let ask = self
            .docker
            .inspect_registry_image(name, self.credentials.clone());
        let answer = tokio::select! {
            answer = tokio::time::timeout(cx.remaining(), ask) => answer,
            () = cx.cancellation().cancelled() => return Err(stopped(cx)),
        };
        let found = answer
            .map_err(|_| stopped(cx))?
            .map_err(|e| error::registry("the registry does not give the image", name, e))?;
        found.descriptor.digest.ok_or_else(|| {
            BackendError::new(BackendErrorKind::Corrupt, "the registry gave no digest").on(name)
        })
    }

    /// Pulls by digest. Errors come inside the stream.
    pub(crate) async fn pull(&self, cx: &Context, name: &str) -> Result<(), BackendError> {
        let options = CreateImageOptionsBuilder::default()
            .from_image(name)
            .build();
        let mut stream = self
            .docker
            .create_image(Some(options), None, self.credentials.clone());
        let fail = |e| error::registry("the image cannot be pulled", name, e);
        loop {
            // Dropping the stream ends the pull at the daemon, too.
            let next = tokio::select! {
                next = tokio::time::timeout(cx.remaining(), stream.next()) => next,
                () = cx.cancellation().cancelled() => return Err(stopped(cx)),
            };
            match next.map_err(|_| stopped(cx))? {
                None => return Ok(()),
                Some(Err(e)) => return Err(fail(e)),
                Some(Ok(info)) => {
                    if let Some(text) = info.error_detail.and_then(|d| d.message) {
                        return Err(fail(bollard::errors::Error::DockerStreamError {
                            error: text,
                        }));
                    }
                    if let Some(status) = info.status {
                        cx.say(format!("pulling: {status}"));
                    }
                }
            }
        }
    }

    /// Makes a container; the id.
    pub(crate) async fn create(
        &self,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<String, BackendError> {
        for _ in 0..BUSY_TRIES {
            let options = CreateContainerOptionsBuilder::default().name(name).build();
            match self
                .docker
                .create_container(Some(options), body.clone())
                .await
            {
                Ok(made) => return Ok(made.id),
                Err(e) if self.is_ghost(&e, name).await? => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(e) => return Err(error::docker("cannot create the container", name, e)),
            }
        }
        Err(busy(name))
    }

    pub(crate) async fn rename(&self, id: &str, name: &str) -> Result<(), BackendError> {
        for _ in 0..BUSY_TRIES {
            let options = RenameContainerOptionsBuilder::default().name(name).build();
            match self.docker.rename_container(id, options).await {
                Ok(()) => return Ok(()),
                Err(e) if self.is_ghost(&e, name).await? => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(e) => return Err(error::docker("cannot rename the container", name, e)),
            }
        }
        Err(busy(name))
    }

    /// Whether a name is taken by a container that is gone, or is going by itself.
    async fn is_ghost(&self, e: &bollard::errors::Error, name: &str) -> Result<bool, BackendError> {
        if error::status(e) != Some(409) {
            return Ok(false);
        }
        let holder = self.inspect(name).await?;
        Ok(holder.is_none_or(|c| !c.is_sound() || (c.removes_itself() && !c.is_up())))
    }

    pub(crate) async fn set_restart(
        &self,
        id: &str,
        policy: RestartPolicy,
    ) -> Result<(), BackendError> {
        let body = ContainerUpdateBody {
            restart_policy: Some(policy),
            ..Default::default()
        };
        let fail = |e| error::docker("cannot set the restart policy", id, e);
        self.docker.update_container(id, body).await.map_err(fail)
    }

    /// Starts it. A port that its former holder has not freed yet is waited for.
    pub(crate) async fn start(&self, id: &str) -> Result<(), BackendError> {
        let mut tried = 0;
        loop {
            let answer = self
                .docker
                .start_container(id, None::<StartContainerOptions>)
                .await;
            match answer {
                Ok(()) => return Ok(()),
                Err(e) if error::is_port_busy(&e) && tried < BUSY_TRIES => {
                    tried += 1;
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(e) => return Err(error::docker("cannot start the container", id, e)),
            }
        }
    }

    /// Stops it, within its own stop timeout.
    pub(crate) async fn stop(&self, container: &Container) -> Result<(), BackendError> {
        // The client has to be more patient than the container may be slow.
        let patience = Duration::from_secs(container.stop_timeout()) + TIMEOUT;
        let docker = self.docker.clone().with_timeout(patience);
        let options = StopContainerOptionsBuilder::default().build();
        match docker.stop_container(&container.id, Some(options)).await {
            Ok(()) => Ok(()),
            Err(e) if matches!(error::status(&e), Some(304 | 404)) => Ok(()),
            Err(e) => Err(error::docker("cannot stop the container", &container.id, e)),
        }
    }

    /// Removes a stopped container. Its volumes stay: they are data.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), BackendError> {
        let options = RemoveContainerOptionsBuilder::default().build();
        match self.docker.remove_container(id, Some(options)).await {
            Ok(()) => Ok(()),
            Err(e) if error::status(&e) == Some(404) => Ok(()),
            Err(e) => Err(error::docker("cannot remove the container", id, e)),
        }
    }

    /// Removes what is left of a recreation, if dockerd lets it go: it harms nobody, so that it
    /// does not is no reason to stop.
    pub(crate) async fn drop_leftover(&self, container: &Container) {
        if let Err(e) = self.remove(&container.id).await {
            tracing::warn!(container = %container.name, error = %e, "a leftover stays");
        }
    }

    pub(crate) async fn tag(
        &self,
        image: &str,
        repository: &str,
        tag: &str,
    ) -> Result<(), BackendError> {
        let options = TagImageOptionsBuilder::default()
            .repo(repository)
            .tag(tag)
            .build();
        let fail = |e| error::docker("cannot pin the image", image, e);
        self.docker
            .tag_image(image, Some(options))
            .await
            .map_err(fail)
    }

    /// Removes one name of an image; the image itself goes only if nothing else holds it.
    pub(crate) async fn untag(&self, name: &str) -> Result<(), BackendError> {
        let options = RemoveImageOptionsBuilder::default().build();
        match self.docker.remove_image(name, Some(options), None).await {
            Ok(_) => Ok(()),
            // A container still needs it, or it is gone already.
            Err(e) if matches!(error::status(&e), Some(404 | 409)) => Ok(()),
            Err(e) => Err(error::docker("cannot unpin the image", name, e)),
        }
    }

    /// The tags in a repository, each with its image's id.
    pub(crate) async fn tags(
        &self,
        repository: &str,
    ) -> Result<Vec<(String, String)>, BackendError> {
        let filters = HashMap::from([("reference", vec![repository])]);
        let options = ListImagesOptionsBuilder::default()
            .filters(&filters)
            .build();
        let images = self
            .docker
            .list_images(Some(options))
            .await
            .map_err(|e| error::docker("cannot list the images", repository, e))?;
        let prefix = format!("{repository}:");
        Ok(images
            .into_iter()
            .flat_map(|i| {
                let id = i.id;
                i.repo_tags.into_iter().map(move |tag| (tag, id.clone()))
            })
            .filter(|(tag, _)| tag.starts_with(&prefix))
            .collect())
    }

    /// The last lines that a container wrote. Best effort: no log is no error.
    pub(crate) async fn log_tail(&self, id: &str, lines: u32) -> String {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let mut stream = self.docker.logs(id, Some(options));
        let mut text = String::new();
        while let Some(Ok(chunk)) = stream.next().await {
            text.push_str(&chunk.to_string());
            if text.len() > MAX_LOG {
                let mut cut = text.len() - MAX_LOG;
                while !text.is_char_boundary(cut) {
                    cut += 1;
                }
                text.drain(..cut);
            }
        }
        text
    }
}

fn busy(name: &str) -> BackendError {
    BackendError::new(
        BackendErrorKind::Conflict,
        "the name of a removed container is still taken",
    )
    .on(name)
    .advice("try again; if it stays, restart dockerd")
    .transient(true)
}

fn stopped(cx: &Context) -> BackendError {
    match cx.check() {
        Err(e) => e,
        Ok(()) => BackendError::new(
            BackendErrorKind::DeadlineExceeded,
            "the deadline passed before the registry answered",
        ),
    }
}
