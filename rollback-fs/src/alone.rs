//! Tests that take turns.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Between fork and exec a child has its parent's locks: a test that starts one, and a test that says
/// of a lock that it is free, are not at it at once.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
