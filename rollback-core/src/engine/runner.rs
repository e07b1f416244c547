//! The run path: the only place that calls `prepare`, `start`, `switch`, `retire` and `retain`.
//!
//! A deployment, a rollback, an automatic rollback and a recovery are the same walk over the
//! same steps; they differ in where they enter it and in what their record says. Every step
//! writes its intent, acts, and writes the evidence; a step that cannot be recorded is not taken.

use std::sync::Arc;

use tokio::sync::watch;

use super::gate;
use super::inner::Inner;
use super::planning::{self, SuccessorPlan};
use super::report::{AutomaticRollback, NotAttempted, Report};
use super::run::Channels;
use super::upkeep;
use crate::backend::{Prepared, Rollout};
use crate::context::{Cancellation, Context, ProgressSink};
use crate::deployment::{Deployment, LiveRecord, Outcome, Phase, Settlement, Trigger, TriggerKind};
use crate::engine::Workload;
use crate::error::{BackendError, BackendErrorKind, Error, ErrorKind};
use crate::event::{Cause, Event};
use crate::guard::Ruling;
use crate::health::{Site, Verdict};
use crate::history::{Lease, Then};
use crate::id::DeploymentId;
use crate::plan::Plan;
use crate::policy::RollbackMode;

/// Where the path is, or where it is entered.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Guard(Box<Plan>),
    /// Record what is live, and judge it.
    Adopt(Box<Prepared>),
    Prepare,
    Tasks,
    Start,
    Switch,
    Gate,
    Conclude,
    Retire,
    SwitchBack,
    RetireBack,
    /// Settle like this; with what follows in the same atomic step.
    Settle(Box<Settlement>, Box<Then>),
}

pub(super) struct Runner {
    pub(super) inner: Arc<Inner>,
    pub(super) workload: Workload,
    /// Empty only while `finish` has it.
    pub(super) lease: Option<Lease>,
    pub(super) deployment: Deployment,
    pub(super) cancellation: Cancellation,
    pub(super) phase: watch::Sender<(DeploymentId, Phase)>,
    pub(super) progress: ProgressSink,
    line: watch::Receiver<String>,
    not_attempted: Option<NotAttempted>,
    /// The deployment whose failure set off the automatic rollback that now runs.
    pub(super) failed: Option<Deployment>,
    to_last_healthy: bool,
}

impl Runner {
    pub(super) fn new(
        inner: Arc<Inner>,
        workload: Workload,
        lease: Lease,
        deployment: Deployment,
    ) -> Self {
        let (progress, line) = ProgressSink::channel();
        Self {
            inner,
            workload,
            lease: Some(lease),
            phase: watch::Sender::new((deployment.id().clone(), deployment.phase())),
            deployment,
            cancellation: Cancellation::new(),
            progress,
            line,
            not_attempted: None,
            failed: None,
            to_last_healthy: false,
        }
    }

    /// What a handle on this run needs.
    pub(super) fn channels(&self) -> Channels {
        Channels {
            cancellation: self.cancellation.clone(),
            phase: self.phase.subscribe(),
            line: self.line.clone(),
        }
    }

    /// Walks from `step` to the settlement. An error means that the engine stopped: the record
    /// is unfinished, the lease is dropped, and recovery goes on from there.
    pub(super) async fn drive(mut self, mut step: Step) -> Result<Report, Error> {
        loop {
            step = match step {
                Step::Guard(plan) => self.guard(&plan).await?,
                Step::Adopt(prepared) => self.adopt(*prepared).await?,
                Step::Prepare => self.prepare().await?,
                Step::Tasks => self.tasks().await?,
                Step::Start => self.start().await?,
                Step::Switch => self.switch().await?,
                Step::Gate => self.gate().await?,
                Step::Conclude => self.conclude().await?,
                Step::Retire => self.retire().await?,
                Step::SwitchBack => self.switch_back().await?,
                Step::RetireBack => self.retire_back().await?,
                Step::Settle(settlement, then) => match self.settle(*settlement, *then).await? {
                    Some(step) => step,
                    None => return Ok(self.report()),
                },
            };
        }
    }

    /// Notes that recovery took over, and why it enters where it does.
    pub(super) async fn taken_over(&mut self, decision: &str) -> Result<(), Error> {
        self.journal(Event::TakenOver {
            decision: decision.to_owned(),
        })
        .await
    }

