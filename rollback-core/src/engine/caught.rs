//! Somebody else's code under a net: a panic in it becomes an error, so that a hook that panics each
//! time fails its step instead of leaving a record that no recovery can end.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// A future's output, or the message it panicked with.
pub(super) async fn caught<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        // What the panic may have left half-changed is its own: it is not polled again.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(message(panic.as_ref()))),
        }
    })
    .await
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_else(|| "with a value that is no text".to_owned());
    format!("it panicked: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_also_after_a_pause() {
        let panics = caught(async {
            tokio::task::yield_now().await;
            let n = "a number".parse::<u8>();
            n.expect("digits")
        });
        let why = panics.await.unwrap_err();
        assert!(why.starts_with("it panicked: digits"), "{why}");
        assert_eq!(caught(async { 1 }).await, Ok(1));
    }
}
