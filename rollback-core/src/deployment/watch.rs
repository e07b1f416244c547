//! [`Watch`]: what is looked at after a deployment was settled, and what came of it.

use serde::{Deserialize, Serialize};

use crate::id::ShortText;
use crate::time::Timestamp;

/// Most signals that one watch names.
pub const MAX_SIGNALS: usize = 50;

/// A watch over what went live, after its settlement: what health gates miss shows minutes later.
///
/// It is an [annotation](super::Annotation::Watch), since the lease is free by then: whoever watches
/// writes it when it begins, and once more when it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Watch {
    /// When it began.
    pub since: Timestamp,
    /// When it ends, if nothing ends it before.
    pub until: Timestamp,
    /// The names of what is looked at; at most [`MAX_SIGNALS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<ShortText>,
    /// What came of it; `None` while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<WatchVerdict>,
}

/// What came of a watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "watched", rename_all = "snake_case")]
#[non_exhaustive]
pub enum WatchVerdict {
    /// Nothing was wrong until its end.
    Passed,
    /// A signal failed.
    Failed {
        /// Which, and how.
        why: ShortText,
    },
    /// It cannot be told.
    Inconclusive {
        /// What kept it from being told.
        why: ShortText,
    },
    /// A later deployment took the place of what was watched.
    Superseded,
}

impl Watch {
    /// A watch that begins now; signals beyond [`MAX_SIGNALS`] are not named.
    pub fn new(since: Timestamp, until: Timestamp, mut signals: Vec<ShortText>) -> Self {
        signals.truncate(MAX_SIGNALS);
        Self {
            since,
            until,
            signals,
            verdict: None,
        }
    }

    /// The same, ended.
    #[must_use]
    pub fn ended(self, verdict: WatchVerdict) -> Self {
        Self {
            verdict: Some(verdict),
            ..self
        }
    }
}
