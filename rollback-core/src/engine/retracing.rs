//! Undo and redo of a stack: by the records of all its workloads.

use std::collections::BTreeMap;

use super::inner::{Inner, NEWEST};
use crate::deployment::{LiveRecord, Purpose};
use crate::error::Error;
use crate::history::{Sequence, Summary};
use crate::id::{DeploymentId, GroupId, WorkloadId};
use crate::lineage::Lineage;
use crate::request::{Goal, Wish};
use crate::retrace::{Change, redoable, undoable};
use crate::stack::{Stack, StackGoal};

/// What a wish for a stack means for one of its workloads.
pub(super) enum Wanted {
    This(Wish),
    /// The same, as a part of something longer.
    For(Purpose, Wish),
    Nothing(&'static str),
}

/// What changed a stack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Changed {
    /// It was moved.
    AsOne(GroupId),
    /// One of its workloads was, by itself.
    Alone(DeploymentId),
}

/// One change of a stack.
struct Moved {
    /// Where it is in the history: members of a group are opened one after the other.
    first: Sequence,
    change: Change<Changed>,
    /// The change of each workload that it moved: its own, or the one that it retraced.
    of: BTreeMap<WorkloadId, DeploymentId>,
}

/// The newest records of a stack.
struct Past {
    summaries: BTreeMap<WorkloadId, Vec<Summary>>,
    /// Before this, something may be missing.
    horizon: Sequence,
}

/// What *undo* or *redo* of a stack means for each of its workloads; `None`: there is nothing to undo, or
/// to do again.
pub(super) async fn of_stack(
    inner: &Inner,
    stack: &Stack,
    goal: &StackGoal,
) -> Result<Option<BTreeMap<WorkloadId, Wanted>>, Error> {
    let mut limit = NEWEST;
    loop {
        let past = Past::read(inner, stack, limit).await?;
        let moved = past.moved(inner).await?;
        let changes = moved.iter().map(|moved| moved.change.clone());
        let found = match goal {
            StackGoal::Redo => redoable(changes),
            _ => undoable(changes),
        };
        if let Some(found) = found {
            return Ok(Some(wanted(&moved[found], goal)));
        }
        if past.horizon == Sequence(0) {
            return Ok(None);
        }
        limit = limit.saturating_mul(4);
    }
}

fn wanted(moved: &Moved, goal: &StackGoal) -> BTreeMap<WorkloadId, Wanted> {
    let retraces = |(workload, change): (&WorkloadId, &DeploymentId)| {
        let change = change.clone();
        let (goal, purpose) = match goal {
            StackGoal::Redo => (Goal::To(change.clone()), Purpose::Redo { change }),
            _ => (Goal::Before(change.clone()), Purpose::Undo { change }),
        };
        let wanted = Wanted::For(purpose, Wish::Rollback { goal });
        (workload.clone(), wanted)
    };
    moved.of.iter().map(retraces).collect()
}

impl Past {
    async fn read(inner: &Inner, stack: &Stack, limit: usize) -> Result<Self, Error> {
        let (mut summaries, mut horizon) = (BTreeMap::new(), Sequence(0));
        for workload in stack.workloads() {
            let past = inner.summaries(workload, limit).await?;
            let oldest = past.summaries.last().map(|s| s.sequence);
            if let Some(oldest) = oldest.filter(|_| !past.is_whole) {
                horizon = horizon.max(oldest);
            }
            summaries.insert(workload.clone(), past.summaries);
        }
        Ok(Self { summaries, horizon })
    }

    /// What changed the stack, newest first.
    async fn moved(&self, inner: &Inner) -> Result<Vec<Moved>, Error> {
        let mut as_one: BTreeMap<&GroupId, Moved> = BTreeMap::new();
        let mut all = Vec::new();
        for (workload, summaries) in &self.summaries {
            let lineage = Lineage::new(summaries, &LiveRecord::Unknown);
            for d in summaries {
                let Some(change) = lineage.change(d) else {
                    continue;
                };
                let (Change::New(of) | Change::Undid(of) | Change::Redid(of)) = change;
                let moved = match d.group.as_ref().and_then(|group| as_one.get_mut(group)) {
                    Some(moved) => {
                        moved.first = moved.first.min(d.sequence);
                        moved.of.insert(workload.clone(), of.clone());
                        continue;
                    }
                    None => Moved {
                        first: d.sequence,
                        change: self.changed(inner, d, change).await?,
                        of: [(workload.clone(), of.clone())].into(),
                    },
                };
                match &d.group {
                    Some(group) => drop(as_one.insert(group, moved)),
                    None => all.push(moved),
                }
            }
        }
        all.extend(as_one.into_values());
        all.retain(|moved| moved.first >= self.horizon);
        all.sort_by_key(|moved| std::cmp::Reverse(moved.first));
        Ok(all)
    }

    /// What a deployment changed of the stack.
    async fn changed(
        &self,
        inner: &Inner,
        d: &Summary,
        change: Change<&DeploymentId>,
    ) -> Result<Change<Changed>, Error> {
        let retraced = match change {
            Change::New(of) => {
                let alone = || Changed::Alone(of.clone());
                let changed = d.group.clone().map_or_else(alone, Changed::AsOne);
                return Ok(Change::New(changed));
            }
            // What one workload did alone says nothing of the others.
            Change::Undid(of) | Change::Redid(of) => match d.group {
                Some(_) => self.group_of(inner, of).await?.map(Changed::AsOne),
                None => None,
            }
            .unwrap_or_else(|| Changed::Alone(of.clone())),
        };
        Ok(match change {
            Change::Redid(_) => Change::Redid(retraced),
            _ => Change::Undid(retraced),
        })
    }

    async fn group_of(&self, inner: &Inner, id: &DeploymentId) -> Result<Option<GroupId>, Error> {
        let mut read = self.summaries.values().flatten();
        if let Some(summary) = read.find(|d| d.id == *id) {
            return Ok(summary.group.clone());
        }
        match inner.store.get(id).await {
            Ok(record) => Ok(record.and_then(|d| d.group().map(|group| group.id.clone()))),
            Err(e) if e.is_unreadable() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}
