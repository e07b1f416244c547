//! [`Client`]: dockerd's API, as far as this crate needs it.

use std::fmt::Display;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerUpdateBody, SystemVersion,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, RemoveContainerOptionsBuilder,
    RenameContainerOptionsBuilder, RestartContainerOptions, StartContainerOptions,
    StopContainerOptionsBuilder,
};
use bollard::{ClientVersion, Docker};
use rollback_core::error::{BackendError, BackendErrorKind, Chain};

use serde::Serialize;

use crate::connection::Daemon;
use crate::container::Container;
use crate::credentials::Logins;
use crate::dependents::Alone;
use crate::endpoint::Dialer;
use crate::error;
use crate::platform::Platform;
use crate::raw;
use crate::restart::RestartPolicy;
use crate::secrets;
use crate::summary::Summary;

/// Longest answer that is waited for, a stop's own timeout aside.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How long a name or a port may stay busy after it was freed.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(150);
/// The first API version in which a hardware address is an endpoint's, and no container's.
const CHOSEN_MACS: ClientVersion = ClientVersion {
    major_version: 1,
    minor_version: 44,
};

/// A daemon, and the API version agreed on with it. Each request has a connection of its own, which a
/// Unix socket gives at once, and others soon: one that is kept might be gone with the daemon just when
/// a request that must not be made twice is on it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) docker: Docker,
    pub(crate) credentials: Logins,
    /// What the daemon runs, if it says so.
    pub(crate) engine: Option<Platform>,
    pub(crate) workload: String,
    pub(crate) live_name: String,
    dialer: Dialer,
    pub(crate) alone: Mutex<Alone>,
    /// Whether the daemon was away: what comes back may be another version.
    lost: AtomicBool,
}

impl Client {
    pub(crate) async fn connect(daemon: &Daemon) -> Result<Self, BackendError> {
        let fail = |e| error::docker("cannot connect", &daemon.endpoint, e).untouched();
        let dialer = Dialer::to(&daemon.endpoint).await?;
        let speaking =
            |version: &ClientVersion| dialer.docker(TIMEOUT.as_secs(), version).map_err(fail);
        let newest = speaking(bollard::API_DEFAULT_VERSION)?;
        // One question for both: which versions it speaks, and which machine it is.
        let daemon_is = newest.version().await.map_err(fail)?;
        let docker = match api_version(&daemon_is)? {
            spoken if spoken < *bollard::API_DEFAULT_VERSION => speaking(&spoken)?,
            _ => newest,
        };
        Ok(Self {
            docker,
            engine: Platform::of_engine(&daemon_is),
            credentials: daemon.credentials.clone(),
            workload: daemon.workload.clone(),
            live_name: daemon.live_name.clone(),
            dialer,
            alone: Mutex::default(),
            lost: AtomicBool::new(false),
        })
    }

    /// The daemon's socket, if it is on this host.
    pub(crate) fn local_socket(&self) -> Option<&Path> {
        self.dialer.socket()
    }

    /// Whether the daemon is on this host.
    pub(crate) fn is_on_this_host(&self) -> bool {
        self.local_socket().is_some()
    }

    /// Whether a hardware address can be chosen in each network, and not of the whole container alone.
    pub(crate) fn chooses_macs(&self) -> bool {
        self.docker.client_version() >= CHOSEN_MACS
    }

    /// Whether another one should be made before anything else is asked.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// The error of a request. One that shows that the daemon was away ends what was agreed on.
    pub(crate) fn failed(
        &self,
        what: &str,
        subject: impl Display,
        e: bollard::errors::Error,
    ) -> BackendError {
        if error::is_lost(&e) {
            self.lost.store(true, Ordering::Relaxed);
        }
        error::docker(what, subject, e)
    }

    /// What dockerd says at this path, as it is; `None` if there is nothing.
    pub(crate) async fn raw(
        &self,
        path: &str,
        what: &str,
        subject: &str,
    ) -> Result<Option<serde_json::Value>, BackendError> {
        let path = format!("/v{}{path}", self.docker.client_version());
        let asked = raw::get(&self.dialer, &path, what, subject);
        let answer = tokio::time::timeout(TIMEOUT, asked).await;
        let answer = answer.unwrap_or_else(|e| {
            let e = bollard::errors::Error::from(std::io::Error::other(e));
            Err(error::docker(what, subject, e))
        });
        answer.inspect_err(|e| {
            let lost = e.kind() == BackendErrorKind::Unreachable;
            self.lost.fetch_or(lost, Ordering::Relaxed);
        })
    }

