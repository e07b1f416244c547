//! Acting: what was begun is ended, and keeps its lease until then, whatever becomes of whoever
//! waits for it.

use std::future::Future;

use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};

/// Does work that has effects in a thread with a runtime of its own. A verb that is dropped, alone
/// or with its runtime, would otherwise leave a job at the manager that nobody follows any more,
/// under a lease that is gone: the thread owns the context until the work has ended, at the latest
/// at its next check after the context was cancelled.
pub(crate) async fn acting<T, F>(
    cx: &Context,
    work: impl FnOnce(Context) -> F + Send + 'static,
) -> Result<T, BackendError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, BackendError>>,
{
    let cx = cx.clone();
    let broke_off = |what| BackendError::new(Kind::Failed, what);
    let acts = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| broke_off("no runtime to act in").because(e).untouched())?;
        runtime.block_on(work(cx))
    };
    tokio::task::spawn_blocking(acts)
        .await
        .unwrap_or_else(|e| Err(broke_off("work on the unit broke off").because(e)))
}
