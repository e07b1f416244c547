//! A successor beside what is live: started without the names by which others find it, given them by
//! the switch, and only then is the former stopped.
//!
//! What is live is who has the live name. A successor has a name of its own until it goes live for the
//! first time, by which it is known that it never did.

use std::sync::Arc;
use std::time::Duration;

use bollard::models::{EndpointSettings, HealthStatusEnum, HostConfig};
use futures_util::try_join;
use rollback_core::backend::{Address, End, Evidence, Operation, Running, Started};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind, Chain};
use tokio::time::Instant;

use crate::backend::DockerBackend;
use crate::body::{Blueprint, first_network};
use crate::claims::{Claims, not_beside, real};
use crate::client::Client;
use crate::config_swap::Successor;
use crate::container::Container;
use crate::inventory::Inventory;
use crate::restart::RestartPolicy;
use crate::secrets;
use crate::traffic::{Names, has_names, joined_as, networks};

/// How long a successor that the switch itself has to start may take until its health check passes.
const FIT_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

impl DockerBackend {
    /// Whether a successor is brought up beside what is live.
    pub(crate) fn is_beside(&self) -> bool {
        self.config.swap.successor == Successor::Beside
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
        let mut named = Vec::new();
        for (network, asked) in &all {
            named.push((self.found(client, network).await?, (**asked).clone()));
        }
        let mut claims = Claims::of(&host, named.iter().map(|(name, asked)| (name, asked)));
        for other in host.volumes_from.iter().flatten() {
            let (whose, mode) = other.split_once(':').unwrap_or((other, ""));
            if let Some(whose) = client.inspect(whose).await? {
                claims.mounts(&whose, mode != "ro");
            }
        }
        if let Some(from) = inventory.at(from).await? {
            self.refuse_shared(client, &claims, &from).await?;
        }
        self.refuse_nameless(client, &host, &claims).await?;
        self.refuse_hostname(made.body.hostname.as_deref(), "")?;
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
            self.refuse_shared(client, &claims, &from).await?;
        }
        let config = to.inspect.config.as_ref();
        let hostname = config.and_then(|config| config.hostname.as_deref());
        self.refuse_hostname(hostname, to.summary.short_id())?;
        self.refuse_nameless(client, &host, &claims).await
    }

    /// What dockerd makes a name of in each network, as soon as the container runs.
    fn refuse_hostname(&self, hostname: Option<&str>, own: &str) -> Result<(), BackendError> {
        match hostname.filter(|hostname| !hostname.is_empty() && *hostname != own) {
            Some(hostname) => {
                let why = format!("both would be found by the hostname {hostname}");
                Err(not_beside(&why, &self.config.container))
            }
            None => Ok(()),
        }
    }

    async fn refuse_shared(
        &self,
        client: &Client,
        claims: &Claims,
        from: &Container,
    ) -> Result<(), BackendError> {
        let mut both = (claims.clone(), Claims::of_container(from));
        let mut may_share = self.config.swap.shared_volumes.clone();
        if client.is_on_this_host() {
            let found = tokio::task::spawn_blocking(move || {
                let (own, its) = both;
                let may_share = may_share.iter().map(|source| real(source)).collect();
                ((own.on_this_machine(), its.on_this_machine()), may_share)
            });
            let what = "where the data of both are is not known";
            let fail = |e| BackendError::new(BackendErrorKind::Failed, what).because(e);
            (both, may_share) = found.await.map_err(fail)?;
        }
        match both.0.shared_with(&both.1, &may_share) {
            Some(shared) => {
                let why = format!("both would have {shared}");
                Err(not_beside(&why, &self.config.container))
            }
            None => Ok(()),
        }
    }

    /// What others find by no name has no traffic that could be moved.
    async fn refuse_nameless(
        &self,
        client: &Client,
        host: &HostConfig,
        claims: &Claims,
    ) -> Result<(), BackendError> {
        let network = first_network(host.network_mode.as_deref());
        let network = self.found(client, &network).await?;
        let why = if !has_names(&network) {
            format!("nobody finds it by name in the network {network}, and so it gets its traffic")
        } else if claims.has_chosen_mac && !client.chooses_macs() {
            "before API 1.44 its hardware address is lost when it gets its names".to_owned()
        } else {
            return Ok(());
        };
        Err(not_beside(&why, &self.config.container))
    }

    /// Docker's name for a network: of those that it makes itself, the ones without names, some go by an
    /// id too.
    async fn found(&self, client: &Client, network: &str) -> Result<String, BackendError> {
        if !has_names(network) {
            return Ok(network.to_owned());
        }
        client.network(network).await?.ok_or_else(|| {
            let why = format!("there is no network {network}");
            not_beside(&why, &self.config.container)
        })
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
        let ends = [&op.from, &op.to];
        let looked = try_join!(inventory.look_at(&ends), self.refuse_late(cx, client));
        let ((), pins) = looked.map_err(untouched)?;
        let to = self.target(&inventory, op).await.map_err(untouched)?;
        let (Some(to), Some(release)) = (to, op.to.release()) else {
            return Ok(Evidence::default());
        };
        if !to.summary.is_up() {
            // It may have been prepared to replace what is live, by a program that was configured so.
            let refused = self.refuse_beside(client, &inventory, &op.from, &to).await;
            match refused.map_err(untouched) {
                Err(e) if e.kind() == BackendErrorKind::Unsupported => {
                    return Box::pin(self.swap(cx, op)).await;
                }
                allowed => allowed?,
            }
        }
        let others = self.others(cx, &inventory, op, Some(&to)).await;
        let others = others.map_err(untouched)?;
        let image = Some(to.summary.image.as_str());
        let claimed = self.publish(cx, client, &pins, image).await;
        claimed.map_err(untouched)?;
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
            // Nobody has judged it as it is now.
            self.fit(cx, client, id).await.map_err(untouched)?;
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
                cx.check()?;
            }
        }
        if to.summary.name != self.config.container {
            client.rename(id, &self.config.container).await?;
            cx.check()?;
        }
        if !former.is_empty() {
            told.extend(self.undrained(&op.from)?);
        }
        if let Some(release) = op.from.release() {
            for former in &former {
                let failed = self.strip(cx, client, former, release).await?;
                // It is stopped soon, and has lost the traffic: no reason to turn round.
                told.extend(failed.iter().map(|e| {
                    let name = former.summary.parked(&self.config.container);
                    format!("{name} is no longer live: {}", Chain::of(e))
                }));
            }
        }
        let now = client.inspect(id).await?.ok_or_else(|| vanished(id))?;
        tracing::debug!(workload = %op.workload, container = %id, "the traffic has moved");
        self.tell(cx, told);
        Ok(now.evidence())
    }

    /// Waits until a successor that was started just now may have the traffic: it runs, and its health
    /// check, where it has one, has passed.
    async fn fit(&self, cx: &Context, client: &Client, id: &str) -> Result<(), BackendError> {
        let until = Instant::now() + FIT_WITHIN;
        loop {
            let now = client.inspect(id).await?.ok_or_else(|| vanished(id))?;
            let health = now.health();
            let why = match (secrets::running(&now), health.map(|(status, _)| status)) {
                (Running::No(why), _) => why,
                (_, None | Some(HealthStatusEnum::HEALTHY)) => return Ok(()),
                (_, Some(HealthStatusEnum::UNHEALTHY)) => "its health check fails".to_owned(),
                _ if Instant::now() < until => {
                    cx.sleep(LOOK_AGAIN).await?;
                    continue;
                }
                _ => format!(
                    "its health check is starting after {} s",
                    FIT_WITHIN.as_secs()
                ),
            };
            let what =
                format!("the traffic stays where it is: the successor was started and {why}");
            return Err(BackendError::new(BackendErrorKind::Failed, what).on(id));
        }
    }

    /// That the connections of what loses the traffic are cut before it is drained.
    pub(crate) fn undrained(&self, from: &End) -> Result<Option<String>, BackendError> {
        let (Some(_), Some(release)) = (&self.config.swap.drain, from.release()) else {
            return Ok(None);
        };
        let mut all = networks(release)?.into_values();
        let is_cut = all.any(|asked| asked.aliases.is_some_and(|aliases| !aliases.is_empty()));
        Ok(is_cut.then(|| {
            let name = &self.config.container;
            format!(
                "the former {name} is not drained before its connections are cut: it loses them with its aliases"
            )
        }))
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
    let joined = joined_as(container, &first);
    let ip = joined.and_then(|(_, endpoint)| endpoint.ip_address.clone());
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
