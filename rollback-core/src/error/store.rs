//! [`StoreError`]: what a history store says.

use std::fmt;

use super::chain::Chain;
use super::detail::{Detail, detail_builders};
use crate::deployment::RecordVersion;
use crate::history::Conflict;

/// What kind of thing went wrong in the history store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Another deployment of the workload is in flight; see [`StoreError::conflict`].
    Conflict,
    /// The workload's state moved since the plan was made.
    Stale,
    /// The lease's epoch is over: another process has taken the workload.
    Fenced,
    /// No such deployment or workload.
    NotFound,
    /// Another deployment of the workload has this idempotency key.
    KeyTaken,
    /// The event cannot follow the ones recorded.
    IllegalEvent,
    /// A record does not parse or its checksum is wrong.
    Corrupt,
    /// The store was written by a newer version of this library.
    NewerSchema,
    /// The store cannot be written to.
    ReadOnly,
    /// No space is left.
    Full,
    /// The store's path is not usable: missing, a directory, forbidden, a network file system.
    Unusable,
    /// The store is busy; try again.
    Busy,
    /// A record or field is larger than the store takes.
    TooLarge,
    /// Any other input or output failure.
    Io,
}

/// What a [`HistoryStore`](crate::history::HistoryStore) method failed with.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    conflict: Option<Box<Conflict>>,
    detail: Box<Detail>,
}

impl StoreError {
    /// A failure of the given kind.
    pub fn new(kind: StoreErrorKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            conflict: None,
            detail: Box::new(Detail::new(what)),
        }
    }

    /// A record that a newer version of this library wrote, and this one cannot read. It is not
    /// damaged.
    pub fn newer_record(version: RecordVersion) -> Self {
        Self::new(
            StoreErrorKind::NewerSchema,
            format!(
                "a newer version wrote this record (version {version}, this one reads {}); it was \
                 left as it is",
                RecordVersion::NEWEST
            ),
        )
        .advice("update this program")
    }

    /// The workload is leased to somebody else. What it happened to is in the sentence itself.
    pub fn held(conflict: Conflict) -> Self {
        let what = conflict.who();
        let held = Self::new(StoreErrorKind::Conflict, what).advice(conflict.way_out());
        Self {
            conflict: Some(Box::new(conflict)),
            ..held
        }
    }

    detail_builders!();

    pub(super) fn detail(&self) -> &Detail {
        &self.detail
    }

    pub(super) fn detail_mut(&mut self) -> &mut Detail {
        &mut self.detail
    }

    /// Whether it is one record that is damaged, or gone, and no outage.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(
            self.kind(),
            StoreErrorKind::Corrupt | StoreErrorKind::NotFound | StoreErrorKind::IllegalEvent
        )
    }

    /// Whether it is one record that this program cannot read: damaged, gone, or of a newer version. For
    /// where it is only passed over.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.is_damage() || self.kind() == StoreErrorKind::NewerSchema
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Who holds the workload, when the kind is [`StoreErrorKind::Conflict`].
    pub fn conflict(&self) -> Option<&Conflict> {
        self.conflict.as_deref()
    }

    /// All that it says, causes included, where what it happened to is said beside it.
    pub(crate) fn without_subject(&self) -> String {
        let own = match &self.detail.advice {
            Some(advice) => format!("{}; {advice}", self.detail.what),
            None => self.detail.what.clone(),
        };
        Chain::of(self).after(own)
    }

    /// Whether trying the same thing again may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Busy
                | StoreErrorKind::Io
                | StoreErrorKind::Full
                | StoreErrorKind::Conflict
        )
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.detail.fmt(f, None)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.detail.source()
    }
}
