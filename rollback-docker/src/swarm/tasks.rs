//! [`Standing`]: how far a service's tasks are what it says.

use bollard::models::{Task, TaskState as State};
use rollback_core::backend::Evidence;
use rollback_core::context::RolloutProgress;
use sha2::{Digest as _, Sha256};

use super::nodes::Down;
use super::service::{Seen, Update, replicas};
use super::task::{
    at, bare, has_ended, is_ousted, is_over, is_same_place, overlap, state, unplaced,
};
use crate::fingerprint;

/// Most tasks that evidence names one by one.
const NAMED: usize = 4;

/// A service's tasks, looked at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// How many are to run.
    pub(super) desired: usize,
    /// Those of today's specification that run; with a health check, those that pass it.
    pub(super) running: Vec<Task>,
    /// Those of today's specification that have failed, the last one last.
    pub(super) failed: Vec<Task>,
    /// Those that failed last in their place: no other of today's specification ran there since, but
    /// what is there now.
    pub(super) unhealed: Vec<Task>,
    /// Whether there is to be one on each node, and none is there yet.
    pub(super) is_unplaced: bool,
    /// Any others that have not ended yet.
    pub(super) leaving: usize,
    /// Whether some failed, and each of them while the one whose place it took had not ended: which
    /// says nothing of it, for both may want the same port.
    pub(super) is_collision: bool,
    /// How many of those whose place was taken have not ended yet.
    pub(super) blocking: usize,
    /// Why no node is given some of those that are to run, in the scheduler's words.
    pub(super) unplaced: Option<String>,
}

impl Standing {
    pub(super) fn of(seen: &Seen, tasks: Vec<Task>, down: &Down) -> Self {
        let mut out = Self::default();
        let mut wanted = 0;
        let template = bare(seen.template.clone());
        let (mut others, mut past) = (Vec::new(), Vec::new());
        for task in tasks {
            let own = task.service_id.as_ref() == Some(&seen.id);
            let own = own && task.spec.clone().map(bare).as_ref() == Some(&template);
            let stays = own && task.desired_state.is_some_and(|desired| !is_over(desired));
            wanted += usize::from(stays);
            if let Some(why) = unplaced(&task).filter(|_| stays) {
                out.unplaced = Some(why.to_owned());
            }
            match state(&task) {
                State::RUNNING if stays => out.running.push(task),
                State::FAILED | State::REJECTED if own => out.failed.push(task),
                _ if stays => {}
                _ => {
                    past.extend(own.then(|| task.clone()));
                    out.leaving += usize::from(!has_ended(&task) && !down.has(&task));
                    others.push(task);
                }
            }
        }
        let collided = |failed: &Task| others.iter().any(|other| overlap(failed, other));
        out.is_collision = !out.failed.is_empty() && out.failed.iter().all(collided);
        let blocks = |other: &&Task| {
            let of = |failed: &Task| is_ousted(failed, other);
            !has_ended(other) && !down.has(other) && out.failed.iter().any(of)
        };
        out.blocking = others.iter().filter(blocks).count();
        out.desired = match replicas(&seen.spec) {
            Some(replicas) => usize::try_from(replicas).unwrap_or(0),
            // One for each node that takes any: the managers know which.
            None => wanted,
        };
        out.is_unplaced = replicas(&seen.spec).is_none() && wanted == 0;
        past.extend(out.failed.iter().cloned());
        let is_last = |failed: &&Task| {
            let after = |other: &Task| is_same_place(failed, other) && at(other) > at(failed);
            !past.iter().any(after)
        };
        out.unhealed = out.failed.iter().filter(is_last).cloned().collect();
        out.failed.sort_by_key(at);
        out.running.sort_by(|a, b| a.id.cmp(&b.id));
        out
    }

    /// Whether all that is to run does, and nothing else.
    pub(super) fn is_complete(&self) -> bool {
        self.running.len() == self.desired && self.leaving == 0 && !self.is_unplaced
    }

    /// Whether some of those that are to run do not, and have failed where they were to.
    pub(super) fn is_failing(&self) -> bool {
        let is_away = |failed: &Task| !self.running.iter().any(|now| is_same_place(failed, now));
        self.running.len() < self.desired && self.unhealed.iter().any(is_away)
    }

    /// Whether one of these that run has taken the place of one that failed.
    pub(super) fn has_replaced(&self, is_young: impl Fn(&Task) -> bool) -> bool {
        let replaces = |now: &&Task| {
            self.unhealed
                .iter()
                .any(|failed| is_same_place(failed, now))
        };
        self.running.iter().filter(replaces).any(is_young)
    }

    pub(super) fn progress(&self, update: &Update) -> RolloutProgress {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let ready = count(self.running.len());
        let available = match update {
            Update::None | Update::Done => ready,
            _ => 0,
        };
        RolloutProgress::new(count(self.desired), ready, available)
    }

