//! The gate: repeats the platform's and the checks' views until they make a verdict.

use std::sync::Arc;

use tokio::time::Instant;

use crate::backend::{Backend, Operation};
use crate::context::Context;
use crate::error::{BackendError, BackendErrorKind};
use crate::health::{Gate, HealthCheck, Probe, Site, Verdict};

/// Judges `op.to`. `Err` only when cancelled: every other trouble is a failed attempt.
pub(super) async fn judge(
    cx: &Context,
    backend: &dyn Backend,
    checks: &[Arc<dyn HealthCheck>],
    gate: &Gate,
    op: &Operation,
    site: Site,
) -> Result<Verdict, BackendError> {
    let Some(instance) = op.to.instance() else {
        return Ok(Verdict::Unknown);
    };
    let probe = Probe {
        workload: op.workload.clone(),
        instance: instance.clone(),
        site,
    };
    let began = Instant::now();
    let (mut bad, mut good) = (0, 0);
    loop {
        let attempt = attempt(cx, backend, checks, gate, op, &probe).await;
        if cx.cancellation().is_cancelled() && !cx.remaining().is_zero() {
            return Err(BackendError::new(
                BackendErrorKind::Cancelled,
                "cancelled at the gate",
            ));
        }
        let diagnostic = match attempt {
            Attempt::NoOpinion => return Ok(Verdict::Unknown),
            Attempt::Hopeless(diagnostic) => return Ok(Verdict::failed(diagnostic)),
            Attempt::Good => {
                bad = 0;
                good += 1;
                if good >= gate.successes.max(1) {
                    return Ok(Verdict::Passed);
                }
                String::from("not healthy for long enough")
            }
            Attempt::Bad(diagnostic) => {
                good = 0;
                // While it starts, a no is only a not yet.
                if began.elapsed() >= gate.start_period {
                    bad += 1;
                }
                if bad >= gate.retries.max(1) {
                    return Ok(Verdict::failed(diagnostic));
                }
                diagnostic
            }
        };
        cx.say(format!(
            "health: {}",
            diagnostic.lines().next().unwrap_or("waiting")
        ));
        if cx.remaining() <= gate.interval {
            return Ok(Verdict::failed(format!(
                "not healthy before the deadline: {diagnostic}"
            )));
        }
        cx.sleep(gate.interval).await?;
    }
}

enum Attempt {
    Good,
    Bad(String),
    /// The platform is sure: nothing to wait for.
    Hopeless(String),
    NoOpinion,
}

async fn attempt(
    cx: &Context,
    backend: &dyn Backend,
    checks: &[Arc<dyn HealthCheck>],
    gate: &Gate,
    op: &Operation,
    probe: &Probe,
) -> Attempt {
    let platform = match backend.health(cx, op).await {
        Ok(Verdict::Failed { diagnostic }) => return Attempt::Hopeless(diagnostic),
        Ok(verdict) => verdict,
        Err(e) => return Attempt::Bad(format!("the platform's view could not be read: {e}")),
    };
    if checks.is_empty() {
        return if platform.is_good() {
            Attempt::Good
        } else {
            Attempt::NoOpinion
        };
    }
    let mut failures = Vec::new();
    for check in checks {
        match check.check(&cx.within(gate.timeout), probe).await {
            // One edge that answers is enough: a blip at another is none.
            Ok(()) => return Attempt::Good,
            Err(unhealthy) => failures.push(format!("{}: {unhealthy}", check.name())),
        }
    }
    Attempt::Bad(failures.join("\n"))
}
