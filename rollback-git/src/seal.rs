//! [`Seal`]: what belongs to a release directory, once it is built and its command has run.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use git2::Oid;
use rollback_core::error::BackendError;

use crate::error;
use crate::file;
use crate::ignore::Ignored;
use crate::scan::{Instant, Known, Mark, Scan};
use crate::tree::{Files, Kind};

const HEADER: &str = "rollback seal 1";

/// What each path holds that belongs to a release, and by what mark that is known without reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seal {
    since: Instant,
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    kind: Kind,
    oid: Oid,
    mark: Option<Mark>,
}

impl Seal {
    /// Of these files, as the commit has them.
    pub(crate) fn of(files: &Files) -> Self {
        let entry = |(path, (kind, oid)): (&PathBuf, &(Kind, Oid))| {
            let (kind, oid, mark) = (*kind, *oid, None);
            (path.clone(), Entry { kind, oid, mark })
        };
        Self {
            since: Instant::default(),
            entries: files.iter().map(entry).collect(),
        }
    }

    /// What belongs to it.
    pub(crate) fn files(&self) -> Files {
        let row = |(path, e): (&PathBuf, &Entry)| (path.clone(), (e.kind, e.oid));
        self.entries.iter().map(row).collect()
    }

    /// The same, taking in all that a scan found to be otherwise, but for these paths and for what
    /// it did not look at.
    #[must_use]
    pub(crate) fn absorbing(&self, scan: &Scan, but: &[PathBuf], ignored: &Ignored) -> Self {
        let mut files = self.files();
        files.retain(|path, _| {
            scan.files.contains_key(path) || but.contains(path) || ignored.covers(path)
        });
        for (path, content) in &scan.files {
            if !but.contains(path) {
                files.insert(path.clone(), *content);
            }
        }
        Self::of(&files).marked(scan)
    }

    /// The same with the marks of a scan, where that found what belongs there.
    #[must_use]
    pub(crate) fn marked(mut self, scan: &Scan) -> Self {
        self.since = scan.since;
        for (path, entry) in &mut self.entries {
            let same = scan.files.get(path) == Some(&(entry.kind, entry.oid));
            entry.mark = scan.marks.get(path).filter(|_| same).copied();
        }
        self
    }

    /// The seal in this file; `None` where there is none, or none that can be read: then nothing
    /// is known but the commit.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, BackendError> {
        match fs::read(path) {
            Ok(bytes) => {
                let seal = Self::parse(&bytes);
                if seal.is_none() {
                    tracing::warn!(seal = %path.display(), "a damaged seal is passed over");
                }
                Ok(seal)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(error::io("cannot read a seal", path.display(), e)),
        }
    }

    /// Leaves the reserve alone: a seal may be larger, and nothing would be left for the records
    /// of a way back.
    pub(crate) fn write(&self, path: &Path) -> Result<(), BackendError> {
        file::write_once(path, file::PRIVATE, &self.text())
    }

    // Lines end in NUL, and the path comes last: it may contain anything else.
    fn text(&self) -> Vec<u8> {
        let (s, n) = self.since;
        let mut out = format!("{HEADER} {s} {n} {}\0", self.entries.len()).into_bytes();
        for (path, entry) in &self.entries {
            let mark = entry.mark.map_or_else(
                || "-".to_owned(),
                |m| {
                    let ((ms, mn), (cs, cn)) = (m.mtime, m.ctime);
                    let (inode, size, mode) = (m.inode, m.size, m.mode);
                    format!("{inode},{size},{mode},{ms},{mn},{cs},{cn}")
                },
            );
            let line = format!("{} {} {mark} ", entry.kind.letter(), entry.oid);
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(path.as_os_str().as_bytes());
            out.push(0);
        }
        out
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = bytes.strip_suffix(&[0])?.split(|b| *b == 0);
        let head = std::str::from_utf8(lines.next()?).ok()?;
        let mut head = head.strip_prefix(HEADER)?.split_ascii_whitespace();
        let since = (head.next()?.parse().ok()?, head.next()?.parse().ok()?);
        let count: usize = head.next()?.parse().ok()?;
        let mut entries = BTreeMap::new();
        for line in lines {
            let mut parts = line.splitn(4, |b| *b == b' ');
            let kind = Kind::of_letter(parts.next()?)?;
            let mut text = || std::str::from_utf8(parts.next()?).ok();
            let oid = Oid::from_str(text()?).ok()?;
            let mark = match text()? {
                "-" => None,
                mark => Some(parse_mark(mark)?),
            };
            let path = PathBuf::from(OsStr::from_bytes(parts.next()?));
            entries.insert(path, Entry { kind, oid, mark });
        }
        (entries.len() == count).then_some(Self { since, entries })
    }
}

