//! What the quickstart left behind, and what was typed there.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rollback_core::history::HistoryStore;
use rollback_examples::catalog;
use rollback_json::JsonStore;
use rollback_sqlite::SqliteStore;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(
        program.exists(),
        "run `cargo build -p rollback-examples --examples` first"
    );
    program
}

/// What the quickstart left behind, and an empty store beside it.
pub(crate) struct Left {
    dir: TempDir,
    pub(crate) store: String,
}

impl Left {
    pub(crate) async fn with(kind: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let kept = dir.path().join("kept");
        let mut quickstart = Command::new(program("quickstart"));
        quickstart
            .arg("--keep")
            .arg(&kept)
            .env("TMPDIR", dir.path());
        assert!(
            quickstart
                .stdin(Stdio::null())
                .output()
                .unwrap()
                .status
                .success()
        );
        Self::at(dir, kind).await
    }

    /// A store, and nothing to deploy.
    pub(crate) async fn nothing_but(kind: &str) -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("kept")).unwrap();
        Self::at(dir, kind).await
    }

    async fn at(dir: TempDir, kind: &str) -> Self {
        let path = dir.path().join("kept").join(format!("empty.{kind}"));
        match kind {
            "sqlite" => drop(SqliteStore::open(&path).await.unwrap()),
            _ => drop(JsonStore::open(&path).await.unwrap()),
        }
        let store = format!("{kind}:{}", path.display());
        Self { dir, store }
    }

    /// The store as programs open it.
    pub(crate) async fn open(&self) -> Box<dyn HistoryStore> {
        match self.store.split_once(':').unwrap() {
            ("sqlite", path) => Box::new(SqliteStore::open(path).await.unwrap()),
            (_, path) => Box::new(JsonStore::open(path).await.unwrap()),
        }
    }

    pub(crate) fn kept(&self) -> PathBuf {
        self.dir.path().join("kept")
    }

    pub(crate) fn type_(&self, store: &str, args: &[&str]) -> Typed {
        let mut command = self.command(store, args);
        let output = command.stdin(Stdio::null()).output().unwrap();
        Typed::of(output)
    }

    /// Changes the workload's entry in the catalog.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut Value)) {
        let path = self.kept().join(catalog::FILE);
        let mut all: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut all["workloads"][0]);
        fs::write(&path, all.to_string()).unwrap();
    }

    /// Has this shell script run in place of the restart command, which is its arguments.
    pub(crate) fn restart_by(&self, script: &str) {
        let path = self.kept().join("restart.sh");
        fs::write(&path, script).unwrap();
        self.configure(|entry| {
            let command = entry["restart"].as_array_mut().unwrap();
            // Not run by itself: another test's fork may still have it open for writing.
            command.splice(0..0, ["sh".into(), path.to_str().unwrap().into()]);
        });
    }

    /// What is about to be typed.
    pub(crate) fn command(&self, store: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program("history"));
        command
            .arg("--store")
            .arg(store)
            .args(["--user", "ada"])
            .args(args);
        command
    }

    pub(crate) fn type_here(&self, args: &[&str]) -> Typed {
        self.type_(&self.store.clone(), args)
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        let list: Vec<Value> =
            serde_json::from_str(&self.type_here(&["list", "--json"]).out).unwrap();
        list.iter()
            .map(|d| d["id"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) fn live(&self) -> String {
        fs::read_to_string(self.kept().join("site/current/version")).unwrap()
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        // The service ends by itself once its pid file is gone.
        let _ = fs::remove_file(self.kept().join("service.pid"));
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while runs_in(self.dir.path()) && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

fn runs_in(dir: &Path) -> bool {
    let lines = fs::read_dir("/proc").unwrap().flatten();
    let mut lines = lines.filter_map(|p| fs::read(p.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(dir.to_str().unwrap()))
}

pub(crate) struct Typed {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Typed {
    #[track_caller]
    pub(crate) fn of(output: Output) -> Self {
        assert_eq!(output.status.signal(), None);
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }

    /// The first column of a table, but for the marks before it.
    pub(crate) fn shown_ids(&self) -> Vec<String> {
        let rows = self.out.lines().skip(1).take_while(|l| !l.is_empty());
        rows.map(|row| row[3..].split(' ').next().unwrap().to_owned())
            .collect()
    }

    /// The same for whoever ran it and whenever: ids, commits, times and places are `#`.
    pub(crate) fn told(&self) -> String {
        let all = format!("{}{}[{}]", self.out, self.err, self.code);
        let mut told = String::new();
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-._:/@".contains(c);
        for word in all.split_inclusive(|c| !is_word(c)) {
            let end = word.find(|c| !is_word(c)).unwrap_or(word.len());
            let (word, rest) = word.split_at(end);
            let varies = word.len() > 2 && word.contains(|c: char| c.is_ascii_digit());
            // A short id may have no digit at all.
            let id = word.len() >= 8 && word.chars().all(|c| c.is_ascii_hexdigit());
            let number = word.chars().all(|c| c.is_ascii_digit() || c == '.') && !word.is_empty();
            let unit = [
                "ms", "s", "second", "seconds", "minute", "just", "now", "ago",
            ]
            .contains(&word);
            told.push_str(if (varies && word != "api@web-1") || id || number || unit {
                "#"
            } else {
                word
            });
            told.push_str(rest);
        }
        // A table's columns are as wide as what is in them.
        let words: Vec<&str> = told.split_whitespace().filter(|w| *w != "#").collect();
        words.join(" ")
    }
}
