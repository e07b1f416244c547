//! [`Scan`]: what stands in a directory. Files that have not changed since they were read are not
//! read again.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use git2::{ObjectType, Oid};
use rollback_core::context::Context;
use rollback_core::error::BackendError;
use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use crate::error;
use crate::ignore::Ignored;
use crate::listing::{Listing, Relative};
use crate::tree::{Content, Files, Kind};

/// How many files are looked at between two looks at the deadline.
const STRIDE: usize = 64;

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
        let mut walk = Walk {
            cx,
            dir,
            ignored,
            known,
            near: 0,
            seen: 0,
            found: Vec::with_capacity(known.found.len()),
            todo: vec![Relative::default()],
        };
        while let Some(relative) = walk.todo.pop() {
            walk.directory(&relative)?;
        }
        let found = Listing::of(walk.found);
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
struct Walk<'a> {
    cx: &'a Context,
    dir: &'a Path,
    ignored: &'a Ignored,
    known: &'a Scan,
    /// Where in what is known the last path was.
    near: usize,
    seen: usize,
    found: Vec<(Relative, Found)>,
    todo: Vec<Relative>,
}

impl Walk<'_> {
    fn directory(&mut self, relative: &Relative) -> Result<(), BackendError> {
        let here = self.dir.join(relative.as_path());
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
        let below = self.todo.len();
        for entry in &entries {
            self.seen += 1;
            if self.seen.is_multiple_of(STRIDE) {
                self.cx.check()?;
            }
            self.entry(&dir, relative, entry).map_err(fail)?;
        }
        // The first of them is taken next.
        self.todo[below..].reverse();
        Ok(())
    }

    fn entry(&mut self, dir: &impl AsFd, above: &Relative, entry: &DirEntry) -> io::Result<()> {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            return Ok(());
        }
        let path = above.join(name.to_bytes());
        if path.as_bytes() == b".git" || self.ignored.covers(path.as_path()) {
            return Ok(());
        }
        if entry.file_type() == FileType::Directory {
            self.todo.push(path);
            return Ok(());
        }
        // By the open directory: the kernel need not find the way to it for each file.
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            stat => stat?,
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            // Not every file system tells it with the name.
            self.todo.push(path);
            return Ok(());
        }
        let mark = Mark::of(&stat);
        let known = self.known.found.get_near(&mut self.near, &path);
        let content = match known.filter(|known| self.known.vouches(known, &mark)) {
            Some(known) => known.content,
            None => match read(&self.dir.join(path.as_path()), mark.mode) {
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
        let target = fs::read_link(path)?;
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
    // For the error's kind, which libgit2 does not give.
    drop(fs::File::open(path)?);
    let oid = match Oid::hash_file(ObjectType::Blob, path) {
        Err(_) if !path.exists() => return Err(io::ErrorKind::NotFound.into()),
        oid => oid.map_err(other)?,
    };
    Ok((kind, oid))
}
