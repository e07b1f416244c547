//! [`Dotenv`]: the `.env` beside a project's first file, as far as it says which project that is.
//!
//! Compose reads it itself. Version 1 does not tell the project's name, so that it has to be found here
//! as it is found there: plain assignments, of which the last holds. Any other is refused.

use std::io::ErrorKind;
use std::path::Path;

use rollback_core::error::{BackendError, BackendErrorKind};
use tokio::io::AsyncReadExt;

/// Most that is read of one, in bytes.
const MOST: u64 = 1024 * 1024;

/// The lines of an environment file. They have values: no `Debug`.
#[derive(Default)]
pub(crate) struct Dotenv(String);

impl Dotenv {
    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Reads the one in a directory; an empty one where there is none.
    pub(crate) async fn beside(dir: &Path) -> Result<Self, BackendError> {
        let path = dir.join(".env");
        let cannot = |e: std::io::Error| {
            BackendError::new(
                BackendErrorKind::Failed,
                "the environment file cannot be read",
            )
            .on(path.display())
            .because(e)
            .untouched()
        };
        let file = match tokio::fs::File::open(&path).await {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(cannot(e)),
        };
        let mut text = String::new();
        let mut some = file.take(MOST + 1);
        let read = some.read_to_string(&mut text).await.map_err(cannot)?;
        match read as u64 > MOST {
            true => Err(cannot(std::io::Error::other("it is larger than 1 MiB"))),
            false => Ok(Self(text.trim_start_matches('\u{feff}').to_owned())),
        }
    }

    /// What it sets a name to.
    pub(crate) fn value(&self, name: &str) -> Result<Option<String>, BackendError> {
        if !self.0.contains(name) {
            return Ok(None);
        }
        let unclear = || {
            let what = "an environment file sets this in a way that is not understood here";
            BackendError::new(BackendErrorKind::Unsupported, what)
                .on(name)
                .advice("write NAME=value, or give it to the project (`name`, `file`)")
                .untouched()
        };
        let mut found = None;
        for line in self.0.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
            let Some((key, value)) = line.split_once('=') else {
                // A name alone sets nothing.
                continue;
            };
            // Of any other value nothing matters but whether it ends in its line.
            let is_it = key.trim_end() == name;
            match plain(value.trim()) {
                Some(value) if is_it => found = Some(value),
                None if is_it || value.trim().starts_with(['"', '\'']) => return Err(unclear()),
                None if key.contains(name) => return Err(unclear()),
                _ => {}
            }
        }
        Ok(found)
    }
}

/// A value without its quotes and its comment, if nothing is put into it.
fn plain(value: &str) -> Option<String> {
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let text = match quote {
        Some(quote) => {
            let (text, rest) = value[1..].split_once(quote)?;
            let rest = rest.trim();
            (rest.is_empty() || rest.starts_with('#')).then_some(text)?
        }
        None => match value.find(" #").or_else(|| value.find("\t#")) {
            Some(at) => value[..at].trim_end(),
            None => value,
        },
    };
    (!text.contains(['\\', '$'])).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_last_plain_assignment_holds_and_others_are_refused() {
        let value = |text: &str| Dotenv::of(text).value("NAME").ok();
        let some = |text: &str| Some(Some(text.to_owned()));
        assert_eq!(value(""), Some(None));
        assert_eq!(value("OTHER=a$b\n#NAME=b\n"), Some(None));
        assert_eq!(value("NAME=a\nexport NAME = b # c\n"), some("b"));
        assert_eq!(value("NAME='a b' # c\n"), some("a b"));
        assert_eq!(value("NAME=a#b\n"), some("a#b"));
        assert_eq!(value("NAME=\n"), some(""));
        for other in ["NAME=$A", "NAME=\"a\\n\"", "NAME='a", "A='\nNAME=b\n'"] {
            assert_eq!(value(other), None, "{other}");
        }
    }
}
