//! What a plan warns of: what does not come back, what is not known to be healthy, what was changed
//! by hand, which migrations were applied since.

use std::time::Duration;

use super::ask;
use super::choose::{self, Choice};
use crate::backend::{Backend, End, Rollout, WayBack};
use crate::deployment::Deployment;
use crate::drift::Drift;
use crate::engine::Workload;
use crate::health::{Aim, Verdict};
use crate::plan::{Migrations, Warning};
use crate::release::ReferenceKind;

/// What a rollback never brings back.
const NEVER_RESTORED: [&str; 4] = ["data", "database schema", "volumes", "domains"];

/// How long it may take to see what the abandoned reference means now: a warning is not worth
/// waiting for a registry that is away.
const REFERENCE: Duration = Duration::from_secs(3);

/// The same of what may hinder a plan: whatever was not seen now is met when it is carried out.
const PREFLIGHT: Duration = Duration::from_secs(3);

/// Migrations since the release that comes back was settled: its own release task may have run
/// some, and those it knows.
pub(super) async fn migrations(
    limit: Duration,
    workload: &Workload,
    point: &Deployment,
) -> Migrations {
    let Some(log) = &workload.migrations else {
        return Migrations::NotTracked;
    };
    let since = point.settled_at().unwrap_or(point.opening().opened_at);
    let asked = ask::ask(limit, |cx| async move {
        log.applied_since(&cx, &workload.id, since).await
    });
    match asked.await {
        Ok(Ok(names)) => Migrations::Since { names },
        Ok(Err(why)) => Migrations::Unknown {
            why: why.to_string(),
        },
        Err(late) => Migrations::Unknown {
            why: format!("{late} from the migration log"),
        },
    }
}

pub(super) fn warnings(
    choice: &Choice,
    back_to: Option<&Deployment>,
    drift: &Drift,
    migrations: Option<&Migrations>,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let (None, Some(earlier)) = (&choice.point, back_to) {
        warnings.push(Warning::GoesBack {
            to: earlier.id().clone(),
        });
    }
    match (back_to.map(|d| (d.id(), d.verdict())), &choice.point) {
        (Some((id, Verdict::Failed { diagnostic })), _) => {
            warnings.push(Warning::KnownUnhealthy {
                deployment: id.clone(),
                diagnostic: diagnostic.clone(),
            });
        }
        (_, Some(point)) if !choice.healthy => {
            warnings.push(Warning::NotKnownHealthy {
                deployment: point.clone(),
            });
        }
        _ => {}
    }
    if back_to.is_some() {
        let what = NEVER_RESTORED.iter().map(ToString::to_string).collect();
        warnings.push(Warning::NotRestored { what });
    }
    match migrations {
        Some(Migrations::Since { names }) if !names.is_empty() => {
            warnings.push(Warning::MigrationsSince {
                count: names.len(),
                names: names.clone(),
            });
        }
        Some(Migrations::Unknown { why }) => {
            warnings.push(Warning::MigrationsUnknown { why: why.clone() });
        }
        _ => {}
    }
    if drift.is_drift() {
        warnings.push(Warning::Drifted {
            how: drift.to_string(),
        });
    }
    match choose::way_back(&choice.observed) {
        WayBack::Lossy(losses) => warnings.push(Warning::LossyWayBack { losses }),
        WayBack::None(why) => warnings.push(Warning::LossyWayBack { losses: vec![why] }),
        WayBack::Exact => {}
    }
    warnings
}

/// Whether no check can be aimed at a successor that has no traffic yet, though there would be time
/// to. Of a check that needs an address, whether there is one, `start` will tell.
pub(super) fn not_judged_beside(workload: &Workload) -> Option<Warning> {
    let checks = &workload.checks;
    let blind = checks.iter().all(|check| check.aim() == Aim::Live);
    let is_beside = workload.backend.rollout() == Rollout::Beside;
    (is_beside && blind && !checks.is_empty()).then(|| Warning::NotJudgedBeside {
        checks: checks.iter().map(|check| check.name()).collect(),
    })
}

/// What the platform has in the way of it.
pub(super) async fn preflight(
    limit: Duration,
    backend: &dyn Backend,
    from: &End,
    to: &End,
) -> impl Iterator<Item = Warning> {
    let seen = ask::preflight(limit.min(PREFLIGHT), backend, from, to).await;
    let remarks = seen.remarks.into_iter();
    remarks.map(|remark| Warning::Preflight { remark })
}

/// Whether the branch by which the live release was deployed still means it.
pub(super) async fn reference_stays(
    backend: &dyn Backend,
    live: &Deployment,
    to: &End,
) -> Option<Warning> {
    let abandoned = live.opening().to.release()?.artifact();
    let comes_back = to.release().map(|r| &r.artifact().digest) == Some(&abandoned.digest);
    if abandoned.kind != ReferenceKind::Moving || comes_back {
        return None;
    }
    let now = ask::resolve(REFERENCE, backend, &abandoned.reference);
    let now = now.await.ok()?;
    (now.artifact().digest == abandoned.digest).then(|| Warning::ReferenceStays {
        reference: abandoned.reference.clone(),
        release: abandoned.short().to_owned(),
    })
}