    async fn guard(&mut self, plan: &Plan) -> Result<Step, Error> {
        let cx = Context::new(self.deadlines().observe);
        for guard in &self.workload.guards.clone() {
            let name = guard.name();
            if self.deployment.new_deployment().forced.contains(&name) {
                continue;
            }
            if let Ruling::Refuse(why) = guard.check(&cx, plan).await {
                return self
                    .go_back(Cause::Guarded {
                        why: format!("{name}: {why}"),
                    })
                    .await;
            }
        }
        Ok(Step::Prepare)
    }

    async fn adopt(&mut self, prepared: Prepared) -> Result<Step, Error> {
        self.journal(Event::Prepared(prepared)).await?;
        let (verdict, notes) = match self.judge(Site::Live).await {
            Ok(judged) => judged,
            Err(e) => (Verdict::failed(e.to_string()), Vec::new()),
        };
        self.journal(Event::Judged {
            site: Site::Live,
            verdict: verdict.clone(),
            notes,
        })
        .await?;
        // Adopting what is sick is right: it is what is live. Its verdict keeps it from being
        // anybody's last healthy release.
        Ok(Step::Settle(
            Box::new(Settlement {
                outcome: Outcome::Succeeded,
                summary: format!(
                    "{} was adopted: it is live and {verdict}.",
                    self.release_name()
                ),
                verdict,
                live: LiveRecord::Known(self.deployment.id().clone()),
            }),
            Box::new(Then::Release),
        ))
    }

    async fn prepare(&mut self) -> Result<Step, Error> {
        if let Some(step) = self.stop_before_effect().await? {
            return Ok(step);
        }
        self.journal(Event::PrepareIntended).await?;
        let op = self.deployment.operation();
        let backend = Arc::clone(&self.workload.backend);
        let limits = self.limits(self.deadlines().prepare, true);
        let planned = op.to.release().map(crate::release::Release::digest);
        let result = self
            .act(limits, |cx| async move { backend.prepare(&cx, &op).await })
            .await;
        match result {
            Ok(prepared) if Some(prepared.to.release.digest()) == planned => {
                self.journal(Event::Prepared(prepared)).await?;
                Ok(Step::Tasks)
            }
            Ok(prepared) => {
                let error = BackendError::new(
                    BackendErrorKind::Corrupt,
                    "the backend prepared another release than the one planned",
                )
                .on(&prepared.to.release)
                .untouched();
                self.go_back(self.cause_of(&error)).await
            }
            Err(error) => self.go_back(self.cause_of(&error)).await,
        }
    }

    async fn tasks(&mut self) -> Result<Step, Error> {
        let trigger = self.deployment.trigger().kind();
        for task in &self.workload.tasks.clone() {
            let name = task.name();
            if !task.runs_on(trigger) || self.deployment.tasks_done().contains(&name) {
                continue;
            }
            if let Some(step) = self.stop_before_effect().await? {
                return Ok(step);
            }
            self.journal(Event::TaskIntended { name: name.clone() })
                .await?;
            let op = self.deployment.operation();
            let limits = self.limits(self.deadlines().task, true);
            let task = Arc::clone(task);
            let result = self
                .act(limits, |cx| async move {
                    task.run(&cx, &op).await.map_err(|why| {
                        BackendError::new(
                            BackendErrorKind::Failed,
                            format!("release task {} failed: {why}", task.name()),
                        )
                        .untouched()
                    })
                })
                .await;
            match result {
                Ok(()) => self.journal(Event::TaskDone { name }).await?,
                Err(error) => return self.go_back(self.cause_of(&error)).await,
            }
        }
        match self.deployment.prepared().map(|p| p.rollout) {
            Some(Rollout::Beside) => Ok(Step::Start),
            _ => Ok(Step::Switch),
        }
    }

    async fn start(&mut self) -> Result<Step, Error> {
        if let Some(step) = self.stop_before_effect().await? {
            return Ok(step);
        }
        self.journal(Event::StartIntended).await?;
        let op = self.deployment.operation();
        let backend = Arc::clone(&self.workload.backend);
        let limits = self.limits(self.deadlines().switch, true);
        let (b, o) = (Arc::clone(&backend), op.clone());
        match self
            .act(limits, |cx| async move { b.start(&cx, &o).await })
            .await
        {
            Ok(evidence) => self.journal(Event::Started { evidence }).await?,
            Err(error) => return self.go_back(self.cause_of(&error)).await,
        }
        match self.judge(Site::Beside).await {
            Ok((verdict, notes)) => {
                self.journal(Event::Judged {
                    site: Site::Beside,
                    verdict: verdict.clone(),
                    notes,
                })
                .await?;
                match verdict {
                    Verdict::Failed { diagnostic } => {
                        self.go_back(Cause::Unhealthy { diagnostic }).await
                    }
                    _ => Ok(Step::Switch),
                }
            }
            Err(error) => self.go_back(self.cause_of(&error)).await,
        }
    }

