//! [`Stack`]: several workloads that belong together, and what may be asked of them.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::deployment::Asked;
use crate::id::{Actor, GroupId, GuardName, IdempotencyKey, ShortText, StackName, WorkloadId};
use crate::time::Timestamp;

pub use plan::{StackPlan, Stays};

/// Several workloads that belong together: they can be moved as one. What needs what among them, each
/// says itself ([`Workload::depends_on`](crate::engine::Workload::depends_on)).
///
/// ```
/// use rollback_core::stack::Stack;
/// # fn main() -> Result<(), rollback_core::id::InvalidId> {
/// let shop = Stack::new("shop".parse()?, ["web@shop-1".parse()?, "api@shop-1".parse()?]);
/// assert_eq!(shop.workloads().len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    name: StackName,
    workloads: BTreeSet<WorkloadId>,
}

impl Stack {
    /// A stack of these workloads.
    pub fn new(name: StackName, workloads: impl IntoIterator<Item = WorkloadId>) -> Self {
        Self {
            name,
            workloads: workloads.into_iter().collect(),
        }
    }

    /// What it is called.
    pub fn name(&self) -> &StackName {
        &self.name
    }

    /// What belongs to it.
    pub fn workloads(&self) -> &BTreeSet<WorkloadId> {
        &self.workloads
    }
}

/// Where a rollback of a stack goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StackGoal {
    /// What the newest earlier group left in which every workload was healthy.
    #[default]
    LastHealthy,
    /// What was live before the newest group that went forward.
    Previous,
    /// What this group left.
    To(GroupId),
    /// What was live before this group: undoes it. What it left alone is left alone.
    Before(GroupId),
    /// What was live at this time.
    AsOf(Timestamp),
    /// What was live before the last change that is not undone, whether the stack was moved or one of its
    /// workloads alone. What that change left alone is left alone.
    Undo,
    /// What the change that was undone last had left. There is none once something new was done.
    Redo,
}

impl fmt::Display for StackGoal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LastHealthy => f.write_str("the last group in which all were healthy"),
            Self::Previous => f.write_str("what was live before the last group"),
            Self::To(id) => write!(f, "what {id} left"),
            Self::Before(id) => write!(f, "what was live before {id}"),
            Self::AsOf(t) => write!(f, "what was live at {t}"),
            Self::Undo => f.write_str("what was live before the last change"),
            Self::Redo => f.write_str("what was undone last"),
        }
    }
}

/// What is to become of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StackWish {
    /// These references go live; workloads that are not named are left alone.
    Deploy(BTreeMap<WorkloadId, String>),
    /// What a group left, anew with today's configuration.
    Redeploy(GroupId),
    /// An older state.
    Rollback(StackGoal),
}

/// A request for a stack: who wants what of it, and why.
#[derive(Debug, Clone)]
pub struct StackRequest {
    pub(crate) stack: StackName,
    pub(crate) wish: StackWish,
    pub(crate) actor: Actor,
    pub(crate) reason: Option<ShortText>,
    pub(crate) forced: Vec<GuardName>,
    pub(crate) without_way_back: BTreeSet<WorkloadId>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) correlation: Option<ShortText>,
    pub(crate) confirm_within: Option<Duration>,
    pub(crate) idempotency_key: Option<IdempotencyKey>,
    pub(crate) purposes: Purposes,
}

/// What the members of a group are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purposes {
    /// What the goal makes of them.
    OfTheGoal,
    /// They practise the rollback that they are.
    Drill,
    /// They go back to before the drill that they undo.
    DrillEnds,
    /// They go back, since nobody had confirmed what they undo.
    Unconfirmed,
}

impl StackRequest {
    fn new(stack: StackName, wish: StackWish, actor: Actor) -> Self {
        Self {
            stack,
            wish,
            actor,
            reason: None,
            forced: Vec::new(),
            without_way_back: BTreeSet::new(),
            labels: BTreeMap::new(),
            correlation: None,
            confirm_within: None,
            idempotency_key: None,
            purposes: Purposes::OfTheGoal,
        }
    }

    /// Deploy these references; workloads of the stack that are not named are left alone.
    pub fn deploy<R: Into<String>>(
        stack: StackName,
        references: impl IntoIterator<Item = (WorkloadId, R)>,
        actor: Actor,
    ) -> Self {
        let references = references.into_iter().map(|(w, r)| (w, r.into()));
        Self::new(stack, StackWish::Deploy(references.collect()), actor)
    }

    /// Deploy anew what a group left, with today's configuration.
    pub fn redeploy(stack: StackName, group: GroupId, actor: Actor) -> Self {
        Self::new(stack, StackWish::Redeploy(group), actor)
    }

    /// Roll the stack back to a goal.
    pub fn rollback(stack: StackName, goal: StackGoal, actor: Actor) -> Self {
        Self::new(stack, StackWish::Rollback(goal), actor)
    }

    /// Undo the last change of the stack, or of one of its workloads, that is not undone.
    pub fn undo(stack: StackName, actor: Actor) -> Self {
        Self::rollback(stack, StackGoal::Undo, actor)
    }

    /// Do again what was undone last.
    pub fn redo(stack: StackName, actor: Actor) -> Self {
        Self::rollback(stack, StackGoal::Redo, actor)
    }

    /// Says why; recorded with every member.
    #[must_use]
    pub fn because(mut self, reason: ShortText) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Skips this guard of every member; recorded.
    #[must_use]
    pub fn force(mut self, guard: GuardName) -> Self {
        if !self.forced.contains(&guard) {
            self.forced.push(guard);
        }
        self
    }

    /// Moves this workload although what is live on it could not be put back. If another member then
    /// fails, this one goes back as far as it can, and may be left broken.
    #[must_use]
    pub fn without_way_back(mut self, workload: WorkloadId) -> Self {
        self.without_way_back.insert(workload);
        self
    }

    /// Adds a label to every member; recorded and searchable.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// The embedder's own id for what this belongs to; recorded with every member.
    #[must_use]
    pub fn correlation(mut self, id: ShortText) -> Self {
        self.correlation = Some(id);
        self
    }

    /// All of it goes back by itself unless somebody confirms it, as with
    /// [`Request::confirm_within`](crate::request::Request::confirm_within).
    #[must_use]
    pub fn confirm_within(mut self, span: Duration) -> Self {
        self.confirm_within = Some(span);
        self
    }

    /// Makes this request, however often it is sent, one request, as with
    /// [`Request::idempotency_key`](crate::request::Request::idempotency_key): a second one gets the
    /// group that the first one got. The key is taken on one of its members.
    #[must_use]
    pub fn idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.idempotency_key = Some(key);
        self
    }

    /// What is asked under the request's key; `None`: it has none.
    pub(crate) fn asked(&self) -> Option<Asked> {
        let key = self.idempotency_key.clone()?;
        Some(Asked::of(key, &(&self.stack, &self.wish)))
    }

    /// The stack that is to move.
    pub fn stack(&self) -> &StackName {
        &self.stack
    }
}
