//! [`Confided`]: what a program said in confidence.

use std::fmt;

/// What a program that ended by itself said in confidence. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Confided {
    /// It succeeded: its answer.
    Answer(String),
    /// It did not.
    Refusal {
        /// How it ended, in words that may be told.
        how: String,
        /// What it said on its standard output: to be looked at, and not to be told.
        said: String,
    },
}

impl fmt::Debug for Confided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(_) => f.write_str("Answer(***)"),
            Self::Refusal { how, .. } => write!(f, "Refusal({how})"),
        }
    }
}
