//! [`RecordVersion`]: by which rules a record is written, so that an older program knows what it
//! does not understand.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The rules that a record is written by. They grow whenever an older program that goes on with the
/// record could do harm; a field more that it may pass over does not count.
///
/// A program reads records of every version, as far as it understands them. What is in flight under
/// newer rules it does not go on with: it looks at what is live, and settles
/// ([`Decision::Observe`](crate::recover::Decision::Observe)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordVersion(u32);

impl RecordVersion {
    /// The newest that this library writes.
    ///
    /// 1: records without a version. 2: what was asked, the history, the holder, diagnostics and
    /// watches have a place. 3: it moves with a group, and does not decide for itself; a record of a
    /// deployment that moves alone is still of version 2.
    pub const NEWEST: Self = Self(3);

    /// That of a deployment which moves alone.
    pub const ALONE: Self = Self(2);

    /// Whether a newer library wrote it.
    pub fn is_newer(self) -> bool {
        self > Self::NEWEST
    }

    /// The version that a record's text names, whatever else it says: to tell a record that cannot
    /// be read because it is newer from one that is damaged.
    pub fn named_in(json: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Named {
            record_version: RecordVersion,
        }
        serde_json::from_str(json)
            .ok()
            .map(|named: Named| named.record_version)
    }
}

/// Records of before there were versions name none.
impl Default for RecordVersion {
    fn default() -> Self {
        Self(1)
    }
}

impl fmt::Display for RecordVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
