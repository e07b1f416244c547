//! [`Hidden`]: what a unit's log must not show.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use rollback_core::error::Chain;
use rollback_core::masking::{Secrets, argument};
use zbus::{OwnedVariant, Variant};

use crate::config::SystemdConfig;
use crate::env_file::variables;
use crate::env_paths::{is_pattern, named};
use crate::files;
use crate::release::MAX_UNIT;
use crate::state::taken;

/// In these a unit is given what cannot be known here: it is encrypted, it has been read from
/// elsewhere, or it is the manager's own.
const UNKNOWN: [&str; 5] = [
    "SetCredentialEncrypted",
    "LoadCredential",
    "LoadCredentialEncrypted",
    IMPORTED,
    "PassEnvironment",
];

/// Where a unit's command lines are.
const COMMANDS: [&str; 6] = [
    "ExecStart",
    "ExecStartPre",
    "ExecStartPost",
    "ExecReload",
    "ExecStop",
    "ExecStopPost",
];

/// A command: its path, its words, and how its last run was.
type Command = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);

/// Variables that managers have for everybody, and that are no secret.
const EVERYBODYS: [&str; 11] = [
    "PATH", "HOME", "PWD", "LANG", "LANGUAGE", "LC_ALL", "USER", "LOGNAME", "SHELL", "TERM", "TZ",
];

/// Only managers since systemd 254 have it.
const IMPORTED: &str = "ImportCredential";

/// A file that was changed may have a time so much too early, in microseconds: the kernel's clock for
/// it goes by ticks.
const TICK: i64 = 10_000;

/// When the unit's last start began, `ExecStartPre=` included, which is given the environment too.
const BEGAN: &str = "InactiveExitTimestamp";

const NO_FILE: &str = "there is no such file, or no more";

/// The values that a unit was given in its environment, on its command lines or as credentials, as the
/// manager has them: unquoted, drop-ins included; and those that the manager gives to all its units.
/// Variables that are called plain are none of them.
#[derive(Clone, Default)]
pub(crate) struct Hidden {
    secrets: Secrets,
    /// How many bytes were read for it.
    given: usize,
}

impl Hidden {
    /// From all properties of a service, and from the environment that its manager gives to all.
    /// Reads the files that it has its environment from, and blocks.
    ///
    /// # Errors
    ///
    /// In words, where it is not known what to hide: nothing is to be shown then.
    pub(crate) fn of(
        all: &HashMap<String, OwnedVariant>,
        everybodys: &[String],
        config: &SystemdConfig,
    ) -> Result<Self, String> {
        for name in UNKNOWN {
            if name == IMPORTED && !all.contains_key(name) {
                continue;
            }
            if !is_empty(all, name)? {
                return Err(format!(
                    "what has to be hidden in it is not known: the unit has {name}="
                ));
            }
        }
        let mut hidden = Self::default();
        for name in COMMANDS {
            let commands: Vec<Command> = property(all, name)?;
            for word in commands.iter().flat_map(|command| command.1.iter().skip(1)) {
                hidden.takes(word.len())?;
                argument(word)
                    .into_iter()
                    .for_each(|word| hidden.value(word));
            }
        }
        let environment: Vec<String> = property(all, "Environment")?;
        let everybodys = everybodys.iter().filter(|variable| {
            let name = variable.split('=').next().unwrap_or_default();
            !EVERYBODYS.contains(&name) && !name.starts_with("XDG_")
        });
        for variable in environment.iter().chain(everybodys) {
            hidden.takes(variable.len())?;
            if let Some((name, value)) = variable.split_once('=') {
                hidden.variable(name, value, &config.plain_env);
            }
        }
        let credentials: Vec<(String, Vec<u8>)> = property(all, "SetCredential")?;
        for (_, content) in credentials {
            hidden.takes(content.len())?;
            hidden.value(&String::from_utf8_lossy(&content));
        }
        let began: u64 = property(all, BEGAN)?;
        let began = i64::try_from(began).unwrap_or(0);
        as_it_began(all, began, config)?;
        let from: Vec<(String, bool)> = property(all, "EnvironmentFiles")?;
        if !from.is_empty() {
            for (path, _) in from {
                hidden
                    .filed(&path, began, config)
                    .map_err(|why| format!("what has to be hidden in it is in {path}: {why}"))?;
            }
        }
        hidden.secrets = hidden.secrets.bounded().map_err(|e| e.to_string())?;
        Ok(hidden)
    }

