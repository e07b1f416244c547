//! Asking a deployment in flight to stop, whichever process runs it.

use std::process::ExitCode;
use std::time::Duration;

use rollback_core::deployment::Outcome;
use rollback_core::error::ErrorKind;
use rollback_core::history::{Liveness, Version, WorkloadState};
use rollback_core::id::DeploymentId;

use crate::args::{Cancel, InFlight};
use crate::end::{self, End, FAILED, REFUSED, UNKNOWN};
use crate::out::say;
use crate::text::ended;
use crate::words;
use crate::world::World;

/// How often the record is looked at. Runs look for the request twice a second.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) async fn run(world: &World, cancel: Cancel) -> Result<ExitCode, End> {
    let id = match cancel.what {
        InFlight::On(workload) => on(&world.store.workload(&workload).await?)?,
        InFlight::Is(typed) => is(world, world.id(&typed).await?).await?,
    };
    match world.engine.cancel(&id, &world.actor).await {
        // It was in flight a moment ago.
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(End::new(REFUSED, words::of(&e)));
        }
        asked => asked?,
    }
    say!("{id} was asked to stop.");
    if cancel.no_wait {
        return Ok(ExitCode::SUCCESS);
    }
    let (outcome, summary) = once_ended(world, &id).await?;
    let code = match outcome {
        Outcome::Cancelled => {
            say!("{summary}");
            return Ok(ExitCode::SUCCESS);
        }
        Outcome::Succeeded => REFUSED,
        other => end::code(other),
    };
    let text = format!("{id} was not stopped, it ended as {outcome}: {summary}");
    Err(End::new(code, text))
}

/// What is in flight on a workload, and hears.
fn on(state: &WorkloadState) -> Result<DeploymentId, End> {
    let workload = &state.workload;
    let (code, text) = match &state.in_flight {
        Some(in_flight) if in_flight.liveness == Liveness::Alive => {
            return Ok(in_flight.deployment.clone());
        }
        Some(in_flight) => (REFUSED, died(&in_flight.deployment)),
        None if state.version == Version(0) => (UNKNOWN, format!("nothing is known of {workload}")),
        None => (REFUSED, format!("nothing is in flight on {workload}")),
    };
    Err(End::new(code, format!("{text}; nothing was changed")))
}

/// The same deployment, if it is what is in flight.
async fn is(world: &World, id: DeploymentId) -> Result<DeploymentId, End> {
    let record = world.engine.get(&id).await?;
    let state = world.store.workload(record.workload()).await?;
    let now = match &state.in_flight {
        Some(in_flight) if in_flight.deployment == id => return on(&state),
        Some(other) => format!("{} is", other.deployment),
        None => "nothing is".to_owned(),
    };
    let (workload, ended) = (record.workload(), ended(&record));
    Err(End::new(
        REFUSED,
        format!("{id} is over: {ended}; {now} in flight on {workload}; nothing was changed"),
    ))
}

fn died(id: &DeploymentId) -> String {
    format!("nobody runs {id} any more, its process is dead: run recover")
}

/// How it ended, once it has.
async fn once_ended(world: &World, id: &DeploymentId) -> Result<(Outcome, String), End> {
    loop {
        let record = world.engine.get(id).await?;
        if let Some(settlement) = record.settlement() {
            return Ok((settlement.outcome, settlement.summary.clone()));
        }
        let state = world.store.workload(record.workload()).await?;
        let held = state.in_flight.filter(|f| f.deployment == *id);
        if held.is_some_and(|f| f.liveness == Liveness::Dead) {
            return Err(End::new(FAILED, died(id)));
        }
        tokio::time::sleep(LOOK).await;
    }
}
