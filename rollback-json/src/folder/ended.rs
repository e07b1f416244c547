//! The note in which a writer says that it has begun, and that it has ended well: without the second
//! the next one looks for what was left.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use rollback_core::error::StoreError;
use rollback_fs::{owner, system};

use crate::index::this_boot;
use crate::layout::Place;
use crate::reserve::is_full;

/// Whether the last writer has ended well, in this boot: nothing is left to do.
pub(crate) fn has_ended(place: &Place) -> bool {
    fs::read(place.ended()).is_ok_and(|text| text == note(true))
}

/// Both of one length, so that writing the second over the first needs no room, where files are
/// written in place.
fn note(ended: bool) -> Vec<u8> {
    let what = if ended { "ended " } else { "writes" };
    format!("{what} {}\n", this_boot()).into_bytes()
}

pub(super) fn say(place: &Place, ended: bool) -> Result<(), StoreError> {
    let path = place.ended();
    let text = note(ended);
    say_by(&path, || {
        let mut file = owner::open_or_create(&path)?;
        file.write_all(&text)?;
        file.set_len(text.len() as u64)
    })
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
