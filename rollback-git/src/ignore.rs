//! [`Ignored`]: paths whose changes are nobody's business, by pattern.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// Patterns for paths in a release. `*` and `?` stay within a name, `**` is any number of names. One
/// without a slash is for a name wherever it is; whatever is below a directory goes with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ignored {
    patterns: Vec<Vec<String>>,
}

/// A pattern that cannot be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvalidPattern(pub(crate) String);

impl Ignored {
    pub(crate) fn new(patterns: &[String]) -> Result<Self, InvalidPattern> {
        let patterns = patterns
            .iter()
            .map(|p| parse(p))
            .collect::<Result<_, _>>()?;
        Ok(Self { patterns })
    }

    /// Whether a path, or a directory above it, is ignored.
    pub(crate) fn covers(&self, path: &Path) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        let names: Vec<&[u8]> = path
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name.as_bytes()),
                _ => None,
            })
            .collect();
        self.patterns
            .iter()
            .any(|pattern| (1..=names.len()).any(|n| matches(pattern, &names[..n])))
    }
}

fn parse(pattern: &str) -> Result<Vec<String>, InvalidPattern> {
    let bad = || Err(InvalidPattern(pattern.to_owned()));
    let mut names: Vec<String> = pattern
        .trim_end_matches('/')
        .split('/')
        .map(str::to_owned)
        .collect();
    if names
        .iter()
        .any(|n| n.is_empty() || n == "." || n == ".." || n.contains('\0'))
    {
        return bad();
    }
    if names.iter().all(|n| n.bytes().all(|b| b == b'*')) {
        // Everything: then nothing would be looked after.
        return bad();
    }
    if names.len() == 1 && !pattern.ends_with('/') {
        names.insert(0, "**".to_owned());
    }
    Ok(names)
}

fn matches(pattern: &[String], names: &[&[u8]]) -> bool {
    match (pattern.split_first(), names.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "**" => {
            matches(rest, names)
                || names
                    .split_first()
                    .is_some_and(|(_, below)| matches(pattern, below))
        }
        (Some((first, rest)), Some((name, below))) => {
            fits(first.as_bytes(), name) && matches(rest, below)
        }
        _ => false,
    }
}

/// Whether a name fits a pattern of `*`, `?` and itself. Goes back to the last `*` alone, which is
/// enough, and never takes longer than the two are long multiplied.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, path: &str) -> bool {
        Ignored::new(&[pattern.to_owned()])
            .unwrap_or_else(|e| panic!("{e:?}"))
            .covers(Path::new(path))
    }

    #[test]
    #[allow(clippy::panic)]
    fn names_anywhere_paths_from_the_top_and_all_below() {
        for (pattern, path) in [
            ("*.pyc", "a.pyc"),
            ("*.pyc", "app/__pycache__/a.cpython-313.pyc"),
            ("__pycache__", "app/__pycache__/x"),
            (".venv/**", ".venv/bin/python"),
            (".venv/", ".venv/bin/python"),
            ("var/*.log", "var/a.log"),
            ("var/**/x", "var/x"),
            ("var/**/x", "var/a/b/x"),
            ("a?c*", "abcd"),
            ("**/tmp/*", "one/two/tmp/three"),
        ] {
            assert!(covers(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("*.pyc", "a.py"),
            (".venv/**", "app/.venv/x"),
            (".venv/", "app/.venv/x"),
            ("var/*.log", "var/a/b.log"),
            ("var/*.log", "x/var/a.log"),
            ("a?c", "ac"),
        ] {
            assert!(!covers(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        for bad in ["", "/", "/etc", "a//b", "../x", "a/./b", "**", "*", "**/*"] {
            assert!(Ignored::new(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