    /// Whether a service has its environment from files: those that are there now are those of its
    /// last start at best.
    pub(crate) fn is_filed(all: &HashMap<String, OwnedVariant>) -> Result<bool, String> {
        Ok(!is_empty(all, "EnvironmentFiles")?)
    }

    /// The variables in the files that a path names. One that is not there may have been, also where
    /// it is optional, and one that has changed may have had others when the unit began.
    fn filed(&mut self, path: &str, began: i64, config: &SystemdConfig) -> Result<(), String> {
        let files = named(&config.root, path)?;
        if files.is_empty() {
            return Err(NO_FILE.to_owned());
        }
        for file in &files {
            let content = files::read(file).map_err(|e| Chain::of(&e).to_string())?;
            let content = content.ok_or(NO_FILE)?;
            self.takes(content.len())?;
            for (name, value) in variables(&String::from_utf8_lossy(&content)) {
                self.variable(&name, &value, &config.plain_env);
            }
        }
        // Not before all is read. A pattern's directory tells of files that are there no more.
        let dir = files[0].parent().filter(|_| is_pattern(path));
        for path in files.iter().map(PathBuf::as_path).chain(dir) {
            if changed(path).map_err(|e| format!("it cannot be looked at: {e}"))? > began - TICK {
                return Err("it has changed since the unit was started".to_owned());
            }
        }
        Ok(())
    }

    /// Counts what is read, so that it has an end.
    fn takes(&mut self, bytes: usize) -> Result<(), String> {
        self.given = self.given.saturating_add(bytes);
        match self.given > MAX_UNIT {
            true => Err(format!(
                "what has to be hidden in it is longer than {MAX_UNIT} bytes"
            )),
            false => Ok(()),
        }
    }

    fn variable(&mut self, name: &str, value: &str, plain: &BTreeSet<String>) {
        // Programs are found in it, and say where they were looked for.
        if name != "PATH" && !plain.contains(name) {
            self.value(value);
        }
    }

    fn value(&mut self, value: &str) {
        self.secrets = std::mem::take(&mut self.secrets).found(value);
    }

    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    #[cfg(test)]
    pub(crate) fn values_of(values: &[&str]) -> Self {
        let mut hidden = Self::default();
        values.iter().for_each(|value| hidden.value(value));
        hidden
    }
}

/// Whether the unit's own files are those that it was started with: the manager tells what it has read
/// last, which may be another environment than the one that the log is of.
fn as_it_began(
    all: &HashMap<String, OwnedVariant>,
    began: i64,
    config: &SystemdConfig,
) -> Result<(), String> {
    let fragment: String = property(all, "FragmentPath")?;
    let dropped: Vec<String> = property(all, "DropInPaths")?;
    let files = [fragment].into_iter().chain(dropped);
    for file in files.filter(|file| !file.is_empty()) {
        let path = config.root.join(file.trim_start_matches('/'));
        let since = changed(&path).map_err(|e| format!("{file} cannot be looked at: {e}"))?;
        if since > began - TICK {
            return Err(format!(
                "what has to be hidden in it is not known: {file} has changed since the unit was started"
            ));
        }
    }
    Ok(())
}

fn property<T>(all: &HashMap<String, OwnedVariant>, name: &str) -> Result<T, String>
where
    T: TryFrom<Variant<'static>>,
{
    taken(all, name)
        .ok_or_else(|| format!("the manager does not say what has to be hidden in it ({name})"))
}

/// Whether a list has nothing in it.
fn is_empty(all: &HashMap<String, OwnedVariant>, name: &str) -> Result<bool, String> {
    match name {
        "SetCredentialEncrypted" => {
            property(all, name).map(|l: Vec<(String, Vec<u8>)>| l.is_empty())
        }
        "LoadCredential" | "LoadCredentialEncrypted" => {
            property(all, name).map(|l: Vec<(String, String)>| l.is_empty())
        }
        "EnvironmentFiles" => property(all, name).map(|l: Vec<(String, bool)>| l.is_empty()),
        _ => property(all, name).map(|l: Vec<String>| l.is_empty()),
    }
}

/// When a file last changed, and the link to it if it is one, in microseconds since 1970.
fn changed(path: &Path) -> io::Result<i64> {
    let of = |m: fs::Metadata| {
        let (at, nanos) = (m.mtime(), m.mtime_nsec()).max((m.ctime(), m.ctime_nsec()));
        at.saturating_mul(1_000_000).saturating_add(nanos / 1000)
    };
    Ok(of(fs::symlink_metadata(path)?).max(of(fs::metadata(path)?)))
}

#[cfg(test)]
mod tests;
