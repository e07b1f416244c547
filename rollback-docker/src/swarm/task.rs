//! What one task is, by itself and beside another.

use bollard::models::{Task, TaskSpec, TaskState as State};
use rollback_core::time::Timestamp;

/// Whether a task failed before another had ended whose place it took.
pub(super) fn overlap(failed: &Task, other: &Task) -> bool {
    is_ousted(failed, other) && (!has_ended(other) || at(other) >= at(failed))
}

/// Whether a task was told to stop for another on its node: where each node has one, for the one of
/// that node, else for the one of its slot. Any other task beside it is none of its business.
pub(super) fn is_ousted(by: &Task, other: &Task) -> bool {
    let same_place = by.node_id.is_some() && by.node_id == other.node_id && by.slot == other.slot;
    same_place && is_told_to_stop(other)
}

/// Whether two tasks are of one slot; or of one node, where each node has one.
pub(super) fn is_same_place(one: &Task, other: &Task) -> bool {
    match (one.slot, other.slot) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.node_id.is_some() && one.node_id == other.node_id,
        _ => false,
    }
}

/// How often any of these was started anew at most, by the number that a service counts with.
///
/// `docker service rollback` puts an earlier number back: the next one would be that of tasks that
/// have failed already.
pub(super) fn last_start(tasks: &[Task]) -> u64 {
    let starts = tasks
        .iter()
        .filter_map(|task| task.spec.as_ref()?.force_update);
    starts.max().unwrap_or(0)
}

/// When a task came to the state it is in.
pub(super) fn at(task: &Task) -> Option<Timestamp> {
    task.status.as_ref()?.timestamp.as_ref()?.parse().ok()
}

/// A task's copy of its service's specification lacks what is the same for all. Where only the places
/// were changed that it may have, a task that is in one of them goes on with the copy that it has.
pub(super) fn bare(spec: TaskSpec) -> TaskSpec {
    TaskSpec {
        runtime: spec.runtime.filter(|runtime| runtime != "container"),
        placement: None,
        ..spec
    }
}

pub(super) fn state(task: &Task) -> State {
    let status = task.status.as_ref();
    status.and_then(|s| s.state).unwrap_or(State::NEW)
}

/// Whether nothing of a task is left, or ever will be: one that was told to stop before it had a node
/// stays as it is for ever.
pub(super) fn has_ended(task: &Task) -> bool {
    is_over(state(task)) || (has_no_node(task) && is_told_to_stop(task))
}

pub(super) fn is_told_to_stop(task: &Task) -> bool {
    task.desired_state.is_some_and(is_over)
}

pub(super) fn is_over(state: State) -> bool {
    matches!(
        state,
        State::COMPLETE
            | State::SHUTDOWN
            | State::FAILED
            | State::REJECTED
            | State::REMOVE
            | State::ORPHANED
    )
}

/// Why no node is given a task that is to run, in the scheduler's words.
pub(super) fn unplaced(task: &Task) -> Option<&str> {
    let why = task.status.as_ref()?.err.as_deref()?;
    (has_no_node(task) && !is_told_to_stop(task) && !why.is_empty()).then_some(why)
}

fn has_no_node(task: &Task) -> bool {
    matches!(state(task), State::NEW | State::ALLOCATED | State::PENDING)
}
