//! [`Refusal`]: why an endpoint that is there is not one that can be talked to.

use std::error::Error;
use std::fmt;
use std::io;

use rollback_core::error::BackendErrorKind as Kind;

/// What was seen, in words for people, and what to do. It passes through the layers of a request as an
/// [`io::Error`].
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    what: String,
    pub(crate) advice: &'static str,
}

impl Refusal {
    pub(super) fn new(kind: Kind, what: impl Into<String>, advice: &'static str) -> Self {
        Self {
            kind,
            what: what.into(),
            advice,
        }
    }

    /// What one cause of an error says, if it is such a thing.
    pub(crate) fn of(cause: &(dyn Error + 'static)) -> Option<Self> {
        #[cfg(feature = "tls")]
        if let Some(tls) = super::tls::refusal(cause) {
            return Some(tls);
        }
        cause.downcast_ref::<Self>().cloned()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Refusal {}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::other(refusal)
    }
}

/// An error and its causes, those that an [`io::Error`] wraps included: it passes over them.
pub(crate) fn causes<'a>(
    e: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(e), |e| below(*e))
}

fn below<'a>(e: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = e.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match wrapped {
        Some(wrapped) => Some(wrapped),
        None => e.source(),
    }
}
