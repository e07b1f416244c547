//! [`Hidden`]: what a unit's log must not show.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use rollback_core::error::Chain;
use rollback_core::masking::Secrets;
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

/// Only managers since systemd 254 have it.
const IMPORTED: &str = "ImportCredential";

/// A file that was changed may have a time so much too early, in microseconds: the kernel's clock for
/// it goes by ticks.
const TICK: i64 = 10_000;

/// When the unit's last start began, `ExecStartPre=` included, which is given the environment too.
const BEGAN: &str = "InactiveExitTimestamp";

const NO_FILE: &str = "there is no such file, or no more";

/// The values that a unit was given in its environment or as credentials, as the manager has them:
/// unquoted, drop-ins included. Variables that are called plain are none of them.
#[derive(Clone, Default)]
pub(crate) struct Hidden {
    secrets: Secrets,
    /// How many bytes were read for it.
    given: usize,
}

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
        let environment: Vec<String> = property(all, "Environment")?;
        for variable in &environment {
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
        let from: Vec<(String, bool)> = property(all, "EnvironmentFiles")?;
        if !from.is_empty() {
            let began: u64 = property(all, BEGAN)?;
            let began = i64::try_from(began).unwrap_or(0);
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
mod tests {
    use std::time::{Duration, SystemTime};

    use rollback_core::masking::{MOST_SECRETS, Part};

    use super::*;

    impl Hidden {
        fn masks(&self, text: &str) -> String {
            self.secrets.mask(text, Part::Whole).unwrap()
        }
    }

    #[test]
    fn what_is_called_plain_stays_readable() {
        let plain = BTreeSet::from(["VERSION".to_owned()]);
        let mut hidden = Hidden::default();
        hidden.variable("VERSION", "2026.11.30", &plain);
        hidden.variable("PATH", "/usr/bin:/bin", &plain);
        hidden.variable("X", "hunter11", &plain);
        assert_eq!(
            hidden.masks("2026.11.30 in /usr/bin:/bin: hunter11"),
            "2026.11.30 in /usr/bin:/bin: ***"
        );
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
            Ok::<_, String>(hidden.masks("hunter11 hunter22 hunter33"))
        };
        assert_eq!(hides("/a.env", false).unwrap(), "*** *** hunter33");
        assert_eq!(hides("/*.env", false).unwrap(), "*** *** ***");
        for gone in ["/gone", "/gone/*", "/*.gone"] {
            for optional in [true, false] {
                let why = hides(gone, optional).unwrap_err();
                assert!(why.contains(gone) && why.contains("no such file"), "{why}");
            }
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
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.env"), "").unwrap();
        let config = config(dir.path());
        let properties = || properties(vec![("/a.env".to_owned(), false)]);
        let all = properties();
        assert!(Hidden::of(&all, &config).is_ok());
        for name in all.keys() {
            let mut all = properties();
            all.insert(name.clone(), variant("of another type"));
            let why = Hidden::of(&all, &config).err().unwrap();
            assert!(why.contains(name), "{why}");
        }
    }

    #[test]
    fn what_a_unit_was_given_in_a_way_that_cannot_be_read_was_shown() {
        let config = config(Path::new("/"));
        let credential = vec![("key".to_owned(), b"sealed".to_vec())];
        let loaded = || variant(vec![("key".to_owned(), "/etc/key".to_owned())]);
        let passed = || variant(vec!["TOKEN".to_owned()]);
        for (name, value) in [
            ("SetCredentialEncrypted", variant(credential)),
            ("LoadCredential", loaded()),
            ("LoadCredentialEncrypted", loaded()),
            ("ImportCredential", passed()),
            ("PassEnvironment", passed()),
        ] {
            let mut all = properties(Vec::new());
            all.insert(name.to_owned(), value);
            let why = Hidden::of(&all, &config).err().unwrap();
            assert!(why.contains(name), "{why}");
        }
        let mut older = properties(Vec::new());
        older.remove("ImportCredential");
        assert!(Hidden::of(&older, &config).is_ok());
    }

    #[test]
    fn the_secrets_that_a_file_had_before_it_was_changed_were_shown() {
        let dir = tempfile::tempdir().unwrap();
        let below = |path: &str| dir.path().join(path);
        let hides = |path: &str, began: SystemTime| {
            let mut all = properties(vec![(path.to_owned(), false)]);
            all.insert(BEGAN.to_owned(), variant(micros(began)));
            Hidden::of(&all, &config(dir.path())).map(drop)
        };
        let tick = || std::thread::sleep(Duration::from_millis(50));
        let changed = |path: &str, began: SystemTime| {
            let why = hides(path, began).unwrap_err();
            assert!(why.contains(path) && why.contains("has changed"), "{why}");
        };
        fs::create_dir(below("d")).unwrap();
        for path in ["a.env", "b.env", "c.env", "d/a.env", "d/b.env"] {
            fs::write(below(path), "A=hunter22").unwrap();
        }
        std::os::unix::fs::symlink("a.env", below("link")).unwrap();
        tick();
        let began = SystemTime::now();
        for path in ["/a.env", "/b.env", "/c.env", "/link", "/d/*.env"] {
            hides(path, began).unwrap();
        }
        tick();
        fs::write(below("b.env"), "A=hunter33").unwrap();
        changed("/b.env", began);
        // Written with an old time, or put there by its name.
        let old = fs::File::options()
            .write(true)
            .open(below("a.env"))
            .unwrap();
        old.set_modified(began - Duration::from_secs(60)).unwrap();
        changed("/a.env", began);
        fs::remove_file(below("link")).unwrap();
        std::os::unix::fs::symlink("c.env", below("link")).unwrap();
        changed("/link", began);
        fs::remove_file(below("d/b.env")).unwrap();
        changed("/d/*.env", began);
        hides("/c.env", began).unwrap();
        hides("/c.env", SystemTime::UNIX_EPOCH).unwrap_err();
    }

    #[test]
    fn secrets_without_an_end_held_up_everything() {
        let dir = tempfile::tempdir().unwrap();
        let hides = |count: usize| {
            let of = |n: usize| format!("A{n}=hunter{n:06}\n");
            fs::write(dir.path().join("x"), (0..count).map(of).collect::<String>()).unwrap();
            Hidden::of(
                &properties(vec![("/x".to_owned(), false)]),
                &config(dir.path()),
            )
            .map(drop)
        };
        hides(MOST_SECRETS - 1).unwrap();
        assert!(hides(MOST_SECRETS).unwrap_err().contains("more than 1000"));
        fs::write(dir.path().join("1.env"), "# ".repeat(MAX_UNIT / 3)).unwrap();
        let all = |path: &str| {
            let all = properties(vec![(path.to_owned(), false)]);
            Hidden::of(&all, &config(dir.path())).map(drop)
        };
        all("/*.env").unwrap();
        fs::copy(dir.path().join("1.env"), dir.path().join("2.env")).unwrap();
        assert!(all("/*.env").unwrap_err().contains("longer than"));
    }

    fn config(root: &Path) -> SystemdConfig {
        let (id, unit) = ("a@b".parse().unwrap(), "a.service".parse().unwrap());
        SystemdConfig::new(id, unit, root, root).root(root)
    }

    fn properties(files: Vec<(String, bool)>) -> HashMap<String, OwnedVariant> {
        let environment = vec!["X=hunter11".to_owned()];
        let credentials: Vec<(String, Vec<u8>)> = Vec::new();
        let loaded: Vec<(String, String)> = Vec::new();
        let passed: Vec<String> = Vec::new();
        let later = micros(SystemTime::now()) + 60_000_000;
        let properties = [
            ("Environment", variant(environment)),
            ("EnvironmentFiles", variant(files)),
            ("SetCredential", variant(credentials.clone())),
            ("SetCredentialEncrypted", variant(credentials)),
            ("LoadCredential", variant(loaded.clone())),
            ("LoadCredentialEncrypted", variant(loaded)),
            ("ImportCredential", variant(passed.clone())),
            ("PassEnvironment", variant(passed)),
            (BEGAN, variant(later)),
        ];
        let properties = properties.into_iter();
        properties.map(|(n, v)| (n.to_owned(), v)).collect()
    }

    fn micros(at: SystemTime) -> u64 {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        u64::try_from(since.as_micros()).unwrap()
    }

    fn variant<T: Into<Variant<'static>>>(value: T) -> OwnedVariant {
        value.into().try_into().unwrap()
    }
}