    /// What the last one that failed says, in a few words.
    pub(super) fn last_failure(&self) -> Option<String> {
        let status = self.failed.last()?.status.as_ref()?;
        let text = status.err.as_ref().filter(|e| !e.is_empty());
        Some(
            text.or(status.message.as_ref())
                .cloned()
                .unwrap_or_default(),
        )
    }

    /// Proof of what runs. Neither the number of tasks, which others change, nor the version of the
    /// service, which tells of no start.
    pub(super) fn evidence(&self, seen: &Seen) -> Evidence {
        let ids = self.running.iter().filter_map(|task| task.id.as_deref());
        let ids: Vec<&str> = ids.collect();
        let tasks = match ids.len() {
            0..=NAMED => ids.join(","),
            _ => fingerprint::hex(&Sha256::digest(ids.join(","))[..16]),
        };
        Evidence::default()
            .with("service", &seen.id)
            .with("image", super::service::image(&seen.spec))
            .with("tasks", tasks)
    }
}

/// How many of these have not ended.
pub(super) fn alive(tasks: &[Task], down: &Down) -> usize {
    let alive = |task: &&Task| !has_ended(task) && !down.has(task);
    tasks.iter().filter(alive).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn seen(mode: Value) -> Seen {
        let shown = json!({
            "ID": "s", "Version": {"Index": 7},
            "Spec": {"Mode": mode, "TaskTemplate": {
                "ContainerSpec": {"Image": "b"}, "ForceUpdate": 2, "Runtime": "container",
            }},
        });
        Seen::new("api@web-1", shown).unwrap()
    }

    /// A task of today's specification, or of another image, in a state since a second.
    fn task(image: &str, state: &str, desired: &str, second: u32) -> Task {
        let at = format!("2026-03-15T14:30:{second:02}Z");
        serde_json::from_value(json!({
            "ID": format!("{image}{second}"), "ServiceID": "s", "NodeID": "n",
            "Spec": {"ContainerSpec": {"Image": image}, "ForceUpdate": 2},
            "Status": {"State": state, "Timestamp": at, "Err": "exit"},
            "DesiredState": desired,
        }))
        .unwrap()
    }

    fn one() -> Value {
        json!({"Replicated": {"Replicas": 1}})
    }

    #[test]
    fn a_rollout_is_over_when_the_new_tasks_run_and_all_others_have_ended() {
        let is_complete =
            |tasks: Vec<Task>| Standing::of(&seen(one()), tasks, &Down::default()).is_complete();
        let (new, old) = (task("b", "running", "running", 2), "a");
        assert!(!is_complete(vec![task(old, "running", "running", 1)]));
        assert!(!is_complete(vec![
            new.clone(),
            task(old, "running", "shutdown", 1)
        ]));
        assert!(is_complete(vec![
            new.clone(),
            task(old, "shutdown", "shutdown", 1)
        ]));
        // One of the same that was told to stop is no longer of it.
        assert!(!is_complete(vec![new, task("b", "running", "shutdown", 1)]));
        assert!(!is_complete(vec![task("b", "starting", "running", 2)]));
    }

    #[test]
    fn where_every_node_has_one_as_many_are_wanted_as_there_are() {
        let tasks = vec![
            task("b", "running", "running", 1),
            task("b", "preparing", "running", 2),
            task("b", "failed", "shutdown", 0),
        ];
        let now = Standing::of(&seen(json!({"Global": {}})), tasks, &Down::default());
        let progress = now.progress(&Update::Rolling);
        assert_eq!(progress, RolloutProgress::new(2, 1, 0));
    }

    #[test]
    fn a_failure_beside_one_that_was_still_stopping_says_nothing() {
        let is_collision =
            |tasks: Vec<Task>| Standing::of(&seen(one()), tasks, &Down::default()).is_collision;
        let failed = task("b", "failed", "shutdown", 5);
        assert!(is_collision(vec![
            failed.clone(),
            task("a", "running", "shutdown", 1)
        ]));
        assert!(is_collision(vec![
            failed.clone(),
            task("a", "shutdown", "shutdown", 6)
        ]));
        assert!(!is_collision(vec![
            failed.clone(),
            task("a", "shutdown", "shutdown", 4)
        ]));
        let again = task("b", "failed", "shutdown", 8);
        let old = task("a", "shutdown", "shutdown", 6);
        assert!(!is_collision(vec![failed, again, old.clone()]));
        assert!(!is_collision(vec![old]));
    }

    fn in_slot(slot: i64, task: Task) -> Task {
        Task {
            slot: Some(slot),
            ..task
        }
    }

    #[test]
    fn a_failure_beside_the_old_task_of_another_slot_or_one_that_is_to_stay_is_no_collision() {
        let two = || json!({"Replicated": {"Replicas": 2}});
        let failed = in_slot(1, task("b", "failed", "shutdown", 5));
        let stopped = in_slot(1, task("a", "shutdown", "shutdown", 4));
        let beside = in_slot(2, task("a", "running", "running", 1));
        let stopping = in_slot(2, task("a", "running", "shutdown", 1));
        for other in [beside, stopping] {
            let tasks = vec![failed.clone(), stopped.clone(), other];
            let now = Standing::of(&seen(two()), tasks, &Down::default());
            assert!(!now.is_collision && now.blocking == 0, "{now:?}");
            assert_eq!(now.leaving, 1);
        }
        // Started first: the old one of the same slot stays until the new one is up.
        let stays = in_slot(1, task("a", "running", "running", 1));
        let now = Standing::of(&seen(one()), vec![failed.clone(), stays], &Down::default());
        assert!(!now.is_collision, "{now:?}");
        let ousted = in_slot(1, task("a", "running", "shutdown", 1));
        let now = Standing::of(&seen(one()), vec![failed, ousted], &Down::default());
        assert!(now.is_collision && now.blocking == 1, "{now:?}");
    }

    #[test]
    fn a_task_that_never_had_a_node_and_is_not_to_run_is_not_waited_for() {
        let new = || task("b", "running", "running", 2);
        for state in ["new", "allocated", "pending"] {
            let never = task("a", state, "shutdown", 1);
            assert_eq!(alive(std::slice::from_ref(&never), &Down::default()), 0);
            let now = Standing::of(&seen(one()), vec![new(), never], &Down::default());
            assert!(now.is_complete(), "{now:?}");
            let soon = task("a", state, "running", 1);
            let now = Standing::of(&seen(one()), vec![new(), soon], &Down::default());
            assert!(!now.is_complete(), "{now:?}");
        }
    }

    #[test]
    fn a_failure_that_was_healed_long_ago_is_no_failure_of_one_that_scales_or_is_drained() {
        let of = |n: i64, tasks: Vec<Task>| {
            let mode = json!({"Replicated": {"Replicas": n}});
            Standing::of(&seen(mode), tasks, &Down::default())
        };
        let failed = || in_slot(1, task("b", "failed", "shutdown", 1));
        let replaced = || in_slot(1, task("b", "running", "running", 2));
        let starting = |slot| in_slot(slot, task("b", "starting", "running", 9));
        let scaled = of(2, vec![failed(), replaced(), starting(2)]);
        assert!(!scaled.is_failing(), "{scaled:?}");
        let stopped = in_slot(1, task("b", "shutdown", "shutdown", 8));
        let drained = of(1, vec![failed(), stopped.clone(), starting(1)]);
        assert!(!drained.is_failing(), "{drained:?}");
        let now = in_slot(1, task("b", "running", "running", 9));
        let moved = of(1, vec![failed(), stopped, now.clone()]);
        assert!(!moved.has_replaced(|_| true), "{moved:?}");
        // One that fails again and again does.
        let crashing = of(1, vec![failed(), starting(1)]);
        assert!(crashing.is_failing(), "{crashing:?}");
        assert!(of(1, vec![failed(), now]).has_replaced(|_| true));
    }

    #[test]
    fn a_task_that_stays_where_only_its_places_were_changed_is_of_todays_specification() {
        let mut moved = seen(one());
        moved.template.placement =
            serde_json::from_value(json!({"Constraints": ["a==b"]})).unwrap();
        let tasks = vec![task("b", "running", "running", 1)];
        assert!(Standing::of(&moved, tasks, &Down::default()).is_complete());
    }

    #[test]
    fn a_service_of_every_node_is_not_in_place_before_it_has_a_task() {
        let global = seen(json!({"Global": {}}));
        let none = Standing::of(&global, Vec::new(), &Down::default());
        assert!(!none.is_complete());
        let tasks = vec![task("b", "running", "running", 1)];
        assert!(Standing::of(&global, tasks, &Down::default()).is_complete());
        let zero = seen(json!({"Replicated": {"Replicas": 0}}));
        assert!(Standing::of(&zero, Vec::new(), &Down::default()).is_complete());
    }

    #[test]
    fn why_no_node_takes_a_task_is_told_as_long_as_none_does() {
        let of = |task: Task| Standing::of(&seen(one()), vec![task], &Down::default()).unplaced;
        assert_eq!(
            of(task("b", "pending", "running", 1)).as_deref(),
            Some("exit")
        );
        for (image, state, desired) in [
            ("a", "pending", "running"),
            ("b", "pending", "shutdown"),
            ("b", "starting", "running"),
        ] {
            assert_eq!(of(task(image, state, desired, 1)), None);
        }
    }

    #[test]
    fn evidence_changes_with_the_tasks_and_with_nothing_else() {
        let evidence = |second| {
            let tasks = vec![task("b", "running", "running", second)];
            Standing::of(&seen(one()), tasks, &Down::default()).evidence(&seen(one()))
        };
        assert_eq!(evidence(1), evidence(1));
        assert_ne!(evidence(1), evidence(2));
        let tasks = (0..9).map(|n| task("b", "running", "running", n));
        let many =
            Standing::of(&seen(one()), tasks.collect(), &Down::default()).evidence(&seen(one()));
        assert_eq!(many.0["tasks"].len(), 32);
    }
}
