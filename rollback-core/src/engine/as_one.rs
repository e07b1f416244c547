//! What an engine does with stacks, and with many workloads at once.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::facade::{BUSY, REPLANS, is_left_by_the_dead};
use super::group_attach;
use super::group_run::{self, GroupRun};
use super::retry::Retry;
use super::{recovery, stacks};
use crate::engine::{Report, RollbackEngine};
use crate::error::{Error, ErrorKind, StoreErrorKind};
use crate::id::WorkloadId;
use crate::request::Request;
use crate::stack::{StackPlan, StackRequest};

impl RollbackEngine {
    /// What a request for a stack would do, without doing it.
    ///
    /// # Errors
    ///
    /// As [`preview`](Self::preview), for the first member in the order of their ids, which the error
    /// names; and:
    ///
    /// - [`NotRegistered`](ErrorKind::NotRegistered): there is no such stack.
    /// - [`NotFound`](ErrorKind::NotFound): the stack has no such group.
    /// - [`InvalidRequest`](ErrorKind::InvalidRequest): no group answers the goal, or a reference is for
    ///   a workload that does not belong to the stack.
    /// - [`AlreadyLive`](ErrorKind::AlreadyLive): nothing would move.
    /// - [`Refused`](ErrorKind::Refused), with the guard `way-back`: what is live on a member could not
    ///   be put back; [`without_way_back`](StackRequest::without_way_back) names it all the same.
    pub async fn preview_stack(&self, request: &StackRequest) -> Result<StackPlan, Error> {
        // On the heap, as a plan for one.
        Box::pin(stacks::plan(self.inner(), request)).await
    }

    /// Carries a stack's plan out: all of it goes live, or none. Returns as soon as the intent of every
    /// member is durable; they go on by themselves.
    ///
    /// Every member prepares, then runs its release tasks and what can run beside what is live; then they
    /// are switched, what others need before those, each judged by its gate. Once all are healthy, that
    /// they go forward is put on record, in one write; until then, whatever fails, all go back. What a
    /// crash leaves, [`recover`](Self::recover) ends in the way that this one record says, whoever calls
    /// it, for all of them or for some.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute), for the first member in the order of their ids, which the error
    /// names. Nothing was touched: members that were opened before it are on record as refused.
    pub async fn execute_stack(&self, plan: StackPlan) -> Result<GroupRun, Error> {
        let inner = self.inner();
        let stack = inner.stack(plan.stack())?;
        for member in plan.moves() {
            // A plan may come from elsewhere.
            stacks::belongs(stack, member.workload())?;
            self.authorize(member).await?;
        }
        if let Some(actor) = plan.moves().first().map(|m| m.deployment().actor.clone()) {
            let before = group_attach::asked_before(inner, stack, plan.asked.as_ref(), &actor);
            if let Some(run) = before.await? {
                return Ok(run);
            }
        }
        for member in plan.moves() {
            if let Some(past) = member.past {
                inner.advance(past).await?;
            }
        }
        match group_run::begin(inner, plan).await {
            Err(e) if is_left_by_the_dead(&e) => {
                if let Some(left) = e.conflict().map(|c| c.workload.clone()) {
                    recovery::first(inner, &left).await?;
                }
                Err(Error::new(
                    ErrorKind::Stale,
                    "an interrupted deployment was recovered first",
                )
                .advice("preview again"))
            }
            begun => begun,
        }
    }

    /// Previews and executes a request for a stack. Plans anew if a member moves in between; recovers
    /// first what a dead process left.
    ///
    /// # Errors
    ///
    /// As [`preview_stack`](Self::preview_stack) and [`execute_stack`](Self::execute_stack).
    /// [`Stale`](ErrorKind::Stale) only if members moved under plan after plan.
    pub async fn run_stack(&self, request: StackRequest) -> Result<GroupRun, Error> {
        let asked = request.asked();
        let before = || async {
            let stack = self.inner().stack(request.stack())?;
            group_attach::asked_before(self.inner(), stack, asked.as_ref(), &request.actor).await
        };
        let (mut tried, mut retry) = (0, Retry::times(BUSY));
        loop {
            if let Some(run) = before().await? {
                return Ok(run);
            }
            tried += 1;
            let result = match self.preview_stack(&request).await {
                Ok(plan) => Box::pin(self.execute_stack(plan)).await,
                Err(e) => Err(e),
            };
            match result {
                Err(e) if tried < REPLANS && e.kind() == ErrorKind::Stale => {}
                Err(e)
                    if e.kind() == ErrorKind::Store(StoreErrorKind::Busy)
                        && retry.again().await => {}
                Err(e) if tried < REPLANS && is_left_by_the_dead(&e) => {
                    if let Some(left) = e.conflict().map(|c| c.workload.clone()) {
                        Box::pin(recovery::first(self.inner(), &left)).await?;
                    }
                }
                // Somebody may have been quicker with the same key.
                Err(e) => return before().await?.ok_or(e),
                begun => return begun,
            }
        }
    }

    /// Runs requests of workloads that do not belong together, at most `at_once` at a time. One that
    /// fails stops none of the others. In the order in which they were asked.
    pub async fn run_all(
        &self,
        requests: impl IntoIterator<Item = Request>,
        at_once: usize,
    ) -> Vec<(WorkloadId, Result<Report, Error>)> {
        let room = Arc::new(Semaphore::new(at_once.max(1)));
        let mut at_work = JoinSet::new();
        let mut ended: Vec<(WorkloadId, Result<Report, Error>)> = Vec::new();
        for (nth, request) in requests.into_iter().enumerate() {
            let lost = Error::new(
                ErrorKind::Interrupted,
                "the run ended before it was settled",
            )
            .on(request.workload())
            .advice("look for a panic in the log; run recover");
            ended.push((request.workload().clone(), Err(lost)));
            let (engine, room) = (self.clone(), Arc::clone(&room));
            at_work.spawn(async move {
                let _room = room.acquire_owned().await;
                let result = match engine.run(request).await {
                    Ok(run) => run.await,
                    Err(e) => Err(e),
                };
                (nth, result)
            });
        }
        while let Some(joined) = at_work.join_next().await {
            if let Ok((nth, result)) = joined
                && let Some(slot) = ended.get_mut(nth)
            {
                slot.1 = result;
            }
        }
        ended
    }
}
