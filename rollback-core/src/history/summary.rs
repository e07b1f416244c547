//! [`Summary`]: what the rules go by of one record, so that a long history is told without reading
//! it whole.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Fault, Sequence};
use crate::deployment::{
    Deployment, LiveRecord, Note, Origin, Outcome, Purpose, Trigger, TriggerKind,
};
use crate::event::Event;
use crate::health::VerdictKind;
use crate::id::{BackendKind, DeploymentId, GroupId, IdempotencyKey};
use crate::policy::RollbackMode;
use crate::release::{Facet, Release, ReleaseDigest, Restore};
use crate::time::Timestamp;

/// What lineage, rollback points and retention go by of one record.
///
/// It follows from the record and from nothing else. Stores keep it beside the record, or make it
/// from the record ([`Summary::of`]) where they do not have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// By which rules it was made.
    #[serde(rename = "v")]
    pub rules: SummaryRules,
    /// The deployment that it summarizes.
    pub id: DeploymentId,
    /// Its place in the store's order.
    pub sequence: Sequence,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// What set it off.
    pub trigger: TriggerKind,
    /// The deployment whose release a rollback brings back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<DeploymentId>,
    /// The deployment that an automatic rollback puts right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<DeploymentId>,
    /// What was live on record when it was opened.
    pub replaces: LiveRecord,
    /// Where its release first came from, if it brings it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// What is live on record if it goes back.
    pub fallback: LiveRecord,
    /// How it was settled; `None` while it is in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settling>,
    /// How its health gate ended.
    pub verdict: VerdictKind,
    /// Whether its release was ever put where it can be reached.
    pub placed: bool,
    /// Its release: as prepared, or as planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseSummary>,
    /// The automatic rollback that put right what it broke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back_by: Option<DeploymentId>,
    /// What the policy kept of it.
    pub rollback: RollbackMode,
    /// Whether a person keeps it from retention.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pinned: bool,
    /// Why a person keeps rollbacks from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad: Option<Note>,
    /// Its idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<IdempotencyKey>,
    /// The group it moved with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
    /// What it is for, where it is part of something longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// Until when its remediations count for the breaker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker_until: Option<Timestamp>,
}

/// The rules that a summary was made by. One that was made by others does not parse, and is made anew
/// from its record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct SummaryRules;

impl SummaryRules {
    /// Grows whenever the same record is summarized otherwise.
    pub const NUMBER: u32 = 4;
}

impl From<SummaryRules> for u32 {
    fn from(_: SummaryRules) -> Self {
        SummaryRules::NUMBER
    }
}

impl TryFrom<u32> for SummaryRules {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        match number {
            Self::NUMBER => Ok(Self),
            _ => Err("it was made by other rules"),
        }
    }
}

/// How a summarized deployment was settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settling {
    /// When it was settled, by the engine's clock.
    pub at: Timestamp,
    /// How, an automatic rollback that succeeded included.
    pub outcome: Outcome,
    /// What was live then.
    pub live: LiveRecord,
}

impl Settling {
    /// So settled, then.
    pub fn new(at: Timestamp, outcome: Outcome, live: LiveRecord) -> Self {
        Self { at, outcome, live }
    }
}

/// What tells a release from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReleaseSummary {
    /// Of all of it.
    pub digest: ReleaseDigest,
    /// Which backend can run it.
    pub backend: BackendKind,
    /// Its artifact's digest.
    pub artifact: String,
    /// What people call it.
    pub name: String,
    /// A digest of each facet that says anything, by the facet's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facets: BTreeMap<String, String>,
}

