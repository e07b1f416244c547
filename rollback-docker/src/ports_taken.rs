//! Ports of the host that a release needs, and that somebody else has.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use bollard::models::{ContainerSummary, PortSummaryTypeEnum};
use rollback_core::error::BackendError;
use rollback_core::release::Release;
use tokio::net::{TcpSocket, UnixStream};

use crate::backend::DockerBackend;
use crate::body::first_network;
use crate::client::Client;
use crate::container::Container;
use crate::inventory::Inventory;
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
        inventory: &Inventory<'_>,
        release: &Release,
        live: Option<&Container>,
        ours: &[&str],
    ) -> Result<Vec<String>, BackendError> {
        let wanted = published(release);
        let mut told = Vec::new();
        let (theirs, own) = ports(inventory.all(), ours);
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
                if is_taken(port) {
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

/// The ports that containers have, of others by name, and those of these. Only what runs has any.
fn ports(all: &[ContainerSummary], ours: &[&str]) -> (Vec<(String, HostPort)>, Vec<HostPort>) {
    let (mut theirs, mut own) = (Vec::new(), Vec::new());
    for container in all {
        let id = container.id.as_deref().unwrap_or_default();
        let name = container.names.iter().flatten().next();
        let name = name.map_or("", |name| name.trim_start_matches('/'));
        for port in container.ports.iter().flatten() {
            let ip: Option<IpAddr> = port.ip.as_ref().and_then(|ip| ip.parse().ok());
            let protocol = match port.typ {
                Some(PortSummaryTypeEnum::UDP) => Protocol::Udp,
                Some(PortSummaryTypeEnum::SCTP) => Protocol::Sctp,
                _ => Protocol::Tcp,
            };
            let Some(at) = ip.zip(port.public_port).map(SocketAddr::from) else {
                continue;
            };
            let port = HostPort { at, protocol };
            match ours.contains(&id) {
                true => own.push(port),
                false => theirs.push((name.to_owned(), port)),
            }
        }
    }
    (theirs, own)
}

/// Whether nobody could listen there now. Nobody is kept out meanwhile: of TCP it is tried without
/// listening, and of UDP, where a socket has its port as soon as it is bound, the kernel is asked.
fn is_taken(port: HostPort) -> bool {
    match port.protocol {
        Protocol::Udp => {
            let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"];
            let tables = tables.iter().filter_map(|at| fs::read_to_string(at).ok());
            tables.into_iter().any(|table| {
                let mut bound = table.lines().filter_map(bound_at);
                bound.any(|at| has(at, port.at))
            })
        }
        Protocol::Tcp => bind(port.at).is_err_and(|e| e.kind() == io::ErrorKind::AddrInUse),
        // Nothing here speaks it.
        _ => false,
    }
}

/// Whether a UDP socket that is bound there has this port. One of all IPv6 addresses mostly has those
/// of IPv4, too.
fn has(bound: SocketAddr, port: SocketAddr) -> bool {
    let (its, own) = (bound.ip(), port.ip());
    let all = match its.is_unspecified() {
        true => its.is_ipv6() || own.is_ipv4(),
        false => own.is_unspecified() && own.is_ipv4() == its.is_ipv4(),
    };
    bound.port() == port.port() && (its == own || all)
}

/// Where the socket of a line of the kernel's table is bound: `0100007F:0035`, each word of the address
/// in the machine's own order.
fn bound_at(line: &str) -> Option<SocketAddr> {
    let (address, port) = line.split_whitespace().nth(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            IpAddr::from(<[u8; 16]>::try_from(words.concat()).ok()?)
        }
        _ => return None,
    };
    Some(SocketAddr::from((ip, port)))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_port_was_taken_for_an_instant_to_see_whether_it_is_free() {
        for at in ["127.0.0.1:0", "0.0.0.0:0"] {
            let socket = UdpSocket::bind(at).unwrap();
            let at = SocketAddr::from((Ipv4Addr::LOCALHOST, socket.local_addr().unwrap().port()));
            let protocol = Protocol::Udp;
            assert!(is_taken(HostPort { at, protocol }));
            drop(socket);
            assert!(!is_taken(HostPort { at, protocol }));
        }
        assert_eq!(bound_at("  sl  local_address rem_address"), None);
        let v6 = "1: B80D0120000000000000000001000000:14E9 0 07";
        if cfg!(target_endian = "little") {
            assert_eq!(bound_at(v6), Some("[2001:db8::1]:5353".parse().unwrap()));
        }
    }
}
