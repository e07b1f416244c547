//! [`Seal`]: what belongs to a release directory, once it is built and its command has run.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use git2::Oid;
use rollback_core::error::BackendError;

use crate::content::{Content, Files, Kind};
use crate::error;
use crate::file;
use crate::ignore::Ignored;
use crate::listing::{Listing, Relative};
use crate::scan::{Found, Instant, Mark, Scan};
use crate::tree::{self, Differences};

const HEADER: &str = "rollback seal 1";

/// What each path holds that belongs to a release, and by what mark that is known without reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seal(Scan);

impl Seal {
    /// Of these files, as the commit has them.
    pub(crate) fn of(files: &Files) -> Self {
        Self(Scan {
            since: Instant::default(),
            found: files.map(|content| unmarked(*content)),
        })
    }

    /// What is known by it.
    pub(crate) fn known(&self) -> &Scan {
        &self.0
    }

    /// How what was found differs from what belongs to it.
    pub(crate) fn differences(&self, scan: &Scan, ignored: &Ignored) -> Differences {
        let content = |found: &Found| found.content;
        tree::differences(&self.0.found, content, scan, ignored)
    }

    /// The same, taking in all that a scan found to be otherwise, but for these paths and for what
    /// it did not look at.
    #[must_use]
    pub(crate) fn absorbing(
        &self,
        scan: &Scan,
        but: &BTreeSet<Relative>,
        ignored: &Ignored,
    ) -> Self {
        let mut rows = Vec::with_capacity(scan.found.len());
        for (path, own, found) in self.0.found.beside(&scan.found) {
            let stays = but.contains(path);
            let content = match (own, found) {
                (Some(own), None) if stays || ignored.covers(path.as_path()) => own.content,
                (Some(own), Some(_)) if stays => own.content,
                (_, Some(found)) if !stays => found.content,
                _ => continue,
            };
            let mark = mark(content, found);
            rows.push((path.clone(), Found { content, mark }));
        }
        Self(Scan {
            since: scan.since,
            found: Listing::of(rows),
        })
    }

    /// The same with the marks of a scan, where that found what belongs there.
    #[must_use]
    pub(crate) fn marked(&self, scan: &Scan) -> Self {
        let rows = self.0.found.beside(&scan.found);
        let row = |(path, own, found): (&Relative, Option<&Found>, Option<&Found>)| {
            let content = own?.content;
            let mark = mark(content, found);
            Some((path.clone(), Found { content, mark }))
        };
        Self(Scan {
            since: scan.since,
            found: Listing::of(rows.filter_map(row).collect()),
        })
    }

    /// Whether no look would be quicker for what a scan has found.
    pub(crate) fn knows(&self, scan: &Scan) -> bool {
        let mut rows = self.0.found.beside(&scan.found);
        rows.all(|(_, own, found)| match (own, found) {
            (Some(own), Some(Found { mark, .. })) => {
                mark.is_none_or(|mark| self.0.vouches(own, &mark))
            }
            (own, _) => own.is_some(),
        })
    }

    /// Whether the same belongs to both.
    pub(crate) fn is_of_the_same(&self, other: &Self) -> bool {
        let mut rows = self.0.found.beside(&other.0.found);
        rows.all(|(_, own, other)| own.map(|f| f.content) == other.map(|f| f.content))
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
        let (s, n) = self.0.since;
        let mut out = format!("{HEADER} {s} {n} {}\0", self.0.found.len()).into_bytes();
        for (path, found) in self.0.found.iter() {
            let mark = found.mark.map_or_else(
                || "-".to_owned(),
                |m| {
                    let ((ms, mn), (cs, cn)) = (m.mtime, m.ctime);
                    let (inode, size, mode) = (m.inode, m.size, m.mode);
                    format!("{inode},{size},{mode},{ms},{mn},{cs},{cn}")
                },
            );
            let (kind, oid) = found.content;
            let line = format!("{} {oid} {mark} ", kind.letter());
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(path.as_bytes());
            out.push(0);
        }
        out
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = Rest(bytes);
        let head = std::str::from_utf8(rest.until(0)?).ok()?;
        let mut head = head.strip_prefix(HEADER)?.split_ascii_whitespace();
        let since = (head.next()?.parse().ok()?, head.next()?.parse().ok()?);
        let count: usize = head.next()?.parse().ok()?;
        let mut rows = Vec::new();
        while !rest.0.is_empty() {
            rows.push(rest.row()?);
        }
        let found = Listing::of(rows);
        (found.len() == count).then_some(Self(Scan { since, found }))
    }
}

