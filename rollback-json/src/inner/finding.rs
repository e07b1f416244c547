//! Finding a record among all workloads.

use rollback_core::deployment::Deployment;
use rollback_core::error::{Chain, StoreError, StoreErrorKind as Kind};
use rollback_core::id::{DeploymentId, WorkloadId};

use super::Inner;
use crate::folder::{Beginnings, Found, Named, names};
use crate::list::locked;

impl Inner {
    /// Where a deployment's file is.
    pub(crate) fn find(&self, id: &DeploymentId) -> Result<Option<(WorkloadId, u64)>, StoreError> {
        let mut hidden = None;
        for workload in self.workloads()? {
            match locked(&self.folder(&workload)).shard_with(id) {
                Ok(Some(shard)) => return Ok(Some((workload, shard))),
                Ok(None) => {}
                // It may be there: but what another workload has is found all the same.
                Err(e) => hidden = Some(e),
            }
        }
        hidden.map_or(Ok(None), Err)
    }

    pub(crate) fn get(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let Some((workload, shard)) = self.find(id)? else {
            return self.quarantined(id);
        };
        let folder = self.folder(&workload);
        let mut folder = locked(&folder);
        let (state, _) = folder.state_for_reading();
        match folder.get(&state, shard, id) {
            Found::Record(d) => Ok(Some(*d)),
            Found::Unreadable(e) => Err(e),
            Found::Nothing => Ok(None),
        }
    }

    /// An error if the record was moved aside: it is not as if it had never been.
    pub(crate) fn quarantined(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let dir = self.layout.quarantine();
        let tail = format!(".{}", crate::layout::file_name(id));
        match names(&dir)?.iter().find(|n| n.ends_with(&tail)) {
            Some(name) => Err(StoreError::new(
                Kind::Corrupt,
                "this record is damaged and was moved aside",
            )
            .on(dir.join(name).display())
            .advice("put it back into its directory from a copy")),
            None => Ok(None),
        }
    }

    /// For each text the ids that begin with it, newest first, the text itself before all.
    pub(crate) fn beginning(
        &self,
        texts: &Beginnings,
        limit: usize,
    ) -> Result<Vec<Vec<DeploymentId>>, StoreError> {
        let mut found = vec![Vec::new(); texts.texts().len()];
        for workload in self.workloads()? {
            match locked(&self.folder(&workload)).beginning(texts) {
                Ok(here) => {
                    for (found, here) in found.iter_mut().zip(here) {
                        found.extend((!here.is_empty()).then(|| (workload.clone(), here)));
                    }
                }
                Err(error) => {
                    tracing::warn!(%workload, error = %Chain::of(&error), "its records cannot be found")
                }
            }
        }
        let ordered = texts.texts().iter().zip(found).map(|(text, found)| {
            let mut ids = self.ordered(found);
            ids.sort_by_key(|id| id.as_str() != text);
            ids.truncate(limit);
            ids
        });
        Ok(ordered.collect())
    }

    /// Found records' ids, newest first. One alone needs no look at its record for that.
    fn ordered(&self, found: Vec<(WorkloadId, Vec<Named>)>) -> Vec<DeploymentId> {
        if let [(_, named)] = &*found
            && let [(_, only)] = &**named
        {
            return vec![only.clone()];
        }
        let mut numbered = Vec::new();
        for (workload, named) in found {
            match locked(&self.folder(&workload)).numbered(named) {
                Ok(here) => numbered.extend(here),
                Err(error) => {
                    tracing::warn!(%workload, error = %Chain::of(&error), "its records cannot be found")
                }
            }
        }
        numbered.sort_by_key(|(sequence, _)| std::cmp::Reverse(*sequence));
        numbered.into_iter().map(|(_, id)| id).collect()
    }

    pub(crate) fn in_flight(&self, id: &DeploymentId) -> Result<WorkloadId, StoreError> {
        for workload in self.workloads()? {
            // A broken state hides no other workload.
            let Ok(state) = self.state(&workload) else {
                continue;
            };
            if state.deployment_in_flight() == Some(id) {
                return Ok(workload);
            }
        }
        Err(StoreError::not_in_flight(id))
    }
}
