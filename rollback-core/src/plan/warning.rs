//! [`Warning`]: what a person should know of a plan.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::history::Fence;
use crate::id::{DeploymentId, GuardName};
use crate::newer::{Newer, keeps_newer};

/// Something a person should know before, and after, it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "warning", rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum Warning {
    /// A rollback restores code and configuration, never these.
    NotRestored {
        /// `data`, `schema`, …
        what: Vec<String>,
    },
    /// The live release is not as it was recorded.
    Drifted {
        /// How it differs, for people.
        how: String,
    },
    /// What is live now cannot be brought back exactly.
    LossyWayBack {
        /// What would be lost, or why there is no way.
        losses: Vec<String>,
    },
    /// The rollback point has no good verdict on record.
    NotKnownHealthy {
        /// The deployment whose release is to be live again.
        deployment: DeploymentId,
    },
    /// The rollback point failed its health gate when it was live.
    KnownUnhealthy {
        /// The deployment whose release is to be live again.
        deployment: DeploymentId,
        /// What the gate said.
        diagnostic: String,
    },
    /// A deploy resolves to a release that was live before: it goes back without saying so.
    GoesBack {
        /// The newest deployment of that release.
        to: DeploymentId,
    },
    /// Migrations were applied since the rollback point: its code may not know today's schema.
    MigrationsSince {
        /// How many were applied: as many as are named.
        count: usize,
        /// Which, oldest first.
        names: Vec<String>,
    },
    /// Nobody can tell what migrations were applied since the rollback point.
    MigrationsUnknown {
        /// What the migration log says.
        why: String,
    },
    /// A reference that moves still means what is being abandoned: deploying it brings it back.
    ReferenceStays {
        /// The reference, as it was asked for.
        reference: String,
        /// What it means, short.
        release: String,
    },
    /// Some of the history cannot be read: another rollback point might have been chosen.
    Unreadable {
        /// Which records, and why.
        records: Vec<String>,
    },
    /// An older copy of the history was put back. Nothing is live at the target, so that nothing has to
    /// be adopted first.
    HistoryBehind {
        /// What it had published.
        published: Box<Fence>,
    },
    /// Another history has published at the target: two of them manage one workload.
    PublishedElsewhere {
        /// What it published.
        published: Box<Fence>,
    },
    /// The successor cannot be judged before it has the traffic: its checks look at what is live alone.
    /// Nothing but the platform's own view, where it has one, tells that it is sick.
    NotJudgedBeside {
        /// The checks, by name.
        checks: Vec<String>,
    },
    /// What a person should know of how the reference was resolved.
    Resolved {
        /// The backend's own words.
        note: String,
    },
    /// What the platform was seen to have in the way, or what the swap means for others.
    Preflight {
        /// The backend's own words.
        remark: String,
    },
    /// A guard's own words.
    Guard {
        /// The guard, by the name that forces it.
        guard: GuardName,
        /// What it says.
        message: String,
    },
    /// One of a newer version of this library, kept as it is.
    #[serde(skip)]
    Newer(Newer),
}

keeps_newer!(Warning, "warning");

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer(newer) => write!(
                f,
                "a newer version of this program warns of {}",
                newer.kind("warning")
            ),
            Self::NotRestored { what } => {
                write!(f, "a rollback does not restore: {}", what.join(", "))
            }
            Self::HistoryBehind { published } => write!(
                f,
                "the history is an older copy: {published} was published here, and is not on record"
            ),
            Self::PublishedElsewhere { published } => write!(
                f,
                "another history has deployed here: {published}; one workload belongs to one history"
            ),
            Self::Drifted { how } => write!(f, "what is live was changed by hand: {how}"),
            Self::LossyWayBack { losses } => {
                write!(
                    f,
                    "what is live now cannot be brought back exactly: {}",
                    losses.join(", ")
                )
            }
            Self::NotKnownHealthy { deployment } => {
                write!(f, "{deployment} has no good health verdict on record")
            }
            Self::KnownUnhealthy {
                deployment,
                diagnostic,
            } => write!(
                f,
                "{deployment} failed its health gate: {}",
                diagnostic.lines().next().unwrap_or_default()
            ),
            Self::GoesBack { to } => write!(
                f,
                "this release was live before ({to}): it goes back, but data and schema do not"
            ),
            Self::MigrationsSince { count, names } => write!(
                f,
                "{count} migration{} applied since ({}): the older code may not fit today's schema",
                if *count == 1 { " was" } else { "s were" },
                names.join(", ")
            ),
            Self::MigrationsUnknown { why } => {
                write!(
                    f,
                    "whether migrations were applied since is not known: {why}"
                )
            }
            Self::ReferenceStays { reference, release } => write!(
                f,
                "{reference} still means {release}, which is being abandoned: the next deploy of \
                 {reference} brings it back; move it, or hold deploys"
            ),
            Self::Unreadable { records } => write!(
                f,
                "{} of the records cannot be read, so another target might have been chosen: {}",
                records.len(),
                records.first().map_or("", String::as_str)
            ),
            Self::NotJudgedBeside { checks } => write!(
                f,
                "the successor cannot be judged before it is switched to: {} cannot be aimed at it",
                checks.join(", ")
            ),
            Self::Preflight { remark } => f.write_str(remark),
            Self::Resolved { note } => f.write_str(note),
            Self::Guard { guard, message } => write!(f, "{guard}: {message}"),
        }
    }
}

/// What is known of migrations applied since the release that comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "known", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Migrations {
    /// The workload has no migration log.
    NotTracked,
    /// It has one, and it could not tell.
    Unknown {
        /// What the migration log says.
        why: String,
    },
    /// These, oldest first.
    Since {
        /// Their names, as the migration log has them.
        names: Vec<String>,
    },
}

impl fmt::Display for Migrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTracked => f.write_str("unknown: no migration log is set up"),
            Self::Unknown { why } => write!(f, "unknown: {why}"),
            Self::Since { names } if names.is_empty() => f.write_str("none since"),
            Self::Since { names } => write!(f, "{} since: {}", names.len(), names.join(", ")),
        }
    }
}
