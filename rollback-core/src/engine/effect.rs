//! One effect, carried out to its end.

use std::future::Future;
use std::pin::pin;

use super::caught::caught;
use crate::context::{Cancellation, Context};
use crate::error::{BackendError, BackendErrorKind};

/// Why an effect is told to stop before its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Somebody wants what it is part of to stop.
    Cancelled,
    /// What it acts under is over: nothing follows it, whatever comes of it.
    Over,
}

/// Carries out what is never dropped half-way: at the context's deadline, or when `told` says so, it
/// is told to stop, and waited for. A panic in it is a failure. Says what it was told, too.
pub(super) async fn to_its_end<T, F>(
    cx: Context,
    stop: Cancellation,
    effect: impl FnOnce(Context) -> F,
    told: impl Future<Output = Told>,
) -> (Result<T, BackendError>, Option<Told>)
where
    F: Future<Output = Result<T, BackendError>>,
{
    let _stop_on_drop = StopOnDrop(stop.clone());
    let deadline = tokio::time::Instant::from_std(cx.deadline());
    let mut effect = pin!(caught(effect(cx)));
    let mut told = pin!(told);
    let mut overran = false;
    let mut why = None;
    loop {
        let stopping = stop.is_cancelled();
        tokio::select! {
            biased;
            result = &mut effect => {
                let result = result.unwrap_or_else(|panic| {
                    Err(BackendError::new(BackendErrorKind::Failed, panic)
                        .advice("report it to the author of that hook or backend"))
                });
                return (result.map_err(|e| in_time(e, overran)), why);
            }
            () = tokio::time::sleep_until(deadline), if !stopping => {
                overran = true;
                stop.cancel();
            }
            told = &mut told, if !stopping => {
                why = Some(told);
                stop.cancel();
            }
        }
    }
}

/// An effect that was told to stop because its time was over says that it was cancelled; what
/// happened is that it took too long.
fn in_time(e: BackendError, overran: bool) -> BackendError {
    match e.kind() {
        BackendErrorKind::Cancelled if overran => e.late(),
        _ => e,
    }
}

/// Tells an effect to stop when whoever waits for it is gone: with its runtime, a run is dropped in
/// the middle, and what blocks goes on without it.
struct StopOnDrop(Cancellation);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::{HookError, LiveImpact};

    /// Ends so long after it was told to stop, and says that it was cancelled: a hook, or the platform.
    async fn ends(told_after: Duration, hook: bool, after: Duration) -> BackendError {
        let stop = Cancellation::new();
        let cx = Context::new(Duration::from_secs(60)).with_cancellation(stop.clone());
        let effect = |cx: Context| async move {
            cx.cancellation().cancelled().await;
            tokio::time::sleep(after).await;
            Err::<(), _>(match hook {
                true => HookError::cancelled("told").in_step("restart", LiveImpact::Unknown),
                false => BackendError::new(BackendErrorKind::Cancelled, "told"),
            })
        };
        let told = async {
            tokio::time::sleep(told_after).await;
            Told::Cancelled
        };
        to_its_end(cx, stop, effect, told).await.0.unwrap_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_cancelled_and_the_hook_was_said_to_have_failed() {
        let (soon, never) = (Duration::from_secs(50), Duration::from_secs(600));
        for hook in [true, false] {
            // It stops after the deadline, but it was told before.
            let e = ends(soon, hook, Duration::from_secs(20)).await;
            assert_eq!(e.kind(), BackendErrorKind::Cancelled, "{e}");
        }
        let e = ends(never, true, Duration::ZERO).await;
        assert_eq!(
            (e.kind(), e.is_transient()),
            (BackendErrorKind::Failed, false)
        );
        let e = ends(never, false, Duration::ZERO).await;
        let slow = (BackendErrorKind::DeadlineExceeded, true);
        assert_eq!((e.kind(), e.is_transient()), slow);
    }
}
