//! [`GroupRun`]: the deployments of a group, set going together; and how they ended.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use super::inner::Inner;
use super::run::{Progress, Run};
use super::runner::Step;
use super::start::{self, Start};
use super::tenure::Tenure;
use super::together::{InGroup, Member, Together};
use crate::deployment::{Deployment, Membership, Opening, Outcome, Part, Roll, Settlement};
use crate::engine::Report;
use crate::error::{Chain, Error, ErrorKind, StoreError};
use crate::health::Verdict;
use crate::history::{Identity, Lease, Then, Version};
use crate::id::{GroupId, StackName, WorkloadId};
use crate::plan::Plan;
use crate::stack::{StackPlan, Stays};

/// A group that runs. `.await` it for the [`GroupReport`]; drop it and the group goes on.
#[derive(Debug)]
#[must_use = "the group runs by itself, but its report is lost"]
pub struct GroupRun {
    pub(super) id: GroupId,
    pub(super) stack: StackName,
    pub(super) runs: BTreeMap<WorkloadId, Run>,
    pub(super) stays: BTreeMap<WorkloadId, Stays>,
}

/// How a group ended.
#[derive(Debug)]
pub struct GroupReport {
    id: GroupId,
    stack: StackName,
    members: BTreeMap<WorkloadId, Result<Report, Error>>,
    stays: BTreeMap<WorkloadId, Stays>,
}

impl GroupRun {
    /// The group's id; the intent of every member is durable.
    pub fn id(&self) -> &GroupId {
        &self.id
    }

    /// How far each member is.
    pub fn progress(&self) -> BTreeMap<WorkloadId, Progress> {
        let progress = |(w, run): (&WorkloadId, &Run)| (w.clone(), run.progress());
        self.runs.iter().map(progress).collect()
    }

    /// Whether all of it has ended, and awaiting it gives the report at once.
    pub fn is_finished(&self) -> bool {
        self.runs.values().all(Run::is_finished)
    }

    /// Asks it to stop. Until it is decided, all of it goes back; afterwards it ends as if nobody had
    /// asked.
    pub fn cancel(&self) {
        for run in self.runs.values() {
            run.cancel();
        }
    }
}

impl IntoFuture for GroupRun {
    type Output = GroupReport;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut members = BTreeMap::new();
            for (workload, run) in self.runs {
                members.insert(workload, run.await);
            }
            GroupReport {
                id: self.id,
                stack: self.stack,
                members,
                stays: self.stays,
            }
        })
    }
}

impl GroupReport {
    /// The group's id.
    pub fn id(&self) -> &GroupId {
        &self.id
    }

    /// The stack that it moved.
    pub fn stack(&self) -> &StackName {
        &self.stack
    }

    /// How each member ended. An error: its run stopped, its record is unfinished, and
    /// [`recover`](crate::engine::RollbackEngine::recover) settles it, in the way that the group went.
    pub fn members(&self) -> &BTreeMap<WorkloadId, Result<Report, Error>> {
        &self.members
    }

    pub(super) fn into_members(self) -> BTreeMap<WorkloadId, Result<Report, Error>> {
        self.members
    }

    /// What was left alone, and why.
    pub fn stays(&self) -> &BTreeMap<WorkloadId, Stays> {
        &self.stays
    }

    /// Whether every member succeeded.
    pub fn succeeded(&self) -> bool {
        let mut members = self.members.values();
        members.all(|m| m.as_ref().is_ok_and(Report::succeeded))
    }

    /// For a person: a line for each member, what went wrong first.
    pub fn summary(&self) -> String {
        let mut lines: Vec<(bool, String)> = Vec::new();
        for (workload, member) in &self.members {
            let (well, said) = match member {
                Ok(report) => (report.succeeded(), report.summary()),
                Err(e) => (false, Chain::of(e).to_string()),
            };
            // Who only went along explains nothing.
            let along = member
                .as_ref()
                .is_ok_and(|r| r.outcome() == Outcome::Cancelled);
            lines.push((well || along, format!("{workload}: {said}")));
        }
        lines.sort_by_key(|(well, _)| *well);
        let lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
        lines.join("\n")
    }
}

/// What a member is opened with.
struct Opens {
    new: Opening,
    version: Version,
    plan: Plan,
}

/// What was opened.
struct Opened {
    tenure: Tenure<Lease>,
    deployment: Deployment,
    plan: Plan,
}

/// Opens every member of a group and sets them going; or none, and then nothing was touched.
///
/// In a task of its own, as each by itself.
pub(super) async fn begin(inner: &Arc<Inner>, plan: StackPlan) -> Result<GroupRun, Error> {
    let inner = Arc::clone(inner);
    let task = tokio::spawn(async move { Box::pin(together(&inner, plan)).await });
    task.await.unwrap_or_else(|e| {
        Err(
            Error::new(ErrorKind::Interrupted, "the group was not opened")
                .advice("look for a panic in the log; recover settles what was opened")
                .because(e),
        )
    })
}

