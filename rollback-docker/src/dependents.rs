//! [`Dependents`]: containers that live in another one's namespaces, and lose them with it.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use futures_util::{StreamExt, stream};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, Chain};
use rollback_core::time::Timestamp;

use crate::backend::DockerBackend;
use crate::client::Client;
use crate::container::Container;
use crate::inventory::Inventory;
use crate::marks::WORKLOAD;

/// What becomes of other containers that share the live one's network, processes or IPC: those that
/// were made with `--network container:api`, say, or the same of `--pid` or `--ipc`. When it stops they
/// are left without, or end with it.
///
/// Docker makes an id of the name when it makes a dependent, so that it means that very container and
/// cannot follow a successor: it has to be made anew, and is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Dependents {
    /// They are left as they are, and named.
    #[default]
    Warn,
    /// Those that can have it again are restarted, each with its own time to stop: when the container
    /// that they mean is gone back to, or restarted in place. One that fails to is named.
    Restart,
}

/// How long after its first process the others of a container's processes may be seen to end, in
/// microseconds.
const TOGETHER: i64 = 2_000_000;
/// How long one container is looked at. dockerd does not answer for one that hangs, whoever's it is.
const LOOK: Duration = Duration::from_secs(5);
/// So many are looked at at once.
const LOOKS: usize = 16;

/// A container that shares something with another one.
pub(crate) struct Dependent {
    container: Container,
    /// What it shares, and the name or id of whose it is.
    shares: Vec<(&'static str, String)>,
}

impl Dependent {
    fn new(container: Container) -> Self {
        let host = container.inspect.host_config.as_ref();
        let modes = [
            ("network", host.and_then(|h| h.network_mode.as_deref())),
            (PROCESSES, host.and_then(|h| h.pid_mode.as_deref())),
            ("IPC", host.and_then(|h| h.ipc_mode.as_deref())),
        ];
        let shares = modes.into_iter().filter_map(|(what, mode)| {
            let whose = mode?.strip_prefix(OF)?;
            Some((what, whose.to_owned()))
        });
        Self {
            shares: shares.collect(),
            container,
        }
    }

    /// What it shares with a container that has this id or, where docker keeps names, this name.
    fn shared_with(&self, id: &str, name: Option<&str>) -> Option<String> {
        let of = |whose: &str| whose == id || Some(whose) == name;
        let shared = self.shares.iter().filter(|(_, whose)| of(whose));
        let shared = Vec::from_iter(shared.map(|(what, _)| *what));
        (!shared.is_empty()).then(|| shared.join(" and "))
    }

    /// Whether it ran, or was ended by it, when this one stopped.
    fn ran_with(&self, former: &Container) -> bool {
        let shares = self.shares.iter().any(|(what, _)| *what == PROCESSES);
        let ends = ended_at(&self.container).zip(ended_at(former));
        let together = ends.is_some_and(|(its, formers)| (its - formers).abs() <= TOGETHER);
        self.container.summary.is_up() || (shares && together)
    }

    /// Whether it has ended since this one runs: so does one whose restart was cut off.
    fn ended_since(&self, live: &Container) -> bool {
        let at = started_at(live).map(|at| at.as_microsecond());
        ended_at(&self.container)
            .zip(at)
            .is_some_and(|(its, live)| its >= live)
    }
}

const OF: &str = "container:";
const PROCESSES: &str = "processes";
/// How a list says that a container was killed, as the kernel does with those whose first process is
/// gone.
const KILLED: &str = "Exited (137)";

fn ended_at(container: &Container) -> Option<i64> {
    let state = container.inspect.state.as_ref()?;
    let at: Timestamp = state.finished_at.as_ref()?.parse().ok()?;
    Some(at.as_microsecond())
}

fn started_at(container: &Container) -> Option<Timestamp> {
    container.started_at().parse().ok()
}

impl DockerBackend {
    /// Sees to those that lived in the namespaces of what was put aside, or of what runs now, as they
    /// were listed before anything stopped: they are restarted, or what a person should know of them is told. Nobody's switch fails for them.
    pub(crate) async fn see_to_dependents(
        &self,
        cx: &Context,
        client: &Client,
        inventory: &Inventory<'_>,
        live: &Container,
        former: &[Arc<Container>],
    ) -> Vec<String> {
        let (found, former) = match client.left_behind(inventory, former).await {
            Ok(found) => found,
            Err(e) => {
                let what = "whether other containers share what was its is not known";
                return vec![format!("{what}: {}", Chain::of(&e))];
            }
        };
        let mut told = Vec::new();
        for dependent in &found {
            told.extend(self.see_to(cx, client, dependent, live, &former).await);
        }
        told
    }

