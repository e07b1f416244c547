//! What a program said: its end, without what is secret.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::Duration;

use rollback_core::masking::{Part, Secrets};
#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::fs::{FallocateFlags, fallocate};

/// Most of a program's output that a diagnostic shows, in bytes, from the end: 4 KiB.
pub const MAX_OUTPUT: usize = 4 * 1024;

/// Most of an answer that is kept, in bytes, from the end: 64 KiB.
pub const MAX_ANSWER: usize = 64 * 1024;

/// Most that a program which is asked something may say, in bytes: it must not fill a disk.
pub(crate) const MAX_SAID: usize = 4 * 1024 * 1024;

/// How much more is read than is shown, in bytes: of what is cut the first line is left out.
const SPARE: usize = 64 * 1024;

/// How often what it has said so far is measured.
const MEASURED: Duration = Duration::from_millis(50);

/// How an output ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Last {
    /// As the program meant it to.
    Whole,
    /// Wherever it was killed, or reading stopped: that may be within a secret.
    Broken,
}

/// Room that a disk must have left for what a program says.
const ROOM: u64 = MAX_SAID as u64;

/// A file without a name; in memory where there is no place or no room for one, so that a disk that
/// can no longer be written to keeps nobody from restarting a service.
pub(crate) fn unnamed_file() -> io::Result<File> {
    let on_disk = tempfile::tempfile().and_then(with_room);
    on_disk.or_else(|_| secret_file())
}

/// A file for what is a secret: no disk ever has it, where the kernel can do without.
pub(crate) fn secret_file() -> io::Result<File> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        Ok(File::from(rustix::fs::memfd_create("rollback", flags)?))
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    tempfile::tempfile()
}

/// The file, unless its disk is full.
fn with_room(file: File) -> io::Result<File> {
    let disk = rustix::fs::fstatvfs(&file)?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(file)
}

/// Gives the disk back what was said long ago, for as long as more is said: nobody is shown it.
pub(crate) async fn forgetting(output: &File) -> Infallible {
    let mut forgotten = 0;
    loop {
        tokio::time::sleep(MEASURED).await;
        let said = output.metadata().map_or(0, |m| m.len());
        let old = said.saturating_sub(MAX_SAID as u64);
        if old > forgotten {
            // At best: some file systems cannot.
            #[cfg(any(target_os = "linux", target_os = "android"))]
            let _ = {
                let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                fallocate(output, hole, forgotten, old - forgotten)
            };
            forgotten = old;
        }
    }
}

/// Resolves once more was said to one of them than an answer may have.
pub(crate) async fn overflow(outputs: [&File; 2]) {
    let fits = |file: &File| file.metadata().is_ok_and(|m| m.len() <= MAX_SAID as u64);
    while outputs.into_iter().all(fits) {
        tokio::time::sleep(MEASURED).await;
    }
}

/// The end of an output, at most so many bytes.
pub(crate) fn said(output: &mut File, last: Last, secrets: &Secrets, most: usize) -> String {
    let Ok((bytes, cut, read)) = end_of_file(output, (most + SPARE) as u64) else {
        return "(its output cannot be read)".to_owned();
    };
    let part = match (cut, last, read) {
        (false, Last::Whole, Last::Whole) => Part::Whole,
        (true, Last::Whole, Last::Whole) => Part::Tail,
        (false, ..) => Part::Head,
        (true, ..) => Part::Middle,
    };
    let text = secrets.tell(&String::from_utf8_lossy(&bytes), part);
    end_of(&text, most).trim().to_owned()
}

/// All of an output, which has to be text of at most so many bytes.
pub(crate) fn whole(output: &mut File, most: usize) -> io::Result<String> {
    let (bytes, cut, _) = end_of_file(output, most as u64)?;
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    if cut {
        return Err(invalid(&format!(
            "it said more than {} KiB, too much for an answer",
            most / 1024
        )));
    }
    String::from_utf8(bytes).map_err(|_| invalid("what it said is no text"))
}

/// The last bytes, whether there were more before them, and whether there are more after them.
fn end_of_file(file: &mut File, most: u64) -> io::Result<(Vec<u8>, bool, Last)> {
    let length = file.seek(SeekFrom::End(0))?;
    let start = file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    // No more than that: what it started may go on writing.
    file.take(most).read_to_end(&mut bytes)?;
    let last = match file.metadata()?.len() > start + bytes.len() as u64 {
        true => Last::Broken,
        false => Last::Whole,
    };
    Ok((bytes, length > most, last))
}

/// At most the last `most` bytes, from the beginning of a character on.
fn end_of(text: &str, most: usize) -> &str {
    let mut start = text.len().saturating_sub(most);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}
