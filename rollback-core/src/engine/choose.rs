//! Choosing what will be live: references resolved, candidates looked for at the platform.

use std::time::Duration;

use super::ask;
use super::inner::Inner;
use crate::backend::{Availability, Backend, End, Instance, Live, Observation, WayBack};
use crate::deployment::{Deployment, LiveRecord};
use crate::error::{Chain, Error};
use crate::id::DeploymentId;
use crate::plan::{PassedOver, Refusal};
use crate::planner::{Selection, end_for};
use crate::release::Release;
use crate::request::Goal;

/// What was chosen to be made live.
pub(super) struct Choice {
    pub(super) to: End,
    /// The deployment whose release a rollback brings back.
    pub(super) point: Option<DeploymentId>,
    pub(super) passed_over: Vec<PassedOver>,
    pub(super) availability: Availability,
    pub(super) observed: Observation,
    /// Whether the rollback point has a good verdict on record.
    pub(super) healthy: bool,
}

/// A release that is placed anew, whatever is kept.
pub(super) async fn anew(
    limit: Duration,
    backend: &dyn Backend,
    to: End,
    observed: Observation,
) -> Result<Choice, Error> {
    Ok(Choice {
        availability: ask::availability(limit, backend, &to).await?,
        to,
        point: None,
        passed_over: Vec::new(),
        observed,
        healthy: true,
    })
}

/// The first candidate that can be had, and what comes back of it; they are asked about one by one.
pub(super) async fn candidate(
    inner: &Inner,
    backend: &dyn Backend,
    selection: &Selection<'_>,
    today: Option<&Release>,
    observed: Observation,
) -> Result<(Deployment, Choice), Error> {
    let limit = selection.policy.deadlines.observe;
    let found = selection.candidates()?;
    let mut passed_over = found.passed_over;
    let by_name = *selection.goal != Goal::LastHealthy;
    let pass = |id: &DeploymentId, why: String| PassedOver {
        deployment: id.clone(),
        why,
    };
    for d in found.candidates {
        let record = match inner.store.get(&d.id).await {
            Ok(Some(record)) => record,
            // Retention may have let it go meanwhile.
            Ok(None) => {
                passed_over.push(pass(&d.id, "is no more on record".into()));
                continue;
            }
            // Its summary is kept beside it, and says nothing of its damage.
            Err(e) if e.is_unreadable() && !by_name => {
                let why = Chain::of(&e);
                passed_over.push(pass(&d.id, format!("cannot be read: {why}")));
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        let release = record.release();
        let to = release.map_or(End::Nothing, |release| {
            end_for(&record, release.brought_back(today, selection.restore))
        });
        match ask::availability(limit, backend, &to).await? {
            Availability::Gone(why) if by_name => {
                return Err(Refusal::NotARollbackPoint {
                    deployment: d.id.clone(),
                    why: format!("its release is gone: {why}"),
                }
                .into());
            }
            Availability::Gone(why) => passed_over.push(pass(&d.id, format!("is gone: {why}"))),
            availability => {
                // What is older was not looked at.
                let place = |id: &DeploymentId| selection.lineage.get(id).map(|d| d.sequence);
                passed_over.retain(|p| place(&p.deployment) > Some(d.sequence));
                let choice = Choice {
                    to,
                    point: Some(d.id.clone()),
                    passed_over,
                    availability,
                    observed,
                    healthy: d.is_healthy(),
                };
                return Ok((record, choice));
            }
        }
    }
    Err(selection.none(passed_over).into())
}

/// What is live at the platform, as the end an operation starts from.
pub(super) fn live_end(
    observed: &Observation,
    recorded: Option<&Instance>,
) -> Result<End, Refusal> {
    match &observed.live {
        Live::Nothing => Ok(End::Nothing),
        Live::One(sighting) => Ok(End::Placed(sighting.instance.clone())),
        // What it is becoming is what there is to come from.
        Live::RollingOut(rolling) => Ok(End::Placed(rolling.to.instance.clone())),
        // Of several, the recorded one is the one to come from; a switch leaves only its `to`.
        Live::Mixed(sightings, why) => sightings
            .iter()
            .map(|s| &s.instance)
            .find(|i| recorded.is_some_and(|r| r.handle == i.handle))
            .map(|i| End::Placed(i.clone()))
            .ok_or_else(|| Refusal::MixedLive { why: why.clone() }),
    }
}

/// What history may say is live after going back to `from`.
pub(super) fn fallback(live: &LiveRecord, recorded: Option<&Instance>, from: &End) -> LiveRecord {
    match (from, recorded) {
        (End::Nothing, _) => LiveRecord::Nothing,
        (End::Placed(from), Some(recorded)) if from.handle == recorded.handle => live.clone(),
        _ => LiveRecord::Unknown,
    }
}

/// The live instance cannot be put in its own place: its release is prepared anew.
pub(super) fn fresh_if_live(to: End, from: &End) -> End {
    match (to, from) {
        (End::Placed(to), End::Placed(from)) if to.handle == from.handle => {
            End::Planned(to.release)
        }
        (to, _) => to,
    }
}

pub(super) fn way_back(observed: &Observation) -> WayBack {
    match &observed.live {
        Live::Nothing => WayBack::Exact,
        Live::One(sighting) => sighting.way_back.clone(),
        Live::RollingOut(rolling) => rolling.to.way_back.clone(),
        Live::Mixed(_, why) => WayBack::Lossy(vec![why.clone()]),
    }
}
