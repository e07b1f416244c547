//! Whether a path can hold a history at all.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rollback_core::error::{StoreError, StoreErrorKind as Kind};

use crate::error::system;

/// Makes a directory (0700), and those above it, if they do not exist.
pub fn make_dir(dir: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| system("the directory cannot be made", dir, e))
}

/// Refuses a directory on a network file system.
pub fn check_local(dir: &Path) -> Result<(), StoreError> {
    let stat = rustix::fs::statfs(dir)
        .map_err(|e| system("the file system cannot be examined", dir, e.into()))?;
    #[allow(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        clippy::unnecessary_cast
    )]
    let magic = stat.f_type as u32;
    if let Some(name) = network(magic) {
        return Err(StoreError::new(
            Kind::Unusable,
            format!("the history would lie on a network file system ({name}), where neither locks nor the log are safe"),
        )
        .on(dir.display())
        .advice("choose a path on a local disk"));
    }
    Ok(())
}

/// Network file systems by their magic number, as `statfs(2)` lists them.
fn network(magic: u32) -> Option<&'static str> {
    match magic {
        0x6969 => Some("NFS"),
        0xff53_4d42 => Some("CIFS"),
        0xfe53_4d42 => Some("SMB2"),
        0x517b => Some("SMB"),
        0x0102_1997 => Some("9p"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_and_local_ones_are_not() {
        for magic in [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x517b, 0x0102_1997] {
            assert!(network(magic).is_some(), "{magic:x}");
        }
        // ext4, tmpfs, xfs, btrfs, overlayfs
        for magic in [0xef53, 0x0102_1994, 0x5846_5342, 0x9123_683e, 0x794c_7630] {
            assert_eq!(network(magic), None, "{magic:x}");
        }
    }
}
