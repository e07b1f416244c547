//! The guards: the built-in ones over dependencies, migrations, holds, recalls and the floor, then the
//! embedder's own.

use std::collections::BTreeSet;

use super::ask;
use super::inner::Inner;
use crate::backend::{End, WayBack};
use crate::dependencies::{Relation, trouble};
use crate::deployment::{Deployment, Trigger};
use crate::engine::Workload;
use crate::error::{Chain, Error, StoreError};
use crate::guard::Ruling;
use crate::history::{Summary, WorkloadState};
use crate::id::{DeploymentId, GuardName, WorkloadId};
use crate::lineage::Lineage;
use crate::plan::{Migrations, Plan, Refusal, Warning};
use crate::policy::{OnMigrations, OnOverdue};
use crate::release::Release;
use crate::request::{Request, Wish};
use crate::time::Timestamp;
use crate::withheld::Withheld;

/// Refuses to force what is no guard of this workload: it would be recorded, and skip nothing.
pub(super) fn known(workload: &Workload, forced: &[GuardName]) -> Result<(), Refusal> {
    let mut known = vec![
        GuardName::dependencies(),
        GuardName::migrations(),
        GuardName::hold(),
        GuardName::recall(),
        GuardName::floor(),
        GuardName::way_back(),
        GuardName::drill(),
    ];
    known.extend(workload.guards.iter().map(|g| g.name()));
    match forced.iter().find(|guard| !known.contains(guard)) {
        None => Ok(()),
        Some(guard) => Err(Refusal::UnknownGuard {
            guard: guard.clone(),
            known,
        }),
    }
}

/// Asks every guard. One that is forced warns of what it would have refused.
pub(super) async fn ask(
    inner: &Inner,
    workload: &Workload,
    plan: &Plan,
) -> Result<Vec<Warning>, Error> {
    let mut warnings = Vec::new();
    let mut rule = |guard: GuardName, ruling: Ruling| {
        match ruling {
            Ruling::Allow => {}
            Ruling::Warn(more) => warnings.extend(more),
            Ruling::Refuse(why) if plan.new.forced.contains(&guard) => {
                warnings.push(Warning::Guard {
                    guard,
                    message: format!("forced: {why}"),
                });
            }
            Ruling::Refuse(why) => return Err(Refusal::Guard { guard, why }),
        }
        Ok(())
    };
    rule(
        GuardName::dependencies(),
        dependencies(inner, &workload.id, &plan.moves_with).await?,
    )?;
    rule(GuardName::way_back(), way_back(plan))?;
    rule(GuardName::migrations(), migrations(plan))?;
    rule(GuardName::drill(), drill(plan, inner.clock.now()))?;
    for (guard, why) in &plan.withheld {
        rule(guard.clone(), Ruling::Refuse(why.clone()))?;
    }
    for guard in &workload.guards {
        let asked = ask::ask(plan.new.policy.deadlines.observe, |cx| async move {
            guard.check(&cx, plan).await
        });
        // Who is to be asked, and does not answer, has not allowed it.
        let ruling = asked
            .await
            .unwrap_or_else(|late| Ruling::Refuse(late.to_string()));
        rule(guard.name(), ruling)?;
    }
    Ok(warnings)
}

/// Whether everything that this workload needs, and everything that needs it, is in a state to
/// go ahead with.
async fn dependencies(
    inner: &Inner,
    id: &WorkloadId,
    moves_with: &BTreeSet<WorkloadId>,
) -> Result<Ruling, Error> {
    let needs = inner.graph.needs(id).map(|w| (Relation::Dependency, w));
    let needed_by = inner.graph.needed_by(id).map(|w| (Relation::Dependent, w));
    let mut troubles = Vec::new();
    let others = needs.chain(needed_by);
    for (relation, neighbour) in others.filter(|(_, n)| !moves_with.contains(n)) {
        match neighbours(inner, neighbour).await {
            Ok((state, live)) => troubles.extend(trouble(relation, &state, live.as_ref())),
            Err(e) if e.is_transient() => return Err(e.into()),
            // Its damage is a trouble like any other, and can be forced like any other.
            Err(e) => troubles.push(format!("{neighbour} cannot be read: {}", Chain::of(&e))),
        }
    }
    Ok(if troubles.is_empty() {
        Ruling::Allow
    } else {
        Ruling::Refuse(troubles.join("; "))
    })
}

