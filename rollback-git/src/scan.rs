//! [`Scan`]: what stands in a directory. Files that have not changed since they were read are not
//! read again.

use std::fs;
use std::io;
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread::Builder;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use git2::{ObjectType, Oid};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use crate::content::{Content, Files, Kind};
use crate::error;
use crate::ignore::Ignored;
use crate::listing::{Listing, Relative};

/// How many files are looked at between two looks at the deadline.
const STRIDE: usize = 64;

/// So many directories take longer to look into than another thread to begin.
const WORTH_A_THREAD: usize = 16;

/// The host has something else to do, too.
const MOST_THREADS: usize = 4;

/// So often a file is read that is removed, put back or cut meanwhile.
const MOST_TRIES: usize = 10;

/// No file system's clock is coarser, and no kernel stamps further behind.
const COARSEST: Duration = Duration::from_secs(2);

/// Seconds and nanoseconds since 1970, of a file system's clock.
pub(crate) type Instant = (i64, i64);

/// What tells that a file has not been changed: nobody changes one without a new `ctime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) mtime: Instant,
    pub(crate) ctime: Instant,
}

impl Mark {
    // The fields' types differ from one machine to the other.
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        clippy::cast_possible_truncation,
        clippy::cast_lossless
    )]
    fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            mode: stat.st_mode as u32,
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}

/// A path's content, and by what mark that is known without reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) content: Content,
    pub(crate) mark: Option<Mark>,
}

/// What stood in a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// When it was begun, or earlier: a mark that is as young may hide a change.
    pub(crate) since: Instant,
    pub(crate) found: Listing<Found>,
}

impl Scan {
    /// Looks. What an earlier look knew surely is not read again. A file that vanishes meanwhile is
    /// not there; one that this user may not read is [`Kind::Opaque`], and so is a directory.
    /// `since` is the file system's clock, if it was asked.
    pub(crate) fn of(
        cx: &Context,
        dir: &Path,
        ignored: &Ignored,
        known: &Scan,
        since: Option<Instant>,
    ) -> Result<Self, BackendError> {
        let since = since.unwrap_or_else(long_ago);
        let look = Look {
            cx,
            dir,
            ignored,
            known,
        };
        let mut found = Vec::with_capacity(known.found.len());
        let mut todo = vec![Relative::default()];
        while !todo.is_empty() {
            let mut below = Vec::new();
            for walk in look.through(&todo)? {
                found.extend(walk.found);
                below.extend(walk.below);
            }
            todo = below;
        }
        let found = Listing::of(found);
        Ok(Self { since, found })
    }

    /// What was found, however it is known.
    pub(crate) fn files(&self) -> Files {
        self.found.map(|found| found.content)
    }

    /// Whether this mark, borne now, surely tells that a path holds what it held: nothing can have
    /// changed in the same tick of the clock as the mark was made.
    pub(crate) fn vouches(&self, found: &Found, mark: &Mark) -> bool {
        found.mark.as_ref() == Some(mark) && mark.ctime < self.since && mark.mtime < self.since
    }
}

/// One look at a directory, under way.
#[derive(Clone, Copy)]
struct Look<'a> {
    cx: &'a Context,
    dir: &'a Path,
    ignored: &'a Ignored,
    known: &'a Scan,
}

impl<'a> Look<'a> {
    /// Looks into directories of one depth: several at once where there are many, for nearly all of
    /// the time goes into one call to the kernel for each file.
    fn through(self, dirs: &[Relative]) -> Result<Vec<Walk<'a>>, BackendError> {
        let most = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = (dirs.len() / WORTH_A_THREAD).clamp(1, most.min(MOST_THREADS));
        let parts: Vec<_> = dirs.chunks(dirs.len().div_ceil(threads)).collect();
        let (own, others) = parts.split_first().unwrap_or((&dirs, &[]));
        std::thread::scope(|scope| {
            let walk = |part| move || Walk::through(self, part);
            let others: Vec<_> = others
                .iter()
                .map(|part| {
                    let began = Builder::new().spawn_scoped(scope, walk(part));
                    // There is no other thread to be had.
                    began.map_err(|_| walk(part)())
                })
                .collect();
            let mut walks = vec![walk(own)()];
            walks.extend(others.into_iter().map(|other| match other {
                Ok(other) => other.join().unwrap_or_else(|_| Err(broke_off())),
                Err(walk) => walk,
            }));
            walks.into_iter().collect()
        })
    }
}

fn broke_off() -> BackendError {
    let what = "a look at the release ended abnormally";
    BackendError::new(BackendErrorKind::Failed, what)
}

/// What one thread has found of some directories.
struct Walk<'a> {
    look: Look<'a>,
    /// Where in what is known the last path was.
    near: usize,
    seen: usize,
    found: Vec<(Relative, Found)>,
    /// The directories in those.
    below: Vec<Relative>,
}

impl<'a> Walk<'a> {
    fn through(look: Look<'a>, dirs: &[Relative]) -> Result<Self, BackendError> {
        let mut walk = Self {
            look,
            near: 0,
            seen: 0,
            found: Vec::new(),
            below: Vec::new(),
        };
        for relative in dirs {
            walk.directory(relative)?;
        }
        Ok(walk)
    }