    /// Has dockerd do what the client library does not ask it for as it should; its answer.
    pub(crate) async fn post(
        &self,
        path: &str,
        login: Option<DockerCredentials>,
        body: &impl Serialize,
    ) -> Result<serde_json::Value, bollard::errors::Error> {
        let path = format!("/v{}{path}", self.docker.client_version());
        let body = serde_json::to_vec(body)?;
        let posted = raw::post(&self.dialer, &path, login, body);
        let answer = tokio::time::timeout(TIMEOUT, posted).await;
        answer.map_err(std::io::Error::other)?
    }

    /// The container of this id or name; `None` if there is none.
    pub(crate) async fn inspect(&self, id: &str) -> Result<Option<Container>, BackendError> {
        let Some((inspect, chosen_mac)) = self.inspected(id).await? else {
            return Ok(None);
        };
        let lacking = || {
            let what = "dockerd's answer lacks an id, an image or a name";
            BackendError::new(BackendErrorKind::Unsupported, what).on(id)
        };
        let container = Container::new(&self.workload, inspect).ok_or_else(lacking)?;
        Ok(Some(Container {
            chosen_mac,
            ..container
        }))
    }

    /// The container of this name; `None` if there is none. Where no container is called so, dockerd
    /// shows one whose id begins with that (`db`): somebody else's.
    pub(crate) async fn named(&self, name: &str) -> Result<Option<Container>, BackendError> {
        let found = self.inspect(name).await?;
        Ok(found.filter(|c| c.summary.name == name))
    }

    /// What dockerd shows of it, and the hardware address that was chosen for it: before API 1.44 that
    /// is shown where the client library no longer looks, and where else one is shown it may be
    /// dockerd's own.
    async fn inspected(
        &self,
        id: &str,
    ) -> Result<Option<(ContainerInspectResponse, Option<String>)>, BackendError> {
        let what = "cannot inspect the container";
        if self.chooses_macs() {
            let options = None::<InspectContainerOptions>;
            return match self.docker.inspect_container(id, options).await {
                Ok(inspect) => Ok(Some((inspect, None))),
                Err(e) if error::status(&e) == Some(404) => Ok(None),
                Err(e) => Err(self.failed(what, id, e)),
            };
        }
        let Some(shown) = self
            .raw(&format!("/containers/{id}/json"), what, id)
            .await?
        else {
            return Ok(None);
        };
        let mac = shown["Config"]["MacAddress"].as_str();
        let mac = mac.filter(|mac| !mac.is_empty()).map(str::to_owned);
        // Not with the error itself: it may repeat a value.
        let other = |_| BackendError::new(BackendErrorKind::Unsupported, what).on(id);
        let inspect = serde_json::from_value(shown).map_err(other)?;
        Ok(Some((inspect, mac)))
    }

    /// Makes a container; the id.
    pub(crate) async fn create(
        &self,
        name: &str,
        platform: Option<&str>,
        body: ContainerCreateBody,
    ) -> Result<String, BackendError> {
        for _ in 0..BUSY_TRIES {
            let made = match self.old_mac(&body) {
                Some(mac) => self.create_with(name, platform, body.clone(), mac).await,
                None => {
                    let options = CreateContainerOptionsBuilder::default().name(name);
                    let options = options.platform(platform.unwrap_or_default()).build();
                    let made = self.docker.create_container(Some(options), body.clone());
                    made.await.map(|made| made.id)
                }
            };
            match made {
                Ok(id) => return Ok(id),
                Err(e) if self.is_ghost(&e, name).await? => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(e) => {
                    let e = error::without(&secrets::to_be(&body), e);
                    return Err(self.failed("cannot create the container", name, e));
                }
            }
        }
        Err(busy(name))
    }

    /// The hardware address of a container's first network, where the daemon takes it not there but
    /// of the whole container: so it was before API 1.44, and so the client library no longer does it.
    fn old_mac(&self, body: &ContainerCreateBody) -> Option<String> {
        if self.chooses_macs() {
            return None;
        }
        let networks = body.networking_config.as_ref()?.endpoints_config.as_ref()?;
        networks
            .values()
            .find_map(|first| first.mac_address.clone())
    }