/// A neighbour's state, and its live deployment.
async fn neighbours(
    inner: &Inner,
    id: &WorkloadId,
) -> Result<(WorkloadState, Option<Deployment>), StoreError> {
    let state = inner.store.workload(id).await?;
    let live = match state.live.known() {
        Some(id) => inner.store.get(id).await?,
        None => None,
    };
    Ok((state, live))
}

/// What moves with others has to be able to go back because of them.
fn way_back(plan: &Plan) -> Ruling {
    match &plan.way_back {
        WayBack::None(why) if !plan.moves_with.is_empty() => Ruling::Refuse(no_way_back(why)),
        _ => Ruling::Allow,
    }
}

/// What is said of a member of a group that could not go back.
pub(super) fn no_way_back(why: &str) -> String {
    format!("what is live could not be put back if another member failed: {why}")
}

/// Who asks for drills deploys nothing new while none was held in time.
fn drill(plan: &Plan, now: Timestamp) -> Ruling {
    let goes_forward = matches!(plan.trigger(), Trigger::Deploy | Trigger::Redeploy { .. });
    let Some(rule) = plan.new.policy.drill.filter(|_| goes_forward) else {
        return Ruling::Allow;
    };
    // Nobody can practise going back to nothing.
    if matches!(plan.new.from, End::Nothing) {
        return Ruling::Allow;
    }
    let why = match &plan.practised {
        Some(practised) if !practised.is_overdue(&rule, now) => return Ruling::Allow,
        Some(practised) => format!("a rollback was last practised {}", practised.told(now)),
        None => format!("no rollback was practised in {} days", rule.days),
    };
    match rule.then {
        OnOverdue::Block => Ruling::Refuse(format!("{why}; hold a drill first")),
        OnOverdue::Warn => Ruling::Warn(vec![Warning::Guard {
            guard: GuardName::drill(),
            message: why,
        }]),
    }
}

fn migrations(plan: &Plan) -> Ruling {
    if plan.new.policy.migrations != OnMigrations::Block {
        return Ruling::Allow;
    }
    match &plan.migrations {
        Some(Migrations::Since { names }) if !names.is_empty() => Ruling::Refuse(format!(
            "migrations were applied since: {}",
            names.join(", ")
        )),
        Some(Migrations::Unknown { why }) => Ruling::Refuse(format!(
            "whether migrations were applied since is not known: {why}"
        )),
        // Who blocks on migrations has to be able to see them.
        Some(Migrations::NotTracked) => Ruling::Refuse(
            "whether migrations were applied since is not known: no migration log is set up"
                .to_owned(),
        ),
        _ => Ruling::Allow,
    }
}

/// Refuses what is held; what is forced through all the same is warned of.
pub(super) fn held(state: &WorkloadState, request: &Request) -> Result<Option<Warning>, Refusal> {
    let goes_forward = !matches!(request.wish, Wish::Rollback { .. });
    let Some(hold) = state.hold.as_ref().filter(|_| goes_forward) else {
        return Ok(None);
    };
    let guard = GuardName::hold();
    if request.forced.contains(&guard) {
        return Ok(Some(Warning::Guard {
            guard,
            message: format!("forced: held by {}: {}", hold.by, hold.why),
        }));
    }
    Err(Refusal::Held {
        workload: request.workload.clone(),
        by: hold.by.to_string(),
        why: hold.why.to_string(),
    })
}

/// What a guard has to say of going to this release: an artifact that is recalled does not come back
/// by a deploy either.
pub(super) fn withheld(
    withheld: &Withheld,
    lineage: &Lineage<'_, Summary>,
    to: Option<&Release>,
    point: Option<&DeploymentId>,
) -> Vec<(GuardName, String)> {
    let recalled = to.and_then(|to| withheld.recalled(&to.artifact().digest));
    let recalled = recalled.map(|why| format!("the artifact is recalled: {why}"));
    let deployed = point.and_then(|id| lineage.deployed(id));
    let below = deployed.and_then(|deployed| withheld.below_floor(deployed));
    let recalled = recalled.map(|why| (GuardName::recall(), why));
    recalled
        .into_iter()
        .chain(below.map(|why| (GuardName::floor(), why)))
        .collect()
}
