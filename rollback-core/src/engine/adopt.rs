//! Adoption: puts on record what is live already, as it is.

use std::sync::Arc;

use super::ask;
use super::inner::Inner;
use super::inner::NEWEST;
use super::planning;
use super::run::Run;
use super::runner::Step;
use super::start;
use crate::backend::{End, Live, Prepared, Rollout};
use crate::deployment::Trigger;
use crate::drift::drift;
use crate::error::Error;
use crate::guard::{Action, Verb};
use crate::history::Published;
use crate::id::{Actor, WorkloadId};
use crate::plan::Refusal;

pub(super) const INTERRUPTED: &str =
    "The adoption was not finished; nothing was changed. Adopt again.";

pub(super) async fn adopt(inner: &Arc<Inner>, id: &WorkloadId, actor: Actor) -> Result<Run, Error> {
    let workload = inner.workload(id)?;
    inner
        .authorize(&Action {
            actor: &actor,
            workload: id,
            verb: Verb::Adopt,
            deployment: None,
            forced: &[],
        })
        .await?;
    let state = planning::idle(inner, id).await?;
    let rules = workload.rules(&state);
    let past = inner.summaries(id, NEWEST).await?;
    let live = inner.live(&state.live).await?;
    let limit = rules.policy.deadlines.observe;
    let observed = ask::observe(limit, workload.backend.as_ref()).await?;
    let sighting = match &observed.live {
        Live::Nothing => {
            return Err(Refusal::NothingToAdopt {
                workload: id.clone(),
            }
            .into());
        }
        Live::Mixed(_, why) => return Err(Refusal::MixedLive { why: why.clone() }.into()),
        Live::RollingOut(rolling) => {
            let why = format!(
                "{} is being rolled out ({}): adopt it when it is",
                rolling.to.instance.release, rolling.progress
            );
            return Err(Refusal::MixedLive { why }.into());
        }
        Live::One(sighting) => sighting,
    };
    let behind = match inner.published(&observed, id, &past).await? {
        // From now on this history is ahead of what it once published.
        Published::Ahead(fence) => {
            inner.advance(fence.sequence).await?;
            true
        }
        _ => false,
    };
    if let Some(live) = &live
        && !behind
        && !drift(live.instance(), &observed).is_drift()
        && live.outcome() == Some(crate::deployment::Outcome::Succeeded)
    {
        return Err(Refusal::AlreadyLive {
            deployment: live.id().clone(),
            release: sighting.instance.release.to_string(),
        }
        .into());
    }
    let now = inner.clock.now();
    let mut new = workload.opening(Trigger::Adopt, actor, now, &rules);
    new.replaces = state.live.clone();
    let recorded = live.filter(|live| live.instance() == Some(&sighting.instance));
    new.origin = recorded.map(|live| live.origin());
    new.fallback = state.live.clone();
    new.from = End::Placed(sighting.instance.clone());
    new.to = End::Placed(sighting.instance.clone());
    let prepared = Prepared {
        rollout: Rollout::Replace,
        to: sighting.instance.clone(),
        way_back: sighting.way_back.clone(),
    };
    let step = Step::Adopt(Box::new(prepared));
    start::begin(inner, new, state.version, step).await
}