impl Known for Seal {
    fn content(&self, path: &Path, mark: &Mark) -> Option<(Kind, Oid)> {
        let entry = self.entries.get(path)?;
        let same = entry.mark.as_ref() == Some(mark) && Scan::settles(self.since, mark);
        same.then_some((entry.kind, entry.oid))
    }
}

fn parse_mark(text: &str) -> Option<Mark> {
    let mut parts = text.split(',');
    let mark = Mark {
        inode: parts.next()?.parse().ok()?,
        size: parts.next()?.parse().ok()?,
        mode: parts.next()?.parse().ok()?,
        mtime: (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?),
        ctime: (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?),
    };
    parts.next().is_none().then_some(mark)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn oid(text: &str) -> Oid {
        Oid::hash_object(git2::ObjectType::Blob, text.as_bytes()).unwrap()
    }

    fn sample() -> (Seal, Scan) {
        let odd = PathBuf::from(OsStr::from_bytes(b"a b\n\xff"));
        let files: Files = [
            (odd, (Kind::File, oid("1"))),
            ("run".into(), (Kind::Executable, oid("2"))),
            ("link".into(), (Kind::Link, oid("3"))),
            ("socket".into(), (Kind::Opaque, Oid::ZERO_SHA1)),
        ]
        .into();
        let mark = Mark {
            inode: 7,
            size: 8,
            mode: 0o100_644,
            mtime: (10, 0),
            ctime: (-1, 5),
        };
        let scan = Scan {
            since: (11, 0),
            marks: files.keys().map(|path| (path.clone(), mark)).collect(),
            files: files.clone(),
        };
        (Seal::of(&files).marked(&scan), scan)
    }

    #[test]
    fn what_is_written_is_read_and_what_is_cut_short_is_not() {
        let (seal, _) = sample();
        let text = seal.text();
        assert_eq!(Seal::parse(&text), Some(seal));
        for n in 0..text.len() {
            assert_eq!(Seal::parse(&text[..n]), None, "{n} bytes");
        }
    }

    #[test]
    fn a_mark_as_young_as_the_look_proves_nothing() {
        let (mut seal, scan) = sample();
        let (path, mark) = scan.marks.iter().next().unwrap();
        assert!(seal.content(path, mark).is_some());
        let other = Mark { inode: 9, ..*mark };
        assert_eq!(seal.content(path, &other), None);
        seal.since = (10, 0);
        assert_eq!(seal.content(path, mark), None);
    }

    #[test]
    fn it_takes_in_what_came_went_and_changed_but_not_what_was_changed_before() {
        let (seal, mut scan) = sample();
        scan.files.insert("new".into(), (Kind::File, oid("new")));
        scan.files
            .insert("run".into(), (Kind::File, oid("changed")));
        scan.files.remove(Path::new("link"));
        let but = [PathBuf::from("run")];
        let after = seal.absorbing(&scan, &but, &Ignored::default()).files();
        assert_eq!(
            after.get(Path::new("run")),
            Some(&(Kind::Executable, oid("2")))
        );
        assert!(after.contains_key(Path::new("new")));
        assert!(!after.contains_key(Path::new("link")));
    }
}
