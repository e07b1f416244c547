//! What a file or link holds, as git would say it.

use git2::Oid;

use crate::listing::Listing;

/// What a path in a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Executable,
    Link,
    /// Nobody here can look into it: a socket, or something that this user may not read.
    Opaque,
}

impl Kind {
    pub(crate) fn letter(self) -> char {
        match self {
            Self::File => 'f',
            Self::Executable => 'x',
            Self::Link => 'l',
            Self::Opaque => 'o',
        }
    }

    pub(crate) fn of_letter(letter: &[u8]) -> Option<Self> {
        [Self::File, Self::Executable, Self::Link, Self::Opaque]
            .into_iter()
            .find(|kind| letter == [kind.letter() as u8])
    }
}

/// What a file or link holds, as git would say it.
pub(crate) type Content = (Kind, Oid);

/// Every file and link of a tree, with its blob.
pub(crate) type Files = Listing<Content>;
