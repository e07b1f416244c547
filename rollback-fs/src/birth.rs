//! [`Birth`]: what tells a file or directory from every copy of it.

use std::fs::File;
use std::io;

use rustix::fs::{AtFlags, StatxFlags};
use serde::{Deserialize, Serialize};

/// The inode and the instant that it was made at. A copy has another one, but for a snapshot of the
/// whole file system; what was renamed has the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Birth(String);

impl Birth {
    /// Of an open file or directory.
    ///
    /// # Errors
    ///
    /// Where the system cannot examine the file.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self::and_device(file)?.1)
    }

    /// The same, and the device that it is on.
    pub(crate) fn and_device(file: &File) -> io::Result<(u64, Self)> {
        let wanted = StatxFlags::INO | StatxFlags::BTIME;
        let stat = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, wanted)?;
        // Where the file system does not tell the instant, the inode alone has to do.
        let (seconds, nanos) = match stat.stx_mask & StatxFlags::BTIME.bits() {
            0 => (0, 0),
            _ => (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec),
        };
        let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
        let birth = Self(format!("{}.{seconds}.{nanos}", stat.stx_ino));
        Ok((device, birth))
    }

    /// As it is written down.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_copy_is_told_from_what_it_is_a_copy_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("a"), "x").unwrap();
        let born = Birth::of(&File::open(path("a")).unwrap()).unwrap();
        fs::copy(path("a"), path("b")).unwrap();
        assert_ne!(Birth::of(&File::open(path("b")).unwrap()).unwrap(), born);
        fs::rename(path("a"), path("c")).unwrap();
        assert_eq!(Birth::of(&File::open(path("c")).unwrap()).unwrap(), born);
    }
}
