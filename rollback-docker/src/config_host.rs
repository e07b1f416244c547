//! What a [`DockerConfig`] says of a container's networks, ports, limits and devices.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bollard::models::{DeviceMapping, ResourcesUlimits};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::attachment::NetworkAttachment;
use crate::config::DockerConfig;
use crate::defaults;
use crate::port::ContainerPort;
use crate::resources::{Capability, Device, LogDriver, Tmpfs, Ulimit};

impl DockerConfig {
    /// A port of the container, published at an address of the host; of IPv4 and of IPv6, say, if it is
    /// called for each.
    #[must_use]
    pub fn publish_port(self, host: SocketAddr, port: ContainerPort) -> Self {
        self.published(host, port)
    }

    /// The same on all addresses of the host, of whichever kinds it has. Port 0 of it is any that is free.
    #[must_use]
    pub fn publish_everywhere(self, host: u16, port: ContainerPort) -> Self {
        self.bound(format!(":{host}"), port)
    }

    /// So many ports, one by one: `host` and those after it for `first` and those after it.
    #[must_use]
    pub fn publish_range(self, host: SocketAddr, first: ContainerPort, count: u16) -> Self {
        (0..count).fold(self, |config, n| {
            let at = host.port().checked_add(n);
            match (at, first.further(n)) {
                (Some(at), Some(port)) => config.published(SocketAddr::new(host.ip(), at), port),
                _ => config.refused("there are no such ports", &format!("{first} and {n} more")),
            }
        })
    }

    /// A network. The first one is the container's own ([`network`](Self::network)), by which it
    /// reaches what is in none of them; each further one is joined besides. Of the networks of a
    /// container made by hand none is then taken over.
    #[must_use]
    pub fn join(mut self, attachment: &NetworkAttachment) -> Self {
        let NetworkAttachment {
            network, aliases, ..
        } = attachment;
        for kind in ["network", "alias", "endpoint", "mac"] {
            self.wanted.speak_of(kind);
        }
        let first = self.wanted.rows.get("network");
        let is_first = first.is_none_or(|first| first == network);
        let mut aliases = aliases.as_slice();
        if is_first {
            self = self.row("network", network);
            for alias in aliases {
                self = self.alias(alias);
            }
            aliases = &[];
        }
        let endpoint = attachment.endpoint(aliases);
        if endpoint.is_some() || !is_first {
            let row = format!("endpoint:{network}");
            self = self.json(row, &endpoint.unwrap_or_default());
        }
        match attachment.mac {
            Some(mac) => self.row(format!("mac:{network}"), mac.to_string()),
            None => self,
        }
    }

    /// Most CPU time, in thousandths of a CPU: 1500 is one and a half.
    #[must_use]
    pub fn millicpus(self, thousandths: u32) -> Self {
        let nanos = u64::from(thousandths) * 1_000_000;
        self.row("nano_cpus", nanos.to_string())
    }

    /// Most processes and threads at once.
    #[must_use]
    pub fn pids_limit(self, most: u32) -> Self {
        self.row("pids_limit", most.to_string())
    }

    /// How much CPU time it gets where others want it, too; 1024 unless said otherwise.
    #[must_use]
    pub fn cpu_shares(self, shares: u32) -> Self {
        self.row("cpu_shares", shares.to_string())
    }

    /// Most microseconds of CPU time in each period of it.
    #[must_use]
    pub fn cpu_quota(self, microseconds: u32) -> Self {
        self.row("cpu_quota", microseconds.to_string())
    }

    /// A field of what dockerd's API calls `HostConfig`, as it takes it: `ReadonlyRootfs`, `ExtraHosts`.
    /// What has a method of its own is refused, and so is a field that does not fit. It is recorded
    /// and shown as it is: none of these is for secrets.
    #[must_use]
    pub fn host_config(self, field: &str, value: &impl Serialize) -> Self {
        match defaults::has_own_row(field) {
            true => self.refused("this setting has a method of its own", field),
            false => self.json(format!("host:{field}"), value),
        }
    }

    /// The same of what it calls a container's `Config`: `Domainname`, `StopSignal`.
    #[must_use]
    pub fn container_config(self, field: &str, value: &impl Serialize) -> Self {
        match defaults::is_passed_on(field) {
            true => self.json(format!("config:{field}"), value),
            false => self.refused("this setting has a method of its own", field),
        }
    }

    /// The size of `/dev/shm`, in bytes; 64 MiB unless said otherwise.
    #[must_use]
    pub fn shm_size(self, bytes: u64) -> Self {
        self.json("host:ShmSize", &bytes)
    }

    /// A parameter of the kernel, as far as it has one for each container.
    #[must_use]
    pub fn sysctl(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.with_json("host:Sysctls", |all: &mut BTreeMap<String, String>| {
            all.insert(name, value);
        })
    }

    /// A limit of each process.
    #[must_use]
    pub fn ulimit(self, limit: &Ulimit) -> Self {
        let limit = limit.docker();
        self.with_json("host:Ulimits", |all: &mut Vec<ResourcesUlimits>| {
            all.retain(|other| other.name != limit.name);
            all.push(limit);
        })
    }

    /// A capability besides those that docker gives.
    #[must_use]
    pub fn cap_add(self, capability: &Capability) -> Self {
        self.capability("host:CapAdd", capability)
    }

    /// A capability of those that docker gives that this container does not have.
    #[must_use]
    pub fn cap_drop(self, capability: &Capability) -> Self {
        self.capability("host:CapDrop", capability)
    }

    fn capability(self, row: &str, capability: &Capability) -> Self {
        self.with_json(row, |all: &mut Vec<String>| {
            all.push(capability.to_string());
            all.sort_unstable();
            all.dedup();
        })
    }

    /// A device of the host.
    #[must_use]
    pub fn device(self, device: &Device) -> Self {
        let device = device.docker();
        self.with_json("host:Devices", |all: &mut Vec<DeviceMapping>| {
            all.retain(|other| other.path_in_container != device.path_in_container);
            all.push(device);
        })
    }

    /// A directory in memory.
    #[must_use]
    pub fn tmpfs(self, tmpfs: &Tmpfs) -> Self {
        if !tmpfs.path.starts_with('/') {
            return self.refused("the path is not absolute", &tmpfs.path);
        }
        self.with_json("host:Tmpfs", |all: &mut BTreeMap<String, String>| {
            all.insert(tmpfs.path.clone(), tmpfs.options());
        })
    }

    /// Where the log goes, in place of the daemon's own choice.
    #[must_use]
    pub fn log_driver(self, driver: &LogDriver) -> Self {
        self.json("host:LogConfig", &driver.docker())
    }

    /// A row that is kept as dockerd shows it.
    fn json(self, row: impl Into<String>, value: &impl Serialize) -> Self {
        let text = serde_json::to_string(value).unwrap_or_default();
        self.row(row, text)
    }

    /// The same, with what was said of it before.
    fn with_json<T>(self, row: &str, put: impl FnOnce(&mut T)) -> Self
    where
        T: Serialize + DeserializeOwned + Default,
    {
        let before = self.wanted.rows.get(row);
        let before = before.and_then(|text| serde_json::from_str(text).ok());
        let mut value: T = before.unwrap_or_default();
        put(&mut value);
        self.json(row, &value)
    }
}
