//! A successor beside what is live: started without the names by which others find it, given them by
//! the switch, and only then is the former stopped.
//!
//! What is live is who has the live name. A successor has a name of its own until it goes live for the
//! first time, by which it is known that it never did.

use std::sync::Arc;

use bollard::models::{EndpointSettings, HostConfig};
use rollback_core::backend::{Address, End, Evidence, Operation, Started};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};

use crate::backend::DockerBackend;
use crate::body::{Blueprint, first_network};
use crate::claims::{Claims, not_beside};
use crate::client::Client;
use crate::container::Container;
use crate::inventory::Inventory;
use crate::restart::RestartPolicy;
use crate::traffic::{Names, has_names};

impl DockerBackend {
    /// Whether a successor is brought up beside what is live.
    pub(crate) fn is_beside(&self) -> bool {
        self.config.swap.beside
    }

    /// Refuses a container that is to be made where it could not run beside what is live; takes away
    /// the names that it is to have only with the traffic.
    pub(crate) async fn set_beside(
        &self,
        client: &Client,
        inventory: &Inventory<'_>,
        from: &End,
        made: &mut Blueprint,
    ) -> Result<(), BackendError> {
        let host = made.body.host_config.clone().unwrap_or_default();
        let first = made.body.networking_config.as_mut();
        let first = first.and_then(|n| n.endpoints_config.as_mut());
        let mut all: Vec<(&String, &mut EndpointSettings)> = first
            .into_iter()
            .flatten()
            .chain(&mut made.networks)
            .collect();
        let endpoints = all.iter().map(|(name, asked)| (*name, &**asked));
        let claims = Claims::of(&host, endpoints);
        if let Some(from) = inventory.at(from).await? {
            self.refuse_shared(&claims, &from)?;
        }
        self.refuse_nameless(client, &host, &claims)?;
        for (_, asked) in &mut all {
            asked.aliases = None;
        }
        Ok(())
    }

    /// The same of one that stands.
    pub(crate) async fn refuse_beside(
        &self,
        client: &Client,
        inventory: &Inventory<'_>,
        from: &End,
        to: &Container,
    ) -> Result<(), BackendError> {
        let host = to.inspect.host_config.clone().unwrap_or_default();
        let claims = Claims::of_container(to);
        let from = inventory.at(from).await?;
        if let Some(from) = from.filter(|from| from.summary.id != to.summary.id) {
            self.refuse_shared(&claims, &from)?;
        }
        self.refuse_nameless(client, &host, &claims)
    }

    fn refuse_shared(&self, claims: &Claims, from: &Container) -> Result<(), BackendError> {
        let its = Claims::of_container(from);
        let may_share = &self.config.swap.shared_volumes;
        match claims.shared_with(&its, may_share) {
            Some(shared) => {
                let why = format!("both would have {shared}");
                Err(not_beside(&why, &self.config.container))
            }
            None => Ok(()),
        }
    }

    /// What others find by no name has no traffic that could be moved.
    fn refuse_nameless(
        &self,
        client: &Client,
        host: &HostConfig,
        claims: &Claims,
    ) -> Result<(), BackendError> {
        let network = first_network(host.network_mode.as_deref());
        let why = if !has_names(&network) {
            format!("nobody finds it by name in the network {network}, and so it gets its traffic")
        } else if claims.has_chosen_mac && !client.chooses_macs() {
            "before API 1.44 its hardware address is lost when it gets its names".to_owned()
        } else {
            return Ok(());
        };
        Err(not_beside(&why, &self.config.container))
    }

    /// Brings the successor up without its names.
    pub(crate) async fn start_beside(
        &self,
        cx: &Context,
        op: &Operation,
    ) -> Result<Started, BackendError> {
        cx.check()?;
        let client = &self.client().await?;
        let inventory = Inventory::take(client).await?;
        let (Some(to), Some(release)) = (self.target(&inventory, op).await?, op.to.release())
        else {
            return Ok(Started::default());
        };
        if !to.summary.is_up() && to.summary.name != self.config.container {
            let names = self.rename_in_networks(cx, client, &to, release, Names::None);
            names.await?;
            cx.check()?;
            cx.say("starting the successor beside the live container");
            client.start(&to).await?;
            cx.check()?;
        }
        let id = &to.summary.id;
        let now = client.inspect(id).await?.ok_or_else(|| vanished(id))?;
        let started = Started::new(now.evidence());
        Ok(addresses(&now).fold(started, |started, address| {
            let port = address.port.to_string();
            started.at(&port, address)
        }))
    }

