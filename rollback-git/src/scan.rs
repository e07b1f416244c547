//! [`Scan`]: what stands in a directory. Files that have not changed since they were read are not
//! read again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use git2::{ObjectType, Oid};
use rollback_core::context::Context;
use rollback_core::error::BackendError;

use crate::error;
use crate::ignore::Ignored;
use crate::tree::{Files, Kind};

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
    fn of(meta: &fs::Metadata) -> Self {
        Self {
            inode: meta.ino(),
            size: meta.size(),
            mode: meta.mode(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// What was read at an earlier look.
pub(crate) trait Known {
    /// What a path held when it bore this very mark, if that is surely what it holds.
    fn content(&self, path: &Path, mark: &Mark) -> Option<(Kind, Oid)>;
}

/// Nothing.
impl Known for () {
    fn content(&self, _: &Path, _: &Mark) -> Option<(Kind, Oid)> {
        None
    }
}

/// What stood in a directory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scan {
    /// When it was begun, or earlier: a mark that is as young may hide a change.
    pub(crate) since: Instant,
    pub(crate) files: Files,
    pub(crate) marks: BTreeMap<PathBuf, Mark>,
}

impl Scan {
    /// Looks. A file that vanishes meanwhile is not there; one that this user may not read is
    /// [`Kind::Opaque`], and so is a directory. `since` is the file system's clock, if it was asked.
    pub(crate) fn of(
        cx: &Context,
        dir: &Path,
        ignored: &Ignored,
        known: &dyn Known,
        since: Option<Instant>,
    ) -> Result<Self, BackendError> {
        let mut scan = Self {
            since: since.unwrap_or_else(long_ago),
            ..Self::default()
        };
        let mut todo = vec![PathBuf::new()];
        let mut seen = 0_usize;
        while let Some(relative) = todo.pop() {
            let here = dir.join(&relative);
            let fail = |e| error::io("cannot read the release", here.display(), e);
            let entries = match fs::read_dir(&here) {
                Err(e) if is_top(&relative) || !may_be_passed_over(&e) => return Err(fail(e)),
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    scan.files.insert(relative, OPAQUE);
                    continue;
                }
                Err(_) => continue,
                Ok(entries) => entries,
            };
            for entry in entries {
                seen += 1;
                if seen.is_multiple_of(STRIDE) {
                    cx.check()?;
                }
                let entry = match entry {
                    Err(e) if may_be_passed_over(&e) => continue,
                    entry => entry.map_err(fail)?,
                };
                let path = relative.join(entry.file_name());
                if path == Path::new(".git") || ignored.covers(&path) {
                    continue;
                }
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => todo.push(path),
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(e)),
                    _ => scan.add(&entry.path(), path, known).map_err(fail)?,
                }
            }
        }
        Ok(scan)
    }

    fn add(&mut self, full: &Path, path: PathBuf, known: &dyn Known) -> io::Result<()> {
        let meta = match fs::symlink_metadata(full) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            meta => meta?,
        };
        let mark = Mark::of(&meta);
        let content = match known.content(&path, &mark) {
            Some(content) => content,
            None => match read(full, &meta) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => OPAQUE,
                content => content?,
            },
        };
        self.marks.insert(path.clone(), mark);
        self.files.insert(path, content);
        Ok(())
    }

    /// Whether nothing can have changed in the same tick of the clock as this mark was made.
    pub(crate) fn settles(since: Instant, mark: &Mark) -> bool {
        mark.ctime < since && mark.mtime < since
    }
}

/// An earlier look is known, where its marks are old enough.
impl Known for Scan {
    fn content(&self, path: &Path, mark: &Mark) -> Option<(Kind, Oid)> {
        let same = self.marks.get(path) == Some(mark) && Self::settles(self.since, mark);
        same.then(|| self.files.get(path).copied()).flatten()
    }
}

/// What nobody here can look into: a socket, a file of another user's.
const OPAQUE: (Kind, Oid) = (Kind::Opaque, Oid::ZERO_SHA1);

fn is_top(relative: &Path) -> bool {
    relative.as_os_str().is_empty()
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

fn read(path: &Path, meta: &fs::Metadata) -> io::Result<(Kind, Oid)> {
    let other = |e: git2::Error| io::Error::other(e);
    if meta.is_symlink() {
        let target = fs::read_link(path)?;
        let oid = Oid::hash_object(ObjectType::Blob, target.as_os_str().as_bytes());
        return Ok((Kind::Link, oid.map_err(other)?));
    }
    if !meta.is_file() {
        // A socket or FIFO must not be opened: it could block for ever.
        return Ok(OPAQUE);
    }
    let kind = if meta.permissions().mode() & 0o100 == 0 {
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
