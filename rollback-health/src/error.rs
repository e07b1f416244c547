//! Why a check cannot be made.

use std::fmt;

use rollback_process::InvalidProgram;

/// What is wrong with a check's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidCheckKind {
    /// The URL or address cannot be understood.
    Address,
    /// The scheme is not supported.
    Scheme,
    /// A header's name or value is not one.
    Header,
    /// The statuses to expect are none, or not statuses.
    Status,
    /// There is no program to run, or it or its arguments cannot be passed on.
    Program,
}

/// A check that cannot be made: what is wrong, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidCheck {
    kind: InvalidCheckKind,
    text: String,
}

impl InvalidCheck {
    pub(crate) fn new(kind: InvalidCheckKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    /// What kind of mistake it is.
    pub fn kind(&self) -> InvalidCheckKind {
        self.kind
    }
}

impl From<InvalidProgram> for InvalidCheck {
    fn from(e: InvalidProgram) -> Self {
        Self::new(InvalidCheckKind::Program, e.to_string())
    }
}

impl fmt::Display for InvalidCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for InvalidCheck {}

/// At most 80 characters of somebody's input, quoted.
pub(crate) fn quote(input: &str) -> String {
    let mut shown: String = input.chars().take(80).collect();
    if shown.len() < input.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// The same for a URL or address, without what may be a secret in it: a password, a query.
pub(crate) fn quote_url(input: &str) -> String {
    let query = input.find(['?', '#']);
    match (input.rfind('@'), query) {
        (Some(_), Some(_)) => "\"…\"".to_owned(),
        (Some(at), None) => quote(&format!("…{}", &input[at..])),
        (None, Some(query)) => quote(&format!("{}?…", &input[..query])),
        (None, None) => quote(input),
    }
}
