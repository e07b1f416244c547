//! What a unit's log must not show: each way in which a unit is given something.

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
        let hidden = Hidden::of(&all, &[], &config(dir.path()))?;
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
    assert!(Hidden::of(&all, &[], &config).is_ok());
    for name in all.keys() {
        let mut all = properties();
        all.insert(name.clone(), variant(true));
        let why = Hidden::of(&all, &[], &config).err().unwrap();
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
        let why = Hidden::of(&all, &[], &config).err().unwrap();
        assert!(why.contains(name), "{why}");
    }
    let mut older = properties(Vec::new());
    older.remove("ImportCredential");
    assert!(Hidden::of(&older, &[], &config).is_ok());
}

#[test]
fn the_secrets_that_a_file_had_before_it_was_changed_were_shown() {
    let dir = tempfile::tempdir().unwrap();
    let below = |path: &str| dir.path().join(path);
    let hides = |path: &str, began: SystemTime| {
        let mut all = properties(vec![(path.to_owned(), false)]);
        all.insert(BEGAN.to_owned(), variant(micros(began)));
        Hidden::of(&all, &[], &config(dir.path())).map(drop)
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
            &[],
            &config(dir.path()),
        )
        .map(drop)
    };
    hides(MOST_SECRETS - 1).unwrap();
    assert!(hides(MOST_SECRETS).unwrap_err().contains("more than 1000"));
    fs::write(dir.path().join("1.env"), "# ".repeat(MAX_UNIT / 3)).unwrap();
    let all = |path: &str| {
        let all = properties(vec![(path.to_owned(), false)]);
        Hidden::of(&all, &[], &config(dir.path())).map(drop)
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
    let commands: Vec<Command> = Vec::new();
    let commands = COMMANDS.map(|name| (name, variant(commands.clone())));
    let properties = [
        ("FragmentPath", variant(String::new())),
        ("DropInPaths", variant(passed.clone())),
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
    let properties = properties.into_iter().chain(commands);
    properties.map(|(n, v)| (n.to_owned(), v)).collect()
}

fn micros(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

fn variant<T: Into<Variant<'static>>>(value: T) -> OwnedVariant {
    value.into().try_into().unwrap()
}

#[test]
fn what_stands_on_a_units_command_line_was_shown() {
    let command = |words: &[&str]| -> Command {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        ("/bin/api".to_owned(), words, false, 0, 0, 0, 0, 0, 0, 0)
    };
    let mut all = properties(Vec::new());
    let words = [
        "/bin/api",
        "--pw=hunter22",
        "tok3ntok3n",
        "/etc/api.conf",
        "serve",
    ];
    all.insert("ExecStart".to_owned(), variant(vec![command(&words)]));
    let before = command(&["/bin/ready", "--for", "hunter44"]);
    all.insert("ExecStartPre".to_owned(), variant(vec![before]));
    let hidden = Hidden::of(&all, &[], &config(Path::new("/"))).unwrap();
    let text = "/bin/api --pw=hunter22 tok3ntok3n /etc/api.conf serve hunter44";
    assert_eq!(
        hidden.masks(text),
        "/bin/api --pw=*** *** /etc/api.conf serve ***"
    );
}

#[test]
fn what_the_manager_gives_to_all_its_units_was_shown() {
    let everybodys = [
        "TOKEN=hunter22",
        "LANG=de_DE.UTF-8",
        "XDG_RUNTIME_DIR=/run/user/9",
    ];
    let everybodys = everybodys.map(str::to_owned);
    let all = properties(Vec::new());
    let hidden = Hidden::of(&all, &everybodys, &config(Path::new("/"))).unwrap();
    let text = "hunter22 in /run/user/9 by de_DE.UTF-8";
    assert_eq!(hidden.masks(text), "*** in /run/user/9 by de_DE.UTF-8");
}

#[test]
fn the_secrets_that_a_unit_had_before_it_was_changed_and_reloaded_were_shown() {
    let dir = tempfile::tempdir().unwrap();
    let below = |path: &str| dir.path().join(path);
    let of = |began: SystemTime| {
        let mut all = properties(Vec::new());
        let unit = "/api.service".to_owned();
        all.insert("FragmentPath".to_owned(), variant(unit));
        let dropped = vec!["/api.service.d/10.conf".to_owned()];
        all.insert("DropInPaths".to_owned(), variant(dropped));
        all.insert(BEGAN.to_owned(), variant(micros(began)));
        Hidden::of(&all, &[], &config(dir.path())).map(drop)
    };
    let tick = || std::thread::sleep(Duration::from_millis(50));
    fs::create_dir(below("api.service.d")).unwrap();
    fs::write(below("api.service"), "").unwrap();
    fs::write(below("api.service.d/10.conf"), "").unwrap();
    tick();
    let began = SystemTime::now();
    of(began).unwrap();
    tick();
    fs::write(below("api.service.d/10.conf"), "[Service]").unwrap();
    let why = of(began).unwrap_err();
    assert!(why.contains("/api.service.d/10.conf has changed"), "{why}");
    of(SystemTime::now() + Duration::from_secs(1)).unwrap();
    fs::remove_file(below("api.service")).unwrap();
    let why = of(began).unwrap_err();
    assert!(why.contains("/api.service cannot be looked at"), "{why}");
}
