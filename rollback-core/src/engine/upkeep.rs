//! Retention, carried out: records are forgotten, then what only they needed is let go.

use super::inner::{Inner, NEWEST};
use super::keeping;
use super::rules::PolicySource;
use crate::backend::Instance;
use crate::deployment::{Deployment, LiveRecord};
use crate::engine::Workload;
use crate::error::Error;
use crate::history::Summary;
use crate::lineage::Lineage;
use crate::retention::retained;
use crate::withheld::Withheld;

const HOUR: i64 = 60 * 60 * 1_000_000; // microseconds

/// The step of a run, under its lease, right before it settles: forgets what the policy lets go,
/// and says which instances stay within reach. `None`: it is left to a later deployment.
pub(super) async fn shrink(
    inner: &Inner,
    workload: &Workload,
    own: &Deployment,
    holds: impl Fn() -> Result<(), Error>,
) -> Result<Option<Vec<Instance>>, Error> {
    if is_left(inner, own).await? {
        return Ok(None);
    }
    let mut records = inner.whole_history(own.workload()).await?;
    // The store's copy lacks nothing but what is about to be true.
    let live = LiveRecord::Known(own.id().clone());
    if let Some(copy) = records.iter_mut().find(|d| d.id == *own.id()) {
        *copy = Summary::of(own);
    }
    let policy = &own.opening().policy;
    let rules = workload.rules_by(policy.clone(), PolicySource::Catalog);
    let state = inner.store.workload(own.workload()).await?;
    let lineage = Lineage::new(&records, &live)
        .restoring(rules.restore)
        .withholding(Withheld::of(&state));
    let now = inner.clock.now();
    let retained = retained(&lineage, Some(own.id()), &policy.retention, now);
    let forget = keeping::goes(inner, own.workload(), &retained.forget).await?;
    // The store may have been away for long: who has taken over may need what is forgotten here.
    holds()?;
    if !forget.is_empty() {
        let forgotten = inner.store.forget(&forget).await?;
        tracing::debug!(workload = %own.workload(), forgotten, "records let go");
    }
    let op = own.operation();
    let mut window: Vec<Instance> = [&op.to, &op.from]
        .iter()
        .filter_map(|end| end.instance().cloned())
        .collect();
    let others = retained.window.iter().filter(|d| d.id != *own.id());
    let others: Vec<&Summary> = others.copied().collect();
    for instance in inner.instances(&others).await? {
        if !window.contains(&instance) {
            window.push(instance);
        }
    }
    Ok(Some(window))
}

/// Whether retention is left to a later deployment, since it reads all records: where there are many,
/// what is live was deployed again as it is and where it is, and the one before did so by the same
/// policy in the same hour. Nothing that is kept was replaced, and next to nothing has aged.
async fn is_left(inner: &Inner, own: &Deployment) -> Result<bool, Error> {
    let opening = own.opening();
    if !own.operation().is_in_place() || inner.summaries(own.workload(), NEWEST).await?.is_whole {
        return Ok(false);
    }
    let hour = |d: &Deployment| d.opening().opened_at.as_microsecond().div_euclid(HOUR);
    let before = inner.live(&opening.replaces).await?;
    Ok(before.is_some_and(|before| {
        hour(&before) == hour(own)
            && before.opening().policy == opening.policy
            && before.release() == own.release()
    }))
}
