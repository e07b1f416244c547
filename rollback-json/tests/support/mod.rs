//! What several tests need.
#![allow(clippy::unwrap_used, clippy::panic, dead_code)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rollback_testkit::service::unavailable;
use sha2::{Digest as _, Sha256};

/// A file's text with a checksum that fits again: damage that only a malicious hand makes.
pub(crate) fn reseal(text: &str) -> String {
    let body = &text[..text.rfind(",\n  \"checksum\"").unwrap()];
    let sum: String = Sha256::digest(body.as_bytes())
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("{body},\n  \"checksum\": \"sha256:{sum}\"\n}}\n")
}

/// A small file system of its own, unmounted when the test ends, however it ends.
pub(crate) struct Tmpfs {
    dir: tempfile::TempDir,
}

impl Tmpfs {
    pub(crate) fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::metadata("/proc/self").unwrap().uid() == 0;
        if !root || !run("mount", &["-t", "tmpfs", "-o", size, "tmpfs"], dir.path()) {
            unavailable("mounting a file system needs root");
            return None;
        }
        Some(Self { dir })
    }

    pub(crate) fn remount(&self, option: &str) {
        let option = format!("remount,{option}");
        assert!(run("mount", &["-o", &option], self.dir.path()));
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("history")
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        run("umount", &["-l"], self.dir.path());
    }
}

fn run(program: &str, arguments: &[&str], dir: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).arg(dir);
    command.status().is_ok_and(|s| s.success())
}
