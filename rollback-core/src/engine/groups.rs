//! [`Group`]: several deployments that moved as one, as the history has it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::inner::Inner;
use crate::deployment::{Outcome, Part, Roll};
use crate::error::{Error, ErrorKind};
use crate::history::{Sequence, Summary};
use crate::id::{Actor, DeploymentId, GroupId, ShortText, StackName, WorkloadId};
use crate::stack::Stack;
use crate::time::Timestamp;

/// Several deployments that moved as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// The stack that it moved.
    pub stack: StackName,
    /// Who asked for it.
    pub actor: Actor,
    /// Why, in their words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<ShortText>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// What it was about.
    #[serde(flatten)]
    pub roll: Roll,
    /// How far it is.
    pub way: Way,
    /// What is known of each deployment that moved; `None`: its record is gone, or was never opened.
    pub members: BTreeMap<WorkloadId, Option<Summary>>,
    /// Where each release that it left first came from, as far as that is known.
    #[serde(skip)]
    origins: BTreeMap<WorkloadId, Sequence>,
}

/// Where the release of a deployment first came from.
fn origin(of: &Summary) -> Sequence {
    of.origin
        .as_ref()
        .map_or(of.sequence, |origin| origin.sequence)
}

/// Which way a group went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Way {
    /// It is not decided yet.
    Undecided,
    /// All went live.
    Forward,
    /// All went back, or are going back.
    Back,
}

impl Group {
    /// Whether all of it went live.
    pub fn went_forward(&self) -> bool {
        self.way == Way::Forward
    }

    /// Whether any of it is in flight still.
    pub fn is_in_flight(&self) -> bool {
        let mut members = self.members.values().flatten();
        members.any(|m| m.settled.is_none())
    }

    /// Whether all of it went live, and no gate found any of it unhealthy: those that were judged were
    /// found healthy, and a person has marked none bad.
    pub fn is_healthy(&self) -> bool {
        let well = |m: &Option<Summary>| {
            m.as_ref().is_some_and(|m| {
                let judged = m.is_healthy() || !m.is_judged();
                m.outcome() == Some(Outcome::Succeeded) && judged && m.bad.is_none()
            })
        };
        self.went_forward() && self.members.values().all(well)
    }

    /// Whether it is an older state than this, by where the releases first came from: nothing of it is
    /// newer, and something is older.
    pub(super) fn is_before(&self, live: &BTreeMap<WorkloadId, Option<Sequence>>) -> bool {
        let mut is_older = false;
        for (workload, live) in live {
            let (Some(left), live) = (self.origins.get(workload), live) else {
                continue;
            };
            match live {
                Some(live) if left > live => return false,
                Some(live) if left == live => {}
                _ => is_older = true,
            }
        }
        is_older
    }

    /// The deployment whose release was live on a workload when the group had gone forward.
    pub fn left(&self, workload: &WorkloadId) -> Option<&DeploymentId> {
        self.roll.parts.get(workload)?.leaves()
    }
}

pub(super) fn no_such(id: &GroupId) -> Error {
    Error::new(ErrorKind::NotFound, "no such group")
        .on(id)
        .advice("list the stack's groups for the ids they have")
}

/// A group of this stack.
pub(super) async fn of_stack(inner: &Inner, stack: &Stack, id: &GroupId) -> Result<Group, Error> {
    let found = read(inner, id, &BTreeMap::new()).await?;
    match found {
        Some(group) if group.stack == *stack.name() => Ok(group),
        _ => Err(no_such(id)),
    }
}

/// The newest group of a stack that this is true of.
pub(super) async fn newest(
    inner: &Inner,
    stack: &Stack,
    mut is_it: impl FnMut(&Group) -> bool,
) -> Result<Option<Group>, Error> {
    let mut limit = super::inner::NEWEST;
    let mut seen = BTreeSet::new();
    loop {
        // Of what lies before the horizon an older page may say more.
        let (mut known, mut horizon) = (BTreeMap::new(), Sequence(0));
        for workload in stack.workloads() {
            let past = inner.summaries(workload, limit).await?;
            let oldest = past.summaries.last().map(|s| s.sequence);
            if let Some(oldest) = oldest.filter(|_| !past.is_whole) {
                horizon = horizon.max(oldest);
            }
            known.extend(past.summaries.into_iter().map(|s| (s.id.clone(), s)));
        }
        let mut firsts: BTreeMap<GroupId, Sequence> = BTreeMap::new();
        for summary in known.values() {
            if let Some(id) = summary.group.clone() {
                // Members are opened one after the other: those of one group lie together.
                let first = firsts.entry(id).or_insert(summary.sequence);
                *first = (*first).min(summary.sequence);
            }
        }
        let mut ids: Vec<(Sequence, GroupId)> =
            firsts.into_iter().map(|(id, first)| (first, id)).collect();
        ids.sort_by(|a, b| b.cmp(a));
        for (_, id) in ids.into_iter().filter(|(first, _)| *first >= horizon) {
            if seen.insert(id.clone())
                && let Some(group) = read(inner, &id, &known).await?
                && group.stack == *stack.name()
                && is_it(&group)
            {
                return Ok(Some(group));
            }
        }
        if horizon == Sequence(0) {
            return Ok(None);
        }
        limit = limit.saturating_mul(4);
    }
}

/// A group by its id, with what is known of its members already; `None`: there is none of that id.
pub(super) async fn read(
    inner: &Inner,
    id: &GroupId,
    known: &BTreeMap<DeploymentId, Summary>,
) -> Result<Option<Group>, Error> {
    let record = match inner.store.get(id.coordinator()).await {
        Ok(record) => record,
        // One unreadable record hides no other group.
        Err(e) if e.is_unreadable() && !known.is_empty() => None,
        Err(e) => return Err(e.into()),
    };
    let Some(record) = record else {
        return Ok(None);
    };
    let Some((group, roll)) = record
        .coordinates()
        .and_then(|g| Some((g, g.roll.as_ref()?)))
    else {
        return Ok(None);
    };
    let (mut members, mut origins) = (BTreeMap::new(), BTreeMap::new());
    for (workload, part) in &roll.parts {
        let Some(deployment) = part.leaves() else {
            continue;
        };
        let summary = match known.get(deployment) {
            Some(summary) => Some(summary.clone()),
            None => match inner.store.get(deployment).await {
                Ok(record) => record.as_ref().map(Summary::of),
                // One unreadable record hides no other.
                Err(e) if e.is_unreadable() => None,
                Err(e) => return Err(e.into()),
            },
        };
        if let Some(summary) = &summary {
            origins.insert(workload.clone(), origin(summary));
        }
        if let Part::Moves { .. } = part {
            members.insert(workload.clone(), summary);
        }
    }
    let opening = record.opening();
    Ok(Some(Group {
        id: id.clone(),
        stack: group.stack.clone(),
        actor: opening.actor.clone(),
        reason: opening.reason.clone(),
        opened_at: opening.opened_at,
        roll: roll.clone(),
        way: match crate::group::fate(&record) {
            None => Way::Undecided,
            Some(crate::group::Fate::Forward) => Way::Forward,
            Some(crate::group::Fate::Back(_)) => Way::Back,
        },
        members,
        origins,
    }))
}