    fn directory(&mut self, relative: &Relative) -> Result<(), BackendError> {
        let here = self.look.dir.join(relative.as_path());
        let fail = |e| error::io("cannot read the release", here.display(), e);
        let dir = match open(&here, relative) {
            Err(e) if relative.is_top() || !may_be_passed_over(&e) => return Err(fail(e)),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                self.found.push((relative.clone(), UNREADABLE));
                return Ok(());
            }
            Err(_) => return Ok(()),
            Ok(dir) => dir,
        };
        let mut entries = Vec::new();
        for entry in Dir::read_from(&dir).map_err(|e| fail(e.into()))? {
            match entry.map_err(io::Error::from) {
                Err(e) if may_be_passed_over(&e) => break,
                entry => entries.push(entry.map_err(fail)?),
            }
        }
        // In the order of what is known.
        entries.sort_unstable_by(|a, b| a.file_name().cmp(b.file_name()));
        for entry in &entries {
            self.seen += 1;
            if self.seen.is_multiple_of(STRIDE) {
                self.look.cx.check()?;
            }
            self.entry(&dir, relative, entry).map_err(fail)?;
        }
        Ok(())
    }

    fn entry(&mut self, dir: &impl AsFd, above: &Relative, entry: &DirEntry) -> io::Result<()> {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            return Ok(());
        }
        let path = above.join(name.to_bytes());
        if path.as_bytes() == b".git" || self.look.ignored.covers(path.as_path()) {
            return Ok(());
        }
        if entry.file_type() == FileType::Directory {
            self.below.push(path);
            return Ok(());
        }
        // By the open directory: the kernel need not find the way to it for each file.
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            stat => stat?,
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            // Not every file system tells it with the name.
            self.below.push(path);
            return Ok(());
        }
        let mark = Mark::of(&stat);
        let known = self.look.known.found.get_near(&mut self.near, &path);
        let content = match known.filter(|known| self.look.known.vouches(known, &mark)) {
            Some(known) => known.content,
            None => match read(&self.look.dir.join(path.as_path()), mark.mode) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => OPAQUE,
                content => content?,
            },
        };
        let mark = Some(mark);
        self.found.push((path, Found { content, mark }));
        Ok(())
    }
}

/// What nobody here can look into: a socket, a file of another user's.
const OPAQUE: Content = (Kind::Opaque, Oid::ZERO_SHA1);
const UNREADABLE: Found = Found {
    content: OPAQUE,
    mark: None,
};

/// A link is followed at the top alone: what is below one is not below the release.
fn open(dir: &Path, relative: &Relative) -> io::Result<OwnedFd> {
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if !relative.is_top() {
        flags |= OFlags::NOFOLLOW;
    }
    Ok(openat(rustix::fs::CWD, dir, flags, Mode::empty())?)
}

/// The service's own doing: it removes what it has made, and keeps it to itself.
fn may_be_passed_over(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
    )
}

/// So long before now that the file system's clock was surely past it.
fn long_ago() -> Instant {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let then = now.saturating_sub(COARSEST);
    (
        i64::try_from(then.as_secs()).unwrap_or(i64::MAX),
        i64::from(then.subsec_nanos()),
    )
}

fn read(path: &Path, mode: u32) -> io::Result<Content> {
    let other = |e: git2::Error| io::Error::other(e);
    let file_type = FileType::from_raw_mode(mode);
    if file_type == FileType::Symlink {
        let target = match fs::read_link(path) {
            // Something else has taken its place since.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                return Err(io::ErrorKind::NotFound.into());
            }
            target => target?,
        };
        let oid = Oid::hash_object(ObjectType::Blob, target.as_os_str().as_bytes());
        return Ok((Kind::Link, oid.map_err(other)?));
    }
    if file_type != FileType::RegularFile {
        // A socket or FIFO must not be opened: it could block for ever.
        return Ok(OPAQUE);
    }
    let kind = if mode & 0o100 == 0 {
        Kind::File
    } else {
        Kind::Executable
    };
    Ok((kind, hash(path)?))
}

/// The hash of a file that its service may remove, put back or write meanwhile. libgit2 opens it by
/// its path, and does not say why it could not.
fn hash(path: &Path) -> io::Result<Oid> {
    let mut tries = 0;
    loop {
        tries += 1;
        if !fs::File::open(path)?.metadata()?.is_file() {
            // Something else has taken its place since.
            return Err(io::ErrorKind::NotFound.into());
        }
        match Oid::hash_file(ObjectType::Blob, path) {
            Ok(oid) => return Ok(oid),
            Err(e) if tries == MOST_TRIES => return Err(io::Error::other(e)),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tree::differences;

    #[test]
    fn many_directories_are_looked_into_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let many = WORTH_A_THREAD * 5 / 2;
        for n in 0..many {
            // What is below comes before and after what lies beside it.
            for path in [
                format!("d{n}/m"),
                format!("d{n}/a/x"),
                format!("d{n}/z/y/x"),
            ] {
                let path = dir.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, n.to_string()).unwrap();
            }
        }
        let cx = Context::new(Duration::from_secs(60));
        let none = Ignored::default();
        let look = |known: &Scan| Scan::of(&cx, dir.path(), &none, known, None).unwrap();
        let first = look(&Scan::default());
        assert_eq!(first.found.len(), 3 * many);
        assert_eq!(look(&first).files(), first.files());
        for n in [0, many / 2, many - 1] {
            let changed = format!("d{n}/z/y/x");
            fs::write(dir.path().join(&changed), "changed").unwrap();
            let content = |found: &Found| found.content;
            let seen = differences(&first.found, content, &look(&first), &none);
            assert!(
                seen.iter()
                    .any(|(path, _)| path.as_bytes() == changed.as_bytes()),
                "{changed}"
            );
        }
    }
}
