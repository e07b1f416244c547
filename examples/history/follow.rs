//! A deployment as it goes, and how it ended.

use std::future::IntoFuture;
use std::io::{IsTerminal, stderr};
use std::pin::pin;
use std::time::Duration;

use rollback_core::engine::{AutomaticRollback, Report};
use rollback_core::event::Event;
use rollback_core::guard::Notice;
use rollback_core::id::DeploymentId;
use rollback_core::plan::Plan;
use rollback_core::prelude::Deployment;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;

use crate::end::{End, FAILED, LEFT};
use crate::out::aside;
use crate::text::{ended, took};
use crate::words;
use crate::world::World;

/// How often what the backend says is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

/// Carries a plan out and waits. Says each phase; on a terminal also what the backend says. The first
/// Ctrl-C asks the deployment to stop, as `cancel` does; the second one leaves it as it is.
pub(crate) async fn to_the_end(world: &World, plan: Plan) -> Result<Report, End> {
    let mut notices = world.engine.subscribe();
    let run = world.engine.execute(plan).await?;
    let first = run.id().clone();
    let watched = stderr().is_terminal();
    let mut run = pin!(run.into_future());
    let (mut now, mut said) = (first, String::new());
    let (mut interrupt, mut terminate) =
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    let mut asked = false;
    loop {
        tokio::select! {
            // What happened is said before how it ended.
            biased;
            notice = notices.recv() => match notice {
                Ok(notice) => {
                    tell(&notice);
                    now = notice.deployment;
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(run.await?),
            },
            report = &mut run => {
                while let Ok(notice) = notices.try_recv() {
                    tell(&notice);
                }
                return Ok(report?);
            }
            () = either(&mut interrupt, &mut terminate) => {
                if asked {
                    return Err(left(world, &now));
                }
                asked = true;
                stop(world, &now).await;
            }
            () = tokio::time::sleep(LOOK), if watched => {
                let progress = world.engine.progress(&now);
                let line = progress.map(|p| p.line).unwrap_or_default();
                if !line.is_empty() && line != said {
                    aside!("    {line}");
                    said = line;
                }
            }
        }
    }
}

pub(crate) fn on(kind: SignalKind) -> Result<Signal, End> {
    signal(kind).map_err(|e| End::new(FAILED, format!("signals cannot be heard: {e}")))
}

pub(crate) async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

async fn stop(world: &World, id: &DeploymentId) {
    match world.engine.cancel(id, &world.actor).await {
        Ok(()) => aside!("  … asked to stop; another Ctrl-C leaves it as it is"),
        Err(e) => aside!(
            "history: {}; another Ctrl-C leaves it as it is",
            words::of(&e)
        ),
    }
}

/// What is left by who does not wait: the record is unfinished, and whoever recovers it goes on.
fn left(world: &World, id: &DeploymentId) -> End {
    let progress = world.engine.progress(id);
    let phase = progress.map_or_else(String::new, |p| format!(" while {}", p.phase));
    End::new(
        LEFT,
        format!(
            "{id} was left{phase}: it is neither finished nor undone, and nothing else can be \
             deployed there; run recover, which settles it"
        ),
    )
}

fn tell(notice: &Notice) {
    let Some(timed) = &notice.event else {
        let (what, id) = (notice.trigger, &notice.deployment);
        return aside!("  … {what} {id}");
    };
    if let Some(phase) = phase(&timed.event) {
        aside!("  … {phase}");
    }
}

/// What a phase begins with. What follows from it is said at the end.
pub(crate) fn phase(event: &Event) -> Option<String> {
    Some(match event {
        Event::PrepareIntended => "preparing".to_owned(),
        Event::TaskIntended { name } => format!("running the release task {name}"),
        Event::StartIntended => "starting".to_owned(),
        Event::SwitchIntended => "switching".to_owned(),
        Event::Switched { .. } => "switched, checking health".to_owned(),
        Event::RemediationIntended { name } => format!("remediating: {name}"),
        Event::GoingBack(cause) => format!("going back: {cause}"),
        Event::SwitchBackIntended => "switching back".to_owned(),
        Event::RetireIntended => "retiring".to_owned(),
        _ => return None,
    })
}

/// Which deployment it was, how it ended and how long it took; and the same in words.
pub(crate) fn ending(report: &Report) -> String {
    let by_itself = match report.automatic_rollback() {
        AutomaticRollback::Attempted { deployment, .. } => {
            format!("automatic rollback {}\n", line(deployment))
        }
        _ => String::new(),
    };
    format!(
        "{}\n{by_itself}{}",
        line(report.deployment()),
        report.summary()
    )
}

fn line(d: &Deployment) -> String {
    format!("{}: {}, {}", d.id(), ended(d), took(d))
}
