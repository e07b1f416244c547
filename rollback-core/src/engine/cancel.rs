//! Asking a deployment to stop.

use super::inner::Inner;
use crate::deployment::TriggerKind;
use crate::error::{Error, StoreErrorKind};
use crate::guard::Verb;
use crate::id::{Actor, DeploymentId};
use crate::plan::Refusal;

/// Asks a deployment to stop, if this person may.
pub(super) async fn cancel(inner: &Inner, id: &DeploymentId, by: &Actor) -> Result<(), Error> {
    let record = inner.record(id).await?;
    let workload = record.workload();
    inner.allow(by, workload, Verb::Cancel, Some(id)).await?;
    if record.settlement().is_none() && record.trigger().kind() == TriggerKind::AutomaticRollback {
        return Err(Refusal::NotCancellable {
            deployment: id.clone(),
        }
        .into());
    }
    match inner.store.request_cancel(id, by).await {
        Err(e) if e.kind() == StoreErrorKind::NotFound => Err(Error::from(e)
            .on(id)
            .advice("it has ended; show it to see how")),
        other => Ok(other?),
    }
}
