//! [`Hidden`]: what a unit's log must not show.

use std::collections::{BTreeSet, HashMap};

use zbus::OwnedVariant;

use crate::config::SystemdConfig;
use crate::env_file::variables;
use crate::files;
use crate::state::taken;

/// Shorter values occur by chance, and hiding them would make the log unreadable.
const SHORTEST_SECRET: usize = 6;

/// The values that a unit was given in its environment or as credentials, as the manager has them:
/// unquoted, drop-ins included. Variables that are called plain are none of them.
#[derive(Clone, Default)]
pub(crate) struct Hidden(BTreeSet<String>);

impl Hidden {
    /// From all properties of a service. Reads the files that it has its environment from, and
    /// blocks. What cannot be read hides nothing.
    pub(crate) fn of(all: &HashMap<String, OwnedVariant>, config: &SystemdConfig) -> Self {
        let environment: Vec<String> = taken(all, "Environment").unwrap_or_default();
        let pairs = environment.iter().filter_map(|e| e.split_once('='));
        let mut hidden = Self::default();
        for (name, value) in pairs {
            hidden.variable(name, value, &config.plain_env);
        }
        let from: Vec<(String, bool)> = taken(all, "EnvironmentFiles").unwrap_or_default();
        for (path, _) in from {
            let path = config.root.join(path.trim_start_matches('/'));
            let content = files::read(&path).ok().flatten().unwrap_or_default();
            for (name, value) in variables(&String::from_utf8_lossy(&content)) {
                hidden.variable(&name, &value, &config.plain_env);
            }
        }
        let credentials: Vec<(String, Vec<u8>)> = taken(all, "SetCredential").unwrap_or_default();
        for (_, content) in credentials {
            hidden.value(&String::from_utf8_lossy(&content));
        }
        hidden
    }

    fn variable(&mut self, name: &str, value: &str, plain: &BTreeSet<String>) {
        // Programs are found in it, and say where they were looked for.
        if name != "PATH" && !plain.contains(name) {
            self.value(value);
        }
    }

    /// Hides a value, each line of it by itself, and the password in it if it is a URL: a program
    /// shows one without the others. A line's end may be written as `\n`, for the program to turn it
    /// into one: keys in PEM are handed on so.
    fn value(&mut self, value: &str) {
        let lines = value.lines().flat_map(|line| line.split("\\n"));
        let lines = lines.map(|line| line.trim_end_matches("\\r"));
        let parts = lines.chain([value]).chain(password(value));
        let parts = parts.map(str::trim);
        let parts = parts.filter(|part| part.len() >= SHORTEST_SECRET);
        self.0.extend(parts.map(str::to_owned));
    }

    pub(crate) fn values(self) -> BTreeSet<String> {
        self.0
    }
}

/// `hunter2` of `postgres://api:hunter2@db/api`.
fn password(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let (user, _) = authority.rsplit_once('@')?;
    Some(user.split_once(':')?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hides(value: &str) -> Vec<String> {
        let mut hidden = Hidden::default();
        hidden.variable("X", value, &BTreeSet::from(["PORT".to_owned()]));
        hidden.values().into_iter().collect()
    }

    #[test]
    fn a_part_of_a_secret_was_shown_where_a_program_says_no_more_of_it() {
        assert_eq!(
            hides("postgres://api:hunter2@db:5432/x?a=b@c"),
            ["hunter2", "postgres://api:hunter2@db:5432/x?a=b@c"]
        );
        assert_eq!(hides("http://db/a:b@c").len(), 1);
        let key = "-----BEGIN-----\nMIIBVgIB\nADAN\n";
        assert_eq!(hides(key).len(), 3);
        assert_eq!(
            hides("-----BEGIN-----\\r\\nMIIBVgIB\\nADAN\\n"),
            [
                "-----BEGIN-----",
                "-----BEGIN-----\\r\\nMIIBVgIB\\nADAN\\n",
                "MIIBVgIB"
            ]
        );
        assert_eq!(hides("8080"), [""; 0], "it would garble every number");
    }

    #[test]
    fn what_is_called_plain_stays_readable() {
        let plain = BTreeSet::from(["VERSION".to_owned()]);
        let mut hidden = Hidden::default();
        hidden.variable("VERSION", "2026.11.30", &plain);
        hidden.variable("PATH", "/usr/bin:/bin", &plain);
        assert!(hidden.values().is_empty());
    }
}
