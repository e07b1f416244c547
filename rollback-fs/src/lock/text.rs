//! The text of a lock file: 32 random digits, and the file that they were written for.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::birth::Birth;

/// Length of the text itself.
pub(super) const TEXT: usize = 32;
/// No line of a lock file is longer.
const LINE: usize = 256;

/// The first line of a lock file: its text, and the file that it was written for.
fn line(file: &File) -> Option<String> {
    let (mut bytes, mut len) = ([0; LINE], 0);
    let end = loop {
        if let Some(end) = bytes[..len].iter().position(|b| *b == b'\n') {
            break end;
        }
        match file.read_at(&mut bytes[len..], len as u64).ok()? {
            0 if len > 0 => break len,
            0 => return None,
            read => len += read,
        }
    };
    String::from_utf8(bytes[..end].to_vec()).ok()
}

/// The text of a lock file, if it has one of its own: a copy has none.
pub(super) fn text(file: &File) -> Option<String> {
    own(&line(file)?, place(file).as_deref())
}

/// The text that a line of the file at this place says.
fn own(line: &str, place: Option<&str>) -> Option<String> {
    let (text, of) = line.split_at_checked(TEXT)?;
    // Earlier versions did not say of which file it is.
    let own = of.is_empty() || Some(of.trim_start()) == place;
    (own && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| text.to_owned())
}

/// What tells the file from every copy of it, a snapshot's too.
fn place(file: &File) -> Option<String> {
    let (device, birth) = Birth::and_device(file).ok()?;
    Some(format!("{device:x}.{}", birth.as_str()))
}

/// The same, given one if it has none. Without one (a full disk) the lock alone says who lives.
pub(super) fn own_text(file: &File) -> Option<String> {
    let (line, place) = (line(file), place(file));
    let known = line.as_deref().and_then(|line| own(line, place.as_deref()));
    let text = known.clone().or_else(|| crate::random::hex(TEXT))?;
    let wanted = match place {
        Some(place) => format!("{text} {place}"),
        None => text.clone(),
    };
    if line.as_ref() == Some(&wanted) {
        return Some(text);
    }
    let written = file.write_all_at(format!("{wanted}\n").as_bytes(), 0);
    // The text itself is in the same place as before.
    written.ok().map_or(known, |()| Some(text))
}
