//! What is on record as live, what is live now, and what can be done where they differ.

use std::process::ExitCode;

use rollback_core::deployment::Outcome;
use rollback_core::drift::Drift;
use rollback_core::engine::{CanRollBack, HealthReport};
use rollback_core::error::{Chain, ErrorKind};
use rollback_core::history::{
    Amended, InFlight, Liveness, Query, States, WasAmended, WorkloadState,
};
use rollback_core::id::{DeploymentId, WorkloadId};
use rollback_core::prelude::*;
use serde_json::{Value, json};

use crate::end::{AWAY, End, UNKNOWN};
use crate::out::{aside, say};
use crate::text::{ago, field, release, verdict};
use crate::words;
use crate::world::World;

pub(crate) async fn run(
    world: &World,
    only: Option<WorkloadId>,
    json: bool,
) -> Result<ExitCode, End> {
    let known = world.engine.workloads().await?;
    let States {
        mut states,
        mut damaged,
        ..
    } = world.store.workloads().await?;
    for state in known.states {
        if states.iter().all(|s| s.workload != state.workload) {
            states.push(state);
        }
    }
    if let Some(only) = &only {
        states.retain(|s| s.workload == *only);
        damaged.retain(|d| d.workload == *only);
        if states.is_empty() && damaged.is_empty() {
            return Err(End::new(UNKNOWN, format!("nothing is known of {only}")));
        }
    }
    let mut told = Vec::new();
    for (i, state) in states.iter().enumerate() {
        if json {
            told.push(as_json(world, state).await?);
            continue;
        }
        if i > 0 {
            say!();
        }
        one(world, state).await?;
    }
    if json {
        say!("{}", serde_json::to_string_pretty(&told)?);
    } else if states.is_empty() && damaged.is_empty() {
        say!("No workloads.");
    }
    for one in &damaged {
        aside!(
            "history: {}: {}",
            one.workload,
            words::typed(&Chain::of(&one.error).to_string())
        );
    }
    Ok(ExitCode::from(if damaged.is_empty() { 0 } else { AWAY }))
}

/// The state, the live `record`, how it is `now`, the `rules`, and whether a `rollback` would go
/// ahead: all that is told to people.
pub(crate) async fn as_json(world: &World, state: &WorkloadState) -> Result<Value, End> {
    let workload = &state.workload;
    let mut told = serde_json::to_value(state)?;
    if let Some(id) = state.live.known() {
        told["record"] = match world.engine.get(id).await {
            Ok(record) => serde_json::to_value(record)?,
            Err(e) => json!({ "error": words::of(&e) }),
        };
    }
    if let Err(why) = world.deploys(workload) {
        told["now"] = json!({ "error": why.text() });
        return Ok(told);
    }
    told["now"] = match world.engine.health(workload).await {
        Ok(seen) => json!({
            "live": seen.live,
            "verdict": seen.verdict(),
            "checks": seen.checks.iter().map(|(name, seen)| match seen {
                Ok(_) => json!({ "name": name, "healthy": true }),
                Err(why) => json!({ "name": name, "healthy": false, "why": why }),
            }).collect::<Vec<_>>(),
            "drift": seen.drift,
            "behind": seen.behind,
        }),
        Err(e) => json!({ "error": words::of(&e) }),
    };
    told["rules"] = serde_json::to_value(world.engine.rules(workload).await?)?;
    let asked = world.engine.can_roll_back(workload, world.actor.clone());
    told["rollback"] = match asked.await {
        CanRollBack::Yes(plan) => json!({ "can": "yes", "plan": plan }),
        CanRollBack::No(refusal) => json!({ "can": "no", "why": words::refused(&refusal) }),
        CanRollBack::NotNow(e) => json!({ "can": "not_now", "why": words::of(&e) }),
        _ => json!({ "can": "unknown" }),
    };
    Ok(told)
}

/// What is on record as live, what is live now, and what is in flight.
pub(crate) async fn seen(world: &World, state: &WorkloadState) -> Result<(), End> {
    on_record(world, state).await?;
    // Only for a workload of the catalog is more known than the records say.
    match world.deploys(&state.workload) {
        Ok(()) => now(world, state).await?,
        Err(why) => field("  now", format!("cannot be seen: {}", why.text())),
    }
    if let Some(in_flight) = &state.in_flight {
        field("  in flight", who_runs(in_flight));
    }
    Ok(())
}