    /// Moves the traffic: the successor gets its aliases while the former still has its own, so that
    /// whoever asks finds one of them; then the names change hands, and the former loses its aliases. It
    /// runs on until it is put away.
    pub(crate) async fn move_traffic(
        &self,
        cx: &Context,
        op: &Operation,
    ) -> Result<Evidence, BackendError> {
        if matches!(op.to, End::Nothing) {
            return self.swap(cx, op).await;
        }
        let untouched = BackendError::untouched;
        cx.check().map_err(untouched)?;
        let client = &self.client().await.map_err(untouched)?;
        let inventory = Inventory::take(client).await.map_err(untouched)?;
        let to = self.target(&inventory, op).await.map_err(untouched)?;
        let (Some(to), Some(release)) = (to, op.to.release()) else {
            return Ok(Evidence::default());
        };
        let others = self.others(cx, client, &inventory, op, Some(&to)).await;
        let others = others.map_err(untouched)?;
        let image = Some(to.summary.image.as_str());
        self.claim(cx, client, image).await.map_err(untouched)?;
        cx.check().map_err(untouched)?;
        let from = inventory.at(&op.from).await.map_err(untouched)?;
        let is_former = |c: &Arc<Container>| {
            let ends = from.as_ref().is_some_and(|f| f.summary.id == c.summary.id);
            ends && c.summary.is_up()
        };
        let (former, left): (Vec<_>, Vec<_>) = others.into_iter().partition(is_former);
        let id = &to.summary.id;
        if !to.summary.is_up() {
            client.start(&to).await.map_err(untouched)?;
            cx.check().map_err(untouched)?;
        }
        // From here on somebody may find both, or none: it is gone through with.
        let cx = &self.while_stopping(cx, &left);
        let mut told = Vec::new();
        for other in &left {
            told.extend(self.put_aside(cx, client, op, other).await?);
        }
        let policy = RestartPolicy::of(release);
        if to.restart() != policy && !to.removes_itself() {
            client.set_restart(id, policy).await?;
            cx.check()?;
        }
        let names = self.rename_in_networks(cx, client, &to, release, Names::All);
        names.await?;
        cx.check()?;
        for former in &former {
            let summary = &former.summary;
            if summary.name == self.config.container {
                let parked = summary.parked(&self.config.container);
                client.rename(&summary.id, &parked).await?;
            }
        }
        if to.summary.name != self.config.container {
            client.rename(id, &self.config.container).await?;
            cx.check()?;
        }
        if let Some(release) = op.from.release() {
            for former in &former {
                let names = self.rename_in_networks(cx, client, former, release, Names::None);
                names.await?;
            }
        }
        let now = client.inspect(id).await?.ok_or_else(|| vanished(id))?;
        tracing::debug!(workload = %op.workload, container = %id, "the traffic has moved");
        self.tell(cx, told);
        Ok(now.evidence())
    }

    /// Removes a successor that was started and never went live, with what was made for it alone.
    pub(crate) async fn undo_beside(
        &self,
        cx: &Context,
        client: &Client,
        never: &Container,
    ) -> Result<(), BackendError> {
        if never.summary.is_up() {
            client.stop(never).await?;
            cx.check()?;
        }
        client.remove_unused(&never.summary.id).await?;
        cx.check()
    }
}

/// Where a container answers in its first network: at each of its TCP ports.
fn addresses(container: &Container) -> impl Iterator<Item = Address> {
    let host = container.inspect.host_config.as_ref();
    let first = first_network(host.and_then(|h| h.network_mode.as_deref()));
    let settings = container.inspect.network_settings.as_ref();
    let networks = settings.and_then(|s| s.networks.as_ref());
    let mut networks = networks.into_iter().flatten();
    let is_first = |(name, endpoint): &(&String, &EndpointSettings)| {
        **name == first || endpoint.network_id.as_deref() == Some(&first)
    };
    let ip = networks
        .find(is_first)
        .and_then(|(_, e)| e.ip_address.clone());
    let ip = ip.filter(|ip| !ip.is_empty());
    let config = container.inspect.config.as_ref();
    let ports = config.and_then(|c| c.exposed_ports.clone());
    let tcp = |port: String| {
        let (number, protocol) = port.split_once('/').unwrap_or((&port, "tcp"));
        number.parse().ok().filter(|_| protocol == "tcp")
    };
    let ports = ports.into_iter().flatten().filter_map(tcp);
    let ports = Vec::from_iter(ports);
    ip.into_iter().flat_map(move |ip| {
        ports
            .clone()
            .into_iter()
            .map(move |p| Address::new(ip.clone(), p))
    })
}

fn vanished(id: &str) -> BackendError {
    let what = "the container vanished as it was started";
    BackendError::new(BackendErrorKind::Conflict, what).on(id)
}
