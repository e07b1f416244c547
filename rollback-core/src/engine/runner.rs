//! The run path: the only place that calls `prepare`, `start`, `switch`, `retire` and `retain`.
//!
//! A deployment, a rollback, an automatic rollback and a recovery are the same walk over the
//! same steps; they differ in where they enter it and in what their record says. Every step
//! writes its intent, acts, and writes the evidence or [notes](Runner::note) it for the next write; a step that cannot be recorded is not taken.

use std::sync::Arc;

use tokio::sync::watch;

use super::confirmed;
use super::guards;
use super::inner::Inner;
use super::report::{AutomaticRollback, Report};
use super::run::Channels;
use super::tenure::Tenure;
use super::together::{At, InGroup};
use super::warnings;
use crate::backend::{Prepared, Rollout};
use crate::context::{Cancellation, Context, ProgressSink, Said};
use crate::deployment::{
    Deployment, LiveRecord, NotAttempted, Outcome, Phase, Purpose, Settlement,
};
use crate::engine::Workload;
use crate::error::{BackendError, BackendErrorKind, Chain, Error, LiveImpact};
use crate::event::{Cause, Event, TimedEvent};
use crate::health::{Site, Verdict};
use crate::history::{Holder, Identity, Lease, Then};
use crate::id::DeploymentId;
use crate::plan::Plan;
use crate::points::{NoPoint, ruled_out};

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
    pub(super) identity: Identity,
    /// The lease that all of it is done under.
    pub(super) tenure: Tenure<Lease>,
    pub(super) deployment: Deployment,
    /// What of it is to become durable with the next intent.
    pub(super) noted: Vec<TimedEvent>,
    pub(super) cancellation: Cancellation,
    pub(super) phase: watch::Sender<(DeploymentId, Phase)>,
    pub(super) progress: ProgressSink,
    said: watch::Receiver<Said>,
    pub(super) not_attempted: Option<NotAttempted>,
    /// The deployment whose failure set off the automatic rollback that now runs.
    pub(super) failed: Option<Deployment>,
    pub(super) to_last_healthy: bool,
    /// How it stands to the group it moves with.
    pub(super) group: Option<InGroup>,
}

impl Runner {
    pub(super) fn new(
        inner: Arc<Inner>,
        workload: Workload,
        identity: Identity,
        tenure: Tenure<Lease>,
        deployment: Deployment,
        group: Option<InGroup>,
    ) -> Self {
        let (progress, said) = ProgressSink::channel();
        let cancellation = match &group {
            Some(InGroup::Among(seat)) => seat.stop().clone(),
            _ => Cancellation::new(),
        };
        Self {
            inner,
            workload,
            identity,
            tenure,
            phase: watch::Sender::new((deployment.id().clone(), deployment.phase())),
            deployment,
            noted: Vec::new(),
            cancellation,
            progress,
            said,
            not_attempted: None,
            failed: None,
            to_last_healthy: false,
            group,
        }
    }

