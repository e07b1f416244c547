//! [`Chain`]: an error with all that is behind it, in one text.

use std::error::Error as StdError;
use std::fmt;

/// The text of an error and of every cause behind it, for where only one text is kept or shown: a
/// record, a log line, a terminal.
///
/// Errors of other crates often repeat the one that caused them; what was just said is left out.
///
/// ```
/// use rollback_core::error::{Chain, StoreError, StoreErrorKind};
/// let e = StoreError::new(StoreErrorKind::Io, "the record cannot be read")
///     .on("3f.json")
///     .because(std::io::Error::other("the disk is on fire"));
/// assert_eq!(e.to_string(), "the record cannot be read: 3f.json");
/// assert_eq!(
///     Chain::of(&e).to_string(),
///     "the record cannot be read: 3f.json; cause: the disk is on fire"
/// );
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a>(&'a (dyn StdError + 'static));

impl<'a> Chain<'a> {
    /// Of this error.
    pub fn of(error: &'a (dyn StdError + 'static)) -> Self {
        Self(error)
    }

    /// The same, begun with another text of this error's.
    pub(super) fn after(self, own: String) -> String {
        let (mut text, mut last) = (own.clone(), own);
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let said = error.to_string();
            if !last.contains(&said) {
                text.push_str("; cause: ");
                text.push_str(&said);
                last = said;
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.after(self.0.to_string()))
    }
}
