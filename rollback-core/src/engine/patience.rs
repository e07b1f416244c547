//! How long the engine insists on what has to be done: going back, and putting away.

use std::time::Duration;

use tokio::time::Instant;

use crate::context::ProgressSink;
use crate::error::{BackendError, Chain, Error};

/// How often what the platform refuses is tried.
const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Tries again what failed: a few times if the platform refused it, and for as long as the step may
/// take if the platform is away, for which nobody should have to call recovery.
#[derive(Debug)]
pub(super) struct Patience {
    tried: u32,
    pause: Duration,
    until: Instant,
}

impl Patience {
    /// For a step with this deadline.
    pub(super) fn of(deadline: Duration) -> Self {
        Self {
            tried: 0,
            pause: FIRST_PAUSE,
            // A deadline of `Duration::MAX` must not overflow the clock: a day will do.
            until: Instant::now() + deadline.min(Duration::from_secs(24 * 60 * 60)),
        }
    }

    /// Whether to try again after this failure; says so, and pauses, before it says yes.
    pub(super) async fn tries_again(
        &mut self,
        error: &BackendError,
        progress: &ProgressSink,
    ) -> bool {
        self.tried += 1;
        let again = self.tried < TRIES || error.is_transient() && Instant::now() < self.until;
        if again {
            let why = Chain::of(error).to_string();
            self.pause(&why, progress).await;
        }
        again
    }

    /// The same for what is only looked up: again only while it may come right by itself.
    pub(super) async fn looks_again(&mut self, error: &Error, progress: &ProgressSink) -> bool {
        let again = error.is_transient() && Instant::now() < self.until;
        if again {
            let why = Chain::of(error).to_string();
            self.pause(&why, progress).await;
        }
        again
    }

    async fn pause(&mut self, why: &str, progress: &ProgressSink) {
        progress.say(format!("to be tried again: {why}"));
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
