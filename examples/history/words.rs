//! What the engine says, for somebody who types: it speaks to programs, of builders and verbs.

use rollback_core::error::{Chain, Error};
use rollback_core::history::{Conflict, Liveness};
use rollback_core::plan::Refusal;

/// Advice to programs, and what can be typed instead.
const ADVICE: [(&str, &str); 10] = [
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
        other => typed(&other.to_string()),
    }
}
