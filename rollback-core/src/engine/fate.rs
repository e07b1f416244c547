//! What becomes of a group whose coordinator does not run in this process, or not any more: the store
//! says, and where it does not, it is ruled out.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::inner::Inner;
use super::tenure::Tenure;
use crate::deployment::{Deployment, Membership};
use crate::error::{Error, ErrorKind, StoreErrorKind};
use crate::event::{Cause, Event, TimedEvent};
use crate::group::{Fate, fate};
use crate::history::Holder;

/// How long somebody who has the coordinator's lease is waited for: it is decided, or ruled out, within
/// one write of theirs, unless their platform keeps them.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked.
const PAUSE: Duration = Duration::from_millis(50);

/// What becomes of the group of this deployment, whose lease is held here.
///
/// # Errors
///
/// [`Conflict`](ErrorKind::Conflict) while somebody else has the coordinator and has not decided;
/// [`Interrupted`](ErrorKind::Interrupted) if its record is gone, which may have said either.
pub(super) async fn of(inner: &Arc<Inner>, deployment: &Deployment) -> Result<Fate, Error> {
    let Some(group) = deployment.group() else {
        return Ok(Fate::Forward);
    };
    if deployment.coordinates().is_some() {
        // Nobody else can decide any more.
        return Ok(fate(deployment).unwrap_or(Fate::Back(Cause::Interrupted)));
    }
    if !deployment.has_agreed() {
        // Without it there is no decision, and there will be none: why, only tells.
        let coordinator = inner.store.get(group.id.coordinator()).await;
        let told = coordinator.ok().flatten().and_then(|c| fate(&c));
        return Ok(told.unwrap_or(Fate::Back(Cause::Interrupted)));
    }
    let until = Instant::now() + PATIENCE;
    loop {
        let said = said(inner, deployment, group).await?;
        let coordinator = match said {
            Said::Fate(fate) => return Ok(fate),
            Said::Nothing(coordinator) => coordinator,
        };
        let state = inner.store.workload(coordinator.workload()).await?;
        let in_flight = state
            .in_flight
            .is_some_and(|f| f.deployment == *coordinator.id());
        if !in_flight {
            // Nobody has a lease to decide it with: it was settled just now, or never will be.
            return Ok(match self::said(inner, deployment, group).await? {
                Said::Fate(fate) => fate,
                Said::Nothing(_) => Fate::Back(Cause::Interrupted),
            });
        }
        match rule_out(inner, &coordinator).await {
            Ok(()) if Instant::now() < until => {}
            // Somebody runs or recovers it, or has just ended it.
            Err(e)
                if Instant::now() < until
                    && matches!(e.kind(), ErrorKind::Conflict | ErrorKind::NotFound) =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            Ok(()) => return Err(waits(deployment, group, "cannot be told from here")),
            Err(e) => return Err(e),
        }
    }
}

/// What is known of it without changing anything; `None`: it is not decided.
pub(super) async fn so_far(inner: &Inner, deployment: &Deployment) -> Result<Option<Fate>, Error> {
    let Some(group) = deployment.group() else {
        return Ok(None);
    };
    if !deployment.has_agreed() {
        return Ok(Some(Fate::Back(Cause::Interrupted)));
    }
    let coordinator = inner.store.get(group.id.coordinator()).await?;
    Ok(coordinator.and_then(|c| fate(&c)))
}

enum Said {
    Fate(Fate),
    Nothing(Box<Deployment>),
}

async fn said(inner: &Inner, deployment: &Deployment, group: &Membership) -> Result<Said, Error> {
    let Some(coordinator) = inner.store.get(group.id.coordinator()).await? else {
        return Err(waits(deployment, group, "is gone"));
    };
    Ok(match fate(&coordinator) {
        Some(fate) => Said::Fate(fate),
        None => Said::Nothing(Box::new(coordinator)),
    })
}

/// What becomes of it is on that record, and is not to be had.
fn waits(deployment: &Deployment, group: &Membership, why: &str) -> Error {
    let what = format!(
        "it waits for its group, and the record of {}, which says what becomes of it, {why}; \
         nothing was done",
        group.id
    );
    Error::new(ErrorKind::Interrupted, what)
        .on(deployment.id())
        .advice("look at the other workloads of the stack; abandon it, then adopt what is live, or roll it back")
}

/// Writes on the record of a coordinator whose holder is dead that its group does not go forward. What
/// is to be done for it, whoever recovers it does.
async fn rule_out(inner: &Arc<Inner>, coordinator: &Deployment) -> Result<(), Error> {
    let now = inner.clock.now();
    let asked = Instant::now();
    let holder = Holder::this_process(now);
    let lease = inner
        .store
        .take_over(coordinator.workload(), &holder)
        .await?;
    let tenure = Tenure::of(&inner.store, lease, asked);
    if tenure.held().deployment() != coordinator.id() {
        return Ok(());
    }
    // It may have been decided between the look and now.
    let record = inner.record(coordinator.id()).await?;
    if fate(&record).is_some() {
        return Ok(());
    }
    let event = TimedEvent::new(now, Event::GoingBack(Cause::Interrupted));
    match tenure.append(&[event]).await {
        Ok(_) => Ok(()),
        // Another process was quicker, and will say.
        Err(e) if e.kind() == StoreErrorKind::Fenced => Ok(()),
        Err(e) => Err(e.into()),
    }
}