    /// What a person should know of this one.
    async fn see_to(
        &self,
        cx: &Context,
        client: &Client,
        dependent: &Dependent,
        live: &Container,
        former: &[Container],
    ) -> Option<String> {
        let its = &dependent.container.summary;
        let (id, name) = (&live.summary.id, &self.config.container);
        if let Some(shared) = dependent.shared_with(id, Some(name)) {
            let lost = started_at(&dependent.container) < started_at(live);
            let mut before = former.iter().chain([live]);
            let ran = before.any(|c| dependent.ran_with(c)) || dependent.ended_since(live);
            if !lost || !ran {
                return None;
            }
            let told = format!("{} shared the {shared} of {name}", its.name);
            if self.config.swap.dependents == Dependents::Warn {
                return Some(format!("{told}: restart it"));
            }
            return match self
                .restart_dependent(cx, client, &dependent.container)
                .await
            {
                Ok(()) => Some(format!("{told}: it was restarted")),
                Err(e) => Some(format!("{told} and cannot be restarted: {}", Chain::of(&e))),
            };
        }
        let mut of = former.iter();
        let (shared, former) =
            of.find_map(|f| Some((dependent.shared_with(&f.summary.id, None)?, f)))?;
        dependent.ran_with(former).then(|| {
            let short = former.summary.short_id();
            format!(
                "{} shared the {shared} of container {short}, and cannot follow: make it anew",
                its.name
            )
        })
    }

    async fn restart_dependent(
        &self,
        cx: &Context,
        client: &Client,
        dependent: &Container,
    ) -> Result<(), BackendError> {
        self.myself.spare(&dependent.summary)?;
        cx.check()?;
        cx.say(format!("restarting {}", dependent.summary.name));
        client.restart(dependent).await
    }

    /// Who will be left without when this one stops, for people: nothing depends on it.
    pub(crate) async fn foretold_dependents(
        &self,
        client: &Client,
        inventory: &Inventory<'_>,
        from: &Container,
    ) -> Vec<String> {
        let all = client.dependents(inventory).await;
        let name = Some(self.config.container.as_str());
        let told = all.iter().filter(|d| d.container.summary.is_up());
        let told = told.filter_map(|d| {
            let shared = d.shared_with(&from.summary.id, name)?;
            let its = &d.container.summary.name;
            Some(format!(
                "{its} shares the {shared} of {} and loses it",
                from.summary.name
            ))
        });
        told.collect()
    }
}

impl Client {
    /// Containers that share something with another one, and these as they ended.
    async fn left_behind(
        &self,
        inventory: &Inventory<'_>,
        former: &[Arc<Container>],
    ) -> Result<(Vec<Dependent>, Vec<Container>), BackendError> {
        let (found, mut ended) = (self.dependents(inventory).await, Vec::new());
        if !found.is_empty() {
            for former in former {
                ended.extend(self.inspect(&former.summary.id).await?);
            }
        }
        Ok((found, ended))
    }

    /// Containers that share something with another one. The list knows of networks alone: of the
    /// rest each one that runs, or was just killed, is asked. One that does not answer is passed over:
    /// a stranger's that hangs is no reason to wait.
    ///
    /// Namespaces are a container's for good: one that shares nothing is not asked again.
    async fn dependents(&self, inventory: &Inventory<'_>) -> Vec<Dependent> {
        // The workload's own take each other's place: none lives in another one's namespaces.
        let others = inventory.all().iter().filter(|listed| {
            let labels = listed.labels.as_ref();
            let of = labels.and_then(|labels| labels.get(WORKLOAD));
            of != Some(&self.workload)
        });
        let ids = others.filter(may_depend).filter_map(|l| l.id.clone());
        let ids = self.alone().among(ids);
        let looks = stream::iter(ids).map(|id| self.dependent(id));
        let found = looks.buffered(LOOKS).filter_map(|found| async { found });
        found.collect().await
    }

    fn alone(&self) -> MutexGuard<'_, Alone> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn dependent(&self, id: String) -> Option<Dependent> {
        let looked = tokio::time::timeout(LOOK, self.inspect(&id)).await;
        let found = match looked {
            Ok(Ok(found)) => Dependent::new(found?),
            Ok(Err(e)) => {
                tracing::debug!(container = %id, error = %Chain::of(&e), "not looked at");
                return None;
            }
            Err(_) => {
                tracing::debug!(container = %id, "it does not answer");
                return None;
            }
        };
        if found.shares.is_empty() {
            self.alone().0.insert(id);
            return None;
        }
        Some(found)
    }
}

/// Containers that share nothing with another one, by id.
#[derive(Debug, Default)]
pub(crate) struct Alone(HashSet<String>);

impl Alone {
    /// The others of these; what is not among them is forgotten.
    fn among(&mut self, ids: impl Iterator<Item = String>) -> Vec<String> {
        let (known, new) = ids.partition::<Vec<_>, _>(|id| self.0.contains(id));
        self.0 = known.into_iter().collect();
        new
    }
}

fn may_depend(listed: &&ContainerSummary) -> bool {
    let mode = listed.host_config.as_ref();
    let mode = mode.and_then(|h| h.network_mode.as_deref());
    let killed = listed.status.as_ref();
    let killed = killed.is_some_and(|status| status.starts_with(KILLED));
    let is_up = listed.state == Some(ContainerSummaryStateEnum::RUNNING);
    mode.is_some_and(|mode| mode.starts_with(OF)) || is_up || killed
}
