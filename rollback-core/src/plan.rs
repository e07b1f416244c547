//! [`Plan`]: what a deploy or rollback will do, as a value; and why one may not be.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::backend::{Availability, End, WayBack};
use crate::compare::Diff;
use crate::deployment::{LiveRecord, NewDeployment, Trigger};
use crate::drift::{Change, Drift};
use crate::history::Version;
use crate::id::{DeploymentId, GuardName, WorkloadId};
use crate::release::Release;
use crate::request::Goal;

/// Something a person should know before, and after, it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "warning", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Warning {
    /// A rollback restores code and configuration, never these.
    NotRestored {
        /// `data`, `schema`, …
        what: Vec<String>,
    },
    /// The live release is not as it was recorded.
    Drifted {
        /// In what.
        how: String,
    },
    /// What is live now cannot be brought back exactly.
    LossyWayBack {
        /// What would be lost, or why there is no way.
        losses: Vec<String>,
    },
    /// The target has no good verdict on record.
    NotKnownHealthy {
        /// Which.
        deployment: DeploymentId,
    },
    /// The target failed its health gate when it was live.
    KnownUnhealthy {
        /// Which.
        deployment: DeploymentId,
        /// What the gate said.
        diagnostic: String,
    },
    /// A deploy resolves to a release that was live before: it goes back without saying so.
    GoesBack {
        /// The newest deployment of that release.
        to: DeploymentId,
    },
    /// Migrations were applied since the target: its code may not know today's schema.
    MigrationsSince {
        /// How many.
        count: usize,
        /// Which, oldest first.
        names: Vec<String>,
    },
    /// Nobody can tell what migrations were applied since the target.
    MigrationsUnknown {
        /// Why.
        why: String,
    },
    /// A branch still means what is being abandoned: deploying it brings it back.
    ReferenceStays {
        /// The branch.
        reference: String,
        /// What it means, short.
        release: String,
    },
    /// Some of the history cannot be read: another target might have been chosen.
    Unreadable {
        /// Which records, and why.
        records: Vec<String>,
    },
    /// A guard's own words.
    Guard {
        /// Which.
        guard: GuardName,
        /// What it says.
        message: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRestored { what } => {
                write!(f, "a rollback does not restore: {}", what.join(", "))
            }
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
        /// Why.
        why: String,
    },
    /// These, oldest first.
    Since {
        /// Their names.
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

/// A deployment that was not chosen as target, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// Which.
    pub deployment: DeploymentId,
    /// Why not.
    pub why: String,
}

/// Why there is no plan, or why it may not be carried out. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refusal", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// The goal names a deployment that this workload does not have.
    #[error("{workload} has no deployment {deployment}; list its history for the ids it has")]
    NotFound {
        /// The workload.
        workload: WorkloadId,
        /// The id asked for.
        deployment: DeploymentId,
    },
    /// No deployment answers the goal.
    #[error(
        "{workload} has no rollback point for {goal}; {}; deploy a fixed release, or name a deployment \
         to go to",
        reasons(goal, passed_over)
    )]
    NoRollbackPoint {
        /// The workload.
        workload: WorkloadId,
        /// What was asked.
        goal: Goal,
        /// What was looked at.
        passed_over: Vec<PassedOver>,
    },
    /// The deployment cannot be a target.
    #[error("{deployment} is no rollback target: {why}; choose another deployment")]
    InvalidTarget {
        /// Which.
        deployment: DeploymentId,
        /// Why.
        why: String,
    },
    /// The target is what is live.
    #[error(
        "{release} is live already as {deployment}; nothing to do (reapply puts it in place anew)"
    )]
    AlreadyLive {
        /// The live deployment.
        deployment: DeploymentId,
        /// Its release.
        release: String,
    },
    /// The backend finds more than one live release, or half of one.
    #[error("what is live cannot be told: {why}; clean up at the platform, then adopt what runs")]
    MixedLive {
        /// What it says.
        why: String,
    },
    /// There is nothing to adopt.
    #[error("nothing is live on {workload}; deploy something instead of adopting")]
    NothingToAdopt {
        /// The workload.
        workload: WorkloadId,
    },
    /// A guard said no.
    #[error("guard {guard} refuses: {why}; fix the cause, or force {guard} by name")]
    Guard {
        /// Which.
        guard: GuardName,
        /// Its reason.
        why: String,
    },
    /// A guard was to be forced that this workload does not have.
    #[error("there is no guard {guard} to force; there are {}", names(known))]
    UnknownGuard {
        /// Which.
        guard: GuardName,
        /// Those there are.
        known: Vec<GuardName>,
    },
    /// The authorizer said no. Cannot be forced.
    #[error("{actor} may not {verb} {workload}: {why}; ask somebody who may")]
    Unauthorized {
        /// Who asked.
        actor: String,
        /// For what.
        verb: String,
        /// On which workload.
        workload: WorkloadId,
        /// The authorizer's reason.
        why: String,
    },
    /// Deploys are held.
    #[error("deploys to {workload} are held by {by}: {why}; lift the hold, or roll back")]
    Held {
        /// The workload.
        workload: WorkloadId,
        /// Who.
        by: String,
        /// Why.
        why: String,
    },
}

