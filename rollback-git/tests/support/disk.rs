//! A disk of a test's own, whose power can be cut: what was not synced is gone.

use std::path::{Path, PathBuf};
use std::process::Command;

use rollback_testkit::service::unavailable;

/// An ext4 in a file, mounted. Unmounted when the test ends, however it ends.
pub struct Disk {
    dir: tempfile::TempDir,
    cuts: usize,
}

/// ext4's own shutdown, without writing out its journal (`EXT4_IOC_SHUTDOWN`,
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`).
const CUT: &str = "open(D, '<', $ARGV[0]) or die; my $how = pack('I', 2); \
    defined(ioctl(D, 0x8004587d, $how)) or die \"$!\"";

impl Disk {
    /// Makes one of so many MiB; `None` where that is not possible, which has then been said.
    pub fn new(size: u64) -> Option<Self> {
        let disk = Self {
            dir: tempfile::tempdir().unwrap(),
            cuts: 0,
        };
        let file = std::fs::File::create(disk.image()).unwrap();
        file.set_len(size << 20).unwrap();
        std::fs::create_dir(disk.path()).unwrap();
        let made = run("mkfs.ext4", &["-q", "-F"], &disk.image());
        if !made || !disk.mount() || !run("perl", &["-e", "exit 0"], Path::new("")) {
            unavailable("a disk cannot be made and mounted: it needs root, mkfs.ext4 and perl");
            return None;
        }
        Some(disk)
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join(format!("image-{}", self.cuts))
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn mount(&self) -> bool {
        let image = self.image();
        run(
            "mount",
            &["-o", "loop", image.to_str().unwrap()],
            &self.path(),
        )
    }

    /// Makes all of it durable.
    pub fn sync(&self) {
        assert!(run("sync", &["-f"], &self.path()));
    }

    /// Cuts the power, and starts again on a copy of what is on the disk: another process that has
    /// copied the mounts would keep the old one, as it is, for as long as it lives.
    pub fn cut(&mut self) {
        assert!(run("perl", &["-e", CUT], &self.path()));
        assert!(run("umount", &["-l"], &self.path()));
        let old = self.image();
        self.cuts += 1;
        let copy = ["--sparse=always", old.to_str().unwrap()];
        assert!(run("cp", &copy, &self.image()));
        std::fs::remove_file(old).unwrap();
        assert!(self.mount());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l"], &self.path());
    }
}

fn run(program: &str, arguments: &[&str], last: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).arg(last);
    command.status().is_ok_and(|s| s.success())
}
