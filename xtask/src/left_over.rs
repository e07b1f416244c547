//! Whether the tests cleaned up: no process of theirs runs, no file or mount of theirs lies about.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is told to end may take a moment to be gone, and on a busy machine a long one. Costs nothing
/// when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// Names in the system's directory for temporary files that only our tests make, for those that
/// do not ask where to put them.
const OURS: &[&str] = &["rollback", "nspawn-root-"];

/// A directory for temporary files that belongs to one run of the tests. Whatever knows of it
/// afterwards was left behind by them, however it is called and whoever else works here.
pub(crate) struct Playground {
    dir: PathBuf,
    before: BTreeSet<String>,
}

impl Playground {
    /// Makes one. Its path is short: sockets below it must fit into 108 bytes.
    pub(crate) fn make() -> Result<Self, String> {
        let dir = std::env::temp_dir().join(format!("rb-{}", std::process::id()));
        fs::create_dir(&dir).map_err(|e| format!("{} cannot be made: {e}", dir.display()))?;
        Ok(Self {
            dir,
            before: strays(),
        })
    }

    /// To be given to the tests as `TMPDIR`.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes it, or says what is left.
    pub(crate) fn close(self) -> Result<(), String> {
        self.close_within(PATIENCE)
    }

    fn close_within(self, patience: Duration) -> Result<(), String> {
        let began = Instant::now();
        let mut left = self.left();
        while !left.is_empty() && began.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(200));
            left = self.left();
        }
        if !left.is_empty() {
            // Not removed: a mount below it may reach what is not ours.
            let left: Vec<String> = left.into_iter().collect();
            return Err(format!("the tests left behind: {}", left.join(", ")));
        }
        println!("nothing is left running, nothing is left behind");
        fs::remove_dir(&self.dir)
            .map_err(|e| format!("{} cannot be removed: {e}", self.dir.display()))
    }

    fn left(&self) -> BTreeSet<String> {
        let strays = strays().difference(&self.before).cloned().collect();
        [strays, names(&self.dir), self.mounts(), self.processes()]
            .into_iter()
            .flatten()
            .collect()
    }

    fn mounts(&self) -> BTreeSet<String> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|at| Path::new(at).starts_with(&self.dir))
            .map(|at| format!("mount {at}"))
            .collect()
    }

    /// Processes that were started with our directory, in their environment or their arguments.
    fn processes(&self) -> BTreeSet<String> {
        let dir = self.dir.as_os_str().as_bytes();
        let Ok(proc) = fs::read_dir("/proc") else {
            return BTreeSet::new();
        };
        proc.flatten()
            .filter_map(|entry| {
                let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
                let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
                if !mentions(&read("environ"), dir) && !mentions(&read("cmdline"), dir) {
                    return None;
                }
                let name = String::from_utf8_lossy(&read("comm")).trim().to_owned();
                Some(format!("process {name} {pid}"))
            })
            .collect()
    }
}

/// Whether the path occurs, and is not the beginning of another name.
fn mentions(text: &[u8], dir: &[u8]) -> bool {
    text.windows(dir.len() + 1)
        .any(|w| w.starts_with(dir) && !w[dir.len()].is_ascii_digit())
        || text.ends_with(dir)
}

fn strays() -> BTreeSet<String> {
    let mut found = names(&std::env::temp_dir());
    found.retain(|path| {
        let name = path.rsplit('/').next().unwrap_or_default();
        OURS.iter().any(|prefix| name.starts_with(prefix))
    });
    found
}

fn names(dir: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return BTreeSet::new();
    };
    entries
        .flatten()
        .map(|entry| entry.path().display().to_string())
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_clean_run_leaves_no_playground_and_a_dirty_one_names_what_is_left() {
        let clean = Playground::make().unwrap();
        let dir = clean.dir().to_owned();
        clean.close_within(Duration::ZERO).unwrap();
        assert!(!dir.exists());

        let dirty = Playground::make().unwrap();
        fs::write(dir.join("forgotten"), "").unwrap();
        let mut child = Command::new("sleep")
            .arg("60")
            .env("TMPDIR", dirty.dir())
            .spawn()
            .unwrap();
        // It is told of before all of it is there to be seen.
        let environment = format!("/proc/{}/environ", child.id());
        while fs::read(&environment).unwrap().is_empty() {
            std::thread::yield_now();
        }
        let said = dirty.close_within(Duration::ZERO);
        child.kill().unwrap();
        child.wait().unwrap();
        fs::remove_file(dir.join("forgotten")).unwrap();
        fs::remove_dir(&dir).unwrap();
        let said = said.unwrap_err();
        assert!(said.contains("forgotten"), "{said}");
        assert!(
            said.contains(&format!("process sleep {}", child.id())),
            "{said}"
        );
    }
}
