//! What another tool would take for the live container's replicas, and what it would have made for it.

use std::collections::{BTreeSet, HashMap};

use bollard::query_parameters::{InspectNetworkOptions, ListContainersOptionsBuilder};
use rollback_core::backend::{End, Operation};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::release::{FacetValue, Release};

use crate::backend::DockerBackend;
use crate::client::Client;
use crate::error;
use crate::inventory::Inventory;
use crate::live_labels::{LiveLabels, Missing};
use crate::settings;

impl DockerBackend {
    /// Refuses a workload of which the tool runs several: only one of them would be replaced.
    pub(crate) async fn refuse_replicas(
        &self,
        client: &Client,
        inventory: &Inventory<'_>,
        op: &Operation,
    ) -> Result<(), BackendError> {
        let Some(live) = &self.config.live_labels else {
            return Ok(());
        };
        if live.counted_by().is_empty() {
            let what = "no label says which containers are this workload's";
            return Err(BackendError::new(BackendErrorKind::InvalidReference, what)
                .on(live.prefix())
                .untouched());
        }
        let known = |end: &End, id: &str| end.instance().is_some_and(|i| i.handle.as_str() == id);
        for (id, name) in client.counted(live.counted_by()).await? {
            let ours = inventory.ours().iter().any(|c| c.id == id);
            let ends = known(&op.from, &id) || known(&op.to, &id);
            // What was replaced and could not be made anew without them: an earlier deployment has said so.
            let parked = id
                .get(..12)
                .map(|id| format!("{}-{id}", self.config.container));
            let parked = parked.as_ref() == Some(&name);
            if ours || ends || parked || name == self.config.container {
                continue;
            }
            return Err(BackendError::new(
                BackendErrorKind::Conflict,
                "there is another container of the same service: a deployment replaces one, and \
                 the rest would stay as they are",
            )
            .on(format!("{name} ({id})"))
            .advice("scale the service to one container, or remove that one")
            .transient(false));
        }
        Ok(())
    }

    /// Has the networks and volumes made that a container of a release needs and that are not there.
    pub(crate) async fn provide(
        &self,
        cx: &Context,
        client: &Client,
        live: &dyn LiveLabels,
        release: &Release,
    ) -> Result<(), BackendError> {
        let missing = client.missing(release).await?;
        if missing == Missing::default() {
            return Ok(());
        }
        cx.say("making the networks and volumes that are missing");
        live.provide(cx, &missing).await?;
        match client.missing(release).await?.first() {
            None => Ok(()),
            Some(first) => {
                let what = "the container needs it, and this daemon does not have it";
                Err(BackendError::new(BackendErrorKind::NotFound, what)
                    .on(first)
                    .advice("create it, or have it created by what is in charge of it"))
            }
        }
    }
}

impl Client {
    /// The containers with all of these labels, running or not: id and name.
    async fn counted(
        &self,
        labels: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Vec<(String, String)>, BackendError> {
        let labels = labels.into_iter();
        let labels: Vec<String> = labels.map(|(name, v)| format!("{name}={v}")).collect();
        let filters = HashMap::from([("label", labels)]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let listed = self.docker.list_containers(Some(options)).await;
        let fail = |e| self.failed("cannot list the containers", "of the service", e);
        let all = listed.map_err(fail)?.into_iter().filter_map(|c| {
            let own = |name: &String| !name.trim_start_matches('/').contains('/');
            let name = c.names?.into_iter().find(own)?;
            Some((c.id?, name.trim_start_matches('/').to_owned()))
        });
        Ok(all.collect())
    }

    /// What a release's container needs of networks and named volumes, and is not there.
    async fn missing(&self, release: &Release) -> Result<Missing, BackendError> {
        let (mut networks, mut volumes) = (BTreeSet::new(), BTreeSet::new());
        for (row, value) in settings::table(release, settings::CONTAINER) {
            match (row.split_once(':'), value) {
                (None, FacetValue::Plain(mode)) if row == "network" => {
                    networks.extend(Some(mode).filter(|mode| is_made(mode)));
                }
                (Some(("endpoint", network)), _) => {
                    networks.extend(Some(network.to_owned()).filter(|network| is_made(network)));
                }
                (Some(("bind", _)), FacetValue::Plain(source)) if !source.starts_with('/') => {
                    let name = source.split(':').next().unwrap_or_default();
                    volumes.insert(name.to_owned());
                }
                _ => {}
            }
        }
        let mut missing = Missing::default();
        for network in networks {
            let asked = None::<InspectNetworkOptions>;
            let found = self.docker.inspect_network(&network, asked).await;
            if self.is_missing(found, "network", &network)? {
                missing.networks.push(network);
            }
        }
        for volume in volumes {
            let found = self.docker.inspect_volume(&volume).await;
            if self.is_missing(found, "volume", &volume)? {
                missing.volumes.push(volume);
            }
        }
        Ok(missing)
    }

    fn is_missing<T>(
        &self,
        found: Result<T, bollard::errors::Error>,
        what: &str,
        name: &str,
    ) -> Result<bool, BackendError> {
        match found {
            Ok(_) => Ok(false),
            Err(e) if error::status(&e) == Some(404) => Ok(true),
            Err(e) => Err(self.failed(&format!("cannot inspect the {what}"), name, e)),
        }
    }
}

/// Whether a network is one that somebody has to make.
fn is_made(mode: &str) -> bool {
    !matches!(mode, "" | "default" | "bridge" | "host" | "none") && !mode.starts_with("container:")
}
