//! Whether a path can hold a history at all, and where it leads to.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};

use crate::error::system;
use crate::owner::{self, parent};

/// Most links that are followed one after the other, as the kernel does.
const LINKS: usize = 40;

/// Makes a directory (0700), and those above it, if they do not exist. What root makes is given to
/// the owner of the directory around it.
///
/// # Errors
///
/// As of [`system`](crate::system); directories above that were made stay.
pub fn make_dir(dir: &Path) -> Result<(), StoreError> {
    owner::create_dir(dir).map_err(|e| system("the directory cannot be made", dir, e))
}

/// Where a path leads to, all links followed, whether there is something or not: the one name by
/// which a history, its log and its locks are known.
///
/// # Errors
///
/// As of [`system`](crate::system), for a directory on the way that cannot be looked into.
pub fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    follow(path, 0).map_err(|e| system("the path cannot be resolved", path, e))
}

fn follow(path: &Path, links: usize) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && links < LINKS => {}
        other => return other,
    }
    if let Ok(leads_to) = fs::read_link(path) {
        return follow(&parent(path).join(leads_to), links + 1);
    }
    let above = parent(path);
    match path.file_name() {
        Some(name) if above != path => Ok(follow(above, links)?.join(name)),
        // `..` below what is not there.
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Refuses a path on a network file system, or on one that a program serves: of what is not there
/// yet, the directory that it would be made in is looked at. Links are followed, and nothing is
/// opened.
///
/// # Errors
///
/// [`Unusable`](rollback_core::error::StoreErrorKind::Unusable) on such a file system; as of
/// [`system`](crate::system) where it cannot be told.
pub fn check_local(path: &Path) -> Result<(), StoreError> {
    let path = resolve(path)?;
    for part in path.ancestors() {
        let stat = match rustix::fs::statfs(part) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => continue,
            Err(e) => return Err(system("the file system cannot be examined", part, e.into())),
        };
        #[allow(
            clippy::cast_sign_loss,
            clippy::cast_possible_truncation,
            clippy::unnecessary_cast
        )]
        let magic = stat.f_type as u32;
        return match remote(magic) {
            Some(name) => Err(refused(&path, name)),
            None => Ok(()),
        };
    }
    Ok(())
}

fn refused(path: &Path, name: &str) -> StoreError {
    StoreError::new(
        Kind::Unusable,
        format!(
            "the history would lie on a network file system or one that a program serves ({name}), \
             where neither locks nor the log are safe"
        ),
    )
    .on(path.display())
    .advice("choose a path on a local disk")
}

/// File systems that several machines may share, or that a program serves (sshfs, virtiofs and
/// many more are FUSE to the kernel), by their magic numbers: `statfs(2)`, `linux/magic.h`, and
/// their own sources.
fn remote(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0xff53_4d42 => "CIFS",
        0xfe53_4d42 => "SMB2",
        0x517b => "SMB",
        0x0102_1997 => "9p",
        0x6573_5546 => "FUSE",
        0x00c3_6400 => "Ceph",
        0x0bd0_0bd0 => "Lustre",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        0x7375_7245 => "Coda",
        0x564c => "NCP",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0xaad7_aaea => "PanFS",
        0x2003_0528 => "OrangeFS",
        0x786f_4256 => "a VirtualBox folder",
        0xbacb_acbc => "a VMware folder",
        _ => return None,
    })
}

/// Refuses a file that is known under two names, whose log and locks would then be two: a second
/// hard link, or a mount of the file alone. One that is not there is as good.
///
/// # Errors
///
/// [`Unusable`](rollback_core::error::StoreErrorKind::Unusable) for such a file; as of
/// [`system`](crate::system) where it cannot be told.
pub fn check_single(file: &Path) -> Result<(), StoreError> {
    let meta = match fs::metadata(file) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(system("the history cannot be examined", file, e)),
    };
    if meta.is_file() && meta.nlink() > 1 {
        return Err(StoreError::new(
            Kind::Unusable,
            "the history's file has a second name, under which it would have another log and \
             other locks",
        )
        .on(file.display())
        .advice("remove the other hard link; copies are made by backup"));
    }
    if is_mounted_alone(file) {
        return Err(StoreError::new(
            Kind::Unusable,
            "the history's file is mounted here by itself, without its log and locks",
        )
        .on(file.display())
        .advice("mount the directory that it is in"));
    }
    Ok(())
}

