//! Giving up what recovery cannot end.

use super::RollbackEngine;
use crate::error::{Error, StoreErrorKind};
use crate::guard::Verb;
use crate::history::Abandonment;
use crate::id::{Actor, DeploymentId, ShortText, WorkloadId};

impl RollbackEngine {
    /// Gives up the deployment in flight on a workload whose holder is dead: for the case that
    /// [`recover`](Self::recover) fails again and again, because the record is damaged, or what it
    /// needs (the workload, its backend) is no longer in the program. The workload need not be in
    /// the catalog.
    ///
    /// Acts on no platform: afterwards nothing is in flight, what is live is `Unknown`, and who gave
    /// up, when and why is on record. Look at the platform, then adopt or deploy.
    ///
    /// # Errors
    ///
    /// [`Conflict`](crate::error::ErrorKind::Conflict) while the holder lives (cancel it instead;
    /// one whose process cannot be seen from here, and whose lock is free, is not in the way),
    /// [`NotFound`](crate::error::ErrorKind::NotFound) if nothing is in flight,
    /// [`Refused`](crate::error::ErrorKind::Refused) if the authorizer does not allow it,
    /// [`Store`](crate::error::ErrorKind::Store) if it could not be written down.
    pub async fn abandon(
        &self,
        workload: &WorkloadId,
        why: ShortText,
        actor: Actor,
    ) -> Result<DeploymentId, Error> {
        self.inner()
            .allow(&actor, workload, Verb::Abandon, None)
            .await?;
        let abandonment = Abandonment {
            by: actor,
            at: self.inner().clock.now(),
            why,
        };
        let store = &self.inner().store;
        let id = match store.abandon(workload, &abandonment).await {
            Ok(id) => id,
            Err(e) if e.kind() == StoreErrorKind::NotFound => {
                return Err(Error::from(e).advice("nothing has to be given up"));
            }
            Err(e) => return Err(e.into()),
        };
        tracing::warn!(%workload, deployment = %id, actor = %abandonment.by, "abandoned");
        Ok(id)
    }
}
