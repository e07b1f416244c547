//! The units' search path: which fragment and which drop-ins the manager would load.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rollback_core::error::{BackendError, BackendErrorKind as Kind};

use crate::config::{SystemdConfig, UnitName};
use crate::files::read;
use crate::key::{Key, sha256};
use crate::release::MAX_UNIT;

/// Where units are looked for, first match first (systemd.unit(5)).
const SEARCH: &[&str] = &[
    "etc/systemd/system.control",
    "run/systemd/system.control",
    "run/systemd/transient",
    "run/systemd/generator.early",
    OWN,
    "etc/systemd/system.attached",
    "run/systemd/system",
    "run/systemd/system.attached",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "run/systemd/generator.late",
];

/// The only one that is written to.
const OWN: &str = "etc/systemd/system";

/// The directories of the search path. `lib` is left out where it is `usr/lib` once more.
fn search(config: &SystemdConfig) -> impl Iterator<Item = PathBuf> {
    let merged = config.root.join("lib").is_symlink();
    SEARCH
        .iter()
        .filter(move |dir| !(merged && dir.starts_with("lib/")))
        .map(|dir| config.root.join(dir))
}

/// A unit's fragment as it lies in the search path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// Below the configured root.
    pub(crate) path: PathBuf,
    pub(crate) content: Vec<u8>,
    /// What it leads to, if it is a link.
    pub(crate) link: Option<PathBuf>,
}

/// What lies in the search path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Masked(PathBuf),
    Fragment(Fragment),
}

/// Where the backend writes its fragment.
pub(crate) fn own_path(config: &SystemdConfig) -> PathBuf {
    config.root.join(OWN).join(config.unit.as_str())
}

/// The same as the manager names it.
pub(crate) fn own_name(config: &SystemdConfig) -> String {
    format!("/{OWN}/{}", config.unit)
}

/// A path as a person at the target would name it.
pub(crate) fn below_root(config: &SystemdConfig, path: &Path) -> PathBuf {
    path.strip_prefix(&config.root).unwrap_or(path).into()
}

/// Looks for the fragment itself: the manager's view lags behind until it reloads
/// (systemd#4500). An instance without a file of its own has its template's.
pub(crate) fn find(config: &SystemdConfig) -> Result<Found, BackendError> {
    let names = std::iter::once(config.unit.to_string()).chain(config.unit.template());
    for name in names {
        for dir in search(config) {
            let path = dir.join(&name);
            let link = fs::read_link(&path).ok();
            if link.as_deref() == Some(Path::new("/dev/null")) {
                return Ok(Found::Masked(path));
            }
            let Some(content) = read(&path)? else {
                continue;
            };
            if content.is_empty() {
                return Ok(Found::Masked(path));
            }
            if content.len() > MAX_UNIT {
                return Err(too_large(&path));
            }
            return Ok(Found::Fragment(Fragment {
                path,
                content,
                link,
            }));
        }
    }
    Ok(Found::Nothing)
}

pub(crate) fn too_large(path: &Path) -> BackendError {
    BackendError::new(Kind::Unsupported, "the unit has more than 1 MiB")
        .on(path.display())
        .advice("make it smaller first")
}

/// The fragment that the manager would load instead of ours, if there is one.
pub(crate) fn hides_ours(config: &SystemdConfig) -> Option<PathBuf> {
    search(config)
        .take_while(|dir| *dir != config.root.join(OWN))
        .map(|dir| dir.join(config.unit.as_str()))
        .find(|path| path.symlink_metadata().is_ok())
}

/// Every drop-in that applies, by path below the root: the manager does not notice a new directory
/// of them until it reloads (systemd#31752).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DropIns(BTreeMap<String, DropIn>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum DropIn {
    Content(Vec<u8>),
    /// Nothing that can be read, in words.
    Other(&'static str),
}

impl DropIns {
    /// Looks for them.
    pub(crate) fn find(config: &SystemdConfig) -> Result<Self, BackendError> {
        let mut found = BTreeMap::new();
        for dir in search(config) {
            for name in drop_in_dirs(&config.unit) {
                for entry in fs::read_dir(dir.join(name)).into_iter().flatten().flatten() {
                    let path = entry.path();
                    if path.extension().is_none_or(|e| e != "conf") {
                        continue;
                    }
                    let drop_in = match read(&path) {
                        Ok(Some(content)) => DropIn::Content(content),
                        Ok(None) => DropIn::Other("leads nowhere"),
                        Err(e) if e.kind() == Kind::InvalidReference => DropIn::Other("no file"),
                        Err(e) => return Err(e),
                    };
                    let shown = below_root(config, &path);
                    found.insert(shown.display().to_string(), drop_in);
                }
            }
        }
        Ok(Self(found))
    }

    /// What is recorded of them: fingerprints, by path.
    pub(crate) fn recorded(&self, key: &Key) -> BTreeMap<String, String> {
        self.rows(|content| key.fingerprint(content))
    }

    /// What an earlier version recorded of them.
    pub(crate) fn unkeyed(&self) -> BTreeMap<String, String> {
        self.rows(sha256)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn rows(&self, print: impl Fn(&[u8]) -> String) -> BTreeMap<String, String> {
        let row = |(path, drop_in): (&String, &DropIn)| {
            let shown = match drop_in {
                DropIn::Content(content) => print(content),
                DropIn::Other(words) => (*words).to_owned(),
            };
            (path.clone(), shown)
        };
        self.0.iter().map(row).collect()
    }

    /// Whether they are those that were recorded, by whichever version.
    pub(crate) fn are(&self, recorded: &BTreeMap<String, String>, key: &Key) -> bool {
        let same = |((path, drop_in), (at, was)): ((&String, &DropIn), (&String, &String))| {
            path == at
                && match drop_in {
                    DropIn::Content(content) => key.made(was, content),
                    DropIn::Other(words) => words == was,
                }
        };
        self.0.len() == recorded.len() && self.0.iter().zip(recorded).all(same)
    }
}

/// For `api-v2@x.service`: its own, its template's, those of the prefix `api-`, those of all
/// services.
fn drop_in_dirs(unit: &UnitName) -> Vec<String> {
    let mut names = vec!["service.d".to_owned(), format!("{unit}.d")];
    names.extend(unit.template().map(|template| format!("{template}.d")));
    let stem = unit.as_str().trim_end_matches(".service");
    let prefix = stem.split_once('@').map_or(stem, |(prefix, _)| prefix);
    let dashes = prefix
        .match_indices('-')
        .filter(|(at, _)| *at + 1 < prefix.len());
    names.extend(dashes.map(|(at, _)| format!("{}.service.d", &prefix[..=at])));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_come_from_every_directory_that_applies() {
        let dirs = drop_in_dirs(&"a-b-c@x-y.service".parse().unwrap());
        let all = ["service.d", "a-b-c@x-y.service.d", "a-b-c@.service.d"];
        let prefixes = ["a-.service.d", "a-b-.service.d"];
        assert_eq!(dirs, [&all[..], &prefixes].concat());
    }
}
