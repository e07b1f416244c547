//! [`Opening`]: everything that is known when a deployment opens.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::composition::Composition;
use super::membership::Membership;
use super::origin::Origin;
use super::outcome::LiveRecord;
use super::purpose::Purpose;
use super::trigger::Trigger;
use super::version::RecordVersion;
use crate::backend::{End, Reuse};
use crate::health::{Gate, maybe_millis};
use crate::history::{Holder, Identity};
use crate::id::{Actor, BackendKind, DeploymentId, GuardName, ShortText, WorkloadId};
use crate::plan::Warning;
use crate::policy::Policy;
use crate::time::Timestamp;

/// What becomes of the deployments that a rollback skips over, once it has succeeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Skipped {
    /// They stay rollback points.
    #[default]
    Left,
    /// They are marked bad, so that no later rollback goes to one of them.
    MarkedBad,
}

impl Skipped {
    fn is_left(&self) -> bool {
        *self == Self::Left
    }
}

/// Everything about a deployment that is known when it opens. Enough for recovery to finish it
/// without the request it came from.
///
/// It is written once, and never again. In JSON, fields that say nothing are left out, but for
/// `warnings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Opening {
    /// By which rules the record is written.
    #[serde(default)]
    pub record_version: RecordVersion,
    /// Its id, given once, by the engine.
    pub id: DeploymentId,
    /// The workload that it changes.
    pub workload: WorkloadId,
    /// What set it off.
    #[serde(flatten)]
    pub trigger: Trigger,
    /// Who asked for it; for an automatic rollback the engine itself.
    pub actor: Actor,
    /// Why, in the asker's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ShortText>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// What was live on record when it was opened.
    pub replaces: LiveRecord,
    /// Where its release first came from, if it brings it again; `None`: from itself, or in records of
    /// before this was kept from where the one came that it restores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// What is live on record if it goes back: the same, unless drift made the record untrue.
    pub fallback: LiveRecord,
    /// What was live at the platform.
    pub from: End,
    /// What will be: planned, or an instance that history knows.
    pub to: End,
    /// What `prepare` may take of what is there.
    #[serde(default, skip_serializing_if = "Reuse::is_kept")]
    pub reuse: Reuse,
    /// The health gate it is judged by.
    pub gate: Gate,
    /// The policy it runs under.
    pub policy: Policy,
    /// Guards that were forced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forced: Vec<GuardName>,
    /// Deployments between the target and what is live, whose changes go away with a rollback.
    #[serde(rename = "skips", default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<DeploymentId>,
    /// What becomes of them when it succeeds.
    #[serde(rename = "skipped", default, skip_serializing_if = "Skipped::is_left")]
    pub of_skipped: Skipped,
    /// What the plan warned of. Always present, empty when all is well.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// The embedder's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The embedder's own id for what this belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<ShortText>,
    /// The group it moves with; `None`: it moves alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Box<Membership>>,
    /// What it is for, where it is part of something longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// It goes back by itself, unless somebody confirms it within so long of its settlement; in
    /// milliseconds.
    #[serde(
        rename = "confirm_within_ms",
        default,
        with = "maybe_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub confirm_within: Option<Duration>,
    /// Of what the workload was composed; `None` in records of before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub composition: Option<Composition>,
    /// What was asked under an idempotency key, where the request had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// The history it was opened in; `None` in records of before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Identity>,
    /// The process that opened it, with its boot and start where the system tells; `None` in
    /// records of before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
}

impl Opening {
    /// A deployment of nothing over nothing, by the default gate and policy: set what it is to do
    /// before it is opened.
    pub fn new(
        id: DeploymentId,
        workload: WorkloadId,
        trigger: Trigger,
        actor: Actor,
        opened_at: Timestamp,
    ) -> Self {
        Self {
            record_version: RecordVersion::ALONE,
            id,
            workload,
            trigger,
            actor,
            reason: None,
            opened_at,
            replaces: LiveRecord::Nothing,
            origin: None,
            fallback: LiveRecord::Nothing,
            from: End::Nothing,
            to: End::Nothing,
            reuse: Reuse::Kept,
            gate: Gate::default(),
            policy: Policy::default(),
            forced: Vec::new(),
            skipped: Vec::new(),
            of_skipped: Skipped::Left,
            warnings: Vec::new(),
            labels: BTreeMap::new(),
            correlation: None,
            group: None,
            purpose: None,
            confirm_within: None,
            composition: None,
            asked: None,
            history: None,
            holder: None,
        }
    }

    /// The same as a member of a group, by the rules for those.
    #[must_use]
    pub fn in_group(mut self, group: Membership) -> Self {
        self.record_version = RecordVersion::NEWEST;
        self.group = Some(Box::new(group));
        self
    }

    /// Which backend it runs on.
    pub fn backend(&self) -> Option<&BackendKind> {
        self.to.release().map(|r| r.backend())
    }
}