    async fn switch(&mut self) -> Result<Step, Error> {
        if let Some(step) = self.stop_before_effect().await? {
            return Ok(step);
        }
        self.journal(Event::SwitchIntended).await?;
        let op = self.deployment.operation();
        let backend = Arc::clone(&self.workload.backend);
        // Once begun, a switch is not cancelled half-way: it ends, and then it is undone.
        let limits = self.limits(self.deadlines().switch, false);
        match self
            .act(limits, |cx| async move { backend.switch(&cx, &op).await })
            .await
        {
            Ok(evidence) => {
                self.journal(Event::Switched { evidence }).await?;
                Ok(Step::Gate)
            }
            Err(error) => self.go_back(self.cause_of(&error)).await,
        }
    }

    async fn gate(&mut self) -> Result<Step, Error> {
        let mut healed_by: Option<String> = None;
        loop {
            if let Some(step) = self.stop_before_effect().await? {
                return Ok(step);
            }
            let (verdict, notes) = match (self.judge(Site::Live).await, healed_by.take()) {
                (Ok((Verdict::Passed, notes)), Some(by)) => (Verdict::Healed { by }, notes),
                (Ok(judged), _) => judged,
                (Err(error), _) => return self.go_back(self.cause_of(&error)).await,
            };
            self.journal(Event::Judged {
                site: Site::Live,
                verdict: verdict.clone(),
                notes,
            })
            .await?;
            let Verdict::Failed { diagnostic } = verdict else {
                return Ok(Step::Conclude);
            };
            match self.remediate(&diagnostic).await? {
                Some(name) => healed_by = Some(name),
                None => return Ok(Step::Conclude),
            }
        }
    }

    /// Tries the next remediation; its name if one did something.
    async fn remediate(&mut self, diagnostic: &str) -> Result<Option<String>, Error> {
        for remediation in &self.workload.remediations.clone() {
            let name = remediation.name();
            if self.deployment.remedied().contains(&name) {
                continue;
            }
            self.journal(Event::RemediationIntended { name: name.clone() })
                .await?;
            let op = self.deployment.operation();
            let limits = self.limits(self.deadlines().task, true);
            let (r, d) = (Arc::clone(remediation), diagnostic.to_owned());
            let did = self
                .act(limits, |cx| async move {
                    r.attempt(&cx, &op, &d)
                        .await
                        .map_err(|why| BackendError::new(BackendErrorKind::Failed, why))
                })
                .await
                .unwrap_or_else(|e| format!("nothing: {e}"));
            self.journal(Event::Remediated {
                name: name.clone(),
                did,
            })
            .await?;
            return Ok(Some(name));
        }
        Ok(None)
    }

    /// Acts on the live verdict: on, or an automatic rollback, or a failed release that stays.
    async fn conclude(&mut self) -> Result<Step, Error> {
        if !self.deployment.verdict().is_failed() {
            return Ok(Step::Retire);
        }
        let kind = self.deployment.trigger().kind();
        let armed = self.deployment.new_deployment().policy.rollback == RollbackMode::Auto;
        self.not_attempted = match kind {
            TriggerKind::Rollback | TriggerKind::AutomaticRollback => {
                Some(NotAttempted::WasARollback)
            }
            _ if !armed => Some(NotAttempted::NotArmed),
            _ => None,
        };
        if self.not_attempted.is_some() {
            return Ok(Step::Retire);
        }
        match planning::successor(&self.inner, &self.workload, &self.deployment).await {
            Ok(Some(plan)) => self.open_successor(plan).await,
            Ok(None) => {
                self.not_attempted = Some(NotAttempted::NoRollbackPoint);
                Ok(Step::Retire)
            }
            // Neither on nor back without knowing: recovery tries again.
            Err(e) => Err(Error::new(
                ErrorKind::Interrupted,
                "the release failed its gate, and no rollback point could be looked up",
            )
            .on(self.deployment.id())
            .advice("the failed release is live; run recover when the platform answers")
            .because(e)),
        }
    }

