//! The run path: the only place that calls `prepare`, `start`, `switch`, `retire` and `retain`.
//!
//! A deployment, a rollback, an automatic rollback and a recovery are the same walk over the
//! same steps; they differ in where they enter it and in what their record says. Every step
//! writes its intent, acts, and writes the evidence; a step that cannot be recorded is not taken.

use std::sync::Arc;

use tokio::sync::watch;

use super::gate;
use super::guards;
use super::inner::Inner;
use super::report::{AutomaticRollback, NotAttempted, Report};
use super::run::Channels;
use super::successor::{Successor, successor};
use super::upkeep;
use crate::backend::{Prepared, Rollout};
use crate::breaker::{Rest, rest};
use crate::context::{Cancellation, Context, ProgressSink};
use crate::deployment::{
    Annotation, Deployment, LiveRecord, Note, Outcome, Phase, Settlement, Skipped, Trigger,
};
use crate::engine::Workload;
use crate::error::{BackendError, BackendErrorKind, Error, ErrorKind, StoreErrorKind};
use crate::event::{Cause, Event};
use crate::health::{Site, Verdict};
use crate::history::{Hold, Lease, Then};
use crate::id::{DeploymentId, ShortText};
use crate::plan::{Plan, Warning};
use crate::policy::AfterRollback;

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
        if let Err(e) = guards::ask(&self.inner, &self.workload, &cx, plan).await {
            return match e.refusal() {
                Some(refusal) => {
                    let why = refusal.to_string();
                    self.go_back(Cause::Guarded { why }).await
                }
                None => Err(e),
            };
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
        match self.switch_to(self.deployment.operation()).await {
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
            if let Some(why) = self.breaker_is_open().await? {
                self.journal(Event::RemediationWithheld { name, why })
                    .await?;
                return Ok(None);
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

    /// Why no remediation may be tried now, if none may.
    async fn breaker_is_open(&self) -> Result<Option<String>, Error> {
        let records = self.inner.records(self.deployment.workload()).await?;
        let breaker = self.deployment.new_deployment().policy.breaker;
        Ok(match rest(&records, &breaker, self.inner.clock.now()) {
            Rest::No => None,
            Rest::Yes { attempts } => Some(format!(
                "{attempts} remediations were tried on this workload in the last {} s, and no \
                 more than {} may be",
                breaker.per.as_secs(),
                breaker.attempts
            )),
        })
    }

    /// Acts on the live verdict: on, or an automatic rollback, or a failed release that stays.
    async fn conclude(&mut self) -> Result<Step, Error> {
        if !self.deployment.verdict().is_failed() {
            return Ok(Step::Retire);
        }
        match successor(&self.inner, &self.workload, &self.deployment).await {
            Ok(Ok(successor)) => self.open_successor(successor).await,
            Ok(Err(why)) => {
                self.not_attempted = Some(why);
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

    async fn open_successor(&mut self, plan: Successor) -> Result<Step, Error> {
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
        if outcome == Outcome::Succeeded {
            self.aftermath().await?;
        }
        let (release, verdict) = (self.release_name(), self.deployment.verdict().clone());
        let summary = match (outcome, retired) {
            (_, Err(e)) => {
                format!("{release} is live, but the former release was not put away: {e}.")
            }
            (Outcome::Succeeded, _) => format!("{release} is live and {verdict}."),
            (Outcome::Degraded, _) => format!(
                "{release} is live and {verdict}. {}The engine stops here: look at the \
                 diagnostic, then deploy or roll back.",
                self.migrations_since()
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

    /// What a failed rollback is likely to have met.
    fn migrations_since(&self) -> String {
        let warnings = &self.deployment.new_deployment().warnings;
        warnings
            .iter()
            .find(|w| matches!(w, Warning::MigrationsSince { .. }))
            .map(|w| format!("Mind that {w}. "))
            .unwrap_or_default()
    }

    /// What the policy and the request want done once a rollback has succeeded. Before it is
    /// settled, and bearing repetition: a crash in between cannot lose it.
    async fn aftermath(&mut self) -> Result<(), Error> {
        let new = self.deployment.new_deployment();
        if new.trigger.restores().is_none() {
            return Ok(());
        }
        let now = self.inner.clock.now();
        let why = |text: String| ShortText::cut(&text);
        if new.skipped == Skipped::MarkedBad {
            let note = Note {
                by: new.actor.clone(),
                at: now,
                text: why(format!("skipped over by {}", new.id)),
            };
            for skipped in &new.skips {
                let what = Annotation::MarkBad(note.clone());
                match self.inner.store.annotate(skipped, &what).await {
                    Ok(()) => {}
                    // Retention may have let it go meanwhile.
                    Err(e) if e.kind() == StoreErrorKind::NotFound => {}
                    Err(e) => return Err(self.unrecorded(e)),
                }
            }
        }
        if new.policy.after_rollback == AfterRollback::Hold {
            let state = self.inner.store.workload(&new.workload).await;
            if state.map_err(|e| self.unrecorded(e))?.hold.is_none() {
                let hold = Hold {
                    by: new.actor.clone(),
                    why: why(format!("held after the rollback {}", new.id)),
                    since: now,
                };
                let held = self.inner.store.set_hold(&new.workload, Some(&hold)).await;
                held.map_err(|e| self.unrecorded(e))?;
            }
        }
        Ok(())
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
