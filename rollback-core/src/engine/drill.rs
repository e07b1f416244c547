//! Drills: a rollback that is practised.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::inner::Inner;
use super::owing;
use crate::deployment::Purpose;
use crate::engine::{Recovered, Report, RollbackEngine};
use crate::error::{Chain, Error, ErrorKind};
use crate::id::WorkloadId;
use crate::request::{Request, Wish};
use crate::stack::{Purposes, StackRequest, StackWish};
use crate::time::Timestamp;

/// How often what is in the way of the way back is tried again, and after how long.
const TRIES: u32 = 60;
const AGAIN: Duration = Duration::from_secs(1);

/// How a drill is held.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Drill {
    /// There and back: the older release is live for as long as it takes to judge it, and then what was
    /// live before is again, judged too. Begun in this window alone.
    Real {
        /// When it may begin.
        window: Range<Timestamp>,
    },
    /// Everything but the switch, and no release task: it is prepared, started where that is possible
    /// beside what is live, judged there, and put away.
    Dry,
}

/// How a drill went.
#[derive(Debug)]
#[non_exhaustive]
pub struct DrillReport {
    /// The rollback that was practised, by workload.
    pub there: Vec<(WorkloadId, Result<Report, Error>)>,
    /// The way back from it; empty for a dry one, and where nothing was switched.
    pub back: Vec<(WorkloadId, Result<Report, Error>)>,
}

impl DrillReport {
    /// Whether all of it went well.
    pub fn passed(&self) -> bool {
        let mut all = self.there.iter().chain(&self.back);
        all.all(|(_, leg)| leg.as_ref().is_ok_and(Report::succeeded))
    }

    /// How long the rollback took that was practised: the longest of several.
    pub fn took(&self) -> Option<Duration> {
        let reports = self.there.iter().filter_map(|(_, leg)| leg.as_ref().ok());
        reports.filter_map(|r| r.deployment().duration()).max()
    }
}

impl fmt::Display for DrillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let legs = self.there.iter().map(|leg| ("there", leg));
        let legs = legs.chain(self.back.iter().map(|leg| ("back", leg)));
        for (n, (way, (workload, leg))) in legs.enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            match leg {
                Ok(report) => write!(f, "{workload}, {way}: {}", report.summary())?,
                Err(e) => write!(f, "{workload}, {way}: {}", Chain::of(e))?,
            }
        }
        Ok(())
    }
}

impl RollbackEngine {
    /// Practises a rollback: carries it out, and goes back, whoever waits for it. If this program dies
    /// in between, whichever engine recovers next goes back. Both are on record, and later plans say when
    /// and how fast it was done.
    ///
    /// A rollback that fails has gone back by itself, and is the drill's result. If somebody else moves the
    /// workload in between, it is left as they left it.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run) of the request; nothing was changed. And
    /// [`InvalidRequest`](ErrorKind::InvalidRequest) for a request that is no rollback, or that has an
    /// idempotency key, and outside of the window.
    pub async fn drill(&self, request: Request, drill: &Drill) -> Result<DrillReport, Error> {
        let workload = request.workload().clone();
        if !matches!(request.wish, Wish::Rollback { .. }) || request.idempotency_key.is_some() {
            return Err(no_drill(&workload));
        }
        let purpose = match drill {
            Drill::Real { window } => {
                is_open(window, self.inner().clock.now())?;
                Purpose::Drill
            }
            Drill::Dry => Purpose::DryDrill,
        };
        let request = Request {
            purpose: Some(purpose),
            confirm_within: None,
            ..request
        };
        let held = Held::on(self.inner(), vec![workload.clone()]);
        let run = self.run(request).await?;
        let (inner, is_real) = (
            Arc::clone(self.inner()),
            matches!(drill, Drill::Real { .. }),
        );
        // Whoever asks may go away: it goes back all the same.
        let both = tokio::spawn(async move {
            let there = run.await;
            let went = there.as_ref().is_ok_and(|r| r.deployment().went_live());
            let back = match went && is_real {
                true => go_back(&inner, &workload).await,
                false => Vec::new(),
            };
            drop(held);
            DrillReport {
                there: vec![(workload, there)],
                back,
            }
        });
        both.await.map_err(interrupted)
    }

    /// The same of a stack, for real: all of it there, and all of it back.
    ///
    /// # Errors
    ///
    /// As [`run_stack`](Self::run_stack); and as [`drill`](Self::drill).
    pub async fn drill_stack(
        &self,
        request: StackRequest,
        window: Range<Timestamp>,
    ) -> Result<DrillReport, Error> {
        if !matches!(request.wish, StackWish::Rollback(_)) {
            return Err(no_drill(request.stack()));
        }
        is_open(&window, self.inner().clock.now())?;
        let request = StackRequest {
            purposes: Purposes::Drill,
            confirm_within: None,
            ..request
        };
        let stack = self.inner().stack(request.stack())?;
        let held = Held::on(self.inner(), stack.workloads().iter().cloned().collect());
        let run = self.run_stack(request).await?;
        let inner = Arc::clone(self.inner());
        let both = tokio::spawn(async move {
            let there: Vec<_> = run.await.into_members().into_iter().collect();
            let went = |(w, leg): &(WorkloadId, Result<Report, Error>)| {
                let went = leg.as_ref().is_ok_and(|r| r.deployment().went_live());
                went.then(|| w.clone())
            };
            // One of them, and all go back.
            let back = match there.iter().find_map(went) {
                Some(workload) => go_back(&inner, &workload).await,
                None => Vec::new(),
            };
            drop(held);
            DrillReport { there, back }
        });
        both.await.map_err(interrupted)
    }
}

/// While it lives, a drill on these workloads waits for its own way back, and nobody else here does.
struct Held(Arc<Inner>, Vec<WorkloadId>);

impl Held {
    fn on(inner: &Arc<Inner>, workloads: Vec<WorkloadId>) -> Self {
        inner.owing.begins_a_drill(&workloads);
        Self(Arc::clone(inner), workloads)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.owing.ends_a_drill(&self.1);
    }
}

fn no_drill(of: &dyn fmt::Display) -> Error {
    Error::new(
        ErrorKind::InvalidRequest,
        "only a rollback is practised, and each time anew",
    )
    .on(of)
    .advice("ask for a rollback, without an idempotency key; nothing was changed")
}

fn is_open(window: &Range<Timestamp>, now: Timestamp) -> Result<(), Error> {
    if window.contains(&now) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidRequest,
        format!(
            "the drill's window is from {} to {}, and it is {now}",
            window.start, window.end
        ),
    )
    .advice("nothing was changed; hold it in its window, or name another one"))
}

fn interrupted(e: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Interrupted, "the drill was not ended here")
        .advice("look for a panic in the log; recover goes back")
        .because(e)
}

async fn go_back(
    inner: &Arc<Inner>,
    workload: &WorkloadId,
) -> Vec<(WorkloadId, Result<Report, Error>)> {
    let mut tried = 0;
    loop {
        match owing::pay(inner, workload).await {
            Ok(done) => {
                let leg = |r: Recovered| (r.workload, r.result);
                return done.into_iter().map(leg).collect();
            }
            Err(e) if owing::is_in_the_way(&e) && tried < TRIES => {
                tried += 1;
                tokio::time::sleep(AGAIN).await;
            }
            Err(e) => return vec![(workload.clone(), Err(e))],
        }
    }
}