async fn one(world: &World, state: &WorkloadState) -> Result<(), End> {
    let workload = &state.workload;
    say!("{workload}");
    seen(world, state).await?;
    for recall in &state.recalls {
        let since = ago(recall.at, world.now);
        let (artifact, why, by) = (&recall.artifact, &recall.why, &recall.by);
        field("  recalled", format!("{artifact} by {by}: {why} ({since})"));
    }
    if let Some(floor) = &state.floor {
        let since = ago(floor.at, world.now);
        let (id, why, by) = (&floor.deployment, &floor.why, &floor.by);
        field("  floor", format!("{id} by {by}: {why} ({since})"));
    }
    if let Some(hold) = &state.hold {
        let since = ago(hold.since, world.now);
        field("  held", format!("by {}: {} ({since})", hold.by, hold.why));
    }
    if let Some(last) = state.amendments.last() {
        field("  last changed", changed(last, world.now));
    }
    if world.deploys(workload).is_ok() {
        rules(world, workload).await?;
        field("  can roll back", can_roll_back(world, workload).await);
    }
    Ok(())
}

/// What was found when it was deployed, which says nothing of today.
async fn on_record(world: &World, state: &WorkloadState) -> Result<(), End> {
    match &state.live {
        LiveRecord::Nothing => field("  on record", "nothing"),
        LiveRecord::Unknown => {
            field("  on record", "not known; look at the platform, then adopt");
        }
        LiveRecord::Known(id) => {
            let d = world.engine.get(id).await?;
            let verdict = verdict(&d);
            let what = match d.trigger().kind() {
                TriggerKind::Adopt => "adopted",
                _ => "deployed",
            };
            let at = d.settled_at().unwrap_or(d.opening().opened_at);
            let ago = ago(at, world.now);
            field(
                "  on record",
                format!("{}, {verdict} when {what} {ago}\n{id}", release(&d)),
            );
            if let Some(settlement) = d.settlement()
                && settlement.outcome != Outcome::Succeeded
            {
                let outcome = settlement.outcome;
                field("", format!("{outcome}: {}", settlement.summary));
            }
        }
    }
    degraded(world, state).await
}

/// That the newest deployment left the workload degraded, though what it wanted live is not.
async fn degraded(world: &World, state: &WorkloadState) -> Result<(), End> {
    let newest = Query::workload(&state.workload).limit(1);
    for d in &world.engine.list(&newest).await?.deployments {
        if let Some(settlement) = d.settlement()
            && settlement.outcome == Outcome::Degraded
            && state.live.known() != Some(d.id())
        {
            let (what, id) = (d.trigger().kind(), d.id());
            field(
                "  degraded",
                format!("by {what} {id}\n{}", settlement.summary),
            );
        }
    }
    Ok(())
}

/// What the platform and the checks say, and what differs from the record.
async fn now(world: &World, state: &WorkloadState) -> Result<(), End> {
    let seen = match world.engine.health(&state.workload).await {
        Ok(seen) => seen,
        Err(e) => {
            let why = End::from(e);
            field("  now", format!("cannot be seen: {}", why.text()));
            return Ok(());
        }
    };
    if let Some(published) = &seen.behind {
        field(
            "  behind",
            format!(
                "{published} was deployed here and is not on record: an older copy of the history \
                 was put back\nadopt puts on record what is live; until then nothing is deployed or \
                 rolled back by itself"
            ),
        );
    }
    match &seen.drift {
        Drift::NoRecord if seen.live.is_some() => {
            let live = with_name(&seen);
            field("  now", format!("{live}; adopt puts it on record"));
            return Ok(());
        }
        Drift::None | Drift::NoRecord => {
            field("  now", looks(&seen));
            return Ok(());
        }
        _ => {}
    }
    // A switch is a difference between the record and the platform, too.
    match &state.in_flight {
        Some(_) => field("  now", format!("{}; being switched", with_name(&seen))),
        None => {
            field("  now", with_name(&seen));
            let advice = advice(world, state, &seen.drift).await?;
            field("  drift", format!("{}\n{advice}", seen.drift));
        }
    }
    Ok(())
}

fn looks(seen: &HealthReport) -> String {
    match &seen.live {
        None => "nothing is live".to_owned(),
        Some(_) => seen.verdict().to_string(),
    }
}

fn with_name(seen: &HealthReport) -> String {
    match (&seen.live, &seen.drift) {
        (Some(live), _) => format!("{live}, {}", seen.verdict()),
        (None, Drift::Mixed { .. }) => "not one release alone".to_owned(),
        (None, _) => looks(seen),
    }
}

