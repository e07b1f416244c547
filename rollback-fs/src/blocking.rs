//! Off the async threads.

use rollback_core::error::{StoreError, StoreErrorKind as Kind};

/// Runs a step off the async threads. If the caller is dropped the step still runs to its end;
/// what it gives (a lease, say) is dropped with it.
///
/// # Errors
///
/// What the step says; [`Io`](rollback_core::error::StoreErrorKind::Io) if it panicked, or its
/// runtime was shut down before it began. Then the record tells whether it was done.
pub async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(step).await.unwrap_or_else(|e| {
        Err(
            StoreError::new(Kind::Io, "a step of the history did not end")
                .advice("read the record to see whether it was done")
                .because(e),
        )
    })
}
