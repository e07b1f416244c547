//! Bisection: finds the first bad deployment between a good one and a bad one, by putting those between
//! live.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::bisect::{Judgement, Next, next};
use crate::deployment::{Annotation, Deployment, Outcome, Purpose, Watch, WatchVerdict};
use crate::engine::RollbackEngine;
use crate::error::{Error, ErrorKind, HookError};
use crate::health::VerdictKind;
use crate::history::Summary;
use crate::id::{Actor, DeploymentId, ShortText, WorkloadId};
use crate::plan::Refusal;
use crate::points::ruled_out;
use crate::request::{Goal, Request};

/// The name of what a judge says, on the record of what was tried.
const SIGNAL: &str = "bisect";

/// Says of what is live whether it is good: a command, a query, a person at a terminal. Asked once the
/// health gate has passed; what fails its gate is bad.
#[async_trait]
pub trait Judge: fmt::Debug + Send + Sync {
    /// Judges what is live, which was put there to be tried.
    ///
    /// # Errors
    ///
    /// Why it cannot be asked: the search stops there, and goes on from there when it is asked for again.
    async fn judge(&self, tried: &Deployment) -> Result<Judgement, HookError>;
}

/// What is searched.
#[derive(Debug, Clone)]
pub struct Bisect {
    workload: WorkloadId,
    good: DeploymentId,
    bad: DeploymentId,
    actor: Actor,
    judge: Option<Arc<dyn Judge>>,
}

impl Bisect {
    /// Between these two, by the health gate alone.
    pub fn new(workload: WorkloadId, good: DeploymentId, bad: DeploymentId, actor: Actor) -> Self {
        Self {
            workload,
            good,
            bad,
            actor,
            judge: None,
        }
    }

    /// By this judge besides.
    #[must_use]
    pub fn judged_by(mut self, judge: impl Judge + 'static) -> Self {
        self.judge = Some(Arc::new(judge));
        self
    }

    /// Whether it was tried for this search; `None`: it is nothing of it.
    fn is_trial(&self, d: &Summary) -> Option<bool> {
        match &d.purpose {
            Some(Purpose::Bisect { good, bad, tried })
                if *good == self.good && *bad == self.bad =>
            {
                Some(tried.is_some())
            }
            _ => None,
        }
    }

