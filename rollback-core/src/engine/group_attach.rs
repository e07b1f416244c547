//! Awaiting a group that somebody else has set going, and keys of groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::attach;
use super::group_run::GroupRun;
use super::inner::Inner;
use crate::deployment::{Asked, Part};
use crate::engine::RollbackEngine;
use crate::error::{Error, ErrorKind};
use crate::id::{Actor, GroupId};
use crate::plan::Refusal;
use crate::stack::{Stack, Stays};

impl RollbackEngine {
    /// A handle on a group, whoever set it going, as [`attach`](Self::attach) gives one on a deployment.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is none of that id, or the record of one of its members
    /// is gone; [`Store`](ErrorKind::Store) if it cannot be read.
    pub async fn attach_group(&self, id: &GroupId, actor: Actor) -> Result<GroupRun, Error> {
        attach(self.inner(), id, &actor).await
    }
}

/// A handle on the group of this stack that was asked for under the same key; `None`: there is none.
///
/// # Errors
///
/// A refusal if something else was asked for under the key.
pub(super) async fn asked_before(
    inner: &Arc<Inner>,
    stack: &Stack,
    asked: Option<&Asked>,
    actor: &Actor,
) -> Result<Option<GroupRun>, Error> {
    let Some(asked) = asked else {
        return Ok(None);
    };
    // Which of them has it depends on which were moved.
    for workload in stack.workloads() {
        let Some(id) = inner.store.keyed(workload, &asked.key).await? else {
            continue;
        };
        // Retention may have let it go meanwhile, and its key with it.
        let Some(record) = inner.store.get(&id).await? else {
            continue;
        };
        if record.opening().asked.as_ref() != Some(asked) {
            return Err(Refusal::KeyTaken {
                key: asked.key.clone(),
                deployment: id,
            }
            .into());
        }
        if let Some(group) = record.group() {
            return attach(inner, &group.id, actor).await.map(Some);
        }
    }
    Ok(None)
}

async fn attach(inner: &Arc<Inner>, id: &GroupId, actor: &Actor) -> Result<GroupRun, Error> {
    let coordinator = inner.record(id.coordinator()).await?;
    let Some((group, roll)) = coordinator
        .coordinates()
        .and_then(|group| Some((group, group.roll.as_ref()?)))
    else {
        return Err(Error::new(ErrorKind::NotFound, "no such group")
            .on(id)
            .advice("list the stack's groups for the ids they have"));
    };
    let (mut runs, mut stays) = (BTreeMap::new(), BTreeMap::new());
    for (workload, part) in &roll.parts {
        match part {
            Part::Moves { deployment } => {
                let record = inner.record(deployment).await?;
                let run = attach::attach(inner, record, actor.clone());
                runs.insert(workload.clone(), run);
            }
            Part::Stays { live, why } => {
                let (live, why) = (live.clone(), why.clone());
                stays.insert(workload.clone(), Stays { live, why });
            }
        }
    }
    Ok(GroupRun {
        id: id.clone(),
        stack: group.stack.clone(),
        runs,
        stays,
    })
}
