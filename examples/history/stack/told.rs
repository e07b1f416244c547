//! A group, and what only its members' own records say of it.

use std::collections::BTreeMap;
use std::time::Duration;

use rollback_core::deployment::{Deployment, Outcome, Part};
use rollback_core::engine::{Group, Way};
use rollback_core::event::{Cause, Event};
use rollback_core::history::Liveness;
use rollback_core::id::{DeploymentId, WorkloadId};
use rollback_core::stack::StackGoal;
use rollback_core::time::Timestamp;
use rollback_examples::abbreviation::Ids;
use serde_json::{Value, json};

use crate::end::End;
use crate::text::span;
use crate::world::World;

pub(crate) struct Told {
    pub(crate) group: Group,
    /// Of each member; `None`: it is gone, was never made, or cannot be read.
    pub(crate) records: BTreeMap<WorkloadId, Option<Deployment>>,
    why_back: Option<WhyBack>,
    /// Whether a member is in flight that nobody runs any more.
    is_left: bool,
    now: Timestamp,
}

/// Why a group went back.
enum WhyBack {
    /// This member did not go live.
    Member { workload: WorkloadId, why: String },
    /// Nothing was wrong with it: somebody asked it to stop, or it was a drill.
    Meant { why: String },
    /// Its process died before it was decided, or it was given up.
    Interrupted,
    /// It could not be opened, or was refused by a guard.
    Refused { why: String },
}

impl WhyBack {
    fn of(coordinator: &Deployment, records: &BTreeMap<WorkloadId, Option<Deployment>>) -> Self {
        let (record, why) = match coordinator.cause() {
            Some(Cause::WithItsGroup { workload, why, .. }) => {
                let other = records.get(workload).and_then(Option::as_ref);
                let Some(other) = other else {
                    let (workload, why) = (workload.clone(), why.clone());
                    return Self::Member { workload, why };
                };
                (other, Some(why))
            }
            _ => (coordinator, None),
        };
        let said = || record.cause().map_or_else(String::new, ToString::to_string);
        match record.cause() {
            Some(Cause::Cancelled { .. } | Cause::Practised) => Self::Meant { why: said() },
            Some(Cause::Guarded { why }) => Self::Refused { why: why.clone() },
            Some(Cause::StepFailed { .. } | Cause::Unhealthy { .. }) => Self::Member {
                workload: record.workload().clone(),
                why: said(),
            },
            None if record.outcome() == Some(Outcome::Refused) => {
                let summary = record.settlement().map(|s| s.summary.clone());
                let why = summary.unwrap_or_default();
                Self::Refused { why }
            }
            _ => match why {
                Some(why) if record.id() != coordinator.id() => Self::Member {
                    workload: record.workload().clone(),
                    why: why.clone(),
                },
                _ => Self::Interrupted,
            },
        }
    }
}

impl Told {
    pub(crate) async fn of(world: &World, group: Group) -> Result<Self, End> {
        let (mut records, mut is_left) = (BTreeMap::new(), false);
        for (workload, id) in group.roll.moves() {
            let record = world.engine.get(id).await.ok();
            if record.as_ref().is_some_and(|d| d.settlement().is_none()) {
                let state = world.store.workload(workload).await?;
                let in_flight = state.in_flight.filter(|f| f.deployment == *id);
                is_left |= in_flight.is_some_and(|f| f.liveness == Liveness::Dead);
            }
            records.insert(workload.clone(), record);
        }
        let coordinator = group.id.coordinator();
        let coordinator = records.values().flatten().find(|d| d.id() == coordinator);
        let why_back = match group.way {
            Way::Back => coordinator.map(|d| WhyBack::of(d, &records)),
            _ => None,
        };
        Ok(Self {
            group,
            records,
            why_back,
            is_left,
            now: world.now,
        })
    }

    /// What was asked of the stack.
    pub(crate) fn what(&self, ids: &Ids) -> String {
        let Some(goal) = &self.group.roll.goal else {
            let mut members = self.records.values().flatten();
            let trigger = members.next().map(|d| d.trigger().kind().to_string());
            return trigger.unwrap_or_else(|| "deploy".to_owned());
        };
        match goal {
            StackGoal::LastHealthy => "rollback to the last healthy group".to_owned(),
            StackGoal::Previous => "rollback to before the last group".to_owned(),
            StackGoal::To(group) => format!("rollback to {}", ids.short(group.coordinator())),
            StackGoal::Before(group) => {
                format!("rollback to before {}", ids.short(group.coordinator()))
            }
            StackGoal::AsOf(time) => format!("rollback to {time}"),
            StackGoal::Undo => "undo".to_owned(),
            StackGoal::Redo => "redo".to_owned(),
            goal => format!("rollback to {goal}"),
        }
    }

