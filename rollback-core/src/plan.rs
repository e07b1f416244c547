//! [`Plan`]: what a deploy or rollback will do, as a value; and why one may not be.

mod practised;
mod refusal;
mod warning;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::backend::{Availability, End, WayBack};
use crate::compare::Diff;
use crate::deployment::{LiveRecord, Opening, Purpose, Trigger};
use crate::drift::{Change, Drift};
use crate::history::{Sequence, Version};
use crate::id::{DeploymentId, GuardName, WorkloadId};
use crate::release::Release;
use crate::wish::Goal;

pub use practised::{Extent, Practised};
pub use refusal::Refusal;
pub use warning::{Migrations, Warning};

/// How many of those of one kind a plan's text names.
const NAMED: usize = 3;

/// A deployment that was not chosen as rollback point, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PassedOver {
    /// The deployment that was not chosen.
    pub deployment: DeploymentId,
    /// What rules it out, for people.
    pub why: String,
}

/// What a deploy or rollback will do. Made by [`preview`](crate::engine::RollbackEngine::preview),
/// carried out by [`execute`](crate::engine::RollbackEngine::execute): the same value, so they
/// cannot disagree. Bound to the workload state's version: if anything moves, it is `Stale`.
///
/// It goes through JSON and back, so that it can be shown and approved elsewhere. What comes from
/// elsewhere is trusted as far as whoever sends it: `execute` asks the authorizer, and the guards
/// again, for what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub(crate) new: Opening,
    pub(crate) version: Version,
    pub(crate) goal: Option<Goal>,
    #[serde(alias = "target")]
    pub(crate) rollback_point: Option<DeploymentId>,
    pub(crate) passed_over: Vec<PassedOver>,
    pub(crate) changes: Vec<Change>,
    pub(crate) diff: Diff,
    pub(crate) from_today: Vec<Change>,
    pub(crate) configured: Vec<Change>,
    pub(crate) dependents: Vec<WorkloadId>,
    pub(crate) migrations: Option<Migrations>,
    pub(crate) drift: Drift,
    pub(crate) availability: Availability,
    pub(crate) way_back: WayBack,
    /// What the history once published, and has to get past first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) past: Option<Sequence>,
    /// Which built-in guards refuse the release that is gone to, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) withheld: Vec<(GuardName, String)>,
    /// When a rollback of the workload was last practised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) practised: Option<Practised>,
    /// Which workloads move as one with it: no reason to wait for them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) moves_with: BTreeSet<WorkloadId>,
}

impl Plan {
    /// The workload that will be changed.
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
    pub fn rollback_point(&self) -> Option<&DeploymentId> {
        self.rollback_point.as_ref()
    }

    /// Deployments that were considered and not chosen.
    pub fn passed_over(&self) -> &[PassedOver] {
        &self.passed_over
    }

    /// Deployments after the rollback point whose changes go away.
    pub fn skipped(&self) -> &[DeploymentId] {
        &self.new.skipped
    }

    /// How the rollback point differs from what is live.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The same in full: each facet as a diff.
    pub fn diff(&self) -> &Diff {
        &self.diff
    }

    /// What of the rollback point's recorded configuration is *not* restored: these values are today's.
    pub fn from_today(&self) -> &[Change] {
        &self.from_today
    }

    /// How today's configuration (what the program has configured now) differs from what is live.
    /// Empty where they agree, and where a deploy itself makes them agree there is nothing to add.
    pub fn configured(&self) -> &[Change] {
        &self.configured
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

    /// When a rollback of the workload was last practised, as far as the newest records tell.
    pub fn practised(&self) -> Option<&Practised> {
        self.practised.as_ref()
    }

    /// How near its release is.
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

    /// Whether it would change anything: another release, or what was changed by hand.
    pub(crate) fn changes_nothing(&self) -> bool {
        let is_same = self.new.from.release().map(Release::digest)
            == self.new.to.release().map(Release::digest);
        is_same && self.drift == Drift::None
    }

    /// The state this plan was made for.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The deployment it will open.
    pub fn deployment(&self) -> &Opening {
        &self.new
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let release = self
            .release()
            .map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let workload = self.workload();
        match (&self.goal, &self.rollback_point, self.trigger()) {
            (Some(goal), Some(target), _) => {
                writeln!(f, "Roll {workload} back to {release}")?;
                writeln!(f, "  goal:       {goal}")?;
                writeln!(f, "  back to:    {target}")?;
            }
            (_, _, Trigger::Redeploy { of }) => {
                writeln!(f, "Deploy {release} to {workload} anew")?;
                writeln!(f, "  as in:      {of}, with today's configuration")?;
            }
            _ => writeln!(f, "Deploy {release} to {workload}")?,
        }
        match &self.new.purpose {
            Some(Purpose::Undo { change }) => writeln!(f, "  undoes:     {change}")?,
            Some(Purpose::Redo { change }) => writeln!(f, "  redoes:     {change}")?,
            _ => {}
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
        for change in &self.configured {
            writeln!(f, "  configured: {change}, otherwise than what is live")?;
        }
        named(f, "  skips over: ", &self.new.skipped, |id| {
            (id.to_string(), "")
        })?;
        named(f, "  not:        ", &self.passed_over, |p| {
            (format!("{} ({})", p.deployment, p.why), &p.why)
        })?;
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
        if let Some(practised) = &self.practised {
            let told = practised.told(self.new.opened_at);
            write!(f, "\n  practised:  {told}")?;
        }
        if let Some(span) = self.new.confirm_within {
            if self.new.replaces.known().is_none() {
                return f.write_str("\n  confirm:    not needed: there is nothing to go back to");
            }
            let span = span.as_secs();
            write!(
                f,
                "\n  confirm:    within {span} s of going live, or it goes back by itself"
            )?;
        }
        for warning in self.warnings() {
            write!(f, "\n  warning:    {warning}")?;
        }
        Ok(())
    }
}

/// The first of many under one label, and how many more there are of each kind: what follows stays
/// in sight. The plan itself has them all.
fn named<T>(
    f: &mut fmt::Formatter<'_>,
    label: &str,
    all: &[T],
    says: impl Fn(&T) -> (String, &str),
) -> fmt::Result {
    let shown = if all.len() > NAMED + 1 {
        NAMED
    } else {
        all.len()
    };
    for one in &all[..shown] {
        writeln!(f, "{label}{}", says(one).0)?;
    }
    if shown == all.len() {
        return Ok(());
    }
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for one in &all[shown..] {
        *kinds.entry(says(one).1).or_default() += 1;
    }
    kinds.remove("");
    let counts = kinds.iter().map(|(why, count)| format!("{count} {why}"));
    let counts: Vec<String> = counts.collect();
    let why = match counts.as_slice() {
        [] => String::new(),
        counts => format!(" ({})", counts.join("; ")),
    };
    writeln!(
        f,
        "{:1$}and {2} more{why}",
        "",
        label.len(),
        all.len() - shown
    )
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