fn names(guards: &[GuardName]) -> String {
    let names: Vec<&str> = guards.iter().map(GuardName::as_str).collect();
    names.join(", ")
}

fn reasons(goal: &Goal, passed_over: &[PassedOver]) -> String {
    if passed_over.is_empty() {
        return match goal {
            Goal::LastHealthy => "nothing on record went live before what is live now",
            _ => "the records do not say what was live then",
        }
        .into();
    }
    let shown: Vec<String> = passed_over
        .iter()
        .take(3)
        .map(|p| format!("{} {}", p.deployment, p.why))
        .collect();
    let more = passed_over.len().saturating_sub(3);
    let tail = if more > 0 {
        format!(", and {more} more")
    } else {
        String::new()
    };
    format!("passed over: {}{tail}", shown.join(", "))
}

/// What a deploy or rollback will do. Made by [`preview`](crate::engine::RollbackEngine::preview),
/// carried out by [`execute`](crate::engine::RollbackEngine::execute): the same value, so they
/// cannot disagree. Bound to the workload state's version: if anything moves, it is `Stale`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    pub(crate) new: NewDeployment,
    pub(crate) version: Version,
    pub(crate) goal: Option<Goal>,
    pub(crate) target: Option<DeploymentId>,
    pub(crate) passed_over: Vec<PassedOver>,
    pub(crate) changes: Vec<Change>,
    pub(crate) diff: Diff,
    pub(crate) from_today: Vec<Change>,
    pub(crate) dependents: Vec<WorkloadId>,
    pub(crate) migrations: Option<Migrations>,
    pub(crate) drift: Drift,
    pub(crate) availability: Availability,
    pub(crate) way_back: WayBack,
}

impl Plan {
    /// The workload.
    pub fn workload(&self) -> &WorkloadId {
        &self.new.workload
    }

    /// What it will be recorded as.
    pub fn trigger(&self) -> &Trigger {
        &self.new.trigger
    }

    /// What will be live.
    pub fn release(&self) -> Option<&Release> {
        self.new.to.release()
    }

    /// What is live on record.
    pub fn replaces(&self) -> &LiveRecord {
        &self.new.replaces
    }

    /// What is live at the platform.
    pub fn from(&self) -> &End {
        &self.new.from
    }

    /// The deployment whose release comes back, for a rollback.
    pub fn target(&self) -> Option<&DeploymentId> {
        self.target.as_ref()
    }

    /// Deployments that were considered and not chosen.
    pub fn passed_over(&self) -> &[PassedOver] {
        &self.passed_over
    }

    /// Deployments after the target whose changes go away.
    pub fn skipped(&self) -> &[DeploymentId] {
        &self.new.skips
    }