/// How to have the record and the platform agree again.
async fn advice(world: &World, state: &WorkloadState, drift: &Drift) -> Result<String, End> {
    let adopt = match drift {
        Drift::Replaced { .. } | Drift::Changed { .. } => {
            // Where there is but one, it need not be named.
            let which = match world.catalog()? {
                [_] => String::new(),
                _ => format!(" --workload {}", state.workload),
            };
            format!("adopt{which} to keep what is there")
        }
        Drift::Mixed { .. } => return Ok("clean up at the platform, then adopt".to_owned()),
        // Nobody keeps what is gone or stands still.
        _ => String::new(),
    };
    let Some(id) = state.live.known() else {
        return Ok(adopt);
    };
    let back = match way_back(world, &state.workload, id).await {
        Ok(options) => {
            let ids = world.ids([id]).await?;
            let id = ids.short(id);
            format!("rollback {id}{options} to put back what is on record")
        }
        Err(why) => format!("what is on record cannot be put back: {}", why.text()),
    };
    Ok(match adopt.as_str() {
        "" => back,
        adopt => format!("{adopt}, or {back}"),
    })
}

/// What has to be typed after a rollback to what is on record as live: if only its surroundings
/// were changed, it counts as live, and has to be reapplied.
async fn way_back(
    world: &World,
    workload: &WorkloadId,
    id: &DeploymentId,
) -> Result<&'static str, End> {
    let goal = Goal::To(id.clone());
    let back = Request::rollback(workload.clone(), goal, world.actor.clone());
    match world.engine.preview(&back).await {
        Ok(_) => Ok(""),
        Err(e) if e.kind() == ErrorKind::AlreadyLive => {
            world.engine.preview(&back.reapply()).await?;
            Ok(" --reapply")
        }
        Err(e) => Err(e.into()),
    }
}

fn who_runs(in_flight: &InFlight) -> String {
    let holder = &in_flight.holder;
    let alive = match in_flight.liveness {
        Liveness::Dead => "interrupted; run recover",
        _ => "running",
    };
    format!(
        "{}, process {} on {}, {alive}",
        in_flight.deployment, holder.pid, holder.host
    )
}

/// Who changed last what holds for a workload: also what is there no more, such as a hold.
fn changed(last: &Amended, now: Timestamp) -> String {
    let what = match &last.what {
        WasAmended::Held { why } => format!("held: {why}"),
        WasAmended::HoldLifted { of, why } => format!("hold of {of} lifted: {why}"),
        WasAmended::PolicySet => "policy set".to_owned(),
        WasAmended::PolicyCleared => "policy cleared".to_owned(),
        WasAmended::Recalled { artifact, why } => format!("{artifact} recalled: {why}"),
        WasAmended::RecallCleared { artifact } => format!("{artifact} recalled no more"),
        WasAmended::FloorSet { deployment, why } => format!("floor set to {deployment}: {why}"),
        WasAmended::FloorCleared => "floor cleared".to_owned(),
        WasAmended::Abandoned { deployment, why } => format!("{deployment} abandoned: {why}"),
        _ => "changed".to_owned(),
    };
    format!("{what} (by {}, {})", last.by, ago(last.at, now))
}

async fn rules(world: &World, workload: &WorkloadId) -> Result<(), End> {
    let rules = world.engine.rules(workload).await?;
    let (mode, records) = (rules.policy.rollback, rules.policy.retention.records);
    field("  rollback", format!("{mode}; records: {records}"));
    if let Some(set) = &rules.set {
        let since = ago(set.at, world.now);
        field("  policy", format!("set by {}, {since}", set.by));
    }
    Ok(())
}

async fn can_roll_back(world: &World, workload: &WorkloadId) -> String {
    let asked = world.engine.can_roll_back(workload, world.actor.clone());
    match asked.await {
        CanRollBack::Yes(plan) => {
            let to = plan.release().map_or_else(String::new, ToString::to_string);
            let id = plan
                .rollback_point()
                .map_or_else(String::new, ToString::to_string);
            format!("yes, to {to} ({id})")
        }
        CanRollBack::No(refusal) => format!("no: {}", words::refused(&refusal)),
        CanRollBack::NotNow(e) => format!("not now: {}", End::from(e).text()),
        _ => "not known".to_owned(),
    }
}
