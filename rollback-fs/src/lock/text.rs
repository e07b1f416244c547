//! The text of a lock file: 32 random digits, and the file that they were written for.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;

use crate::birth::Birth;

/// Length of the text itself.
pub(super) const TEXT: usize = 32;
/// No line of a lock file is longer.
const LINE: u64 = 256;

/// The first line of a lock file: its text, and the file that it was written for.
fn line(file: &mut File) -> Option<String> {
    let mut line = Vec::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(LINE).read_to_end(&mut line).ok()?;
    let line = String::from_utf8(line).ok()?;
    Some(line.lines().next()?.to_owned())
}

/// The text of a lock file, if it has one of its own: a copy has none.
pub(super) fn text(file: &mut File) -> Option<String> {
    let line = line(file)?;
    let (text, of) = line.split_at_checked(TEXT)?;
    // Earlier versions did not say of which file it is.
    let own = of.is_empty() || Some(of.trim_start()) == place(file).as_deref();
    (own && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| text.to_owned())
}

/// What tells the file from every copy of it, a snapshot's too.
fn place(file: &File) -> Option<String> {
    let device = file.metadata().ok()?.dev();
    Some(format!("{device:x}.{}", Birth::of(file).ok()?.as_str()))
}

/// The same, given one if it has none. Without one (a full disk) the lock alone says who lives.
pub(super) fn own_text(file: &mut File) -> Option<String> {
    let known = text(file);
    let text = known.clone().or_else(|| crate::random::hex(TEXT))?;
    let wanted = match place(file) {
        Some(place) => format!("{text} {place}"),
        None => text.clone(),
    };
    if line(file).as_ref() == Some(&wanted) {
        return Some(text);
    }
    let written = (|| {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(format!("{wanted}\n").as_bytes())
    })();
    // The text itself is in the same place as before.
    written.ok().map_or(known, |()| Some(text))
}
