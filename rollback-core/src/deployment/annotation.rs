//! [`Annotations`]: what people add to a record after the fact.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::watch::Watch;
use crate::id::{Actor, ShortText};
use crate::newer::Newer;
use crate::time::Timestamp;

/// Most notes that a record takes.
pub const MAX_NOTES: usize = 100;

/// Something a person says of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredNote")]
#[non_exhaustive]
pub struct Note {
    /// Who says it; the engine's `unknown` in records of before this was kept.
    pub by: Actor,
    /// When it was said, by the engine's clock; 1970 in those records.
    pub at: Timestamp,
    /// What they say, in their words: shown to everybody who reads the history.
    pub text: ShortText,
}

impl Note {
    /// So said, by whom and when.
    pub fn new(by: Actor, at: Timestamp, text: ShortText) -> Self {
        Self { by, at, text }
    }
}

/// A note as stores have it. The first ones were texts alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredNote {
    Signed {
        by: Actor,
        at: Timestamp,
        text: ShortText,
    },
    Text(ShortText),
}

impl From<StoredNote> for Note {
    fn from(stored: StoredNote) -> Self {
        match stored {
            StoredNote::Signed { by, at, text } => Self { by, at, text },
            StoredNote::Text(text) => Self {
                by: Actor::engine("unknown"),
                at: Timestamp::UNIX_EPOCH,
                text,
            },
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.by)
    }
}

/// What a person adds to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Annotation {
    /// Retention never forgets it.
    Pin,
    /// Retention may again.
    Unpin,
    /// It is never a rollback point.
    MarkBad(Note),
    /// It may be one again.
    ClearBad,
    /// A note. At most [`MAX_NOTES`] are kept for a record.
    Note(Note),
    /// It stays: it was to be confirmed. The first one counts.
    Confirm(Note),
    /// A watch over what went live. A later one takes the place of an earlier one, but for one that
    /// has ended: what came of it is not taken back.
    Watch(Watch),
}

/// What people, and watches, add to a record after the fact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Annotations {
    /// Never forgotten by retention.
    pub pinned: bool,
    /// Never a rollback point; the note says why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bad: Option<Note>,
    /// Notes, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Who confirmed it, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Note>,
    /// What is looked at since it was settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
    /// What a newer version added: it is kept when this one adds to the record.
    #[serde(flatten)]
    newer: Newer,
}

impl Annotations {
    /// These with one more; `None` when the record takes no more notes.
    #[must_use]
    pub(super) fn annotated(mut self, what: &Annotation) -> Option<Self> {
        match what {
            Annotation::Pin => self.pinned = true,
            Annotation::Unpin => self.pinned = false,
            Annotation::MarkBad(why) => self.bad = Some(why.clone()),
            Annotation::ClearBad => self.bad = None,
            Annotation::Note(_) if self.notes.len() >= MAX_NOTES => return None,
            Annotation::Note(note) => self.notes.push(note.clone()),
            Annotation::Confirm(note) => drop(self.confirmed.get_or_insert_with(|| note.clone())),
            Annotation::Watch(watch) => {
                let ended = self.watch.as_ref().is_some_and(|w| w.verdict.is_some());
                if !ended {
                    self.watch = Some(watch.clone());
                }
            }
        }
        Some(self)
    }
}
