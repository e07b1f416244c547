//! [`Refusal`]: why there is no plan.

use serde::{Deserialize, Serialize};

use super::PassedOver;
use crate::history::Fence;
use crate::id::{DeploymentId, GuardName, IdempotencyKey, StackName, WorkloadId};
use crate::request::Goal;
use crate::stack::StackGoal;

/// Why there is no plan, or why it may not be carried out. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refusal", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// The goal names a deployment that this workload does not have.
    #[error("{workload} has no deployment {deployment}; list its history for the ids it has")]
    NotFound {
        /// The workload that was asked about.
        workload: WorkloadId,
        /// The id asked for.
        deployment: DeploymentId,
    },
    /// No deployment answers the goal.
    #[error(
        "{workload} has no rollback point for {goal}; {}; deploy a fixed release, or name a deployment \
         to go to",
        reasons(goal, passed_over)
    )]
    NoRollbackPoint {
        /// The workload that should go back.
        workload: WorkloadId,
        /// What was asked.
        goal: Goal,
        /// What was looked at.
        passed_over: Vec<PassedOver>,
    },
    /// The deployment cannot be a rollback point.
    #[error("{deployment} is no rollback point: {why}; choose another deployment")]
    NotARollbackPoint {
        /// The deployment that was asked for.
        deployment: DeploymentId,
        /// What rules it out.
        why: String,
    },
    /// No group of the stack answers the goal.
    #[error(
        "{stack} has no group for {goal}; list its groups, name one to go to, or roll its workloads \
         back one by one"
    )]
    NoGroup {
        /// The stack that should go back.
        stack: StackName,
        /// What was asked.
        goal: StackGoal,
    },
    /// The rollback point is what is live.
    #[error(
        "{release} is live already as {deployment}; nothing to do (reapply puts it in place anew)"
    )]
    AlreadyLive {
        /// The live deployment.
        deployment: DeploymentId,
        /// Its release, for people.
        release: String,
    },
    /// The backend finds more than one live release, or half of one.
    #[error("what is live cannot be told: {why}; clean up at the platform, then adopt what runs")]
    MixedLive {
        /// What it says.
        why: String,
    },
    /// There is nothing to adopt.
    #[error("nothing is live on {workload}; deploy something instead of adopting")]
    NothingToAdopt {
        /// The workload on which nothing is live.
        workload: WorkloadId,
    },
    /// The history does not know what it last published at the target: an older copy of it was put
    /// back.
    #[error(
        "the history of {workload} is behind what is live: {published} was published at the target, \
         and is not on record; adopt what is live first"
    )]
    HistoryBehind {
        /// The workload whose history is behind.
        workload: WorkloadId,
        /// What was published.
        published: Box<Fence>,
    },
    /// An automatic rollback is a way back: cancelled, it would leave live what is known to be sick.
    #[error(
        "{deployment} is an automatic rollback, which is not cancelled; wait for its end, then deploy \
         or roll back"
    )]
    NotCancellable {
        /// The automatic rollback.
        deployment: DeploymentId,
    },
    /// The program that is to finish a deployment lacks something that it was begun with. Forced with
    /// the guard `composition`, when the workload is recovered by itself.
    #[error(
        "{deployment} was begun by a program that was composed otherwise: {}; recover with what it \
         was begun with, or force {} by name",
        lacks.join("; "),
        GuardName::composition()
    )]
    ComposedDifferently {
        /// The deployment that stays unfinished.
        deployment: DeploymentId,
        /// What is missing now, or elsewhere.
        lacks: Vec<String>,
    },
    /// A guard said no.
    #[error("guard {guard} refuses: {why}; fix the cause, or force {guard} by name")]
    Guard {
        /// The guard, by the name that forces it.
        guard: GuardName,
        /// Why it refuses, in its own words.
        why: String,
    },
    /// A guard was to be forced that this workload does not have.
    #[error("there is no guard {guard} to force; there are {}", names(known))]
    UnknownGuard {
        /// The name that was to be forced.
        guard: GuardName,
        /// Those there are.
        known: Vec<GuardName>,
    },
    /// The authorizer said no. Cannot be forced.
    #[error("{actor} may not {verb} {workload}: {why}; ask somebody who may")]
    Unauthorized {
        /// Who asked, for people.
        actor: String,
        /// What they wanted to do, for people.
        verb: String,
        /// On which workload.
        workload: WorkloadId,
        /// The authorizer's reason.
        why: String,
    },
    /// Another request was sent under this idempotency key. Cannot be forced.
    #[error(
        "{key} is the key of {deployment}, which was asked for something else; use a key of its own \
         for each request"
    )]
    KeyTaken {
        /// The key that both requests were sent under.
        key: IdempotencyKey,
        /// Whose it is.
        deployment: DeploymentId,
    },
    /// Deploys are held.
    #[error("deploys to {workload} are held by {by}: {why}; lift the hold, or roll back")]
    Held {
        /// The workload that is held.
        workload: WorkloadId,
        /// Who holds it, for people.
        by: String,
        /// Why, in their words.
        why: String,
    },
}

fn names(guards: &[GuardName]) -> String {
    let names: Vec<&str> = guards.iter().map(GuardName::as_str).collect();
    names.join(", ")
}

fn reasons(goal: &Goal, passed_over: &[PassedOver]) -> String {
    if passed_over.is_empty() {
        return match goal {
            Goal::LastHealthy => "nothing on record went live before what is live now",
            _ => "the records do not say what was live then",
        }
        .into();
    }
    let shown: Vec<String> = passed_over
        .iter()
        .take(3)
        .map(|p| format!("{} {}", p.deployment, p.why))
        .collect();
    let more = passed_over.len().saturating_sub(3);
    let tail = if more > 0 {
        format!(", and {more} more")
    } else {
        String::new()
    };
    format!("passed over: {}{tail}", shown.join(", "))
}
