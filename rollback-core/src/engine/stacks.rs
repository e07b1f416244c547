//! Planning for a stack: what each of its workloads is asked for, and what comes of it together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::groups::{self, Group};
use super::inner::Inner;
use super::retracing::{self, Wanted};
use super::{guards, planning};
use crate::deployment::Purpose;
use crate::error::{Error, ErrorKind};
use crate::id::{DeploymentId, GuardName, StackName, WorkloadId};
use crate::plan::{Plan, Refusal};
use crate::release::Restore;
use crate::request::{Goal, Request, Wish};
use crate::stack::{Purposes, Stack, StackGoal, StackPlan, StackRequest, StackWish, Stays};

/// How many members are planned at once.
const AT_ONCE: usize = 8;

/// What came of planning one.
enum Planned {
    Moves(Box<Plan>),
    Stays(&'static str),
}

impl Inner {
    pub(super) fn stack(&self, name: &StackName) -> Result<&Stack, Error> {
        self.stacks.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.stacks.keys().map(StackName::as_str).collect();
            Error::new(ErrorKind::NotRegistered, "this stack is not in the catalog")
                .on(name)
                .advice(match known.is_empty() {
                    true => "add it to the builder with its workloads".to_owned(),
                    false => format!("there are {}", known.join(", ")),
                })
        })
    }
}

/// Makes the plan for a stack.
pub(super) async fn plan(inner: &Arc<Inner>, request: &StackRequest) -> Result<StackPlan, Error> {
    let stack = inner.stack(&request.stack)?;
    let wanted = wanted(inner, stack, &request.wish).await?;
    let movers: BTreeSet<WorkloadId> = wanted
        .iter()
        .filter(|(_, wanted)| !matches!(wanted, Wanted::Nothing(_)))
        .map(|(workload, _)| workload.clone())
        .collect();
    let (mut moves, mut stays) = (BTreeMap::new(), BTreeMap::new());
    for (workload, wanted) in &wanted {
        if let Wanted::Nothing(why) = wanted {
            stays.insert(workload.clone(), *why);
        }
    }
    for (workload, planned) in each(inner, request, wanted, &movers).await? {
        match planned {
            Planned::Moves(plan) => drop(moves.insert(workload, *plan)),
            Planned::Stays(why) => drop(stays.insert(workload, why)),
        }
    }
    if moves.is_empty() {
        return Err(nothing_moves(&request.stack, &stays));
    }
    let who: BTreeSet<WorkloadId> = moves.keys().cloned().collect();
    if who != movers {
        // What was thought to move with them, and does not, has to be in a state to build upon.
        for plan in moves.values_mut() {
            plan.moves_with.clone_from(&who);
            let workload = inner.workload(plan.workload())?;
            let asked = guards::ask(inner, workload, plan).await;
            let more = asked.map_err(|e| e.of_member(&workload.id))?;
            for warning in more {
                if !plan.new.warnings.contains(&warning) {
                    plan.new.warnings.push(warning);
                }
            }
        }
    }
    let order = inner.graph.in_order(&who);
    Ok(StackPlan {
        stack: request.stack.clone(),
        goal: match &request.wish {
            StackWish::Rollback(goal) => Some(goal.clone()),
            _ => None,
        },
        moves: order.iter().filter_map(|(w, _)| moves.remove(w)).collect(),
        stays: left_alone(inner, stays).await?,
        asked: request.asked(),
    })
}

fn nothing_moves(stack: &StackName, stays: &BTreeMap<WorkloadId, &'static str>) -> Error {
    let why: Vec<String> = stays.iter().map(|(w, why)| format!("{w}: {why}")).collect();
    Error::new(
        ErrorKind::AlreadyLive,
        format!("nothing of it would move ({})", why.join("; ")),
    )
    .on(stack)
    .advice("name another goal or other references; or reapply what drifted, workload by workload")
}

async fn left_alone(
    inner: &Inner,
    stays: BTreeMap<WorkloadId, &'static str>,
) -> Result<BTreeMap<WorkloadId, Stays>, Error> {
    let mut told = BTreeMap::new();
    for (workload, why) in stays {
        let live = inner.store.workload(&workload).await?.live;
        told.insert(workload, Stays::new(live, why));
    }
    Ok(told)
}

