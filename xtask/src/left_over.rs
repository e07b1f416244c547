//! Whether the tests cleaned up: no service of theirs runs, no file of theirs lies about.

use std::collections::BTreeSet;

const SERVICES: &[&str] = &["dockerd", "containerd", "docker-registry", "systemd-nspawn"];

/// What is there before the tests.
pub(crate) struct Before {
    processes: BTreeSet<String>,
    files: BTreeSet<String>,
}

impl Before {
    /// Looks.
    pub(crate) fn look() -> Self {
        Self {
            processes: processes(),
            files: files(),
        }
    }

    /// Fails if there is more now.
    pub(crate) fn compare(&self) -> Result<(), String> {
        let mut more = Vec::new();
        // What was told to end may take a moment to be gone.
        for _ in 0..20 {
            let now = Self::look();
            more = now
                .processes
                .difference(&self.processes)
                .map(|p| format!("process {p}"))
                .chain(
                    now.files
                        .difference(&self.files)
                        .map(|f| format!("file {f}")),
                )
                .collect();
            if more.is_empty() {
                println!("nothing is left running, nothing is left behind");
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        Err(format!("the tests left behind: {}", more.join(", ")))
    }
}

fn processes() -> BTreeSet<String> {
    let Ok(proc) = std::fs::read_dir("/proc") else {
        return BTreeSet::new();
    };
    proc.flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().into_string().ok()?;
            let comm = std::fs::read_to_string(entry.path().join("comm")).ok()?;
            SERVICES
                .contains(&comm.trim())
                .then(|| format!("{} {pid}", comm.trim()))
        })
        .collect()
}

fn files() -> BTreeSet<String> {
    let Ok(dir) = std::fs::read_dir(std::env::temp_dir()) else {
        return BTreeSet::new();
    };
    dir.flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        // Ours are named after the project; compilers and others come and go.
        .filter(|name| name.starts_with("rollback") || name.starts_with("rb-"))
        .collect()
}
