//! [`SystemdConfig`] and [`UnitName`].

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rollback_core::id::WorkloadId;

/// A service unit's name: `api.service`, `worker@3.service`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnitName(String);

impl UnitName {
    /// The name, its suffix `.service` included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `worker@.service` of `worker@3.service`.
    pub(crate) fn template(&self) -> Option<String> {
        let (prefix, _) = self.0.split_once('@')?;
        Some(format!("{prefix}@.service"))
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Not a service unit's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no service unit's name; write it as api.service or worker@3.service")]
pub struct InvalidUnitName(String);

impl FromStr for UnitName {
    type Err = InvalidUnitName;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        // systemd.unit(5): at most 255 bytes of these characters; a template itself cannot run.
        let stem = s.strip_suffix(".service").unwrap_or_default();
        let fits = s.len() <= 255
            && !stem.is_empty()
            && !stem.starts_with(['.', '-', '@'])
            && !stem.ends_with('@')
            && stem
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b));
        if fits {
            Ok(Self(s.to_owned()))
        } else {
            Err(InvalidUnitName(s.chars().take(40).collect()))
        }
    }
}

/// How one unit is managed. Plain data; [`SystemdBackend::new`](crate::SystemdBackend::new)
/// checks it.
#[derive(Debug, Clone)]
pub struct SystemdConfig {
    pub(crate) workload: WorkloadId,
    pub(crate) unit: UnitName,
    pub(crate) sources: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) bus: Option<String>,
    pub(crate) soak: Duration,
    pub(crate) enable: bool,
    pub(crate) plain_env: BTreeSet<String>,
}

impl SystemdConfig {
    /// `sources`: the directory of unit files that references name. `state`: a directory of the
    /// backend's own (made 0700), where the contents of retained releases are kept; it holds
    /// what the units hold, secrets included, and is protected like them.
    pub fn new(
        workload: WorkloadId,
        unit: UnitName,
        sources: impl Into<PathBuf>,
        state: impl Into<PathBuf>,
    ) -> Self {
        Self {
            workload,
            unit,
            sources: sources.into(),
            state: state.into(),
            root: "/".into(),
            bus: None,
            soak: Duration::from_secs(2),
            enable: false,
            plain_env: BTreeSet::new(),
        }
    }

    /// Looks for `etc/systemd/system` and the other unit directories below here instead of `/`.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// Enables the unit when a release of it is made live, as its `[Install]` says, and disables
    /// it when its first deployment is undone. Otherwise enablement is left alone.
    #[must_use]
    pub fn enable(mut self, enable: bool) -> Self {
        self.enable = enable;
        self
    }

    /// Shows the values of these environment variables in records and diffs: `PORT`, `VERSION`.
    /// Others are secrets until they are named here: a fingerprint tells only that they changed.
    /// A line of `Environment=` is shown if every variable in it is named.
    #[must_use]
    pub fn plain_env<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.plain_env = names.into_iter().map(Into::into).collect();
        self
    }

    /// Uses this D-Bus address instead of the system bus.
    #[must_use]
    pub fn bus(mut self, address: impl Into<String>) -> Self {
        self.bus = Some(address.into());
        self
    }

    /// How long a unit has to run undisturbed to count as healthy; 2 s unless set.
    #[must_use]
    pub fn soak(mut self, soak: Duration) -> Self {
        self.soak = soak;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_service_units_that_can_run_have_names() {
        for good in ["api.service", "worker@3.service", "a-b_c:d.service"] {
            assert!(good.parse::<UnitName>().is_ok(), "{good}");
        }
        let long = "a".repeat(300) + ".service";
        for bad in [
            "",
            ".service",
            "api",
            "api.socket",
            "../x.service",
            "a/b.service",
            "t@.service",
            "a b.service",
            "a\0.service",
            "аpi.service",
            &long,
        ] {
            assert!(bad.parse::<UnitName>().is_err(), "{bad}");
        }
    }
}