/// Plans each of them, some at a time. The first that fails names itself.
async fn each(
    inner: &Arc<Inner>,
    request: &StackRequest,
    wanted: BTreeMap<WorkloadId, Wanted>,
    movers: &BTreeSet<WorkloadId>,
) -> Result<BTreeMap<WorkloadId, Planned>, Error> {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut at_work = JoinSet::new();
    for (workload, wanted) in wanted {
        let (purpose, wish) = match wanted {
            Wanted::This(wish) => (None, wish),
            Wanted::For(purpose, wish) => (Some(purpose), wish),
            Wanted::Nothing(_) => continue,
        };
        let mut own = request.of(workload.clone(), wish);
        own.purpose = purpose.or_else(|| request.purpose(&own.wish));
        let (inner, movers, room) = (Arc::clone(inner), movers.clone(), Arc::clone(&room));
        at_work.spawn(async move {
            let _room = room.acquire_owned().await;
            (workload, one(&inner, &own, &movers).await)
        });
    }
    let (mut planned, mut failed) = (BTreeMap::new(), BTreeMap::new());
    while let Some(joined) = at_work.join_next().await {
        let (workload, result) = joined.map_err(|e| {
            Error::new(ErrorKind::Interrupted, "a member was not planned")
                .advice("look for a panic in the log; nothing was changed")
                .because(e)
        })?;
        match result {
            Ok(plan) => drop(planned.insert(workload, plan)),
            Err(e) => drop(failed.insert(workload, e)),
        }
    }
    match failed.pop_first() {
        // The same each time, whoever was quicker.
        Some((workload, e)) => Err(e.of_member(&workload)),
        None => Ok(planned),
    }
}

async fn one(
    inner: &Inner,
    request: &Request,
    movers: &BTreeSet<WorkloadId>,
) -> Result<Planned, Error> {
    match planning::plan_among(inner, request, movers).await {
        Ok(plan) if plan.changes_nothing() => Ok(Planned::Stays("it is live already")),
        Ok(plan) => Ok(Planned::Moves(Box::new(plan))),
        Err(e) if e.kind() == ErrorKind::AlreadyLive => Ok(Planned::Stays("it is live already")),
        Err(e) => Err(e),
    }
}

impl StackRequest {
    /// Whether it goes to a state, all of it.
    fn is_to_a_state(&self) -> bool {
        let retraces = matches!(
            self.wish,
            StackWish::Rollback(StackGoal::Undo | StackGoal::Redo)
        );
        retraces || self.purposes != Purposes::OfTheGoal
    }

    /// What a member is for that is asked for this.
    fn purpose(&self, wish: &Wish) -> Option<Purpose> {
        let undone = match wish {
            Wish::Rollback {
                goal: Goal::Before(id),
            } => Some(id.clone()),
            _ => None,
        };
        match self.purposes {
            Purposes::OfTheGoal => None,
            Purposes::Drill => Some(Purpose::Drill),
            Purposes::DrillEnds => undone.map(|drill| Purpose::DrillEnds { drill }),
            Purposes::Unconfirmed => undone.map(|deployment| Purpose::Unconfirmed { deployment }),
        }
    }

    /// What it asks for one of the workloads.
    fn of(&self, workload: WorkloadId, wish: Wish) -> Request {
        let irreversible = self.without_way_back.contains(&workload);
        let mut request = match wish {
            Wish::Deploy { reference } => Request::deploy(workload, reference, self.actor.clone()),
            Wish::Redeploy { of } => Request::redeploy(workload, of, self.actor.clone()),
            Wish::Rollback { goal } => Request::rollback(workload, goal, self.actor.clone()),
        };
        request.reason.clone_from(&self.reason);
        request.forced.clone_from(&self.forced);
        request.labels.clone_from(&self.labels);
        request.correlation.clone_from(&self.correlation);
        request.confirm_within = self.confirm_within;
        if self.is_to_a_state() {
            request = request.restore(Restore::Everything);
        }
        match irreversible {
            true => request.force(GuardName::way_back()),
            false => request,
        }
    }
}