    /// How the target differs from what is live.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The same in full: each facet as a diff.
    pub fn diff(&self) -> &Diff {
        &self.diff
    }

    /// What of the target's recorded configuration is *not* restored: these values are today's.
    pub fn from_today(&self) -> &[Change] {
        &self.from_today
    }

    /// Workloads that depend on this one, directly or through others.
    pub fn dependents(&self) -> &[WorkloadId] {
        &self.dependents
    }

    /// What is known of migrations since the release that comes back; `None` when none does.
    pub fn migrations(&self) -> Option<&Migrations> {
        self.migrations.as_ref()
    }

    /// How what is live differs from its record.
    pub fn drift(&self) -> &Drift {
        &self.drift
    }

    /// How near the target is.
    pub fn availability(&self) -> &Availability {
        &self.availability
    }

    /// How what is live now could be brought back, as far as is known before `prepare`.
    pub fn way_back(&self) -> &WayBack {
        &self.way_back
    }

    /// What to know before going ahead. Empty when all is well.
    pub fn warnings(&self) -> &[Warning] {
        &self.new.warnings
    }

    /// The state this plan was made for.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The deployment it will open.
    pub fn deployment(&self) -> &NewDeployment {
        &self.new
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let release = self
            .release()
            .map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let workload = self.workload();
        match (&self.goal, &self.target, self.trigger()) {
            (Some(goal), Some(target), _) => {
                writeln!(f, "Roll {workload} back to {release}")?;
                writeln!(f, "  goal:       {goal}")?;
                writeln!(f, "  target:     {target}")?;
            }
            (_, _, Trigger::Redeploy { of }) => {
                writeln!(f, "Deploy {release} to {workload} anew")?;
                writeln!(f, "  as in:      {of}, with today's configuration")?;
            }
            _ => writeln!(f, "Deploy {release} to {workload}")?,
        }
        writeln!(f, "  asked by:   {}", self.new.actor)?;
        if let Some(reason) = &self.new.reason {
            writeln!(f, "  because:    {reason}")?;
        }
        match &self.new.from {
            End::Nothing => writeln!(f, "  live now:   nothing")?,
            End::Planned(r) => writeln!(f, "  live now:   {r}")?,
            End::Placed(i) => writeln!(f, "  live now:   {}", i.release)?,
        }
        if !matches!(self.new.from, End::Nothing) {
            lines(f, "  changes:    ", &self.diff.to_string())?;
        }
        for change in &self.from_today {
            writeln!(f, "  stays:      {change}, as it is today")?;
        }
        for id in &self.new.skips {
            writeln!(f, "  skips over: {id}")?;
        }
        for p in &self.passed_over {
            writeln!(f, "  not:        {} ({})", p.deployment, p.why)?;
        }
        for dependent in &self.dependents {
            writeln!(f, "  affects:    {dependent}")?;
        }
        if let Some(migrations) = &self.migrations {
            writeln!(f, "  migrations: {migrations}")?;
        }
        let place = match &self.availability {
            Availability::Standby => "stands by at the target".to_owned(),
            Availability::Local => "its artifact is at the target".to_owned(),
            Availability::Remote => "its artifact has to be fetched".to_owned(),
            Availability::Gone(why) => format!("gone: {why}"),
        };
        writeln!(f, "  available:  {place}")?;
        let back = match &self.way_back {
            WayBack::Exact => "exact".to_owned(),
            WayBack::Lossy(losses) => format!("without {}", losses.join(", ")),
            WayBack::None(why) => format!("none: {why}"),
        };
        write!(f, "  way back:   {back}")?;
        for warning in self.warnings() {
            write!(f, "\n  warning:    {warning}")?;
        }
        Ok(())
    }
}

/// A text of several lines under one label.
fn lines(f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    for (i, line) in text.lines().enumerate() {
        if i == 0 {
            writeln!(f, "{label}{line}")?;
        } else {
            writeln!(f, "{:1$}{line}", "", label.len())?;
        }
    }
    Ok(())
}
