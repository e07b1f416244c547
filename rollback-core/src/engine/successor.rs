//! The automatic rollback: where it goes, as the deployment to open.

use std::sync::Arc;

use super::inner::Inner;
use super::inner::NEWEST;
use super::rules::{PolicySource, Rules};
use super::wished;
use super::{ask, choose, warnings};
use crate::deployment::{Deployment, LiveRecord, NotAttempted, Opening, Trigger};
use crate::drift::Drift;
use crate::engine::Workload;
use crate::error::Error;
use crate::history::{Holder, Published, ReleaseSummary};
use crate::id::Actor;
use crate::lineage::Lineage;
use crate::plan::Migrations;
use crate::planner::Selection;
use crate::policy::{OnMigrations, Policy, RollbackMode};
use crate::release::Restore;
use crate::request::{Goal, Reapply};
use crate::withheld::Withheld;

/// An automatic rollback to be opened.
pub(super) struct Successor {
    pub(super) new: Opening,
    /// Whether its rollback point has a good verdict on record.
    pub(super) to_last_healthy: bool,
}

/// The automatic rollback after `failed`, which is live; `Err` inside says why there is none.
pub(super) async fn successor(
    inner: &Arc<Inner>,
    workload: &Workload,
    failed: &Deployment,
) -> Result<Result<Successor, NotAttempted>, Error> {
    let own = failed.opening();
    if failed.trigger().restores().is_some() {
        return Ok(Err(NotAttempted::WasARollback));
    }
    if own.policy.rollback != RollbackMode::Auto {
        return Ok(Err(NotAttempted::NotArmed));
    }
    // The failed release is what is live, though its settlement is yet to be written.
    let live = LiveRecord::Known(failed.id().clone());
    let state = inner.store.workload(failed.workload()).await?;
    let policy: Policy = own.policy.clone();
    let restore = policy.restore.clone().unwrap_or(Restore::Everything);
    let mut newest = NEWEST;
    let past = loop {
        let past = inner.summaries(failed.workload(), newest).await?;
        let lineage = Lineage::new(&past.summaries, &live).withholding(Withheld::of(&state));
        if past.is_whole || lineage.is_closed() && lineage.answers(&Goal::LastHealthy, &restore) {
            break past;
        }
        newest = newest.saturating_mul(2);
    };
    let failed_end = failed.operation().to;
    let limit = policy.deadlines.observe;
    let backend = workload.backend.as_ref();
    let observed = ask::observe(limit, backend).await?;
    let published = inner.published(&observed, failed.workload(), &past).await?;
    if let Published::Ahead(_) = published {
        return Ok(Err(NotAttempted::HistoryBehind));
    }
    // What restores everything needs nothing of today's.
    let today = match restore {
        Restore::Everything => failed_end.release().cloned(),
        _ => wished::today(limit, backend, failed_end.release()).await?,
    };
    let sick = failed_end.release().map(ReleaseSummary::of);
    let configured = today.as_ref().map(ReleaseSummary::of);
    let mut past = past;
    let (point, choice, origin) = loop {
        let lineage = Lineage::new(&past.summaries, &live).withholding(Withheld::of(&state));
        let selection = Selection {
            workload: failed.workload(),
            goal: &Goal::LastHealthy,
            lineage: &lineage,
            live: sick.as_ref(),
            today: configured.as_ref(),
            restore: &restore,
            policy: &policy,
            reapply: Reapply::No,
        };
        let seen = observed.clone();
        match choose::candidate(inner, backend, &selection, today.as_ref(), seen).await {
            Ok((point, choice)) => {
                let origin = lineage.origin(point.id());
                break (point, choice, origin);
            }
            // Older ones may answer what none of these does.
            Err(e) if e.refusal().is_some() && !past.is_whole => {
                past = inner.summaries(failed.workload(), usize::MAX).await?;
            }
            Err(e) if e.refusal().is_some() => return Ok(Err(NotAttempted::NoRollbackPoint)),
            Err(e) => return Err(e),
        }
    };
    let migrations = Some(warnings::migrations(limit, workload, &point).await);
    if policy.migrations == OnMigrations::Block
        && !matches!(&migrations, Some(Migrations::Since { names }) if names.is_empty())
    {
        return Ok(Err(NotAttempted::Migrations));
    }
    let warnings = warnings::warnings(&choice, Some(&point), &Drift::None, migrations.as_ref());
    let now = inner.clock.now();
    let trigger = Trigger::AutomaticRollback {
        to: point.id().clone(),
        failed: failed.id().clone(),
    };
    let rules = Rules {
        gate: own.gate.clone(),
        ..workload.rules_by(policy, PolicySource::Catalog)
    };
    let actor = Actor::engine("automatic-rollback");
    let mut new = workload.opening(trigger, actor, now, &rules);
    new.replaces = live.clone();
    new.origin = origin;
    new.fallback = live.clone();
    new.from = failed_end;
    new.to = choice.to;
    new.warnings = warnings;
    new.labels = own.labels.clone();
    new.correlation = own.correlation.clone();
    new.history = own.history.clone();
    new.holder = Some(Holder::this_process(now));
    Ok(Ok(Successor {
        to_last_healthy: choice.healthy,
        new,
    }))
}
