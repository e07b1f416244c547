//! [`Fault`]: something wrong with what a store has kept.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// Something wrong with what a store has kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fault {
    /// Where: a record's id, a file, a table.
    pub place: String,
    /// What is wrong, and what it means.
    pub what: String,
}

impl Fault {
    /// This is wrong there.
    pub fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        let (place, what) = (place.into(), what.into());
        Self { place, what }
    }

    /// What kept a store from reading something. `place` is for an error that does not say where.
    pub fn of(error: &StoreError, place: impl fmt::Display) -> Self {
        Self {
            place: match error.subject() {
                Some(subject) => subject.to_owned(),
                None => place.to_string(),
            },
            what: error.without_subject(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}
