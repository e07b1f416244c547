//! Space on the disk that is taken beforehand, to be given up when there is no other.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// What [`MetadataExt::blocks`] counts in.
const BLOCK: u64 = 512;

/// Lets a file take so much space, which nobody else can have then.
///
/// # Errors
///
/// The system's: [`StorageFull`](io::ErrorKind::StorageFull) where there is not so much. What was
/// taken until then stays with the file.
pub fn take(file: &File, size: u64) -> io::Result<()> {
    take_by(file, size, || {
        rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size)
    })
}

/// Whether a file of this metadata has so much.
#[must_use]
pub fn has(meta: &std::fs::Metadata, size: u64) -> bool {
    meta.is_file() && meta.blocks().saturating_mul(BLOCK) >= size
}

/// A promise is not believed before a look: ZFS, which never writes in place, only checks that there
/// is as much free just now.
fn take_by(
    mut file: &File,
    size: u64,
    promise: impl FnOnce() -> Result<(), Errno>,
) -> io::Result<()> {
    match promise() {
        Ok(()) if has(&file.metadata()?, size) => return Ok(()),
        // Not every file system can promise space; then it is taken.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
        Err(e) => return Err(e.into()),
    }
    file.seek(SeekFrom::Start(0))?;
    // What no file system stores in less.
    let mut random = File::open("/dev/urandom")?.take(size);
    io::copy(&mut random, &mut file)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_that_was_only_checked_for_was_taken_for_kept() {
        let dir = tempfile::tempdir().unwrap();
        for (name, promised) in [
            ("kept", None),
            ("checked", Some(Ok(()))),
            ("unknown", Some(Err(Errno::OPNOTSUPP))),
        ] {
            let file = File::create(dir.path().join(name)).unwrap();
            match promised {
                None => take(&file, 100_000).unwrap(),
                Some(said) => take_by(&file, 100_000, || said).unwrap(),
            }
            let meta = file.metadata().unwrap();
            assert!(has(&meta, 100_000) && meta.len() >= 100_000, "{name}");
        }
        let file = File::create(dir.path().join("full")).unwrap();
        let failed = take_by(&file, 100_000, || Err(Errno::NOSPC)).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
        assert!(!has(&file.metadata().unwrap(), 1));
    }
}
