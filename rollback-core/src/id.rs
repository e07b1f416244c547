//! Identifiers: parsed once at the edge, valid ever after.
//!
//! Every name here may become part of a path, a git ref, a container name or a label, so the
//! alphabet is the intersection of what those take, and nothing outside ASCII can imitate it.

mod actor;
mod group;
mod key;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

pub use actor::{Actor, ShortText};
pub use group::GroupId;
pub use key::{IdempotencyKey, MAX_KEY};

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?} is not valid: {why}")]
pub struct InvalidId {
    what: &'static str,
    given: String,
    why: String,
}

impl InvalidId {
    pub(crate) fn new(what: &'static str, given: &str, why: impl Into<String>) -> Self {
        // Ten kilobytes of somebody's input do not belong in an error text.
        let mut shown: String = given.chars().take(40).collect();
        if shown.len() < given.len() {
            shown.push('…');
        }
        Self {
            what,
            given: shown,
            why: why.into(),
        }
    }
}

/// The value of a word, out of these.
pub(crate) fn one_of<T>(
    what: &'static str,
    word: &str,
    all: impl IntoIterator<Item = (&'static str, T)>,
) -> Result<T, InvalidId> {
    let mut words = Vec::new();
    for (known, value) in all {
        if known == word {
            return Ok(value);
        }
        words.push(known);
    }
    let words = words.join(", ");
    Err(InvalidId::new(what, word, format!("write one of {words}")))
}

/// Longest service, target and backend name, in bytes: a DNS label, and safe in every path.
pub const MAX_NAME: usize = 63;

fn check_name(what: &'static str, s: &str) -> Result<(), InvalidId> {
    let bad = |why: String| Err(InvalidId::new(what, s, why));
    if s.is_empty() {
        return bad("it is empty".into());
    }
    if s.len() > MAX_NAME {
        return bad(format!(
            "it has {} bytes, at most {MAX_NAME} are allowed",
            s.len()
        ));
    }
    if let Some(c) = s
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c)))
    {
        return bad(format!(
            "{c:?} is not allowed; use ASCII letters, digits, '.', '_' and '-'"
        ));
    }
    if !s.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return bad("it must start with a letter or a digit".into());
    }
    // git refuses these in ref names; a trailing dot or ".." is a path trap everywhere.
    if s.contains("..") || s.ends_with('.') || s.ends_with(".lock") {
        return bad("it must not contain '..' nor end in '.' or '.lock'".into());
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(s: &str) -> Result<Self, InvalidId> {
                check_name($what, s)?;
                Ok(Self(s.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(s: String) -> Result<Self, InvalidId> {
                check_name($what, &s)?;
                Ok(Self(s))
            }
        }

        impl From<$name> for String {
            fn from(n: $name) -> String {
                n.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name_type!(
    /// Several workloads that belong together: `shop`.
    StackName,
    "stack name"
);
name_type!(
    /// What runs: `api`, `billing-worker`.
    ServiceName,
    "service name"
);
name_type!(
    /// Where it runs: a host, cluster or namespace, such as `web-1`.
    TargetName,
    "target name"
);
name_type!(
    /// Which backend made a release: `git`, `docker`, `systemd`, or a third party's own.
    BackendKind,
    "backend kind"
);
name_type!(
    /// A guard's name, as `force` takes it.
    GuardName,
    "guard name"
);

impl GuardName {
    /// The built-in guard over the declared dependencies; what a bare `--force` means.
    pub fn dependencies() -> Self {
        Self("dependencies".to_owned())
    }

    /// The built-in guard over migrations since the target.
    pub fn migrations() -> Self {
        Self("migrations".to_owned())
    }

    /// The built-in guard over rollbacks that were not practised.
    pub fn drill() -> Self {
        Self("drill".to_owned())
    }

    /// The built-in guard over artifacts that were recalled.
    pub fn recall() -> Self {
        Self("recall".to_owned())
    }

    /// The built-in guard over rollbacks below the floor.
    pub fn floor() -> Self {
        Self("floor".to_owned())
    }

    /// The built-in guard over what moves with a group and could not be put back.
    pub fn way_back() -> Self {
        Self("way-back".to_owned())
    }

    /// The built-in guard over what a deployment is to be finished with: see
    /// [`Refusal::ComposedDifferently`](crate::plan::Refusal::ComposedDifferently).
    pub fn composition() -> Self {
        Self("composition".to_owned())
    }

    /// The built-in guard over held deploys.
    pub fn hold() -> Self {
        Self("hold".to_owned())
    }
}

/// One service on one target: the unit that is locked, deployed and rolled back.
///
/// ```
/// use rollback_core::id::WorkloadId;
/// let w: WorkloadId = "api@web-1".parse()?;
/// assert_eq!(w.service().as_str(), "api");
/// assert_eq!(w.to_string(), "api@web-1");
/// assert!("../x@web-1".parse::<WorkloadId>().is_err());
/// # Ok::<(), rollback_core::id::InvalidId>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkloadId {
    service: ServiceName,
    target: TargetName,
}

impl WorkloadId {
    /// The workload of `service` on `target`.
    pub fn new(service: ServiceName, target: TargetName) -> Self {
        Self { service, target }
    }

    /// The service, whichever the target.
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Where it runs.
    pub fn target(&self) -> &TargetName {
        &self.target
    }
}

impl FromStr for WorkloadId {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        let (service, target) = s.split_once('@').ok_or_else(|| {
            InvalidId::new(
                "workload",
                s,
                "write it as service@target, such as api@web-1",
            )
        })?;
        Ok(Self {
            service: service.parse()?,
            target: target.parse()?,
        })
    }
}

impl TryFrom<String> for WorkloadId {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        s.parse()
    }
}

impl From<WorkloadId> for String {
    fn from(w: WorkloadId) -> String {
        w.to_string()
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}@{}", self.service, self.target))
    }
}

/// A deployment's id: `deploy-20260315-143022-a3f2b901`, UTC to the second and random hex.
///
/// It sorts by time for people; the library orders by the store's
/// [`Sequence`](crate::history::Sequence) alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeploymentId(String);

impl DeploymentId {
    /// A new id for a deployment that begins `now`, with 64 random bits so that a thousand
    /// engines may share a store.
    pub fn generate(now: Timestamp) -> Self {
        let mut bytes = [0u8; 8];
        if getrandom::fill(&mut bytes).is_err() {
            // No entropy source: process and time still differ, and the store refuses a repeat.
            let mix = u64::from(std::process::id())
                ^ u64::try_from(now.as_nanosecond() & i128::from(u64::MAX)).unwrap_or(0);
            bytes = mix.to_be_bytes();
        }
        let hex = base16ct::lower::encode_string(&bytes);
        Self(format!("deploy-{}-{hex}", now.compact()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it, or its last, random part, begins with this text: how people abbreviate it.
    pub fn begins(&self, text: &str) -> bool {
        self.0.starts_with(text) || self.random().starts_with(text)
    }

    /// Its last part: what tells it from others of the same second.
    pub fn random(&self) -> &str {
        self.0
            .get("deploy-YYYYMMDD-HHMMSS-".len()..)
            .unwrap_or_default()
    }
}

impl FromStr for DeploymentId {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        let bad = || {
            InvalidId::new(
                "deployment id",
                s,
                "write it as deploy-YYYYMMDD-HHMMSS-<4 to 16 hex digits>",
            )
        };
        let mut parts = s.strip_prefix("deploy-").ok_or_else(bad)?.split('-');
        let digits = |p: &str, n: usize| p.len() == n && p.bytes().all(|b| b.is_ascii_digit());
        let (date, time, hex) = (
            parts.next().ok_or_else(bad)?,
            parts.next().ok_or_else(bad)?,
            parts.next(),
        );
        let hex = hex.ok_or_else(bad)?;
        let is_hex = (4..=16).contains(&hex.len())
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if parts.next().is_some() || !digits(date, 8) || !digits(time, 6) || !is_hex {
            return Err(bad());
        }
        Ok(Self(s.to_owned()))
    }
}

impl TryFrom<String> for DeploymentId {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        s.parse()
    }
}

impl From<DeploymentId> for String {
    fn from(id: DeploymentId) -> String {
        id.0
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_could_leave_a_directory_or_imitate_another_are_refused() {
        let long = "a".repeat(10_000);
        for bad in [
            "", "../x", "..", ".", "/", "a/b", "a\0b", "a b", "а", "ａpi", "-x", "a..b", "a.lock",
            "a.", &long,
        ] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad:?}");
        }
        let error = long.parse::<ServiceName>().unwrap_err().to_string();
        assert!(
            error.len() < 200,
            "an error does not echo 10 kB: {}",
            error.len()
        );
    }

    #[test]
    fn a_generated_id_parses() {
        let id = DeploymentId::generate(Timestamp::UNIX_EPOCH);
        assert!(id.as_str().starts_with("deploy-19700101-000000-"));
        assert_eq!(id.as_str().parse::<DeploymentId>().unwrap(), id);
        assert!(
            "deploy-20260315-143022-a3f2"
                .parse::<DeploymentId>()
                .is_ok()
        );
        for bad in [
            "",
            "deploy-",
            "deploy-20260315-143022",
            "deploy-20260315-143022-A3F2",
            "deploy-20260315-143022-a3f2/..",
            "deploy-20260315-143022-a3f2-",
            "deploy-２0260315-143022-a3f2",
        ] {
            assert!(bad.parse::<DeploymentId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn words_parse_to_what_they_are_shown_as() {
        use crate::deployment::{Outcome, TriggerKind};
        for outcome in Outcome::ALL {
            assert_eq!(outcome.as_str().parse::<Outcome>().unwrap(), *outcome);
        }
        for kind in TriggerKind::ALL {
            assert_eq!(kind.as_str().parse::<TriggerKind>().unwrap(), *kind);
        }
        let error = "fine".parse::<Outcome>().unwrap_err().to_string();
        assert!(error.contains("failed_and_rolled_back"), "{error}");
    }

    proptest! {
        #[test]
        fn whatever_parses_is_one_safe_path_component(s in "\\PC{0,80}") {
            if let Ok(name) = s.parse::<ServiceName>() {
                let path = std::path::Path::new(name.as_str());
                prop_assert_eq!(path.components().count(), 1);
                prop_assert!(path.file_name().is_some());
                prop_assert!(s.is_ascii());
            }
        }
    }
}
