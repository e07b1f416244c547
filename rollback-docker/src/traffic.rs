//! The names by which others find a container in its networks, given and taken while it runs.
//!
//! In a network that somebody has made docker resolves a container's own name and its aliases there.
//! The name moves with the container's, and cuts no connection. Aliases dockerd takes only with a
//! connection to the network: a container gets them, or loses them, by leaving and joining it.

use std::collections::BTreeMap;

use bollard::models::{EndpointSettings, NetworkConnectRequest, NetworkDisconnectRequest};
use bollard::query_parameters::InspectNetworkOptions;
use rollback_core::context::Context;
use rollback_core::error::BackendError;
use rollback_core::release::Release;

use crate::backend::DockerBackend;
use crate::body::{Blueprint, first_network, unsupported};
use crate::client::Client;
use crate::container::Container;
use crate::error;
use crate::settings::{self, Rows};

/// Which names a container is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Those that its release has: it is live.
    All,
    /// None that anybody asks for.
    None,
}

/// The networks that somebody has made, of a release, and what is asked in each.
pub(crate) fn networks(
    release: &Release,
) -> Result<BTreeMap<String, EndpointSettings>, BackendError> {
    let rows: Rows = settings::table(release, settings::CONTAINER)
        .into_keys()
        .filter(|row| {
            let kind = settings::kind(row);
            matches!(kind, "alias" | "endpoint" | "mac" | "network")
        })
        .filter_map(|row| Some((row.clone(), settings::plain(release, &row)?)))
        .collect();
    let made = Blueprint::new(&rows)?;
    let mut all = made.networks;
    let host = made.body.host_config.unwrap_or_default();
    let first = first_network(host.network_mode.as_deref());
    if has_names(&first) {
        let endpoints = made.body.networking_config;
        let endpoints = endpoints.and_then(|n| n.endpoints_config);
        let asked = endpoints.and_then(|mut all| all.remove(&first));
        all.insert(first, asked.unwrap_or_default());
    }
    Ok(all)
}

/// Whether containers are found by name in a network.
pub(crate) fn has_names(network: &str) -> bool {
    let shared = network.starts_with("container:");
    !shared && !matches!(network, "" | "bridge" | "default" | "host" | "none")
}

/// A network that a container is in, by docker's name for it, whether it is asked for by that name or by
/// the network's id.
pub(crate) fn joined_as<'a>(
    container: &'a Container,
    asked: &str,
) -> Option<(&'a String, &'a EndpointSettings)> {
    let settings = container.inspect.network_settings.as_ref();
    let all = settings.and_then(|s| s.networks.as_ref())?;
    let is_id = |endpoint: &EndpointSettings| {
        let id = endpoint.network_id.as_deref().unwrap_or_default();
        !asked.is_empty() && id.starts_with(asked)
    };
    let named = all.get_key_value(asked);
    named.or_else(|| all.iter().find(|(_, endpoint)| is_id(endpoint)))
}

/// What somebody has called a container in a network. Until API 1.45 its short id is among what dockerd
/// shows, and the hostname that it was given.
fn chosen(container: &Container, mut aliases: Vec<String>) -> Vec<String> {
    let config = container.inspect.config.as_ref();
    let hostname = config.and_then(|config| config.hostname.as_deref());
    aliases.retain(|alias| alias != container.summary.short_id() && Some(&**alias) != hostname);
    aliases.sort_unstable();
    aliases
}

impl DockerBackend {
    /// Lets a container of this release have these names in its networks. One that has them stays as
    /// it is; another one leaves the network and joins it.
    pub(crate) async fn rename_in_networks(
        &self,
        cx: &Context,
        client: &Client,
        container: &Container,
        release: &Release,
        names: Names,
    ) -> Result<(), BackendError> {
        for (network, asked) in networks(release)? {
            self.rename_in(cx, client, container, network, asked, names)
                .await?;
        }
        Ok(())
    }

    /// Takes its names from a container of this release in each of its networks, as far as docker lets
    /// it: what failed.
    pub(crate) async fn strip(
        &self,
        cx: &Context,
        client: &Client,
        container: &Container,
        release: &Release,
    ) -> Result<Vec<BackendError>, BackendError> {
        let mut failed = Vec::new();
        for (network, asked) in networks(release)? {
            let renamed = self.rename_in(cx, client, container, network, asked, Names::None);
            failed.extend(renamed.await.err());
            // That there is no time left is not docker's doing.
            cx.check()?;
        }
        Ok(failed)
    }

    async fn rename_in(
        &self,
        cx: &Context,
        client: &Client,
        container: &Container,
        network: String,
        mut asked: EndpointSettings,
        names: Names,
    ) -> Result<(), BackendError> {
        let network = client.network_name(container, network).await?;
        let wanted = match names {
            Names::All => asked.aliases.take().unwrap_or_default(),
            Names::None => Vec::new(),
        };
        let now = joined_as(container, &network).map(|(_, endpoint)| endpoint);
        let has = now.map(|now| chosen(container, now.aliases.clone().unwrap_or_default()));
        if has == Some(chosen(container, wanted.clone())) {
            return Ok(());
        }
        cx.check()?;
        if now.is_some() {
            client.leave(container, &network).await?;
            cx.check()?;
        }
        asked.aliases = Some(wanted);
        client.connect_to(container, &network, asked).await
    }
}

impl Client {
    /// Docker's name for a network that somebody may have asked for by its id. One that is not there is
    /// called as it was asked for.
    pub(crate) async fn network_name(
        &self,
        container: &Container,
        asked: String,
    ) -> Result<String, BackendError> {
        match joined_as(container, &asked) {
            Some((name, _)) => Ok(name.clone()),
            None => Ok(self.network(&asked).await?.unwrap_or(asked)),
        }
    }

    /// The name of the network with this name or id, if there is one.
    pub(crate) async fn network(&self, asked: &str) -> Result<Option<String>, BackendError> {
        let options = None::<InspectNetworkOptions>;
        match self.docker.inspect_network(asked, options).await {
            Ok(network) => Ok(network.name),
            Err(e) if error::status(&e) == Some(404) => Ok(None),
            Err(e) => Err(self.failed("cannot inspect the network", asked, e)),
        }
    }

    /// Joins a container to a network. One that it is in already stays as it is.
    pub(crate) async fn join(
        &self,
        container: &Container,
        network: &str,
        endpoint: EndpointSettings,
    ) -> Result<(), BackendError> {
        if joined_as(container, network).is_some() {
            return Ok(());
        }
        self.connect_to(container, network, endpoint).await
    }

    /// The same of one that it is not in.
    pub(crate) async fn connect_to(
        &self,
        container: &Container,
        network: &str,
        endpoint: EndpointSettings,
    ) -> Result<(), BackendError> {
        if endpoint.mac_address.is_some() && !self.chooses_macs() {
            return Err(unsupported(&format!("mac:{network}")));
        }
        let request = NetworkConnectRequest {
            container: container.summary.id.clone(),
            endpoint_config: Some(endpoint),
        };
        let fail = |e| self.failed("cannot join the container to the network", network, e);
        self.docker
            .connect_network(network, request)
            .await
            .map_err(fail)
    }

    async fn leave(&self, container: &Container, network: &str) -> Result<(), BackendError> {
        let request = NetworkDisconnectRequest {
            container: container.summary.id.clone(),
            force: None,
        };
        match self.docker.disconnect_network(network, request).await {
            Ok(()) => Ok(()),
            Err(e) if error::status(&e) == Some(404) => Ok(()),
            Err(e) => Err(self.failed("cannot take the container out of the network", network, e)),
        }
    }
}
