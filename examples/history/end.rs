//! How a command ends that cannot go on: one line, and a code that scripts can tell apart.

use std::process::ExitCode;

use crate::out::aside;
use crate::words;
use rollback_core::deployment::Outcome;
use rollback_core::engine::{AutomaticRollback, GroupReport, Report};
use rollback_core::error::{Error, ErrorKind, StoreError};
use rollback_examples::abbreviation::NotOne;

pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const ROLLED_BACK: u8 = 3;
pub(crate) const REFUSED: u8 = 4;
pub(crate) const DEGRADED: u8 = 5;
pub(crate) const BUSY: u8 = 6;
pub(crate) const UNKNOWN: u8 = 7;
pub(crate) const AWAY: u8 = 8;
pub(crate) const LEFT: u8 = 130;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct End {
    code: u8,
    text: String,
}

impl End {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn tell(self) -> ExitCode {
        aside!("history: {}", self.text);
        ExitCode::from(self.code)
    }
}

impl From<Error> for End {
    fn from(e: Error) -> Self {
        let code = match e.kind() {
            // What no rule refused was not understood.
            ErrorKind::InvalidRequest if e.refusal().is_none() => USAGE,
            ErrorKind::InvalidRequest | ErrorKind::Refused | ErrorKind::AlreadyLive => REFUSED,
            ErrorKind::Conflict | ErrorKind::Stale => BUSY,
            ErrorKind::NotFound | ErrorKind::NotRegistered => UNKNOWN,
            ErrorKind::Interrupted => FAILED,
            _ => AWAY,
        };
        Self::new(code, words::of(&e))
    }
}

impl From<StoreError> for End {
    fn from(e: StoreError) -> Self {
        Self::from(Error::from(e))
    }
}

impl From<NotOne> for End {
    fn from(e: NotOne) -> Self {
        let code = match e {
            NotOne::Ambiguous { .. } => USAGE,
            _ => UNKNOWN,
        };
        Self::new(code, e.to_string())
    }
}

impl From<String> for End {
    fn from(text: String) -> Self {
        Self::new(FAILED, text)
    }
}

impl From<rollback_core::id::InvalidId> for End {
    fn from(e: rollback_core::id::InvalidId) -> Self {
        Self::new(USAGE, e.to_string())
    }
}

impl From<serde_json::Error> for End {
    fn from(e: serde_json::Error) -> Self {
        Self::new(FAILED, e.to_string())
    }
}

/// The code for how a deployment ended.
pub(crate) fn code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Succeeded => 0,
        Outcome::FailedAndRolledBack => ROLLED_BACK,
        Outcome::Refused => REFUSED,
        Outcome::Degraded => DEGRADED,
        _ => FAILED,
    }
}

/// The code for how a run ended, its automatic rollback included: if that is degraded, so is the
/// workload, and a person has to look.
pub(crate) fn code_of_run(report: &Report) -> ExitCode {
    let by_itself = match report.automatic_rollback() {
        AutomaticRollback::Attempted { deployment, .. } => deployment.outcome(),
        _ => None,
    };
    ExitCode::from(match by_itself {
        Some(Outcome::Degraded) => DEGRADED,
        _ => code(report.outcome()),
    })
}

/// The code for how a group ended: what a person has to look at counts most, then what was not ended,
/// then who failed before those who only went along.
pub(crate) fn code_of_group(report: &GroupReport) -> ExitCode {
    let members = || report.members().values();
    let ended_as = |outcome| members().flatten().any(|m| m.outcome() == outcome);
    ExitCode::from(if report.succeeded() {
        0
    } else if ended_as(Outcome::Degraded) {
        DEGRADED
    } else if members().any(Result::is_err) {
        FAILED
    } else if ended_as(Outcome::FailedAndRolledBack) {
        ROLLED_BACK
    } else if ended_as(Outcome::Refused) {
        REFUSED
    } else {
        FAILED
    })
}
