//! Choosing what will be live: references resolved, candidates looked for at the platform.

use std::time::Duration;

use super::ask;
use crate::backend::{Availability, Backend, End, Instance, Live, Observation, WayBack};
use crate::deployment::LiveRecord;
use crate::error::Error;
use crate::id::DeploymentId;
use crate::plan::{PassedOver, Refusal};
use crate::planner::{Selection, end_for};
use crate::request::Goal;

/// What was chosen to be made live.
pub(super) struct Choice {
    pub(super) to: End,
    /// The deployment whose release a rollback brings back.
    pub(super) target: Option<DeploymentId>,
    pub(super) passed_over: Vec<PassedOver>,
    pub(super) availability: Availability,
    pub(super) observed: Observation,
    /// Whether the target has a good verdict on record.
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
        target: None,
        passed_over: Vec::new(),
        observed,
        healthy: true,
    })
}

/// The first candidate that can be had; they are asked about one by one.
pub(super) async fn candidate(
    limit: Duration,
    backend: &dyn Backend,
    selection: &Selection<'_>,
    observed: Observation,
) -> Result<(DeploymentId, Choice), Error> {
    let found = selection.candidates()?;
    let mut passed_over = found.passed_over;
    let by_name = *selection.goal != Goal::LastHealthy;
    for d in found.candidates {
        let to = selection
            .release_of(d)
            .map_or(End::Nothing, |release| end_for(d, release));
        match ask::availability(limit, backend, &to).await? {
            Availability::Gone(why) if by_name => {
                return Err(Refusal::InvalidTarget {
                    deployment: d.id().clone(),
                    why: format!("its release is gone: {why}"),
                }
                .into());
            }
            Availability::Gone(why) => passed_over.push(PassedOver {
                deployment: d.id().clone(),
                why: format!("is gone: {why}"),
            }),
            availability => {
                let choice = Choice {
                    to,
                    target: Some(d.id().clone()),
                    passed_over,
                    availability,
                    observed,
                    healthy: d.verdict().is_good(),
                };
                return Ok((d.id().clone(), choice));
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