    /// Which way it went, or goes.
    pub(crate) fn way(&self) -> String {
        let verb = match self.group.is_in_flight() {
            true => "goes",
            false => "went",
        };
        let way = match (&self.group.way, &self.why_back) {
            (Way::Forward, _) => format!("{verb} forward"),
            (Way::Back, Some(WhyBack::Member { workload, .. })) => {
                format!("{verb} back because of {workload}")
            }
            (Way::Back, Some(WhyBack::Meant { why })) => format!("{verb} back, {why}"),
            (Way::Back, Some(WhyBack::Interrupted)) => format!("{verb} back, interrupted"),
            (Way::Back, Some(WhyBack::Refused { .. })) => "refused".to_owned(),
            (Way::Back, None) => format!("{verb} back"),
            _ => "in flight".to_owned(),
        };
        match self.is_left {
            true => format!("{way}; nobody runs it any more: run recover"),
            false => way,
        }
    }

    /// What was decided, when, and why.
    pub(crate) fn decision(&self) -> String {
        match (&self.group.way, &self.why_back) {
            (Way::Forward, _) => {
                let decided = self.records.values().flatten().flat_map(|d| d.events());
                let mut decided = decided.filter(|timed| matches!(timed.event, Event::Decided));
                let after = decided.next().map(|timed| {
                    let after = timed.at.since(self.group.opened_at);
                    format!(", after {}", span(after))
                });
                format!(
                    "all go forward{}: each was live, and none was unhealthy",
                    after.unwrap_or_default()
                )
            }
            (Way::Back, Some(WhyBack::Member { workload, why })) => {
                format!("all go back: {workload} did not go live: {why}")
            }
            (Way::Back, Some(WhyBack::Meant { why })) => format!("all go back: {why}"),
            (Way::Back, Some(WhyBack::Interrupted)) => {
                "all go back: it was interrupted before they could go forward".to_owned()
            }
            (Way::Back, Some(WhyBack::Refused { why })) => format!("none goes: {why}"),
            (Way::Back, None) => "all go back".to_owned(),
            _ => "not yet; until then all can go back".to_owned(),
        }
    }

    /// How long it took until the last member had ended; `None` while one has not, or is not known.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let ends = self.records.values().map(|d| d.as_ref()?.settled_at());
        let ends: Option<Vec<Timestamp>> = ends.collect();
        Some(ends?.into_iter().max()?.since(self.group.opened_at))
    }

    pub(crate) fn took(&self) -> String {
        match self.duration() {
            Some(took) => span(took),
            None if self.group.is_in_flight() => {
                format!("{} so far", span(self.now.since(self.group.opened_at)))
            }
            None => String::new(),
        }
    }

    /// What was left alone, and why.
    pub(crate) fn left_alone(
        &self,
    ) -> impl Iterator<Item = (&WorkloadId, Option<&DeploymentId>, &str)> {
        self.group
            .roll
            .parts
            .iter()
            .filter_map(|(w, part)| match part {
                Part::Stays { live, why } => Some((w, live.known(), why.as_str())),
                _ => None,
            })
    }

    /// All ids that are shown of it.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &DeploymentId> {
        let named = match &self.group.roll.goal {
            Some(StackGoal::To(group) | StackGoal::Before(group)) => Some(group.coordinator()),
            _ => None,
        };
        let moves = self.group.roll.moves().map(|(_, id)| id);
        moves.chain([self.group.id.coordinator()]).chain(named)
    }

    /// What the engine has of it, and what scripts ask first.
    pub(crate) fn as_json(&self) -> Result<Value, serde_json::Error> {
        let mut value = serde_json::to_value(&self.group)?;
        value["user"] = json!(self.group.actor.name());
        value["in_flight"] = json!(self.group.is_in_flight());
        value["healthy"] = json!(self.group.is_healthy());
        value["decision"] = json!(self.decision());
        value["because_of"] = match &self.why_back {
            Some(WhyBack::Member { workload, .. }) => json!(workload),
            _ => Value::Null,
        };
        value["duration_ms"] = json!(self.duration().map(|t| t.as_millis() as u64));
        Ok(value)
    }
}