/// What is still to be read of a seal. Part by part and without text in between: seals are read at
/// each look, and are long.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn until(&mut self, end: u8) -> Option<&'a [u8]> {
        let at = self.0.iter().position(|byte| *byte == end)?;
        let (part, rest) = (&self.0[..at], &self.0[at + 1..]);
        self.0 = rest;
        Some(part)
    }

    fn row(&mut self) -> Option<(Relative, Found)> {
        let kind = Kind::of_letter(self.until(b' ')?)?;
        let mut oid = [0; 20];
        let hex = self.until(b' ')?;
        base16ct::lower::decode(hex, &mut oid)
            .ok()
            .filter(|oid| oid.len() == 20)?;
        let oid = Oid::from_bytes(&oid).ok()?;
        let mark = match self.0.strip_prefix(b"- ") {
            Some(rest) => {
                self.0 = rest;
                None
            }
            None => Some(self.mark()?),
        };
        let content = (kind, oid);
        Some((self.until(0)?.into(), Found { content, mark }))
    }

    fn mark(&mut self) -> Option<Mark> {
        Some(Mark {
            inode: self.number(b',')?,
            size: self.number(b',')?,
            mode: self.number(b',')?,
            mtime: (self.number(b',')?, self.number(b',')?),
            ctime: (self.number(b',')?, self.number(b' ')?),
        })
    }

    fn number<T: TryFrom<i128>>(&mut self, end: u8) -> Option<T> {
        let text = self.until(end)?;
        let (sign, digits) = match text.strip_prefix(b"-") {
            Some(digits) => (-1, digits),
            None => (1, text),
        };
        // As many as any of them has: more would not fit.
        if !(1..=20).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digit = |sum: i128, digit: &u8| sum * 10 + i128::from(digit - b'0');
        T::try_from(sign * digits.iter().fold(0, digit)).ok()
    }
}

fn unmarked(content: Content) -> Found {
    let mark = None;
    Found { content, mark }
}

