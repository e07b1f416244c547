//! [`StackPlan`]: what will be done to a stack, as a value.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::StackGoal;
use crate::deployment::{Asked, LiveRecord, Part};
use crate::id::{ShortText, StackName, WorkloadId};
use crate::plan::{Plan, Warning};

/// What will be done to a stack. Made by
/// [`preview_stack`](crate::engine::RollbackEngine::preview_stack), carried out by
/// [`execute_stack`](crate::engine::RollbackEngine::execute_stack): the same value, so they cannot
/// disagree. It is bound to the version of every workload that moves: if one of them does, it is
/// `Stale`, and the error names that one.
///
/// Like a [`Plan`], it goes through JSON and back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackPlan {
    pub(crate) stack: StackName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<StackGoal>,
    /// In the order in which they go live.
    pub(crate) moves: Vec<Plan>,
    pub(crate) stays: BTreeMap<WorkloadId, Stays>,
    /// What was asked under an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked: Option<Asked>,
}

/// A workload of the stack that is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stays {
    /// What is live on it on record.
    pub live: LiveRecord,
    /// Why it is left alone.
    pub why: ShortText,
}

impl Stays {
    pub(crate) fn new(live: LiveRecord, why: &str) -> Self {
        Self {
            live,
            why: ShortText::cut(why),
        }
    }

    pub(crate) fn part(&self) -> Part {
        Part::Stays {
            live: self.live.clone(),
            why: self.why.clone(),
        }
    }
}

impl StackPlan {
    /// The stack.
    pub fn stack(&self) -> &StackName {
        &self.stack
    }

    /// Where a rollback goes; `None`: it is none.
    pub fn goal(&self) -> Option<&StackGoal> {
        self.goal.as_ref()
    }

    /// What moves, in the order in which it goes live: what others need comes before them. If one of them
    /// fails, all go back, in the other order.
    pub fn moves(&self) -> &[Plan] {
        &self.moves
    }

    /// What is left alone, and why.
    pub fn stays(&self) -> &BTreeMap<WorkloadId, Stays> {
        &self.stays
    }

    /// What to know before going ahead, by workload. Empty when all is well.
    pub fn warnings(&self) -> impl Iterator<Item = (&WorkloadId, &Warning)> {
        self.moves
            .iter()
            .flat_map(|plan| plan.warnings().iter().map(|w| (plan.workload(), w)))
    }
}

impl fmt::Display for StackPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.goal {
            Some(goal) => writeln!(f, "Roll {} back to {goal}", self.stack)?,
            None => writeln!(f, "Move {} as one", self.stack)?,
        }
        for (n, plan) in self.moves.iter().enumerate() {
            let mut lines = plan.to_string();
            lines.truncate(lines.trim_end().len());
            for (i, line) in lines.lines().enumerate() {
                match i {
                    0 => writeln!(f, "  {}. {line}", n + 1)?,
                    _ => writeln!(f, "   {line}")?,
                }
            }
        }
        for (workload, stays) in &self.stays {
            writeln!(f, "  -  {workload} stays as it is: {}", stays.why)?;
        }
        Ok(())
    }
}
