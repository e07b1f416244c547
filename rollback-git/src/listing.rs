//! [`Listing`]: files of a tree by their paths.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::slice::Iter;

/// A path below the top of a tree. It is compared by its bytes: a [`Path`] is taken apart for each
/// comparison, which for thousands of files takes longer than to look at them.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Relative(Box<[u8]>);

impl Relative {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    pub(crate) fn is_top(&self) -> bool {
        self.0.is_empty()
    }

    /// Of what has this name in this directory.
    pub(crate) fn join(&self, name: &[u8]) -> Self {
        if self.is_top() {
            return name.into();
        }
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        path.extend_from_slice(&self.0);
        path.push(b'/');
        path.extend_from_slice(name);
        Self(path.into())
    }
}

impl From<&[u8]> for Relative {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

/// What is known of each path, in the order of their bytes: a few large pieces of memory, looked
/// through from front to back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listing<T>(Vec<(Relative, T)>);

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Listing<T> {
    /// Of rows in any order; fastest in about the right one. Of two for one path the first stays.
    pub(crate) fn of(mut rows: Vec<(Relative, T)>) -> Self {
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows.dedup_by(|later, first| later.0 == first.0);
        Self(rows)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Relative, &T)> {
        self.0.iter().map(|(path, what)| (path, what))
    }

    /// What is known of a path. `near` is where the last one was found: whoever asks in order has it
    /// at once.
    pub(crate) fn get_near(&self, near: &mut usize, path: &Relative) -> Option<&T> {
        let is_next = |(found, _): &&(Relative, T)| found == path;
        if let Some((_, what)) = self.0.get(*near).filter(is_next) {
            *near += 1;
            return Some(what);
        }
        let at = self.0.binary_search_by(|(found, _)| found.cmp(path)).ok()?;
        *near = at + 1;
        self.0.get(at).map(|(_, what)| what)
    }

    /// The same paths with something else.
    pub(crate) fn map<U>(&self, what: impl Fn(&T) -> U) -> Listing<U> {
        let row = |(path, of): &(Relative, T)| (path.clone(), what(of));
        Listing(self.0.iter().map(row).collect())
    }

    /// Every path that either has, with what each has there.
    pub(crate) fn beside<'a, U>(&'a self, other: &'a Listing<U>) -> Beside<'a, T, U> {
        Beside {
            left: self.0.iter().peekable(),
            right: other.0.iter().peekable(),
        }
    }
}

/// Two listings, path by path.
pub(crate) struct Beside<'a, T, U> {
    left: Peekable<Iter<'a, (Relative, T)>>,
    right: Peekable<Iter<'a, (Relative, U)>>,
}

impl<'a, T, U> Iterator for Beside<'a, T, U> {
    type Item = (&'a Relative, Option<&'a T>, Option<&'a U>);

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.left.peek(), self.right.peek()) {
            (Some((left, _)), Some((right, _))) => left.cmp(right),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let left = self.left.next_if(|_| order.is_le());
        let right = self.right.next_if(|_| order.is_ge());
        let path = left.map(|(path, _)| path);
        let path = path.or(right.map(|(path, _)| path))?;
        Some((path, left.map(|(_, of)| of), right.map(|(_, of)| of)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn listing(paths: &[&str]) -> Listing<usize> {
        let row = |(n, path): (usize, &&str)| (Relative::from(path.as_bytes()), n);
        Listing::of(paths.iter().enumerate().map(row).collect())
    }

    #[test]
    fn paths_are_found_in_order_and_out_of_it() {
        let all = listing(&["b", "a/x", "a-b", "a", "c", "a"]);
        let paths: Vec<_> = all.iter().map(|(path, _)| path.as_path()).collect();
        assert_eq!(paths, ["a", "a-b", "a/x", "b", "c"].map(Path::new));
        let mut near = 0;
        for (path, n) in [("a", 3), ("a-b", 2), ("c", 4), ("b", 0), ("c", 4)] {
            let path = Relative::from(path.as_bytes());
            assert_eq!(all.get_near(&mut near, &path), Some(&n));
        }
        assert_eq!(all.get_near(&mut near, &Relative::from(&b"d"[..])), None);
    }

    #[test]
    fn two_listings_meet_at_each_path() {
        let (left, right) = (listing(&["a", "b", "d"]), listing(&["b", "c", "d", "e"]));
        let met: Vec<_> = left
            .beside(&right)
            .map(|(path, l, r)| (path.as_path().to_str().unwrap(), l.copied(), r.copied()))
            .collect();
        assert_eq!(
            met,
            [
                ("a", Some(0), None),
                ("b", Some(1), Some(0)),
                ("c", None, Some(1)),
                ("d", Some(2), Some(2)),
                ("e", None, Some(3)),
            ]
        );
    }
}
