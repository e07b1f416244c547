//! Asking what only looks: the platform, guards, checks, a migration log. Each question has its own
//! deadline and is given up after it, so that no run, and nobody who waits for a plan, hangs with
//! somebody else's code. What acts is never given up half-way: see `act`.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::caught::caught;
use crate::backend::{Availability, Backend, End, Instance, Observation, Preflight};
use crate::context::Context;
use crate::diagnosis::Words;
use crate::error::{BackendError, BackendErrorKind, Chain};
use crate::health::View;
use crate::release::Release;

/// For what minds its deadline to say so itself, better than we can.
const GRACE: Duration = Duration::from_secs(1);

/// There was no answer in time.
#[derive(Debug, Clone)]
pub(super) enum Late {
    /// Within so long.
    Within(Duration),
    /// Before somebody cancelled the question.
    Cancelled,
    /// And never will be, for this reason.
    Panicked(String),
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Within(limit) => write!(f, "no answer within {limit:?}"),
            Self::Cancelled => f.write_str("cancelled before there was an answer"),
            Self::Panicked(how) => f.write_str(how),
        }
    }
}

/// The answer to a question, if it comes within `limit`.
pub(super) async fn ask<T, F>(
    limit: Duration,
    question: impl FnOnce(Context) -> F,
) -> Result<T, Late>
where
    F: Future<Output = T>,
{
    ask_within(&Context::new(limit), question).await
}

/// The same within what is left of a context, and until it is cancelled.
pub(super) async fn ask_within<T, F>(
    cx: &Context,
    question: impl FnOnce(Context) -> F,
) -> Result<T, Late>
where
    F: Future<Output = T>,
{
    let limit = cx.remaining();
    let cancelled = async {
        cx.cancellation().cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        biased;
        answer = caught(question(cx.clone())) => answer.map_err(Late::Panicked),
        () = tokio::time::sleep(limit.saturating_add(GRACE)) => Err(Late::Within(limit)),
        () = cancelled => Err(Late::Cancelled),
    }
}

/// What is live.
pub(super) async fn observe(
    limit: Duration,
    backend: &dyn Backend,
) -> Result<Observation, BackendError> {
    ask(limit, |cx| async move { backend.observe(&cx).await })
        .await
        .unwrap_or_else(|late| Err(too_late(late)))
}

/// Whether this end can be had.
pub(super) async fn availability(
    limit: Duration,
    backend: &dyn Backend,
    end: &End,
) -> Result<Availability, BackendError> {
    ask(
        limit,
        |cx| async move { backend.availability(&cx, end).await },
    )
    .await
    .unwrap_or_else(|late| Err(too_late(late)))
}

/// The platform's own view of an instance.
pub(super) async fn health(
    limit: Duration,
    backend: &dyn Backend,
    instance: &Instance,
) -> Result<View, BackendError> {
    ask(
        limit,
        |cx| async move { backend.health(&cx, instance).await },
    )
    .await
    .unwrap_or_else(|late| Err(too_late(late)))
}

/// What the platform has to say of an instance that failed. That it has nothing to say, or not in
/// time, is in nobody's way.
pub(super) async fn diagnose(limit: Duration, backend: &dyn Backend, instance: &Instance) -> Words {
    let asked = ask(
        limit,
        |cx| async move { backend.diagnose(&cx, instance).await },
    );
    let why = match asked.await {
        Ok(Ok(words)) => return words,
        Ok(Err(e)) => Chain::of(&e).to_string(),
        Err(late) => late.to_string(),
    };
    Words::default().fact("not_known", why)
}

/// What a person should know before anything moves. That nothing could be seen is one of the things.
pub(super) async fn preflight(
    limit: Duration,
    backend: &dyn Backend,
    from: &End,
    to: &End,
) -> Preflight {
    let asked = ask(
        limit,
        |cx| async move { backend.preflight(&cx, from, to).await },
    );
    let why = match asked.await {
        Ok(Ok(preflight)) => return preflight,
        Ok(Err(e)) => Chain::of(&e).to_string(),
        Err(late) => late.to_string(),
    };
    Preflight::default().remark(format!("what may hinder it was not looked at: {why}"))
}

/// What is live as the program has configured it now.
pub(super) async fn configured(
    limit: Duration,
    backend: &dyn Backend,
    live: Option<&Release>,
) -> Result<Option<Release>, BackendError> {
    ask(
        limit,
        |cx| async move { backend.configured(&cx, live).await },
    )
    .await
    .unwrap_or_else(|late| Err(too_late(late)))
}

/// What a reference means now.
pub(super) async fn resolve(
    limit: Duration,
    backend: &dyn Backend,
    reference: &str,
) -> Result<Release, BackendError> {
    ask(
        limit,
        |cx| async move { backend.resolve(&cx, reference).await },
    )
    .await
    .unwrap_or_else(|late| Err(too_late(late)))
}

fn too_late(late: Late) -> BackendError {
    let kind = match late {
        Late::Panicked(_) => BackendErrorKind::Failed,
        Late::Within(_) | Late::Cancelled => BackendErrorKind::DeadlineExceeded,
    };
    BackendError::new(kind, format!("the platform could not be looked at: {late}"))
        .untouched()
        .advice("try again when it answers")
}