    /// What a handle on this run needs.
    pub(super) fn channels(&self) -> Channels {
        Channels {
            cancellation: self.cancellation.clone(),
            phase: self.phase.subscribe(),
            said: self.said.clone(),
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
            by: Some(Holder::this_process(self.inner.clock.now())),
        })
        .await
    }

    async fn guard(&mut self, plan: &Plan) -> Result<Step, Error> {
        let limit = self.deadlines().observe;
        if let Some(why) = confirmed::is_owed_no_more(&self.inner, &self.deployment).await? {
            return self.go_back(Cause::Guarded { why }).await;
        }
        let mut plan = plan.clone();
        if let Some(point) = &plan.rollback_point {
            // What has been said of the rollback point since the plan was made holds, too.
            let Some(point) = self.inner.store.get(point).await? else {
                let why = format!("the record of {point} was let go since the plan was made");
                return self.go_back(Cause::Guarded { why }).await;
            };
            if let Some(why @ NoPoint::MarkedBad { .. }) = ruled_out(&point) {
                let why = format!("{} is no rollback point any more: {why}", point.id());
                return self.go_back(Cause::Guarded { why }).await;
            }
            plan.migrations = Some(warnings::migrations(limit, &self.workload, &point).await);
        }
        let plan = &plan;
        if let Err(e) = guards::ask(&self.inner, &self.workload, plan).await {
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
        let (verdict, notes) = match self.judge(Site::Live).await? {
            Ok(judged) => (judged.verdict, judged.notes),
            // A check that cannot be asked is no judge, and no reason not to put it on record.
            Err(e) if e.kind() != BackendErrorKind::Cancelled => {
                let why = Chain::of(&e).to_string();
                (
                    Verdict::Unknown,
                    vec![format!("it could not be judged: {why}")],
                )
            }
            // Nothing was changed, so there is nothing to go back from.
            Err(_) => {
                let by = self.confirm().await?.cancel_requested_by;
                let cause = Cause::Cancelled { by };
                let settlement = Settlement::new(
                    Outcome::Cancelled,
                    Verdict::Unknown,
                    self.deployment.opening().fallback.clone(),
                    format!("The adoption was {cause}; nothing was changed."),
                );
                return Ok(Step::Settle(Box::new(settlement), Box::new(Then::Release)));
            }
        };
        self.judged(Site::Live, verdict.clone(), notes).await?;
        // Adopting what is sick is right: it is what is live. Its verdict keeps it from being
        // anybody's last healthy release.
        let live = LiveRecord::Known(self.deployment.id().clone());
        let name = self.release_name();
        let summary = format!("{name} was adopted: it is live and {verdict}.");
        let settlement = Settlement::new(Outcome::Succeeded, verdict, live, summary);
        Ok(Step::Settle(Box::new(settlement), Box::new(Then::Release)))
    }

    async fn prepare(&mut self) -> Result<Step, Error> {
        self.journal(Event::PrepareIntended).await?;
        if let Some(step) = self.stop_if_asked().await? {
            return Ok(step);
        }
        let tasks = self.workload.tasks_on(self.deployment.trigger().kind());
        let op = self.deployment.operation().tasks(tasks);
        let backend = Arc::clone(&self.workload.backend);
        let limits = self.limits(self.deadlines().prepare, true);
        let planned = op.to.release().map(crate::release::Release::digest);
        let prepare = |cx: Context| {
            let (backend, op) = (Arc::clone(&backend), op.clone());
            async move { backend.prepare(&cx, &op).await }
        };
        match self.act_forward(limits, prepare).await? {
            Ok(prepared) if Some(prepared.to.release.digest()) == planned => {
                let way_back = prepared.way_back.clone();
                self.note(Event::Prepared(prepared))?;
                match self.cannot_go_back(&way_back) {
                    Some(why) => self.go_back(Cause::Guarded { why }).await,
                    None => Ok(Step::Tasks),
                }
            }
            Ok(prepared) => {
                let error = BackendError::new(
                    BackendErrorKind::Corrupt,
                    "the backend prepared another release than the one planned",
                )
                .on(&prepared.to.release)
                .untouched();
                self.failed(error).await
            }
            Err(failed) => self.after(failed).await,
        }
    }

    async fn tasks(&mut self) -> Result<Step, Error> {
        if let Some(step) = self.meets(At::Prepared).await? {
            return Ok(step);
        }
        let trigger = self.deployment.trigger().kind();
        for task in &self.workload.tasks.clone() {
            // What is only practised changes no data.
            if self.is_dry() {
                break;
            }
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
                    let hook = || format!("release task {}", task.name());
                    let ran = task.run(&cx, &op).await;
                    ran.map_err(|e| e.in_step(&hook(), LiveImpact::Untouched))
                })
                .await?;
            match result {
                Ok(()) => self.journal(Event::TaskDone { name }).await?,
                Err(error) => return self.failed(error).await,
            }
        }
        match self.deployment.prepared().map(|p| p.rollout) {
            Some(Rollout::Beside) => Ok(Step::Start),
            _ => Ok(Step::Switch),
        }
    }

    async fn start(&mut self) -> Result<Step, Error> {
        self.journal(Event::StartIntended).await?;
        if let Some(step) = self.stop_if_asked().await? {
            return Ok(step);
        }
        let op = self.deployment.operation();
        let backend = Arc::clone(&self.workload.backend);
        let limits = self.limits(self.deadlines().switch, true);
        let start = |cx: Context| {
            let (backend, op) = (Arc::clone(&backend), op.clone());
            async move { backend.start(&cx, &op).await }
        };
        match self.act_forward(limits, start).await? {
            Ok(started) => self.journal(Event::Started(started)).await?,
            Err(failed) => return self.after(failed).await,
        }
        match self.judge(Site::Beside).await? {
            Ok(judged) => {
                let verdict = judged.verdict;
                self.judged(Site::Beside, verdict.clone(), judged.notes)
                    .await?;
                match verdict {
                    Verdict::Failed { diagnostic } => {
                        self.diagnose(judged.attempts).await?;
                        self.go_back(Cause::Unhealthy { diagnostic }).await
                    }
                    _ => Ok(Step::Switch),
                }
            }
            Err(error) => self.failed(error).await,
        }
    }

    /// Whether it is practised, up to the switch.
    fn is_dry(&self) -> bool {
        self.deployment.purpose() == Some(&Purpose::DryDrill)
    }

    async fn switch(&mut self) -> Result<Step, Error> {
        if self.is_dry() {
            return self.go_back(Cause::Practised).await;
        }
        if let Some(step) = self.meets(At::Ready).await? {
            return Ok(step);
        }
        if let Some(step) = self.stop_before_effect().await? {
            return Ok(step);
        }
        self.journal(Event::SwitchIntended).await?;
        let limits = self.switch_limits(true);
        let switching = self.switching(self.deployment.operation());
        match self.act_forward(limits, switching).await? {
            Ok(evidence) => {
                self.journal(Event::Switched { evidence }).await?;
                Ok(Step::Gate)
            }
            Err(failed) => self.after(failed).await,
        }
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
                recovered: self.deployment.went_live() && !self.deployment.verdict().is_failed(),
                to_last_healthy: self.to_last_healthy,
                deployment: Box::new(self.deployment),
            },
            live,
        }
    }
}
