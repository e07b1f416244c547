//! What each record leads to, found in one walk over all of them.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::history::Summary;
use crate::id::DeploymentId;

/// For each record, by its place in the order (newest first), the place of another one.
#[derive(Debug)]
pub(super) struct Links {
    /// The one that first brought its release, as far as it is among these.
    pub(super) origin: Vec<usize>,
    /// The one that a rollback goes back to in the end; itself, if it is none.
    pub(super) restored: Vec<usize>,
    /// The next one that went live and found it live.
    pub(super) replaced_by: Vec<Option<usize>>,
    /// The newest rollback that went live and whose rollback point is older than it.
    pub(super) abandoned_by: Vec<Option<usize>>,
}

impl Links {
    pub(super) fn of(facts: &[Cow<'_, Summary>], index: &HashMap<&DeploymentId, usize>) -> Self {
        // What a rollback brings back is older than the rollback.
        let point = |i: usize| {
            let restores = facts[i].restores.as_ref();
            restores
                .and_then(|id| index.get(id).copied())
                .filter(|t| *t > i)
        };
        let mut origin: Vec<usize> = (0..facts.len()).collect();
        let mut restored = origin.clone();
        let mut replaced_by = vec![None; facts.len()];
        // Oldest first, so that a rollback point's own origin is known.
        for i in (0..facts.len()).rev() {
            let first = facts[i].origin.as_ref();
            let first = first.and_then(|o| index.get(&o.deployment).copied());
            if let Some(first) = first.or_else(|| point(i).map(|t| origin[t])) {
                origin[i] = first;
            }
            if let Some(point) = point(i) {
                restored[i] = restored[point];
            }
            let found = facts[i].replaces.known().filter(|_| facts[i].went_live());
            if let Some(before) = found.and_then(|id| index.get(id)) {
                replaced_by[*before].get_or_insert(i);
            }
        }
        Self {
            abandoned_by: abandoned_by(facts, point),
            origin,
            restored,
            replaced_by,
        }
    }
}

/// Newest first, each rollback takes what lies between it and its rollback point and no newer one has taken:
/// what lies beyond the oldest of them so far.
fn abandoned_by(
    facts: &[Cow<'_, Summary>],
    point: impl Fn(usize) -> Option<usize>,
) -> Vec<Option<usize>> {
    let mut by = vec![None; facts.len()];
    let mut taken = 0;
    for (i, d) in facts.iter().enumerate() {
        let Some(point) = point(i).filter(|_| d.went_live()) else {
            continue;
        };
        for passed in by.iter_mut().take(point).skip(taken.max(i + 1)) {
            *passed = Some(i);
        }
        taken = taken.max(point);
    }
    by
}
