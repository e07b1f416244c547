//! Which files an `EnvironmentFile=` names.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What makes a name one that stands for others (glob(7)).
const WILD: [char; 4] = ['*', '?', '[', '\\'];

/// Whether a path may stand for several files.
pub(crate) fn is_pattern(path: &str) -> bool {
    path.contains(WILD)
}

/// The files below a root that a path stands for: itself, or those whose names fit its last part.
///
/// # Errors
///
/// In words, where that is not known: the directory cannot be read, or the pattern is one that is not
/// followed here, with brackets or backslashes, or of directories.
pub(crate) fn named(root: &Path, path: &str) -> Result<Vec<PathBuf>, String> {
    let path = path.trim_start_matches('/');
    if !is_pattern(path) {
        return Ok(vec![root.join(path)]);
    }
    let (dir, pattern) = path.rsplit_once('/').unwrap_or(("", path));
    if dir.contains(WILD) || pattern.contains(['[', '\\']) {
        return Err("it is a pattern of a kind that is not followed here".to_owned());
    }
    let fail = |e: std::io::Error| format!("its directory cannot be read: {e}");
    let mut files = Vec::new();
    let entries = match fs::read_dir(root.join(dir)) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(files),
        entries => entries.map_err(fail)?,
    };
    for entry in entries {
        let entry = entry.map_err(fail)?;
        if fits(pattern, &entry.file_name().to_string_lossy()) {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Whether a name fits a pattern of `*` and `?`. A dot at its beginning only fits a dot.
fn fits(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut seen) = (0, 0);
    // Behind the last `*`, and to where it reaches: one further where the rest does not fit.
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        match (pattern.get(at), star) {
            (Some('*'), _) => {
                at += 1;
                star = Some((at, seen));
            }
            (Some(c), _) if *c == '?' || *c == name[seen] => {
                at += 1;
                seen += 1;
            }
            (_, Some((behind, reach))) => {
                at = behind;
                seen = reach + 1;
                star = Some((behind, seen));
            }
            (_, None) => return false,
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_that_a_pattern_stands_for_were_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("etc");
        fs::create_dir(&at).unwrap();
        for name in ["a.env", "b.env", "b.env~", ".c.env", "env"] {
            fs::write(at.join(name), "").unwrap();
        }
        let named = |path: &str| {
            let files = named(dir.path(), path)?;
            let names = files.iter().map(|f| f.file_name().unwrap());
            let mut names: Vec<String> = names.map(|n| n.to_str().unwrap().to_owned()).collect();
            names.sort();
            Ok::<_, String>(names)
        };
        assert_eq!(named("/etc/*.env").unwrap(), ["a.env", "b.env"]);
        assert_eq!(named("/etc/?.env*").unwrap(), ["a.env", "b.env", "b.env~"]);
        assert_eq!(named("/etc/.*").unwrap(), [".c.env"]);
        assert_eq!(named("/etc/gone").unwrap(), ["gone"], "there or not");
        assert_eq!(named("/gone/*").unwrap(), [""; 0]);
        for unknown in ["/etc/[ab].env", "/e*/a.env", "/etc/\\*.env", "/etc/a.env/*"] {
            named(unknown).unwrap_err();
        }
    }

    #[test]
    fn a_star_takes_as_much_as_the_rest_leaves() {
        for (pattern, name) in [
            ("*", "x"),
            ("a*b*c", "aXbYbZc"),
            ("*.env", "x.env.env"),
            ("a*", "a"),
            ("é?", "éé"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a*b", "abc"),
            ("?", ""),
            ("?", "ab"),
            ("a", "b"),
            ("a*a", "a"),
            ("*", ".x"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
