//! [`Hidden`]: what a unit's log must not show.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use rollback_core::error::Chain;
use zbus::{OwnedVariant, Variant};

use crate::config::SystemdConfig;
use crate::env_file::variables;
use crate::env_paths::named;
use crate::files;
use crate::release::MAX_UNIT;
use crate::state::taken;

/// Shorter values occur by chance, and hiding them would make the log unreadable.
const SHORTEST_SECRET: usize = 6;

/// The values that a unit was given in its environment or as credentials, as the manager has them:
/// unquoted, drop-ins included. Variables that are called plain are none of them.
#[derive(Clone, Default)]
pub(crate) struct Hidden(BTreeSet<String>);

impl Hidden {
    /// From all properties of a service. Reads the files that it has its environment from, and
    /// blocks.
    ///
    /// # Errors
    ///
    /// In words, where it is not known what to hide: nothing is to be shown then.
    pub(crate) fn of(
        all: &HashMap<String, OwnedVariant>,
        config: &SystemdConfig,
    ) -> Result<Self, String> {
        let mut hidden = Self::default();
        let environment: Vec<String> = property(all, "Environment")?;
        for (name, value) in environment.iter().filter_map(|e| e.split_once('=')) {
            hidden.variable(name, value, &config.plain_env);
        }
        let from: Vec<(String, bool)> = property(all, "EnvironmentFiles")?;
        for (path, optional) in from {
            let filed = filed(&config.root, &path, optional)
                .map_err(|why| format!("what has to be hidden in it is in {path}: {why}"))?;
            for (name, value) in filed {
                hidden.variable(&name, &value, &config.plain_env);
            }
        }
        let credentials: Vec<(String, Vec<u8>)> = property(all, "SetCredential")?;
        for (_, content) in credentials {
            hidden.value(&String::from_utf8_lossy(&content));
        }
        Ok(hidden)
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

    pub(crate) fn values(&self) -> &BTreeSet<String> {
        &self.0
    }

    /// The text without them.
    pub(crate) fn mask(&self, text: String) -> String {
        let mut values: Vec<&String> = self.0.iter().collect();
        // The longest first, so that no value's tail outlives its head.
        values.sort_by_key(|value| Reverse(value.len()));
        let mask = |text: String, value: &String| match text.contains(value.as_str()) {
            true => text.replace(value.as_str(), "***"),
            false => text,
        };
        values.into_iter().fold(text, mask)
    }

    #[cfg(test)]
    pub(crate) fn values_of(values: &[&str]) -> Self {
        Self(values.iter().map(|&value| value.to_owned()).collect())
    }
}

fn property<T>(all: &HashMap<String, OwnedVariant>, name: &str) -> Result<T, String>
where
    T: TryFrom<Variant<'static>>,
{
    taken(all, name)
        .ok_or_else(|| format!("the manager does not say what has to be hidden in it ({name})"))
}

/// The variables in the files that a path names. One that is not there has none if it is optional.
fn filed(root: &Path, path: &str, optional: bool) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    let files = named(root, path)?;
    let mut missing = files.is_empty();
    for file in files {
        let content = files::read(&file).map_err(|e| Chain::of(&e).to_string())?;
        let content = content.unwrap_or_else(|| {
            missing = true;
            Vec::new()
        });
        if content.len() > MAX_UNIT {
            return Err(format!("it is longer than {MAX_UNIT} bytes"));
        }
        all.extend(variables(&String::from_utf8_lossy(&content)));
    }
    match missing && !optional {
        true => Err("there is no such file any more".to_owned()),
        false => Ok(all),
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
        hidden.0.into_iter().collect()
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

    #[test]
    fn of_a_file_that_cannot_be_read_the_secrets_were_shown() {
        let dir = tempfile::tempdir().unwrap();
        let below = |path: &str| dir.path().join(path);
        std::fs::create_dir_all(below("d/x.env")).unwrap();
        std::fs::write(below("a.env"), "A=hunter22").unwrap();
        std::fs::write(below("b.env"), "B=hunter33").unwrap();
        std::fs::write(below("long"), "A=a\n".repeat(MAX_UNIT)).unwrap();
        let hides = |path: &str, optional: bool| {
            let all = properties(vec![(path.to_owned(), optional)]);
            let hidden = Hidden::of(&all, &config(dir.path()))?;
            Ok::<_, String>(hidden.0.into_iter().collect::<Vec<_>>())
        };
        assert_eq!(hides("/a.env", false).unwrap(), ["hunter11", "hunter22"]);
        let both = hides("/*.env", false).unwrap();
        assert_eq!(both, ["hunter11", "hunter22", "hunter33"]);
        for gone in ["/gone", "/gone/*", "/*.gone"] {
            assert_eq!(hides(gone, true).unwrap(), ["hunter11"]);
            let why = hides(gone, false).unwrap_err();
            assert!(why.contains(gone) && why.contains("no such file"), "{why}");
        }
        // Also where it is optional: the manager may have been able to.
        for (unreadable, says) in [
            ("/d", "not a regular file"),
            ("/d/*", "not a regular file"),
            ("/long", "longer than"),
            ("/[ab].env", "a pattern"),
        ] {
            for optional in [true, false] {
                let why = hides(unreadable, optional).unwrap_err();
                assert!(why.contains(says), "{why}");
            }
        }
    }

    #[test]
    fn what_the_manager_does_not_say_was_taken_for_nothing_to_hide() {
        let config = config(Path::new("/"));
        let all = properties(Vec::new());
        assert!(Hidden::of(&all, &config).is_ok());
        for name in all.keys() {
            let mut all = properties(Vec::new());
            all.insert(name.clone(), variant("of another type"));
            let why = Hidden::of(&all, &config).err().unwrap();
            assert!(why.contains(name), "{why}");
        }
    }

    fn config(root: &Path) -> SystemdConfig {
        let (id, unit) = ("a@b".parse().unwrap(), "a.service".parse().unwrap());
        SystemdConfig::new(id, unit, root, root).root(root)
    }

    fn properties(files: Vec<(String, bool)>) -> HashMap<String, OwnedVariant> {
        let environment = vec!["X=hunter11".to_owned()];
        let credentials: Vec<(String, Vec<u8>)> = Vec::new();
        HashMap::from([
            ("Environment".to_owned(), variant(environment)),
            ("EnvironmentFiles".to_owned(), variant(files)),
            ("SetCredential".to_owned(), variant(credentials)),
        ])
    }

    fn variant<T: Into<Variant<'static>>>(value: T) -> OwnedVariant {
        value.into().try_into().unwrap()
    }
}