/// Summaries of one workload, of all its records or of the newest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summaries {
    /// One for each record that could be read, newest first.
    pub summaries: Vec<Summary>,
    /// Records that could not be read. Never fatal to the rest.
    pub unreadable: Vec<Fault>,
    /// Whether no older record was left out.
    pub is_whole: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Summary {
    /// Of a record.
    pub fn of(d: &Deployment) -> Self {
        let new = d.opening();
        let adopted = d.trigger().kind() == TriggerKind::Adopt;
        Self {
            rules: SummaryRules,
            id: d.id().clone(),
            sequence: d.sequence(),
            opened_at: new.opened_at,
            trigger: d.trigger().kind(),
            restores: d.trigger().restores().cloned(),
            failed: match d.trigger() {
                Trigger::AutomaticRollback { failed, .. } => Some(failed.clone()),
                _ => None,
            },
            replaces: new.replaces.clone(),
            origin: new.origin.clone(),
            fallback: new.fallback.clone(),
            settled: settling(d),
            verdict: d.verdict().kind(),
            // Of a switch that left no evidence nothing need be left to go back to.
            placed: d.instance().is_some() && (d.switched().is_some() || adopted),
            release: d.release().map(ReleaseSummary::of),
            rolled_back_by: d.rolled_back_by().cloned(),
            rollback: new.policy.rollback,
            pinned: d.annotations().pinned,
            bad: d.annotations().bad.clone(),
            key: new.asked.as_ref().map(|asked| asked.key.clone()),
            group: d.group().map(|group| group.id.clone()),
            purpose: d.purpose().cloned(),
            breaker_until: breaker_until(d),
        }
    }

    /// Whether its release was live when it settled.
    pub fn went_live(&self) -> bool {
        let settled = self.settled.as_ref();
        settled.is_some_and(|s| s.live.known() == Some(&self.id))
    }

    /// How it ended; `None` while it is in flight.
    pub fn outcome(&self) -> Option<Outcome> {
        self.settled.as_ref().map(|s| s.outcome)
    }

    /// Whether a gate has judged it.
    pub fn is_judged(&self) -> bool {
        self.verdict != VerdictKind::Unknown
    }

    /// Whether its gate found it healthy.
    pub fn is_healthy(&self) -> bool {
        matches!(self.verdict, VerdictKind::Passed | VerdictKind::Healed)
    }

    /// Whether its gate found it unhealthy.
    pub fn is_unhealthy(&self) -> bool {
        self.verdict == VerdictKind::Failed
    }

    /// The digest of its release.
    pub fn digest(&self) -> Option<&ReleaseDigest> {
        self.release.as_ref().map(|r| &r.digest)
    }
}

fn settling(d: &Deployment) -> Option<Settling> {
    Some(Settling {
        at: d.settled_at()?,
        outcome: d.outcome()?,
        live: d.settlement()?.live.clone(),
    })
}

fn breaker_until(d: &Deployment) -> Option<Timestamp> {
    let per = d.opening().policy.breaker.per;
    let begun = d.events().iter();
    let begun = begun.filter(|e| matches!(e.event, Event::RemediationIntended { .. }));
    begun
        .map(|e| e.at.plus(per))
        .max()
        .filter(|_| !per.is_zero())
}

impl ReleaseSummary {
    /// Of a release.
    pub fn of(release: &Release) -> Self {
        let says = |(_, facet): &(&String, &Facet)| match facet {
            Facet::Table(table) => !table.is_empty(),
            Facet::Text(_) => true,
        };
        let facets = release.facets().iter().filter(says);
        Self {
            digest: release.digest(),
            backend: release.backend().clone(),
            artifact: release.artifact().digest.clone(),
            name: release.to_string(),
            facets: facets.map(|(n, f)| (n.clone(), f.digest())).collect(),
        }
    }

    /// Whether a rollback to this one makes `live` what it is already: what
    /// [`Release::brought_back`] gives over `today`'s configuration would be the same release.
    pub fn brings_back(&self, live: &Self, today: Option<&Self>, restore: &Restore) -> bool {
        // Another backend's configuration means nothing to this release.
        let today = today.filter(|today| today.backend == self.backend);
        let (Some(today), false) = (today, *restore == Restore::Everything) else {
            return self.digest == live.digest;
        };
        let from = |name: &str| match restore {
            Restore::Facets(names) if names.iter().any(|n| n == name) => &self.facets,
            _ => &today.facets,
        };
        let mut names = [self, today, live]
            .into_iter()
            .flat_map(|r| r.facets.keys());
        self.backend == live.backend
            && self.artifact == live.artifact
            && names.all(|name| from(name).get(name) == live.facets.get(name))
    }
}

/// What has a [`Summary`]: a whole record, or the summary itself.
pub trait Summarized {
    /// The deployment's id.
    fn id(&self) -> &DeploymentId;

    /// What lineage, points and retention read of it; a record makes it anew each time.
    fn summary(&self) -> Cow<'_, Summary>;
}

impl Summarized for Deployment {
    fn id(&self) -> &DeploymentId {
        self.id()
    }

    fn summary(&self) -> Cow<'_, Summary> {
        Cow::Owned(Summary::of(self))
    }
}

impl Summarized for Summary {
    fn id(&self) -> &DeploymentId {
        &self.id
    }

    fn summary(&self) -> Cow<'_, Summary> {
        Cow::Borrowed(self)
    }
}
