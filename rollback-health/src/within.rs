//! Looking under a deadline.

use std::future::Future;

use rollback_core::context::Context;
use rollback_core::health::{Healthy, Unhealthy};

/// Runs one look until it ends, the deadline passes, or it is cancelled.
pub(crate) async fn within(
    cx: &Context,
    look: impl Future<Output = Result<Healthy, Unhealthy>>,
) -> Result<Healthy, Unhealthy> {
    not_over(cx)?;
    let allowed = cx.remaining();
    tokio::select! {
        biased;
        result = look => result,
        () = cx.cancellation().cancelled() => Err(Unhealthy::new("cancelled while looking")),
        () = tokio::time::sleep(allowed) => {
            Err(Unhealthy::new(format!("no answer within {} ms", allowed.as_millis())))
        }
    }
}

/// A check that should have ended already does not begin.
pub(crate) fn not_over(cx: &Context) -> Result<(), Unhealthy> {
    if cx.cancellation().is_cancelled() {
        return Err(Unhealthy::new("cancelled before looking"));
    }
    if cx.remaining().is_zero() {
        return Err(Unhealthy::new("no time was left to look"));
    }
    Ok(())
}
