//! A group as it goes.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::io::{IsTerminal, stderr};
use std::pin::pin;

use rollback_core::engine::GroupReport;
use rollback_core::error::ErrorKind;
use rollback_core::event::{Cause, Event};
use rollback_core::guard::Notice;
use rollback_core::id::{DeploymentId, GroupId, WorkloadId};
use rollback_core::stack::StackPlan;
use tokio::signal::unix::SignalKind;
use tokio::sync::broadcast::error::RecvError;

use crate::end::{End, LEFT};
use crate::follow::{LOOK, either, on, phase};
use crate::out::aside;
use crate::words;
use crate::world::World;

/// Who moves, and by which deployment.
type Members = BTreeMap<WorkloadId, DeploymentId>;

/// Carries a plan out and waits. Says each phase of each member; on a terminal also what the backends
/// say. The first Ctrl-C asks all of it to stop; the second one leaves it as it is.
pub(crate) async fn to_the_end(world: &World, plan: StackPlan) -> Result<GroupReport, End> {
    let mut notices = world.engine.subscribe();
    let run = world.engine.execute_stack(plan).await?;
    let id = run.id().clone();
    let progress = run.progress().into_iter();
    let members: Members = progress.map(|(w, p)| (w, p.deployment)).collect();
    let watched = stderr().is_terminal();
    let mut run = pin!(run.into_future());
    let mut said = BTreeMap::new();
    let (mut interrupt, mut terminate) =
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    let mut asked = false;
    loop {
        tokio::select! {
            // What happened is said before how it ended.
            biased;
            notice = notices.recv() => match notice {
                Ok(notice) => tell(&notice),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(run.await),
            },
            report = &mut run => {
                while let Ok(notice) = notices.try_recv() {
                    tell(&notice);
                }
                return Ok(report);
            }
            () = either(&mut interrupt, &mut terminate) => {
                if asked {
                    return Err(left(world, &id, &members));
                }
                asked = true;
                stop(world, &members).await;
            }
            () = tokio::time::sleep(LOOK), if watched => {
                for (workload, id) in &members {
                    let progress = world.engine.progress(id);
                    let line = progress.map(|p| p.line).unwrap_or_default();
                    if !line.is_empty() && said.get(workload) != Some(&line) {
                        aside!("    {workload}: {line}");
                        said.insert(workload, line);
                    }
                }
            }
        }
    }
}

/// Asks every member: whichever hears it first, all go back.
async fn stop(world: &World, members: &Members) {
    let mut heard = false;
    for id in members.values() {
        match world.engine.cancel(id, &world.actor).await {
            Ok(()) => heard = true,
            // It has ended already.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => aside!("history: {}", words::of(&e)),
        }
    }
    aside!(
        "  … {}; another Ctrl-C leaves it as it is",
        match heard {
            true => "asked to stop",
            false => "nothing could be asked to stop",
        }
    );
}

/// What is left by who does not wait: the records are unfinished, and whoever recovers them goes on.
fn left(world: &World, id: &GroupId, members: &Members) -> End {
    let at = |(workload, id): (&WorkloadId, &DeploymentId)| {
        let phase = world.engine.progress(id)?.phase;
        Some(format!("{workload} while {phase}"))
    };
    let at: Vec<String> = members.iter().filter_map(at).collect();
    End::new(
        LEFT,
        format!(
            "{id} was left, {}: it is neither finished nor undone, and nothing else can be deployed \
             there; run recover, which settles all of it in one way",
            at.join(", ")
        ),
    )
}

fn tell(notice: &Notice) {
    let workload = &notice.workload;
    let Some(timed) = &notice.event else {
        let (what, id) = (notice.trigger, &notice.deployment);
        return aside!("  … {workload}: {what} {id}");
    };
    let phase = match &timed.event {
        Event::Agreed => Some("live, waiting for the others".to_owned()),
        Event::Decided => return aside!("  … all are live, and stay"),
        Event::GoingBack(Cause::WithItsGroup { workload, .. }) => {
            Some(format!("going back with {workload}"))
        }
        event => phase(event),
    };
    if let Some(phase) = phase {
        aside!("  … {workload}: {phase}");
    }
}