/// What a scan knows this content by, if it found it.
fn mark(content: Content, found: Option<&Found>) -> Option<Mark> {
    found.filter(|found| found.content == content)?.mark
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn oid(text: &str) -> Oid {
        Oid::hash_object(git2::ObjectType::Blob, text.as_bytes()).unwrap()
    }

    fn path(text: &str) -> Relative {
        text.as_bytes().into()
    }

    fn sample() -> (Seal, Scan) {
        let files: Files = Listing::of(vec![
            ((&b"a b\n\xff"[..]).into(), (Kind::File, oid("1"))),
            (path("run"), (Kind::Executable, oid("2"))),
            (path("link"), (Kind::Link, oid("3"))),
            (path("socket"), (Kind::Opaque, Oid::ZERO_SHA1)),
        ]);
        let mark = Some(Mark {
            inode: 7,
            size: 8,
            mode: 0o100_644,
            mtime: (10, 0),
            ctime: (-1, 5),
        });
        let scan = Scan {
            since: (11, 0),
            found: files.map(|content| Found {
                content: *content,
                mark,
            }),
        };
        (Seal::of(&files).marked(&scan), scan)
    }

    /// The same scan with this content too, or none.
    fn with(scan: &Scan, at: &str, content: Option<Content>) -> Scan {
        let old = scan.found.iter().filter(|(p, _)| **p != path(at));
        let mut rows: Vec<_> = old.map(|(path, found)| (path.clone(), *found)).collect();
        rows.extend(content.map(|content| (path(at), unmarked(content))));
        let found = Listing::of(rows);
        Scan { found, ..*scan }
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
    fn a_seal_of_an_older_version_is_read_though_it_is_in_another_order() {
        let old = ["a/b", "a-b"].map(|path| format!("f {} - {path}\0", oid("1")));
        let text = format!("{HEADER} 1 2 2\0{}{}", old[0], old[1]);
        let seal = Seal::parse(text.as_bytes()).unwrap();
        assert!(seal.known().found.get_near(&mut 0, &path("a/b")).is_some());
        assert!(seal.known().found.get_near(&mut 0, &path("a-b")).is_some());
    }

    #[test]
    fn a_damaged_seal_says_nothing() {
        let sound = format!("{HEADER} 1 2 1\0f {} 1,2,3,4,5,-6,7 a b\0", oid("1"));
        assert!(Seal::parse(sound.as_bytes()).is_some());
        for (old, new) in [
            ("1,2", "1,"),
            ("1,2", "1,-"),
            ("1,2", "1,-2"),
            ("1,2", "1,x"),
            ("3,4", "4294967296,4"),
            (",7 ", ",7,8 "),
            (",7 ", ",18446744073709551616 "),
            ("\0f ", "\0z "),
            ("\0f ", "\0f 0"),
            ("2 1\0", "2 2\0"),
            ("seal 1", "seal 2"),
        ] {
            let damaged = sound.replacen(old, new, 1);
            assert_ne!(damaged, sound);
            assert_eq!(Seal::parse(damaged.as_bytes()), None, "{damaged:?}");
        }
    }

    #[test]
    fn a_mark_as_young_as_the_look_proves_nothing() {
        let (seal, _) = sample();
        let (_, found) = seal.known().found.iter().next().unwrap();
        let mark = found.mark.unwrap();
        assert!(seal.known().vouches(found, &mark));
        let other = Mark { inode: 9, ..mark };
        assert!(!seal.known().vouches(found, &other));
        let young = Scan {
            since: (10, 0),
            ..seal.known().clone()
        };
        assert!(!young.vouches(found, &mark));
    }

    #[test]
    fn a_seal_has_nothing_to_learn_from_a_scan_only_where_its_marks_vouch_for_all_of_it() {
        let (seal, scan) = sample();
        assert!(seal.knows(&scan));
        let young = Scan {
            since: (10, 0),
            ..scan.clone()
        };
        assert!(!Seal(young).knows(&scan));
        assert!(!Seal::of(&scan.files()).knows(&scan));
        assert!(!seal.knows(&with(&scan, "new", Some((Kind::File, oid("new"))))));
        assert!(seal.is_of_the_same(&Seal::of(&scan.files())));
        let more = with(&scan, "new", Some((Kind::File, oid("new"))));
        assert!(!seal.is_of_the_same(&Seal::of(&more.files())));
    }

    #[test]
    fn it_takes_in_what_came_went_and_changed_but_not_what_was_changed_before() {
        let (seal, scan) = sample();
        let scan = with(&scan, "new", Some((Kind::File, oid("new"))));
        let scan = with(&scan, "run", Some((Kind::File, oid("changed"))));
        let scan = with(&scan, "link", None);
        let but = BTreeSet::from([path("run")]);
        let after = seal.absorbing(&scan, &but, &Ignored::default());
        let after = &after.known().found;
        let content = after
            .get_near(&mut 0, &path("run"))
            .map(|found| found.content);
        assert_eq!(content, Some((Kind::Executable, oid("2"))));
        assert!(after.get_near(&mut 0, &path("new")).is_some());
        assert!(after.get_near(&mut 0, &path("link")).is_none());
    }
}
