//! What a killed engine left running.

use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::id::DeploymentId;
use rustix::process::Pid;

use crate::engine::Engine;
use crate::group::{Group, processes};
use crate::stat::{Stat, of};
use crate::told::{DEPLOYMENT, ENGINE};

/// What a killed process left running cannot be ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "what a dead process left running does not end: process group {group}; look at what it waits \
     for, end it, then try again"
)]
pub struct StillRunning {
    group: i32,
}

impl StillRunning {
    /// Of a verb of a backend's that has done nothing else yet for that deployment.
    ///
    /// A method: one more `From` would leave `?` without a type in programs that link this crate.
    pub fn stops(&self, deployment: &DeploymentId) -> BackendError {
        BackendError::new(BackendErrorKind::Failed, self.to_string())
            .on(deployment)
            .untouched()
    }
}

/// Ends the programs of this deployment that a dead process left running, with what they started,
/// and waits until they are gone. Gives how many there were.
///
/// Whoever still leads a process group and bears our mark in its environment is not done yet,
/// whatever it is called by now: a program that has become another one keeps both. One that has
/// ended is left alone with the services that it left in its group or that lead a session of their
/// own, and so is everything while the process that ran it lives. So is the group of this very process:
/// it may be a program of the deployment's itself, that restarted the engine.
///
/// Only of this user, on this machine, by `/proc`; where there is none, nothing is found.
///
/// # Errors
///
/// [`StillRunning`] for the first group that was killed and is not gone; those after it were not
/// ended.
pub async fn end_leftovers(deployment: &DeploymentId) -> Result<usize, StillRunning> {
    let id = deployment.clone();
    // Off the async threads: a process that is stuck can keep who looks at it.
    let found = tokio::task::spawn_blocking(move || leftovers(&id)).await;
    let found = found.unwrap_or_default();
    for group in &found {
        let number = group.number();
        tracing::warn!(%deployment, group = number, "a program of a dead process is ended");
        group.kill();
        if !group.is_gone().await {
            return Err(StillRunning { group: number });
        }
    }
    Ok(found.len())
}

fn leftovers(deployment: &DeploymentId) -> Vec<Group> {
    let processes = processes().into_iter().flatten();
    processes
        .filter(|pid| is_leftover(*pid, deployment))
        .map(Group::led_by)
        // A program may have become, or started, the engine that goes on.
        .filter(|group| !group.is_own())
        .collect()
}

/// Whether this was run for the deployment, by a process that is dead, and is not done yet.
fn is_leftover(pid: Pid, deployment: &DeploymentId) -> bool {
    // Another user's process does not show what it was given.
    let Some(environ) = of(pid, "environ") else {
        return false;
    };
    let given = |name: &str| {
        let mut variables = environ.split(|byte| *byte == 0);
        let value = variables.find_map(|v| v.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        std::str::from_utf8(value).ok()
    };
    given(DEPLOYMENT) == Some(deployment.as_str())
        && given(ENGINE).is_some_and(is_dead)
        && Stat::of(pid).is_some_and(|stat| stat.leads_its_group(pid))
}

/// Whether the process of that name is dead. What cannot be read has not been written by us.
fn is_dead(engine: &str) -> bool {
    Engine::parse(engine).is_some_and(|engine| !engine.lives())
}
