//! The note in which a writer says that it has begun, and that it has ended well: without the second
//! the next one looks for what was left.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rollback_core::error::StoreError;
use rollback_fs::{owner, system};

use crate::index::this_boot;
use crate::layout::Place;
use crate::reserve::is_full;

/// Whether the last writer has ended well, in this boot: nothing is left to do.
pub(crate) fn has_ended(place: &Place) -> bool {
    File::open(place.ended()).is_ok_and(|file| says_ended(&file))
}

fn says_ended(file: &File) -> bool {
    let wanted = note(true);
    // One byte more, lest what is longer be taken for it.
    let mut found = vec![0; wanted.len() + 1];
    let read = file.read_at(&mut found, 0).unwrap_or(0);
    found.get(..read) == Some(&*wanted)
}

/// Both of one length, so that writing the second over the first needs no room, where files are
/// written in place.
fn note(ended: bool) -> Vec<u8> {
    let what = if ended { "ended " } else { "writes" };
    format!("{what} {}\n", this_boot()).into_bytes()
}

/// The note of who writes just now.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
    /// It is opened once for all that is said in it, if it is a note of this boot.
    file: Option<File>,
}

impl Note {
    /// For who holds the write lock; says whether the last writer has ended well.
    pub(super) fn open(place: &Place) -> (Self, bool) {
        let path = place.ended();
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path);
        let file = opened.ok().filter(says_ended);
        let ended = file.is_some();
        (Self { path, file }, ended)
    }

    pub(super) fn say(&self, ended: bool) -> Result<(), StoreError> {
        let text = note(ended);
        say_by(&self.path, || match &self.file {
            Some(file) => file.write_all_at(&text, 0),
            None => {
                let mut file = owner::open_or_create(&self.path)?;
                file.write_all(&text)?;
                file.set_len(text.len() as u64)
            }
        })
    }
}

/// Where there is no room even for that, which copying on write takes, there must be no note: an old
/// one could say that a writer has ended who is only about to begin.
fn say_by(path: &Path, write: impl FnOnce() -> io::Result<()>) -> Result<(), StoreError> {
    let said = match write() {
        Err(e) if is_full(&e) => match fs::remove_file(path) {
            Err(gone) if gone.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        },
        other => other,
    };
    said.map_err(|e| system("the workload's note cannot be written", path, e))
}

#[cfg(test)]
mod tests {
    use rollback_core::error::StoreErrorKind as Kind;

    use super::*;

    fn full() -> io::Result<()> {
        Err(ErrorKind::StorageFull.into())
    }

    #[test]
    fn a_writer_on_a_full_disk_left_the_note_that_the_former_one_had_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ended");
        fs::write(&path, note(true)).unwrap();
        say_by(&path, full).unwrap();
        assert!(!path.exists());
        // There was none, so there is nothing that it could contradict.
        say_by(&path, full).unwrap();
        // One that stays is not written over.
        fs::create_dir(&path).unwrap();
        assert!(say_by(&path, full).is_err());
        let failed = say_by(&path, || Err(ErrorKind::Other.into())).unwrap_err();
        assert_eq!(failed.kind(), Kind::Io);
    }
}
