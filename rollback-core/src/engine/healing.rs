//! The health gate on the run path, and what may heal a failed one.

use std::sync::Arc;
use std::time::Duration;

use super::ask;
use super::gate::{Judge, Judgement};
use super::patience::Patience;
use super::runner::{Runner, Step};
use crate::breaker::{Rest, rest};
use crate::deployment::Deployment;
use crate::diagnosis::{Attempt, Diagnosis, Words};
use crate::error::{BackendError, Chain, Error, ErrorKind, StoreErrorKind};
use crate::event::Event;
use crate::health::{Site, Verdict};
use crate::history::Summary;
use crate::time::Timestamp;

/// How long the platform may take to say what it knows of what failed.
const DIAGNOSIS: Duration = Duration::from_secs(10);

fn is_no_room(e: &Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::Store(StoreErrorKind::Full | StoreErrorKind::TooLarge)
    )
}

/// What came of looking for a remediation.
enum Tried {
    /// This one did something.
    Did(String),
    /// One was tried, and did nothing.
    DidNothing,
    /// None is left, or may be tried.
    None,
}

impl Runner {
    pub(super) async fn gate(&mut self) -> Result<Step, Error> {
        let mut healed_by: Option<String> = None;
        loop {
            if let Some(step) = self.stop_before_effect().await? {
                return Ok(step);
            }
            let judged = match self.judge(Site::Live).await? {
                Ok(judged) => judged,
                Err(error) => return self.failed(error).await,
            };
            let verdict = match (judged.verdict, healed_by.take()) {
                (Verdict::Passed, Some(by)) => Verdict::Healed { by },
                (verdict, _) => verdict,
            };
            self.judged(Site::Live, verdict.clone(), judged.notes)
                .await?;
            let Verdict::Failed { diagnostic } = verdict else {
                return Ok(Step::Conclude);
            };
            // A remediation touches it, and so does going back: now it can still be looked at.
            self.diagnose(judged.attempts).await?;
            match self.remediate(&diagnostic).await? {
                Tried::Did(name) => healed_by = Some(name),
                Tried::DidNothing => {}
                // Who has asked to stop wants it back, whatever the policy would do.
                Tried::None => {
                    let stop = self.stop_before_effect().await?;
                    return Ok(stop.unwrap_or(Step::Conclude));
                }
            }
        }
    }

    /// Records a verdict: a bad one at once, as much is done because of it.
    pub(super) async fn judged(
        &mut self,
        site: Site,
        verdict: Verdict,
        notes: Vec<String>,
    ) -> Result<(), Error> {
        let is_failed = verdict.is_failed();
        let event = Event::Judged {
            site,
            verdict,
            notes,
        };
        if is_failed {
            self.journal(event).await
        } else {
            self.note(event)
        }
    }

    /// Tries the next remediation.
    async fn remediate(&mut self, diagnostic: &str) -> Result<Tried, Error> {
        for remediation in &self.workload.remediations.clone() {
            let name = remediation.name();
            if self.deployment.remedied().contains(&name) {
                continue;
            }
            if let Some(why) = self.breaker_is_open().await? {
                self.journal(Event::RemediationWithheld { name, why })
                    .await?;
                return Ok(Tried::None);
            }
            self.journal(Event::RemediationIntended { name: name.clone() })
                .await?;
            let op = self.deployment.operation();
            let limits = self.limits(self.deadlines().task, true);
            let (r, d) = (Arc::clone(remediation), diagnostic.to_owned());
            let attempted = self
                .act(limits, |cx| async move {
                    let attempted = r.attempt(&cx, &op, &d).await;
                    attempted.map_err(|e| {
                        let impact = e.impact();
                        e.in_step(&r.name(), impact)
                    })
                })
                .await?;
            let (did, tried) = match attempted {
                Ok(did) => (did, Tried::Did(name.clone())),
                Err(e) => (format!("nothing: {}", Chain::of(&e)), Tried::DidNothing),
            };
            self.journal(Event::Remediated { name, did }).await?;
            return Ok(tried);
        }
        Ok(Tried::None)
    }

    /// The records of this workload in which remediations were tried that may still count, its own among
    /// them.
    async fn remediated(&self, since: Timestamp) -> Result<Vec<Deployment>, Error> {
        let workload = self.deployment.workload();
        let all = self.inner.summaries(workload, usize::MAX).await?.summaries;
        let mut records = Vec::new();
        let counts = |d: &&Summary| {
            let settled = d.settled.as_ref();
            d.breaker_until.is_some() && settled.is_none_or(|s| s.at >= since)
        };
        for d in all.iter().filter(counts) {
            match self.inner.store.get(&d.id).await {
                Ok(record) => records.extend(record),
                // What cannot be read counts no attempts, and stops nobody.
                Err(e) if e.is_unreadable() => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(records)
    }

    /// Why no remediation may be tried now, if none may.
    async fn breaker_is_open(&self) -> Result<Option<String>, Error> {
        let breaker = self.deployment.opening().policy.breaker;
        let since = self.inner.clock.now().minus(breaker.per);
        let mut patience = Patience::of(self.deadlines().observe);
        let records = loop {
            match self.remediated(since).await {
                Ok(found) => break found,
                // What is live is known to be sick: a hiccup must not keep it there.
                Err(e) if patience.looks_again(&e, &self.progress).await => {}
                Err(e) if e.is_transient() => return Err(e),
                // The next look would find no more: on without a remediation.
                Err(e) => {
                    let e = Chain::of(&e);
                    return Ok(Some(format!("how many were tried could not be read: {e}")));
                }
            }
        };
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

    /// Puts on record what there is to see of what failed, before it is touched. At best effort, and
    /// bounded in time: nothing that is to be put back waits for it.
    pub(super) async fn diagnose(&mut self, attempts: Vec<Attempt>) -> Result<(), Error> {
        let op = self.deployment.operation();
        let limit = self.deadlines().observe.min(DIAGNOSIS);
        let words = match op.to.instance() {
            Some(instance) => ask::diagnose(limit, self.workload.backend.as_ref(), instance).await,
            None => Words::default(),
        };
        let diagnosis = Diagnosis::new(attempts, words);
        if diagnosis.is_empty() {
            return Ok(());
        }
        match self.journal(Event::Diagnosed(diagnosis)).await {
            // It only tells: for want of room nothing is kept from going back.
            Err(e) if is_no_room(&e) => {
                tracing::warn!(deployment = %self.deployment.id(), error = %Chain::of(&e), "no diagnosis");
                Ok(())
            }
            told => told,
        }
    }

    pub(super) async fn judge(&self, site: Site) -> Result<Result<Judgement, BackendError>, Error> {
        let op = self.deployment.operation();
        let gate = self.deployment.opening().gate.clone();
        let clock = Arc::clone(&self.inner.clock);
        let (backend, checks) = (
            Arc::clone(&self.workload.backend),
            self.workload.checks.clone(),
        );
        let beside = match site {
            Site::Beside => Some(self.deployment.addresses().clone()),
            Site::Live => None,
        };
        let (limits, view) = (
            self.limits(self.deadlines().gate, true),
            self.deadlines().observe,
        );
        self.act(limits, |cx| async move {
            let judge = Judge {
                backend: backend.as_ref(),
                checks: &checks,
                gate: &gate,
                op: &op,
                beside,
                view,
                clock: clock.as_ref(),
            };
            judge.judge(&cx.looking()).await
        })
        .await
    }
}
