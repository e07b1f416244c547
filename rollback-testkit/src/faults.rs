//! Faults on purpose: stores, backends, checks and clocks that fail when told to.

mod backend;

pub use backend::{FaultyBackend, Verb, VerbFault, VerbTrap};

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rollback_core::context::Context;
use rollback_core::error::{StoreError, StoreErrorKind};
use rollback_core::health::{HealthCheck, Healthy, Probe, Unhealthy};
use rollback_core::time::{Clock, Timestamp};

use crate::intercept::{Intercept, InterceptedStore, Write};

/// On which side of its effect a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The effect does not happen.
    Before,
    /// It happens, and the caller is told that it did not.
    After,
}

/// When the store fails next. Shared with the test, which sets it.
#[derive(Debug, Clone, Default)]
pub struct Trap(Arc<Mutex<Option<(usize, Side, StoreErrorKind)>>>);

impl Trap {
    /// The `nth` durable write from now (1: the next) fails.
    pub fn set(&self, nth: usize, side: Side, kind: StoreErrorKind) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((nth, side, kind));
    }

    /// No write fails.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it is still to spring.
    pub fn is_set(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    fn spring(&self) -> Option<(Side, StoreError)> {
        let mut trap = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (nth, side, kind) = (*trap)?;
        if nth > 1 {
            *trap = Some((nth - 1, side, kind));
            return None;
        }
        *trap = None;
        Some((side, StoreError::new(kind, "a fault was injected")))
    }
}

/// A store whose durable writes (`begin`, `append`, `finish`) fail as a [`Trap`] says. A kind that
/// is not transient makes the engine stop at once, as a crash would.
pub type FaultyStore = InterceptedStore<Trap>;

impl Intercept for Trap {
    /// What the caller is told although the write was made.
    type Passed = Option<StoreError>;

    fn before(&self, _: Write<'_>) -> Result<Option<StoreError>, StoreError> {
        match self.spring() {
            Some((Side::Before, e)) => Err(e),
            Some((Side::After, e)) => Ok(Some(e)),
            None => Ok(None),
        }
    }

    fn after(&self, _: Write<'_>, told: Option<StoreError>) -> Result<(), StoreError> {
        told.map_or(Ok(()), Err)
    }
}

/// A check that answers from a script, then always yes.
#[derive(Debug, Default)]
pub struct ScriptedCheck {
    script: Vec<bool>,
    asked: AtomicUsize,
}

impl ScriptedCheck {
    /// Answers these, in order.
    pub fn new(script: impl IntoIterator<Item = bool>) -> Self {
        Self {
            script: script.into_iter().collect(),
            asked: AtomicUsize::new(0),
        }
    }
}

#[async_trait]
impl HealthCheck for ScriptedCheck {
    fn name(&self) -> String {
        "scripted".into()
    }

    async fn check(&self, _: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        let nth = self.asked.fetch_add(1, Ordering::SeqCst);
        match self.script.get(nth) {
            Some(false) => Err(Unhealthy::new(format!("answer {nth} of the script is no"))),
            _ => Ok(Healthy::yes()),
        }
    }
}

/// A clock that goes where it is told, backwards too.
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Sets it, in microseconds since the epoch.
    pub fn set(&self, microseconds: i64) {
        self.0.store(microseconds, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.0.load(Ordering::SeqCst)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}