    async fn open_successor(&mut self, plan: SuccessorPlan) -> Result<Step, Error> {
        let settlement = Settlement {
            outcome: Outcome::Failed,
            verdict: self.deployment.verdict().clone(),
            live: LiveRecord::Known(self.deployment.id().clone()),
            summary: format!("{} is {}.", self.release_name(), self.deployment.verdict()),
        };
        self.to_last_healthy = plan.to_last_healthy;
        Ok(Step::Settle(
            Box::new(settlement),
            Box::new(Then::Open(Box::new(plan.new))),
        ))
    }

    async fn retire(&mut self) -> Result<Step, Error> {
        self.journal(Event::RetireIntended).await?;
        let retired = self.retire_op(self.deployment.operation()).await;
        let outcome = match (&retired, self.deployment.verdict().is_failed()) {
            (Err(e), _) if e.is_transient() => return Err(self.stopped(e)),
            (Err(_), _) => Outcome::Degraded,
            (Ok(()), false) => Outcome::Succeeded,
            (Ok(()), true) if self.deployment.trigger().restores().is_some() => Outcome::Degraded,
            (Ok(()), true) => Outcome::Failed,
        };
        if retired.is_ok() {
            self.journal(Event::Retired).await?;
            self.retain().await;
        }
        let (release, verdict) = (self.release_name(), self.deployment.verdict().clone());
        let summary = match (outcome, retired) {
            (_, Err(e)) => {
                format!("{release} is live, but the former release was not put away: {e}.")
            }
            (Outcome::Succeeded, _) => format!("{release} is live and {verdict}."),
            (Outcome::Degraded, _) => format!(
                "{release} is live and {verdict}. The engine stops here: look at the diagnostic, then deploy or roll back."
            ),
            _ => format!("{release} is {verdict}. It stays live."),
        };
        let settlement = Settlement {
            outcome,
            verdict,
            live: LiveRecord::Known(self.deployment.id().clone()),
            summary,
        };
        let then = match self.deployment.trigger() {
            Trigger::AutomaticRollback { failed, .. } if outcome == Outcome::Succeeded => {
                Then::ReleaseAndAmend(failed.clone())
            }
            _ => Then::Release,
        };
        Ok(Step::Settle(Box::new(settlement), Box::new(then)))
    }

    /// Best effort, under the lease, so that nobody prepares what is being dropped.
    async fn retain(&self) {
        let window = match upkeep::shrink(&self.inner, &self.deployment).await {
            Ok(window) => window,
            Err(e) => {
                tracing::warn!(deployment = %self.deployment.id(), error = %e, "retain skipped");
                return;
            }
        };
        let backend = Arc::clone(&self.workload.backend);
        let limits = self.limits(self.deadlines().retire, false);
        if let Err(e) = self
            .act(
                limits,
                |cx| async move { backend.retain(&cx, &window).await },
            )
            .await
        {
            tracing::warn!(deployment = %self.deployment.id(), error = %e, "retain failed");
        }
    }

    async fn judge(&self, site: Site) -> Result<gate::Judgement, BackendError> {
        let op = self.deployment.operation();
        let gate = self.deployment.new_deployment().gate.clone();
        let (backend, checks) = (
            Arc::clone(&self.workload.backend),
            self.workload.checks.clone(),
        );
        let limits = self.limits(self.deadlines().gate, true);
        self.act(limits, |cx| async move {
            gate::judge(&cx, backend.as_ref(), &checks, &gate, &op, site).await
        })
        .await
    }

    fn report(self) -> Report {
        let live = self
            .deployment
            .settlement()
            .map_or(LiveRecord::Unknown, |settlement| settlement.live.clone());
        let Some(failed) = self.failed else {
            let automatic_rollback = match self.not_attempted {
                Some(reason) => AutomaticRollback::NotAttempted { reason },
                None => AutomaticRollback::NotNeeded,
            };
            return Report {
                deployment: self.deployment,
                automatic_rollback,
                live,
            };
        };
        Report {
            deployment: failed,
            automatic_rollback: AutomaticRollback::Attempted {
                recovered: self.deployment.outcome() == Some(Outcome::Succeeded),
                to_last_healthy: self.to_last_healthy,
                deployment: Box::new(self.deployment),
            },
            live,
        }
    }
}
