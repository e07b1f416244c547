//! What the engine says, for somebody who types: it speaks to programs, of builders and verbs.

use rollback_core::error::{Chain, Error};
use rollback_core::history::{Conflict, Liveness};
use rollback_core::id::StackName;
use rollback_core::plan::Refusal;
use rollback_core::request::Goal;
use rollback_core::stack::StackGoal;

/// Advice to programs, and what can be typed instead.
const ADVICE: [(&str, &str); 14] = [
    (
        "this workload is not in the engine's catalog",
        "how this workload is deployed is not known",
    ),
    (
        "add it to the builder with its backend",
        "add it to workloads.json",
    ),
    (
        "correct the policy that the workload is composed with",
        "correct workloads.json",
    ),
    (
        "give every workload one backend",
        "name it once in workloads.json",
    ),
    (
        "restore the file from a copy, or forget this record",
        "restore the file from a copy",
    ),
    (
        "restore the file from a copy, or forget the record",
        "restore the file from a copy",
    ),
    ("restore them, or forget them first", "restore them first"),
    ("rebuild the index", "run rebuild-index"),
    ("preview again", "type it again"),
    (
        "list the history for the ids it has",
        "list shows those there are",
    ),
    (
        "list the stack's groups for the ids they have",
        "stack list shows those there are",
    ),
    ("nothing of it would move", "nothing would move"),
    (
        "or reapply what drifted, workload by workload",
        "or rollback --reapply what drifted, workload by workload",
    ),
    (
        "name workloads of the stack, or deploy it by itself",
        "name workloads of the stack, or deploy it by itself; nothing was changed",
    ),
];

pub(crate) fn of(e: &Error) -> String {
    match (e.conflict(), e.refusal()) {
        (Some(conflict), _) => busy(conflict),
        (_, Some(refusal)) => refused(refusal),
        _ => typed(&Chain::of(e).to_string()),
    }
}

/// A text of the engine's or a store's.
pub(crate) fn typed(text: &str) -> String {
    let said = ADVICE.iter();
    said.fold(text.to_owned(), |text, (to_programs, to_people)| {
        text.replace(to_programs, to_people)
    })
}

fn busy(conflict: &Conflict) -> String {
    let workload = &conflict.workload;
    let way_out = match conflict.liveness {
        Liveness::Dead => "that process is dead: run recover".to_owned(),
        _ => format!("wait for it, or stop it: cancel {workload}"),
    };
    format!(
        "{workload} is busy: {} is {} since {} s, held by process {} on {}; {way_out}",
        conflict.deployment,
        conflict.phase,
        conflict.age.as_secs(),
        conflict.holder.pid,
        conflict.holder.host,
    )
}

pub(crate) fn refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::AlreadyLive {
            deployment,
            release,
        } => format!(
            "{release} is live already as {deployment}; nothing to do (--reapply puts it in \
             place anew)"
        ),
        Refusal::Held { workload, by, why } => format!(
            "deploys to {workload} are held by {by}: {why}; lift-hold lets them through again, \
             --force hold this one; rollback goes through all the same"
        ),
        Refusal::Guard { guard, why } => {
            format!("guard {guard} refuses: {why}; fix the cause, or --force {guard}")
        }
        Refusal::NotFound {
            workload,
            deployment,
        } => format!("{workload} has no deployment {deployment}; list shows those it has"),
        Refusal::NoRollbackPoint {
            workload,
            goal: Goal::Undo,
            ..
        } => format!("there is nothing to undo on {workload}; nothing was changed"),
        Refusal::NoRollbackPoint {
            workload,
            goal: Goal::Redo,
            ..
        } => format!(
            "there is nothing to redo on {workload}: nothing was undone, or something new was done \
             since; nothing was changed"
        ),
        Refusal::NoRollbackPoint {
            workload,
            goal: Goal::Before(id),
            ..
        } => format!(
            "{workload} cannot go back to before {id}: nothing that was live then is on record; nothing \
             was changed; deploy a fixed release, or name a deployment to go to"
        ),
        Refusal::NoGroup { stack, goal } => format!(
            "{}; nothing was changed; stack list shows what was moved: name a group to go to, or roll \
             the workloads back one by one",
            no_group(stack, goal)
        ),
        other => typed(&other.to_string()),
    }
}

/// That no group of a stack answers a goal.
pub(crate) fn no_group(stack: &StackName, goal: &StackGoal) -> String {
    match goal {
        StackGoal::Undo => format!("there is nothing to undo on {stack}"),
        StackGoal::Redo => format!(
            "there is nothing to redo on {stack}: nothing was undone, or something new was done since"
        ),
        StackGoal::LastHealthy => {
            format!("{stack} has no earlier group in which all were healthy")
        }
        StackGoal::Previous => format!("no group of {stack} has gone forward"),
        goal => format!("{stack} has no group for {goal}"),
    }
}
