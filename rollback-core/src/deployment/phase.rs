//! [`Phase`]: how far a deployment is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far a deployment is.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// Opened; nothing was done.
    #[default]
    Opened,
    /// `prepare` runs, or died.
    Preparing,
    /// `to` stands ready.
    Prepared,
    /// A release task runs, or died.
    Task,
    /// `start` runs, or died.
    Starting,
    /// `to` runs beside `from`.
    Started,
    /// `switch` runs, or died.
    Switching,
    /// `to` is live, not yet judged.
    Switched,
    /// A remediation runs, or died.
    Remediating,
    /// The gate has ended at what is live.
    Judged,
    /// It is live and healthy, and waits for what becomes of its group.
    Agreed,
    /// It has turned round: `from` is to be live again.
    GoingBack,
    /// `switch` back runs, or died.
    SwitchingBack,
    /// `from` is live again.
    SwitchedBack,
    /// `retire` runs, or died.
    Retiring,
    /// Only what is live runs.
    Retired,
    /// It is over, and has an outcome.
    Settled,
}

impl Phase {
    /// The phase as people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Preparing => "preparing",
            Self::Prepared => "prepared",
            Self::Task => "running a release task",
            Self::Starting => "starting",
            Self::Started => "started",
            Self::Switching => "switching",
            Self::Switched => "switched, checking health",
            Self::Remediating => "remediating",
            Self::Judged => "judged",
            Self::Agreed => "waiting for its group",
            Self::GoingBack => "going back",
            Self::SwitchingBack => "switching back",
            Self::SwitchedBack => "switched back",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
            Self::Settled => "settled",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
