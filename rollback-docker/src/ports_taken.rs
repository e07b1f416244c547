//! Ports of the host that a release needs, and that somebody else has.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use bollard::models::PortSummaryTypeEnum;
use bollard::query_parameters::ListContainersOptionsBuilder;
use rollback_core::error::BackendError;
use rollback_core::release::Release;
use tokio::net::{TcpSocket, UdpSocket, UnixStream};

use crate::backend::DockerBackend;
use crate::body::first_network;
use crate::client::Client;
use crate::container::Container;
use crate::port::{ContainerPort, Protocol};
use crate::settings;

/// A port of the host that a container has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HostPort {
    at: SocketAddr,
    protocol: Protocol,
}

impl HostPort {
    /// Whether both cannot be had at once.
    fn meets(self, other: Self) -> bool {
        let (own, its) = (self.at.ip(), other.at.ip());
        let everywhere = own.is_unspecified() || its.is_unspecified();
        let same = self.at.port() == other.at.port() && self.protocol == other.protocol;
        same && (own == its || (everywhere && own.is_ipv4() == its.is_ipv4()))
    }

    fn shown(self) -> String {
        format!("port {} ({})", self.at, self.protocol)
    }
}

/// The ports of the host that a release publishes.
fn published(release: &Release) -> Vec<HostPort> {
    let rows = settings::table(release, settings::CONTAINER).into_keys();
    let ports = rows.filter(|row| settings::kind(row) == "port");
    let each = ports.filter_map(|row| {
        let port: ContainerPort = row.strip_prefix("port:")?.parse().ok()?;
        Some((port.protocol(), settings::plain(release, &row)?))
    });
    let all = each.flat_map(|(protocol, hosts)| {
        let hosts = hosts.split(',').map(str::to_owned);
        let hosts = Vec::from_iter(hosts).into_iter();
        hosts.filter_map(move |at| {
            // Without an address it is on all.
            let at = match at.strip_prefix(':') {
                Some(port) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port.parse().ok()?)),
                None => at.parse().ok()?,
            };
            Some(HostPort { at, protocol })
        })
    });
    // Of 0 dockerd makes one that is free.
    all.filter(|port| port.at.port() != 0).collect()
}

impl DockerBackend {
    /// Which ports of the host somebody else has: another container, or another program.
    pub(crate) async fn ports_taken(
        &self,
        client: &Client,
        release: &Release,
        live: Option<&Container>,
        ours: &[&str],
    ) -> Result<Vec<String>, BackendError> {
        let wanted = published(release);
        let mut told = Vec::new();
        let (theirs, own) = client.ports(ours).await?;
        let mut free = Vec::new();
        for port in wanted {
            match theirs.iter().find(|(_, its)| port.meets(*its)) {
                Some((name, _)) => told.push(format!("{} is {name}'s", port.shown())),
                // It is given up with what is live.
                None if own.iter().any(|its| port.meets(*its)) => {}
                None => free.push(port),
            }
        }
        if settings::plain(release, "network").as_deref() == Some("host") {
            free.extend(self.listened_at(client, release, live).await?);
        }
        if !free.is_empty() && client.shares_network().await {
            for port in free {
                if is_taken(port).await {
                    told.push(format!("{} is taken by another program", port.shown()));
                }
            }
        }
        Ok(told)
    }

    /// Where a container with the host's own network listens, as its image says; nowhere that can be
    /// looked at while what is live does.
    async fn listened_at(
        &self,
        client: &Client,
        release: &Release,
        live: Option<&Container>,
    ) -> Result<Vec<HostPort>, BackendError> {
        let host = live.and_then(|live| live.inspect.host_config.as_ref());
        let is_host = host.is_some_and(|h| first_network(h.network_mode.as_deref()) == "host");
        if is_host && live.is_some_and(|live| live.summary.is_up()) {
            return Ok(Vec::new());
        }
        let image = self.source.located(client, release).await?;
        let exposed = image.and_then(|image| image.config?.exposed_ports);
        let ports = exposed.into_iter().flatten();
        let ports = ports.filter_map(|port| port.parse::<ContainerPort>().ok());
        Ok(ports
            .map(|port| HostPort {
                at: SocketAddr::from((Ipv4Addr::UNSPECIFIED, port.number())),
                protocol: port.protocol(),
            })
            .collect())
    }
}

impl Client {
    /// The ports that running containers have, of others by name, and those of these.
    async fn ports(
        &self,
        ours: &[&str],
    ) -> Result<(Vec<(String, HostPort)>, Vec<HostPort>), BackendError> {
        let options = ListContainersOptionsBuilder::default().build();
        let listed = self.docker.list_containers(Some(options)).await;
        let listed = listed.map_err(|e| self.failed("cannot list the containers", "dockerd", e))?;
        let (mut theirs, mut own) = (Vec::new(), Vec::new());
        for container in listed {
            let id = container.id.unwrap_or_default();
            let name = container.names.into_iter().flatten().next();
            let name = name.unwrap_or_default().trim_start_matches('/').to_owned();
            for port in container.ports.into_iter().flatten() {
                let ip: Option<IpAddr> = port.ip.and_then(|ip| ip.parse().ok());
                let protocol = match port.typ {
                    Some(PortSummaryTypeEnum::UDP) => Protocol::Udp,
                    Some(PortSummaryTypeEnum::SCTP) => Protocol::Sctp,
                    _ => Protocol::Tcp,
                };
                let Some(at) = ip.zip(port.public_port).map(SocketAddr::from) else {
                    continue;
                };
                let port = HostPort { at, protocol };
                match ours.contains(&id.as_str()) {
                    true => own.push(port),
                    false => theirs.push((name.clone(), port)),
                }
            }
        }
        Ok((theirs, own))
    }

    /// Whether this process has the same ports as the daemon: not from within a container.
    async fn shares_network(&self) -> bool {
        let Some(socket) = self.local_socket() else {
            return false;
        };
        let daemon = UnixStream::connect(socket).await;
        let daemon = daemon.and_then(|stream| stream.peer_cred());
        let Some(pid) = daemon.ok().and_then(|daemon| daemon.pid()) else {
            return false;
        };
        let network = |pid: &str| fs::read_link(Path::new("/proc").join(pid).join("ns/net")).ok();
        let its = network(&pid.to_string());
        its.is_some() && its == network("self")
    }
}

/// Whether nobody could listen there now. Tried without listening: nobody is kept out.
async fn is_taken(port: HostPort) -> bool {
    let tried = match port.protocol {
        Protocol::Udp => UdpSocket::bind(port.at).await.map(drop),
        Protocol::Tcp => bind(port.at),
        // Nothing here speaks it.
        _ => return false,
    };
    tried.is_err_and(|e| e.kind() == io::ErrorKind::AddrInUse)
}

fn bind(at: SocketAddr) -> io::Result<()> {
    let socket = match at {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // What connections have left behind keeps no listener away.
    socket.set_reuseaddr(true)?;
    socket.bind(at)
}
