//! An effect whose caller may be gone before it has ended.

use std::panic::resume_unwind;

use rollback_core::error::{BackendError, BackendErrorKind};

/// Carries out what changes something in a task of its own, with the context that keeps its lease.
///
/// A request that its sender drops is carried out by dockerd all the same, a moment later: nobody may
/// take the workload before that. Who is dropped has told the context to stop, and what goes on here
/// ends at its next look at it.
///
/// A runtime that ends takes this task with it, and then dockerd may still be at the one request that
/// was under way: whoever takes over looks first.
pub(crate) async fn to_its_end<T: Send + 'static>(
    effect: impl Future<Output = Result<T, BackendError>> + Send + 'static,
) -> Result<T, BackendError> {
    match tokio::spawn(effect).await {
        Ok(done) => done,
        Err(e) if e.is_panic() => resume_unwind(e.into_panic()),
        Err(e) => {
            let what = "the program ended what it was doing with dockerd";
            Err(BackendError::new(BackendErrorKind::Cancelled, what).because(e))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::sync::Arc;
    use std::time::Duration;

    use rollback_core::context::Context;
    use rollback_core::history::Keep;

    use super::*;

    #[tokio::test]
    async fn an_effect_that_was_dropped_let_its_lease_go_before_its_request_had_ended() {
        let lease = Arc::new(());
        let cx = Context::new(Duration::from_secs(60)).keeping(Keep::new(Arc::clone(&lease)));
        let (answer, asked) = tokio::sync::oneshot::channel::<()>();
        let effect = to_its_end(async move {
            let _ = asked.await;
            cx.check()
        });
        let dropped = tokio::time::timeout(Duration::from_millis(10), effect).await;
        assert!(dropped.is_err(), "it was still under way");
        assert_eq!(Arc::strong_count(&lease), 2, "it is held still");
        answer.send(()).unwrap();
        while Arc::strong_count(&lease) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_panic_in_an_effect_reaches_who_waits_for_it() {
        let effect = tokio::spawn(to_its_end::<()>(async { panic!("a bug") }));
        assert!(effect.await.unwrap_err().is_panic());
    }
}
