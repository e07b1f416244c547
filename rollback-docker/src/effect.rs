//! An effect whose caller may be gone before it has ended.

use std::panic::resume_unwind;

use rollback_core::error::{BackendError, BackendErrorKind};

/// Carries out what changes something in a task of its own, with the context that keeps its lease.
///
/// A request that its sender drops is carried out by dockerd all the same, a moment later: nobody may
/// take the workload before that. Who is dropped has told the context to stop, and what goes on here
/// ends at its next look at it.
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