/// What a wish for the stack means for each workload of it.
async fn wanted(
    inner: &Inner,
    stack: &Stack,
    wish: &StackWish,
) -> Result<BTreeMap<WorkloadId, Wanted>, Error> {
    let all = stack.workloads().iter().cloned();
    Ok(match wish {
        StackWish::Deploy(references) => {
            for workload in references.keys() {
                belongs(stack, workload)?;
            }
            all.map(|w| {
                let wanted = match references.get(&w) {
                    Some(reference) => Wanted::This(Wish::Deploy {
                        reference: reference.clone(),
                    }),
                    None => Wanted::Nothing("nothing was asked for it"),
                };
                (w, wanted)
            })
            .collect()
        }
        StackWish::Redeploy(id) => {
            let group = groups::of_stack(inner, stack, id).await?;
            let redeploy = |of: &DeploymentId| Wish::Redeploy { of: of.clone() };
            all.map(|w| (w.clone(), left_by(&group, &w, redeploy)))
                .collect()
        }
        StackWish::Rollback(goal) => back(inner, stack, goal).await?,
    })
}

/// Refuses what does not belong to the stack.
pub(super) fn belongs(stack: &Stack, workload: &WorkloadId) -> Result<(), Error> {
    if stack.workloads().contains(workload) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidRequest,
        format!("it does not belong to the stack {}", stack.name()),
    )
    .on(workload)
    .advice("name workloads of the stack, or deploy it by itself"))
}

/// What a rollback of the stack means for each workload of it.
async fn back(
    inner: &Inner,
    stack: &Stack,
    goal: &StackGoal,
) -> Result<BTreeMap<WorkloadId, Wanted>, Error> {
    let all = stack.workloads().iter().cloned();
    let to = |goal| Wanted::This(Wish::Rollback { goal });
    let go_to = |of: &DeploymentId| Wish::Rollback {
        goal: Goal::To(of.clone()),
    };
    Ok(match goal {
        StackGoal::AsOf(t) => all.map(|w| (w, to(Goal::AsOf(*t)))).collect(),
        StackGoal::To(id) => {
            let group = groups::of_stack(inner, stack, id).await?;
            all.map(|w| (w.clone(), left_by(&group, &w, go_to)))
                .collect()
        }
        StackGoal::Before(id) => {
            let group = groups::of_stack(inner, stack, id).await?;
            before(&group, all)
        }
        StackGoal::Undo | StackGoal::Redo => {
            let found = retracing::of_stack(inner, stack, goal).await?;
            let mut found = found.ok_or_else(|| no_group(stack, goal))?;
            all.map(|w| {
                let left = Wanted::Nothing("the change left it alone");
                let wanted = found.remove(&w).unwrap_or(left);
                (w, wanted)
            })
            .collect()
        }
        StackGoal::Previous => {
            let found = groups::newest(inner, stack, Group::went_forward).await?;
            before(&found.ok_or_else(|| no_group(stack, goal))?, all)
        }
        StackGoal::LastHealthy => {
            let mut live = BTreeMap::new();
            for w in stack.workloads() {
                let record = inner.store.workload(w).await?.live;
                let record = inner.live(&record).await?;
                live.insert(w.clone(), record.map(|d| d.origin().sequence));
            }
            // Where people have gone back already, it goes on from there.
            let is_it = |group: &Group| group.is_healthy() && group.is_before(&live);
            let found = groups::newest(inner, stack, is_it).await?;
            let group = found.ok_or_else(|| no_group(stack, goal))?;
            all.map(|w| (w.clone(), left_by(&group, &w, go_to)))
                .collect()
        }
    })
}

fn no_group(stack: &Stack, goal: &StackGoal) -> Error {
    Refusal::NoGroup {
        stack: stack.name().clone(),
        goal: goal.clone(),
    }
    .into()
}

fn left_by(group: &Group, w: &WorkloadId, wish: impl Fn(&DeploymentId) -> Wish) -> Wanted {
    match group.left(w) {
        Some(of) => Wanted::This(wish(of)),
        None => Wanted::Nothing("the group did not know it, or what was live on it"),
    }
}

/// Undoes a group.
fn before(group: &Group, all: impl Iterator<Item = WorkloadId>) -> BTreeMap<WorkloadId, Wanted> {
    let moved: BTreeMap<&WorkloadId, &DeploymentId> = group.roll.moves().collect();
    all.map(|w| {
        let wanted = match moved.get(&w) {
            Some(of) => Wanted::This(Wish::Rollback {
                goal: Goal::Before((*of).clone()),
            }),
            None => Wanted::Nothing("the group left it alone"),
        };
        (w, wanted)
    })
    .collect()
}