    async fn create_with(
        &self,
        name: &str,
        platform: Option<&str>,
        body: ContainerCreateBody,
        mac: String,
    ) -> Result<String, bollard::errors::Error> {
        let mut body = serde_json::to_value(body)?;
        body["MacAddress"] = mac.into();
        // Neither has a character that means anything in a query: both were looked at.
        let platform = platform
            .map(|p| format!("&platform={p}"))
            .unwrap_or_default();
        let path = format!("/containers/create?name={name}{platform}");
        let made = self.post(&path, None, &body).await?;
        Ok(made["Id"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) async fn rename(&self, id: &str, name: &str) -> Result<(), BackendError> {
        for _ in 0..BUSY_TRIES {
            let options = RenameContainerOptionsBuilder::default().name(name).build();
            match self.docker.rename_container(id, options).await {
                Ok(()) => return Ok(()),
                Err(e) if self.is_ghost(&e, name).await? => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(e) => return Err(self.failed("cannot rename the container", name, e)),
            }
        }
        Err(busy(name))
    }

    /// Whether a name is taken by a container that is gone, or is going by itself.
    async fn is_ghost(&self, e: &bollard::errors::Error, name: &str) -> Result<bool, BackendError> {
        if error::status(e) != Some(409) {
            return Ok(false);
        }
        let holder = self.named(name).await?;
        Ok(holder
            .is_none_or(|c| !c.summary.is_sound() || (c.removes_itself() && !c.summary.is_up())))
    }

    pub(crate) async fn set_restart(
        &self,
        id: &str,
        policy: RestartPolicy,
    ) -> Result<(), BackendError> {
        let body = ContainerUpdateBody {
            restart_policy: Some(policy.docker()),
            ..Default::default()
        };
        let fail = |e| self.failed("cannot set the restart policy", id, e);
        self.docker.update_container(id, body).await.map_err(fail)
    }

    /// Starts it. A port that its former holder has not freed yet is waited for.
    pub(crate) async fn start(&self, container: &Container) -> Result<(), BackendError> {
        let id = &container.summary.id;
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
                Err(e) => {
                    let e = error::without(&secrets::of(container), e);
                    return Err(self.failed("cannot start the container", id, e));
                }
            }
        }
    }

    /// Stops it, within its own stop timeout.
    pub(crate) async fn stop(&self, container: &Container) -> Result<(), BackendError> {
        let docker = self.docker.clone().with_timeout(patience(container));
        let options = StopContainerOptionsBuilder::default().build();
        match docker
            .stop_container(&container.summary.id, Some(options))
            .await
        {
            Ok(()) => Ok(()),
            Err(e) if matches!(error::status(&e), Some(304 | 404)) => Ok(()),
            Err(e) => Err(self.failed("cannot stop the container", &container.summary.id, e)),
        }
    }

    /// Restarts it, or starts one that does not run, in one request: dockerd goes through with it by
    /// itself, whatever becomes of this process.
    pub(crate) async fn restart(&self, container: &Container) -> Result<(), BackendError> {
        let id = &container.summary.id;
        let docker = self.docker.clone().with_timeout(patience(container));
        let answer = docker.restart_container(id, None::<RestartContainerOptions>);
        answer.await.map_err(|e| {
            let e = error::without(&secrets::of(container), e);
            self.failed("cannot restart the container", id, e)
        })
    }

    /// Removes a stopped container. Its volumes stay: they are data.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), BackendError> {
        self.remove_with(id, false).await
    }

    /// Removes a container that was never started, with the volumes that were made for it alone.
    pub(crate) async fn remove_unused(&self, id: &str) -> Result<(), BackendError> {
        self.remove_with(id, true).await
    }

    async fn remove_with(&self, id: &str, volumes: bool) -> Result<(), BackendError> {
        let options = RemoveContainerOptionsBuilder::default().v(volumes).build();
        match self.docker.remove_container(id, Some(options)).await {
            Ok(()) => Ok(()),
            Err(e) if error::status(&e) == Some(404) => Ok(()),
            Err(e) => Err(self.failed("cannot remove the container", id, e)),
        }
    }

    /// Removes what is left of a recreation, if dockerd lets it go: it harms nobody, so that it
    /// does not is no reason to stop.
    pub(crate) async fn drop_leftover(&self, container: &Summary) {
        if let Err(e) = self.remove(&container.id).await {
            tracing::warn!(container = %container.name, error = %Chain::of(&e), "a leftover stays");
        }
    }
}

/// How long a stop is waited for: the client has to be more patient than the container may be slow.
fn patience(container: &Container) -> Duration {
    Duration::from_secs(container.stop_timeout()).saturating_add(TIMEOUT)
}

/// The newest API version that a daemon speaks.
fn api_version(daemon: &SystemVersion) -> Result<ClientVersion, BackendError> {
    let version = daemon.api_version.as_deref().unwrap_or_default();
    let numbers = version.split_once('.').and_then(|(major, minor)| {
        Some(ClientVersion {
            major_version: major.parse().ok()?,
            minor_version: minor.parse().ok()?,
        })
    });
    numbers.ok_or_else(|| {
        let what = "dockerd does not say which versions of its API it speaks";
        BackendError::new(BackendErrorKind::Unsupported, what).untouched()
    })
}

fn busy(name: &str) -> BackendError {
    BackendError::new(
        BackendErrorKind::Conflict,
        "the name of a removed container is still taken",
    )
    .on(name)
    .advice("try again; if it stays, restart dockerd")
}
