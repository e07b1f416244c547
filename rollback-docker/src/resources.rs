//! What a container is allowed and given: [`Ulimit`], [`Capability`], [`Device`], [`Tmpfs`],
//! [`LogDriver`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

use bollard::models::{DeviceMapping, HostConfigLogConfig, ResourcesUlimits};
use rollback_core::error::BackendError;

use crate::wanted::bad;

/// A limit of each process, as docker writes it: `nofile=1024:2048`, soft and hard, or one number for
/// both; -1 is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    name: String,
    soft: i64,
    hard: i64,
}

impl Ulimit {
    pub(crate) fn docker(&self) -> ResourcesUlimits {
        ResourcesUlimits {
            name: Some(self.name.clone()),
            soft: Some(self.soft),
            hard: Some(self.hard),
        }
    }
}

impl FromStr for Ulimit {
    type Err = BackendError;

    /// # Errors
    ///
    /// [`InvalidReference`](rollback_core::error::BackendErrorKind::InvalidReference) for what is no
    /// limit, or a soft one above the hard one.
    fn from_str(text: &str) -> Result<Self, BackendError> {
        let parse = || {
            let (name, limits) = text.split_once('=')?;
            let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
            let number = |n: &str| n.parse::<i64>().ok().filter(|n| *n >= -1);
            let (soft, hard) = (number(soft)?, number(hard)?);
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase());
            let in_order = hard == -1 || (soft != -1 && soft <= hard);
            let name = name.to_owned();
            (is_name && in_order).then_some(Self { name, soft, hard })
        };
        parse().ok_or_else(|| bad("this is no limit such as nofile=1024:2048", text))
    }
}

/// A capability of Linux: `NET_ADMIN`, or `CAP_NET_ADMIN`, or `ALL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability(String);

impl FromStr for Capability {
    type Err = BackendError;

    /// # Errors
    ///
    /// [`InvalidReference`](rollback_core::error::BackendErrorKind::InvalidReference) for what cannot
    /// be one's name.
    fn from_str(text: &str) -> Result<Self, BackendError> {
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        let known = |b: u8| b.is_ascii_uppercase() || b == b'_';
        match !name.is_empty() && name.bytes().all(known) {
            true => Ok(Self(name.to_owned())),
            false => Err(bad("this is no capability such as NET_ADMIN", text)),
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A device of the host, as docker writes it: `/dev/ttyUSB0`, `/dev/sda:/dev/xvda`, or with what may be
/// done to it, `/dev/sda:/dev/xvda:r` (`r`, `w`, `m`; all three unless said otherwise).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    host: String,
    container: String,
    permissions: String,
}

impl Device {
    pub(crate) fn docker(&self) -> DeviceMapping {
        DeviceMapping {
            path_on_host: Some(self.host.clone()),
            path_in_container: Some(self.container.clone()),
            cgroup_permissions: Some(self.permissions.clone()),
        }
    }
}

impl FromStr for Device {
    type Err = BackendError;

    /// # Errors
    ///
    /// [`InvalidReference`](rollback_core::error::BackendErrorKind::InvalidReference) for what is no
    /// absolute path, or says of it what docker does not know.
    fn from_str(text: &str) -> Result<Self, BackendError> {
        let is_mode = |mode: &str| !mode.is_empty() && mode.chars().all(|c| "rwm".contains(c));
        let parts: Vec<&str> = text.split(':').collect();
        let (host, container, permissions) = match parts[..] {
            [host] => (host, host, "rwm"),
            [host, mode] if is_mode(mode) => (host, host, mode),
            [host, container] => (host, container, "rwm"),
            [host, container, mode] => (host, container, mode),
            _ => ("", "", ""),
        };
        let is_path = |path: &str| path.starts_with('/') && path.len() > 1;
        match is_path(host) && is_path(container) && is_mode(permissions) {
            true => Ok(Self {
                host: host.to_owned(),
                container: container.to_owned(),
                permissions: permissions.to_owned(),
            }),
            false => Err(bad("this is no device such as /dev/sda:/dev/xvda:r", text)),
        }
    }
}

/// A directory in memory, gone with the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    pub(crate) path: String,
    size: Option<u64>,
    mode: Option<u32>,
}

impl Tmpfs {
    /// At this path in the container: as large as half of the memory, and anyone's, unless said
    /// otherwise.
    pub fn at(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            size: None,
            mode: None,
        }
    }

    /// At most so many bytes.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    /// Its permissions, such as `0o750`.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    pub(crate) fn options(&self) -> String {
        let size = self.size.map(|bytes| format!("size={bytes}"));
        let mode = self.mode.map(|mode| format!("mode={mode:o}"));
        let all: Vec<String> = size.into_iter().chain(mode).collect();
        all.join(",")
    }
}

/// Where a container's log goes. `Debug` hides what the driver is told: it may be a token.
#[derive(Clone, PartialEq, Eq)]
pub struct LogDriver {
    name: String,
    options: BTreeMap<String, String>,
}

impl LogDriver {
    /// A driver of docker's, such as `json-file`, `local` or `journald`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            options: BTreeMap::new(),
        }
    }

    /// What it is told, such as `max-size`, `10m`. Never recorded: a release has its fingerprint.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.insert(name.into(), value.into());
        self
    }

    pub(crate) fn docker(&self) -> HostConfigLogConfig {
        let options = self.options.clone().into_iter();
        HostConfigLogConfig {
            typ: Some(self.name.clone()),
            config: Some(HashMap::from_iter(options)),
        }
    }
}

impl fmt::Debug for LogDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogDriver")
            .field("name", &self.name)
            .field("options", &Vec::from_iter(self.options.keys()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_writes_is_read_and_what_it_would_refuse_is_refused() {
        let limit = |text: &str| text.parse::<Ulimit>().ok().map(|u| (u.soft, u.hard));
        assert_eq!(limit("nofile=10:20"), Some((10, 20)));
        assert_eq!(limit("core=-1"), Some((-1, -1)));
        for bad in ["nofile", "nofile=20:10", "=1", "nofile=-1:5", "nofile=x"] {
            assert_eq!(limit(bad), None, "{bad}");
        }
        let device = |text: &str| {
            let device = text.parse::<Device>().ok();
            device.map(|d| [d.host, d.container, d.permissions].join(" "))
        };
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(device("/dev/a"), is("/dev/a /dev/a rwm"));
        assert_eq!(device("/dev/a:r"), is("/dev/a /dev/a r"));
        assert_eq!(device("/dev/a:/dev/b"), is("/dev/a /dev/b rwm"));
        assert_eq!(device("/dev/a:/dev/b:rw"), is("/dev/a /dev/b rw"));
        for bad in ["", "/", "dev/a", "/dev/a:x", "/dev/a:/dev/b:x", "/a:/b:r:w"] {
            assert_eq!(device(bad), None, "{bad}");
        }
        let capability = |text: &str| text.parse::<Capability>().ok().map(|c| c.to_string());
        assert_eq!(capability("cap_net_admin"), is("NET_ADMIN"));
        assert_eq!(capability("NET ADMIN"), None);
    }
}
