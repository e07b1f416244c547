//! [`Retry`]: trying again what the store could not do just now.

use std::time::Duration;

/// The pause before the first of them; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// A few tries of what may go right by itself in a moment.
#[derive(Debug)]
pub(super) struct Retry {
    left: u32,
    pause: Duration,
}

impl Retry {
    /// So many tries after the first.
    pub(super) fn times(left: u32) -> Self {
        Self {
            left,
            pause: FIRST_PAUSE,
        }
    }

    /// Pauses before the next try, and says whether there is one.
    pub(super) async fn again(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        tokio::time::sleep(self.pause).await;
        self.pause *= 2;
        true
    }
}
