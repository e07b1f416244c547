//! Whether what was to be confirmed was.

use super::inner::Inner;
use crate::deployment::{Deployment, Purpose};
use crate::error::Error;

/// The record that says what is owed: a group's coordinator speaks for all of it.
pub(super) async fn speaks_for(inner: &Inner, deployment: Deployment) -> Result<Deployment, Error> {
    match deployment.group() {
        Some(group) if deployment.coordinates().is_none() => {
            inner.record(group.id.coordinator()).await
        }
        _ => Ok(deployment),
    }
}

/// Why a deployment that was owed is not, any more: asked once more under its lease.
pub(super) async fn is_owed_no_more(
    inner: &Inner,
    deployment: &Deployment,
) -> Result<Option<String>, Error> {
    let Some(Purpose::Unconfirmed { deployment: of }) = deployment.purpose() else {
        return Ok(None);
    };
    let Some(of) = inner.store.get(of).await? else {
        return Ok(None);
    };
    let speaks = speaks_for(inner, of).await?;
    let confirmed = speaks.annotations().confirmed.as_ref();
    Ok(confirmed.map(|by| format!("it was confirmed meanwhile by {}", by.by)))
}