/// Whether a file is the root of a mount. Kernels before 5.8 do not say.
fn is_mounted_alone(file: &Path) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::statx(CWD, file, flags, StatxFlags::BASIC_STATS)
        .is_ok_and(|s| s.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// A name beside a path: the same with this at its end.
pub fn beside(path: &Path, suffix: impl AsRef<OsStr>) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_and_served_file_systems_are_known_and_local_ones_are_not() {
        for magic in [
            0x6969,
            0xff53_4d42,
            0xfe53_4d42,
            0x517b,
            0x0102_1997,
            0x6573_5546,
            0x00c3_6400,
            0x0bd0_0bd0,
            0x5346_414f,
            0x6b41_4653,
            0x0116_1970,
            0x7461_636f,
        ] {
            assert!(remote(magic).is_some(), "{magic:x}");
        }
        // ext4, tmpfs, xfs, btrfs, overlayfs, zfs, f2fs
        for magic in [
            0xef53,
            0x0102_1994,
            0x5846_5342,
            0x9123_683e,
            0x794c_7630,
            0x2fc1_2fc1,
            0xf2f5_2010,
        ] {
            assert_eq!(remote(magic), None, "{magic:x}");
        }
    }

    #[test]
    fn a_path_is_resolved_whether_there_is_something_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap();
        let link = |to: &str, name: &str| {
            std::os::unix::fs::symlink(to, dir.path().join(name)).unwrap();
        };
        fs::create_dir(dir.path().join("a")).unwrap();
        link("a", "to-a");
        link("to-a/missing.db", "dangling");
        link("dangling", "twice");
        link("loop", "loop");
        for (path, wanted) in [
            ("a/x.db", "a/x.db"),
            ("to-a/x.db", "a/x.db"),
            ("dangling", "a/missing.db"),
            ("twice", "a/missing.db"),
            ("to-a/new/deep/x.db", "a/new/deep/x.db"),
        ] {
            let found = resolve(&dir.path().join(path)).unwrap();
            assert_eq!(found, real.join(wanted), "{path}");
        }
        assert!(resolve(&dir.path().join("loop")).is_err());
        assert!(resolve(&dir.path().join("loop/x")).is_err());
        check_local(&dir.path().join("to-a/new/deep/x.db")).unwrap();
    }

    /// A mount of a file system that a program would serve, if there were one: the kernel tells its
    /// kind by itself to whom it is not open.
    struct Served(PathBuf);

    impl Served {
        fn mount(at: &Path) -> Option<Self> {
            let device = fs::File::options()
                .read(true)
                .write(true)
                .open("/dev/fuse")
                .ok()?;
            let options = "fd=0,rootmode=40000,user_id=12345,group_id=12345";
            let done = std::process::Command::new("mount")
                .args(["-i", "-t", "fuse", "-o", options, "nothing"])
                .arg(at)
                .stdin(device)
                .stderr(std::process::Stdio::null())
                .status();
            done.is_ok_and(|s| s.success()).then(|| Self(at.to_owned()))
        }
    }

    impl Drop for Served {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount")
                .arg("-l")
                .arg(&self.0)
                .status();
        }
    }

    #[test]
    fn a_link_to_a_served_file_system_was_looked_at_where_it_lies_and_not_where_it_leads() {
        let _alone = crate::alone::alone();
        let dir = tempfile::tempdir().unwrap();
        let (at, link) = (dir.path().join("mount"), dir.path().join("link"));
        fs::create_dir(&at).unwrap();
        std::os::unix::fs::symlink(&at, &link).unwrap();
        check_local(&link).unwrap();
        let Some(_served) = Served::mount(&at) else {
            eprintln!("skipped: mounting a file system needs root and /dev/fuse");
            return;
        };
        for path in [&at, &link] {
            let error = check_local(path).unwrap_err();
            assert_eq!(error.kind(), Kind::Unusable, "{error}");
            assert!(error.to_string().contains("(FUSE)"), "{error}");
        }
        check_local(dir.path()).unwrap();
    }
}
