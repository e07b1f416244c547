//! How things are said on a terminal.

use std::time::Duration;

use rollback_core::deployment::{Deployment, Outcome, Purpose};
use rollback_core::engine::Row;
use rollback_core::health::Verdict;
use rollback_core::lineage::Standing;
use rollback_core::time::Timestamp;

use crate::out::say;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// One thing that is known of what is above it, the lines of it below one another.
pub(crate) fn field(label: &str, text: impl AsRef<str>) {
    for (i, line) in text.as_ref().lines().enumerate() {
        say!("{:<15} {line}", if i == 0 { label } else { "" });
    }
}

/// `5 minutes ago`.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(at).as_secs();
    let (count, unit) = match seconds {
        0..=4 => return "just now".to_owned(),
        5..=59 => (seconds, "second"),
        60..=3_599 => (seconds / 60, "minute"),
        3_600..=86_399 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

/// `1.2 s`, `340 ms`, `3 min 5 s`.
pub(crate) fn span(span: Duration) -> String {
    match span.as_millis() {
        ms @ 0..=999 => format!("{ms} ms"),
        1_000..=59_999 => format!("{:.1} s", span.as_secs_f64()),
        _ => format!("{} min {} s", span.as_secs() / 60, span.as_secs() % 60),
    }
}

pub(crate) fn took(d: &Deployment) -> String {
    d.duration().map(span).unwrap_or_default()
}

/// How it ended, or how far it is.
pub(crate) fn ended(d: &Deployment) -> String {
    match d.outcome() {
        Some(outcome) => outcome.to_string(),
        None => d.phase().to_string(),
    }
}

/// The same, and whether a rollback went past it since.
pub(crate) fn fate(row: &Row) -> String {
    let ended = ended(&row.deployment);
    match (row.standing, row.deployment.outcome()) {
        (Standing::RolledBack, Some(outcome)) if outcome != Outcome::FailedAndRolledBack => {
            format!("{ended}, rolled back")
        }
        _ => ended,
    }
}

pub(crate) fn release(d: &Deployment) -> String {
    d.release().map_or_else(String::new, ToString::to_string)
}

/// How its health gate ended. The reason is for who looks at one alone.
pub(crate) fn verdict(d: &Deployment) -> String {
    match d.verdict() {
        Verdict::Failed { .. } => "unhealthy".to_owned(),
        verdict => verdict.to_string(),
    }
}

/// What it is for, where it is part of something longer.
pub(crate) fn purpose(purpose: &Purpose) -> String {
    match purpose {
        Purpose::Undo { change } => format!("undoes {change}"),
        Purpose::Redo { change } => format!("does {change} again"),
        Purpose::DryDrill => "a drill, which stops before the switch".to_owned(),
        Purpose::Drill => "a drill".to_owned(),
        Purpose::DrillEnds { drill } => format!("ends the drill {drill}"),
        Purpose::Unconfirmed { deployment } => {
            format!("goes back, since nobody had confirmed {deployment}")
        }
        Purpose::Bisect { good, bad, tried } => match tried {
            Some(tried) => {
                format!("tries {tried}, to find the first bad one from {good} to {bad}")
            }
            None => format!("ends the search for the first bad one from {good} to {bad}"),
        },
        Purpose::Newer(newer) => {
            format!(
                "{}, which a newer version of this program knows",
                newer.kind("for")
            )
        }
        _ => "not known to this version".to_owned(),
    }
}
