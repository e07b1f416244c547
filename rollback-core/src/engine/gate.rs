//! The gate: repeats the platform's and the checks' views until they make a verdict.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ask;
use crate::backend::{Addresses, Backend, Operation};
use crate::context::Context;
use crate::diagnosis;
use crate::error::{BackendError, BackendErrorKind};
use crate::health::{Gate, HealthCheck, Healthy, Probe, Unhealthy, Verdict, View};
use crate::time::Clock;

/// How a gate ended, what its checks remarked, and what each of its attempts saw.
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    pub(super) notes: Vec<String>,
    pub(super) attempts: Vec<diagnosis::Attempt>,
}

/// Who judges what, and by what.
pub(super) struct Judge<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) checks: &'a [Arc<dyn HealthCheck>],
    pub(super) gate: &'a Gate,
    pub(super) op: &'a Operation,
    /// Where `op.to` answers, if it runs beside what is live; `None`: it is live.
    pub(super) beside: Option<Addresses>,
    /// How long the platform may take for one view.
    pub(super) view: Duration,
    pub(super) clock: &'a dyn Clock,
}

impl Judge<'_> {
    /// Judges `op.to`. `Err` only when cancelled: every other trouble is a failed attempt.
    pub(super) async fn judge(&self, cx: &Context) -> Result<Judgement, BackendError> {
        let mut attempts = Vec::new();
        let (verdict, notes) = self.judged(cx, &mut attempts).await?;
        Ok(Judgement {
            verdict,
            notes,
            attempts,
        })
    }

    async fn judged(
        &self,
        cx: &Context,
        attempts: &mut Vec<diagnosis::Attempt>,
    ) -> Result<(Verdict, Vec<String>), BackendError> {
        let gate = self.gate;
        let Some(instance) = self.op.to.instance() else {
            return Ok((Verdict::Unknown, Vec::new()));
        };
        let failed = |diagnostic: String| Ok((Verdict::failed(diagnostic), Vec::new()));
        let (workload, instance) = (self.op.workload.clone(), instance.clone());
        let probe = match &self.beside {
            Some(addresses) => Probe::beside(workload, instance, addresses.clone()),
            None => Probe::live(workload, instance),
        };
        let began = Instant::now();
        let (mut bad, mut good) = (0, 0);
        // Since when it has been good enough, but for the soak.
        let mut soaking: Option<Instant> = None;
        loop {
            let (at, asked) = (self.clock.now(), Instant::now());
            let attempt = self.attempt(cx, &probe).await;
            let saw = diagnosis::Attempt::new(at, asked.elapsed(), attempt.saw());
            attempts.push(saw);
            if cx.cancellation().is_cancelled() && !cx.remaining().is_zero() {
                return Err(BackendError::new(
                    BackendErrorKind::Cancelled,
                    "cancelled at the gate",
                ));
            }
            let progress = match attempt {
                Attempt::NoOpinion | Attempt::Idle(_) => {
                    return Ok((Verdict::Unknown, Vec::new()));
                }
                Attempt::Hopeless(diagnostic) => return failed(diagnostic),
                // Neither good nor bad: what starts slowly is waited for, as long as the gate is open.
                Attempt::NotYet(why) => {
                    (bad, good) = (0, 0);
                    soaking = None;
                    why
                }
                Attempt::Good(notes) => {
                    bad = 0;
                    good += 1;
                    if good >= gate.successes.max(1) {
                        let since = *soaking.get_or_insert_with(Instant::now);
                        if since.elapsed() >= gate.soak {
                            return Ok((Verdict::Passed, notes));
                        }
                    }
                    String::from("healthy, not yet for long enough")
                }
                Attempt::Bad(diagnostic) => {
                    good = 0;
                    // While it starts, a no is only a not yet.
                    if began.elapsed() >= gate.start_period || soaking.is_some() {
                        bad += 1;
                    }
                    if bad >= gate.retries.max(1) {
                        return failed(diagnostic);
                    }
                    diagnostic
                }
            };
            cx.say(format!(
                "health: {}",
                progress.lines().next().unwrap_or("waiting")
            ));
            if cx.remaining() <= gate.interval {
                return failed(format!("not healthy before the deadline: {progress}"));
            }
            if let Err(e) = cx.sleep(gate.interval).await {
                // A machine that slept through the deadline is no reason to go back.
                if cx.remaining().is_zero() {
                    return failed(format!("not healthy before the deadline: {progress}"));
                }
                return Err(e);
            }
        }
    }

    async fn attempt(&self, cx: &Context, probe: &Probe) -> Attempt {
        let unread = |why: &dyn std::fmt::Display| {
            Attempt::Bad(format!("the platform's view could not be read: {why}"))
        };
        let own = cx.within(self.view);
        let asked = ask::ask_within(&own, |cx| async move {
            self.backend.health(&cx, &probe.instance).await
        });
        let platform = match asked.await {
            Ok(Ok(View::Failed(diagnostic))) => return Attempt::Hopeless(diagnostic),
            Ok(Ok(View::NotYet(why))) => return Attempt::NotYet(why),
            Ok(Ok(View::Idle(why))) => return Attempt::Idle(why),
            Ok(Ok(view)) => view,
            Ok(Err(e)) => return unread(&e),
            Err(late) => return unread(&late),
        };
        // One that would look elsewhere has no opinion.
        let checks = || {
            self.checks
                .iter()
                .filter(|check| check.aim().reaches(probe))
        };
        if checks().next().is_none() {
            return if platform == View::Healthy {
                Attempt::Good(Vec::new())
            } else {
                Attempt::NoOpinion
            };
        }
        let mut failures = Vec::new();
        for check in checks() {
            match look(&cx.within(self.gate.timeout), check.as_ref(), probe).await {
                // One edge that answers is enough: a blip at another is none.
                Ok(healthy) => {
                    // It is noted all the same: somebody has to look at that edge.
                    let noted = healthy.note.map(|n| format!("{}: {n}", check.name()));
                    failures.extend(noted);
                    return Attempt::Good(failures);
                }
                Err(unhealthy) => failures.push(format!("{}: {unhealthy}", check.name())),
            }
        }
        Attempt::Bad(failures.join("\n"))
    }
}

/// One check's view.
pub(super) async fn look(
    cx: &Context,
    check: &dyn HealthCheck,
    probe: &Probe,
) -> Result<Healthy, Unhealthy> {
    let asked = ask::ask_within(cx, |cx| async move { check.check(&cx, probe).await });
    asked
        .await
        .unwrap_or_else(|late| Err(Unhealthy::new(late.to_string())))
}

enum Attempt {
    /// With what the check remarked, and why those before it said no.
    Good(Vec<String>),
    Bad(String),
    /// The platform cannot tell yet.
    NotYet(String),
    /// The platform is sure: nothing to wait for.
    Hopeless(String),
    NoOpinion,
    /// Nothing was asked to run: no check would find anybody.
    Idle(String),
}

impl Attempt {
    /// What was seen, in words.
    fn saw(&self) -> &str {
        match self {
            Self::Good(_) => "healthy",
            Self::NoOpinion => "no opinion",
            Self::Bad(why) | Self::NotYet(why) | Self::Hopeless(why) | Self::Idle(why) => why,
        }
    }
}