async fn together(inner: &Arc<Inner>, plan: StackPlan) -> Result<GroupRun, Error> {
    let identity = inner.identity().await?;
    let opens = opens(inner, &plan)?;
    let Some(id) = opens
        .values()
        .next()
        .and_then(|first| Some(first.new.group.as_ref()?.id.clone()))
    else {
        return Err(
            Error::new(ErrorKind::InvalidRequest, "the plan moves nothing")
                .on(&plan.stack)
                .advice("preview again"),
        );
    };
    let opened = Box::pin(open_all(inner, &identity, opens)).await?;
    if let Err(e) = still_stays(inner, &plan).await {
        settle_all(inner, &identity, opened, &e).await;
        return Err(e);
    }
    let order = inner.graph.in_order(&opened.keys().cloned().collect());
    let places: Vec<&WorkloadId> = opened.keys().collect();
    let place = |w: &WorkloadId| places.iter().position(|p| *p == w);
    let members = opened.iter().map(|(workload, opened)| {
        let needs = order.iter().find(|(w, _)| w == workload);
        Member {
            workload: workload.clone(),
            deployment: opened.deployment.id().clone(),
            needs: needs
                .map(|(_, needs)| needs.iter().filter_map(place).collect())
                .unwrap_or_default(),
        }
    });
    let seats = Together::seats(members.collect());
    let mut runs = BTreeMap::new();
    for ((workload, opened), seat) in opened.into_iter().zip(seats) {
        let step = Step::Guard(Box::new(opened.plan));
        let run = start::start(
            inner,
            identity.clone(),
            opened.tenure,
            opened.deployment,
            Some(InGroup::Among(seat)),
            Start::Fresh(Box::new(step)),
        )?;
        runs.insert(workload, run);
    }
    Ok(GroupRun {
        id,
        stack: plan.stack,
        runs,
        stays: plan.stays,
    })
}

/// What is left alone is as it was planned: the record of the group says what is live on it.
async fn still_stays(inner: &Inner, plan: &StackPlan) -> Result<(), Error> {
    for (workload, stays) in &plan.stays {
        if inner.store.workload(workload).await?.live != stays.live {
            return Err(Error::from(StoreError::stale(workload)));
        }
    }
    Ok(())
}

/// What is opened, in the order of the workloads' ids: two groups that have members in common then meet
/// at the first of these, and neither waits for the other. The first coordinates.
fn opens(inner: &Inner, plan: &StackPlan) -> Result<BTreeMap<WorkloadId, Opens>, Error> {
    let mut opens = BTreeMap::new();
    for member in &plan.moves {
        let new = start::opening(inner, member)?;
        let workload = new.workload.clone();
        let member = Opens {
            new,
            version: member.version,
            plan: member.clone(),
        };
        opens.insert(workload, member);
    }
    let moves = opens.iter().map(|(w, member)| {
        let deployment = member.new.id.clone();
        (w.clone(), Part::Moves { deployment })
    });
    let stays = plan.stays.iter().map(|(w, s)| (w.clone(), s.part()));
    let mut roll = Some(Roll::new(plan.goal.clone(), stays.chain(moves).collect()));
    let Some(id) = opens.values().next().map(|m| GroupId::of(m.new.id.clone())) else {
        return Ok(opens);
    };
    // Once the last one is opened all are: a key is not taken by a group that never came to be.
    if let Some(last) = opens.values_mut().next_back() {
        last.new.asked.clone_from(&plan.asked);
    }
    let who: BTreeSet<WorkloadId> = opens.keys().cloned().collect();
    for member in opens.values_mut() {
        member.plan.moves_with.clone_from(&who);
        let mut membership = Membership::new(id.clone(), plan.stack.clone());
        membership.roll = roll.take();
        member.new = member.new.clone().in_group(membership);
    }
    Ok(opens)
}

/// Opens all of them; or none: those that were, before one could not be, are settled as refused.
async fn open_all(
    inner: &Arc<Inner>,
    identity: &Identity,
    opens: BTreeMap<WorkloadId, Opens>,
) -> Result<BTreeMap<WorkloadId, Opened>, Error> {
    let mut opened = BTreeMap::new();
    for (workload, member) in opens {
        match open(inner, identity, member).await {
            Ok(member) => drop(opened.insert(workload, member)),
            Err(e) => {
                let e = e.of_member(&workload);
                settle_all(inner, identity, opened, &e).await;
                return Err(e);
            }
        }
    }
    Ok(opened)
}

async fn open(inner: &Arc<Inner>, identity: &Identity, member: Opens) -> Result<Opened, Error> {
    let Opens { new, version, plan } = member;
    let (tenure, deployment) = start::open(inner, identity, new, version).await?;
    Ok(Opened {
        tenure,
        deployment,
        plan,
    })
}

/// Settles what was opened for a group that was not. What cannot be is left to recovery.
async fn settle_all(
    inner: &Arc<Inner>,
    identity: &Identity,
    opened: BTreeMap<WorkloadId, Opened>,
    because: &Error,
) {
    for (workload, opened) in opened {
        let settlement = Settlement::new(
            Outcome::Refused,
            Verdict::Unknown,
            opened.deployment.opening().fallback.clone(),
            format!(
                "Its group was not opened: {}. Nothing was touched.",
                Chain::of(because)
            ),
        );
        let step = Step::Settle(Box::new(settlement), Box::new(Then::Release));
        let run = start::start(
            inner,
            identity.clone(),
            opened.tenure,
            opened.deployment,
            None,
            Start::Fresh(Box::new(step)),
        );
        let settled = match run {
            Ok(run) => run.await.map(drop),
            Err(e) => Err(e),
        };
        if let Err(e) = settled {
            tracing::warn!(%workload, error = %Chain::of(&e), "left to recovery");
        }
    }
}