    /// What was live when the search began; `None`: it has ended there, or somebody has moved on from it.
    fn began<'r>(&self, newest_first: &'r [Summary]) -> Option<&'r DeploymentId> {
        let is_trial = |d: &&Summary| self.is_trial(d) == Some(true);
        let newest = newest_first.iter().find(|d| d.settled.is_some())?;
        let failed = newest.failed.as_ref();
        let put_right = newest_first
            .iter()
            .filter(is_trial)
            .any(|d| failed == Some(&d.id));
        if !put_right && !is_trial(&newest) {
            return None;
        }
        let since = newest_first
            .iter()
            .take_while(|d| !(self.is_trial(d) == Some(false) && d.went_live()));
        since.filter(is_trial).last()?.replaces.known()
    }

    fn purpose(&self, tried: Option<DeploymentId>) -> Purpose {
        Purpose::Bisect {
            good: self.good.clone(),
            bad: self.bad.clone(),
            tried,
        }
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bisected {
    /// The newest that is good.
    pub last_good: DeploymentId,
    /// The first bad one; where those before it cannot be told, it is one of these, oldest first.
    pub first_bad: Vec<DeploymentId>,
    /// What was tried, by this search or an earlier one of the same two, oldest first.
    pub tried: Vec<(DeploymentId, Judgement)>,
}

impl RollbackEngine {
    /// Finds the first bad deployment between a good one and a bad one: puts one between them live, judges
    /// it, and so on with the half that is left. It ends where it began.
    ///
    /// All of it is on record: who asks for the same two again, after a crash too, goes on where it
    /// stopped, and nothing is tried twice. Until then what was tried last is live.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run) for each of those tried; and:
    ///
    /// - [`InvalidRequest`](ErrorKind::InvalidRequest): the good one is not older than the bad one, or
    ///   one of both was never live.
    /// - [`NotFound`](ErrorKind::NotFound): the workload has no such deployment.
    /// - [`Interrupted`](ErrorKind::Interrupted): what was tried was cancelled or did not come to rest, or
    ///   the judge cannot be asked.
    pub async fn bisect(&self, search: &Bisect) -> Result<Bisected, Error> {
        self.inner().workload(&search.workload)?;
        loop {
            let records = self.inner().whole_history(&search.workload).await?;
            let between = between(search, &records)?;
            let mut known = Vec::with_capacity(between.len());
            for candidate in &between {
                known.push(self.known(search, candidate, &records).await?);
            }
            match next(&known) {
                Next::Try(i) => self.try_out(search, &between[i].id).await?,
                Next::Found(found) => {
                    self.end_where_it_began(search, &records).await?;
                    let id = |i: usize| between.get(i).map_or(&search.bad, |d| &d.id).clone();
                    let before = found.start.checked_sub(1);
                    let told = between.iter().zip(&known);
                    return Ok(Bisected {
                        last_good: before.map_or_else(|| search.good.clone(), id),
                        first_bad: found.map(id).collect(),
                        tried: told
                            .filter_map(|(d, known)| Some((d.id.clone(), (*known)?)))
                            .collect(),
                    });
                }
            }
        }
    }

    /// What is known of a candidate by what was tried.
    async fn known(
        &self,
        search: &Bisect,
        candidate: &Summary,
        records: &[Summary],
    ) -> Result<Option<Judgement>, Error> {
        let purpose = search.purpose(Some(candidate.id.clone()));
        let trials = records
            .iter()
            .filter(|d| d.purpose.as_ref() == Some(&purpose));
        for trial in trials {
            match trial.outcome() {
                Some(Outcome::Succeeded) if search.judge.is_none() => {
                    return Ok(Some(by_gate(trial)));
                }
                Some(Outcome::Succeeded) => {
                    let record = self.inner().record(&trial.id).await?;
                    let watch = record.annotations().watch.as_ref();
                    let said = watch.and_then(|watch| watch.verdict.as_ref()).map(told);
                    if said.is_some() {
                        return Ok(said);
                    }
                }
                Some(Outcome::Interrupted | Outcome::Cancelled | Outcome::Refused) | None => {}
                Some(_) => {
                    return Ok(Some(match trial.is_unhealthy() {
                        true => Judgement::Bad,
                        // It never came up: that says nothing of what it would have done.
                        false => Judgement::Untold,
                    }));
                }
            }
        }
        Ok(None)
    }

    async fn try_out(&self, search: &Bisect, id: &DeploymentId) -> Result<(), Error> {
        let goal = Goal::To(id.clone());
        let text = format!("bisecting between {} and {}", search.good, search.bad);
        let request = Request::rollback(search.workload.clone(), goal, search.actor.clone())
            .because(ShortText::cut(&text))
            .reapply();
        let request = Request {
            purpose: Some(search.purpose(Some(id.clone()))),
            ..request
        };
        let report = self.run(request).await?.await?;
        let tried = report.deployment();
        match tried.outcome() {
            Some(Outcome::Succeeded) => {
                if let Some(judge) = &search.judge {
                    self.ask(judge.as_ref(), tried).await?;
                }
                Ok(())
            }
            Some(Outcome::Interrupted | Outcome::Cancelled | Outcome::Refused) | None => {
                Err(stopped(tried.id(), &report.summary()))
            }
            Some(_) => Ok(()),
        }
    }

    /// Asks the judge, and puts on record what it says.
    async fn ask(&self, judge: &dyn Judge, tried: &Deployment) -> Result<(), Error> {
        let since = self.inner().clock.now();
        let judged = judge.judge(tried).await;
        let judged =
            judged.map_err(|e| stopped(tried.id(), "the judge cannot be asked").because(e))?;
        let until = self.inner().clock.now();
        let watch = Watch::new(since, until, vec![ShortText::cut(SIGNAL)]);
        let verdict = match judged {
            Judgement::Good => WatchVerdict::Passed,
            Judgement::Bad => WatchVerdict::Failed {
                why: ShortText::cut("the judge says that it is bad"),
            },
            Judgement::Untold => WatchVerdict::Inconclusive {
                why: ShortText::cut("the judge cannot tell"),
            },
        };
        let annotation = Annotation::Watch(watch.ended(verdict));
        Ok(self.inner().store.annotate(tried.id(), &annotation).await?)
    }

    async fn end_where_it_began(&self, search: &Bisect, records: &[Summary]) -> Result<(), Error> {
        let Some(began) = search.began(records) else {
            return Ok(());
        };
        let goal = Goal::To(began.clone());
        let request = Request::rollback(search.workload.clone(), goal, search.actor.clone())
            .because(ShortText::cut("the bisection is over"))
            .restore(crate::release::Restore::Everything);
        let request = Request {
            purpose: Some(search.purpose(None)),
            ..request
        };
        let ended = match self.run(request).await {
            Ok(run) => run.await?,
            Err(e) if e.kind() == ErrorKind::AlreadyLive => return Ok(()),
            Err(e) => return Err(e),
        };
        match ended.succeeded() {
            true => Ok(()),
            false => Err(stopped(ended.deployment().id(), &ended.summary())),
        }
    }
}

fn by_gate(trial: &Summary) -> Judgement {
    match trial.verdict {
        VerdictKind::Failed => Judgement::Bad,
        // Without a check there is nothing to tell by.
        VerdictKind::Unknown => Judgement::Untold,
        _ => Judgement::Good,
    }
}

fn told(verdict: &WatchVerdict) -> Judgement {
    match verdict {
        WatchVerdict::Passed => Judgement::Good,
        WatchVerdict::Failed { .. } => Judgement::Bad,
        _ => Judgement::Untold,
    }
}

fn stopped(at: &DeploymentId, why: &str) -> Error {
    Error::new(ErrorKind::Interrupted, format!("the search stopped: {why}"))
        .on(at)
        .advice("ask for it again: it goes on from there; or undo to leave it")
}

/// The releases that came between the two, oldest first, each once.
fn between<'r>(search: &Bisect, records: &'r [Summary]) -> Result<Vec<&'r Summary>, Error> {
    let find = |id: &DeploymentId| {
        let found = records.iter().find(|d| d.id == *id);
        found.ok_or_else(|| Refusal::NotFound {
            workload: search.workload.clone(),
            deployment: id.clone(),
        })
    };
    let (good, bad) = (find(&search.good)?, find(&search.bad)?);
    if good.sequence >= bad.sequence || !good.placed || !bad.placed {
        return Err(Error::new(
            ErrorKind::InvalidRequest,
            "the good one has to have gone live before the bad one",
        )
        .on(&search.good)
        .advice("name an older one that is good, and a newer one that is bad"));
    }
    let mut seen: HashSet<_> = [good.digest(), bad.digest()].into();
    let mut between: Vec<&Summary> = records
        .iter()
        .rev()
        .filter(|d| d.sequence > good.sequence && d.sequence < bad.sequence)
        // What brought an older one back says nothing new.
        .filter(|d| d.restores.is_none() && d.purpose.is_none() && ruled_out(*d).is_none())
        .collect();
    between.retain(|d| seen.insert(d.digest()));
    Ok(between)
}
