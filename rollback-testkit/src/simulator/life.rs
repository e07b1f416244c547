//! [`Life`]: one process's life, and the points at which it may end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rollback_core::error::{BackendError, BackendErrorKind};
use tokio::sync::watch;

use crate::fake::Boundary;

/// The `nth` point of a life, counted from 0.
pub(super) type Nth = usize;

/// What happens to a life at one of its points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It halts there.
    Halts(Nth),
    /// The platform refuses the first effect from there on, once.
    Refused(Nth),
}

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It goes on past each point that it reaches.
    Running,
    /// It has reached the point at which it halts. Nothing of it goes on until somebody says how.
    Halted,
    /// Its runtime is gone. What had been handed to a thread goes on.
    Left,
}

/// One process's life. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Life(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
    points: Mutex<Points>,
}

#[derive(Debug, Default)]
struct Points {
    fate: Option<Fate>,
    passed: Nth,
    last: String,
}

impl Life {
    /// A life with this fate, or with none.
    pub(super) fn new(fate: Option<Fate>) -> Self {
        Self(Arc::new(Shared {
            state: watch::Sender::new(State::Running),
            points: Mutex::new(Points {
                fate,
                ..Points::default()
            }),
        }))
    }

    /// Whether it is the same one.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A point: an effect or a durable write is about to happen, or has happened.
    pub(super) async fn reach(&self, what: impl FnOnce() -> String) {
        self.pass(what);
        self.wait(&[State::Running]).await;
    }

    /// Nothing of a halted process goes on, also where no point is.
    pub(super) async fn goes_on(&self) {
        self.wait(&[State::Running]).await;
    }

    /// Until it halts.
    pub(super) async fn halted(&self) {
        self.wait(&[State::Halted]).await;
    }

    /// A halted process goes on, and does not halt again.
    pub(super) fn resume(&self) {
        self.points().fate = None;
        self.0.state.send_replace(State::Running);
    }

    /// Its runtime is gone.
    pub(super) fn leave(&self) {
        self.0.state.send_replace(State::Left);
    }

    /// Whether its runtime is gone, and nothing else of it.
    pub(super) fn is_left(&self) -> bool {
        *self.0.state.borrow() == State::Left
    }

    /// The name of the last point that it passed.
    pub(super) fn last_point(&self) -> String {
        self.points().last.clone()
    }

    /// Whether its fate is yet to come.
    pub(super) fn is_fated(&self) -> bool {
        self.points().fate.is_some()
    }

    fn pass(&self, what: impl FnOnce() -> String) {
        if *self.0.state.borrow() != State::Running {
            return;
        }
        let mut points = self.points();
        if points.fate == Some(Fate::Halts(points.passed)) {
            self.0.state.send_replace(State::Halted);
        }
        points.passed += 1;
        points.last = what();
    }

    /// Whether the platform refuses the effect that is about to be made.
    fn is_refused(&self) -> bool {
        let mut points = self.points();
        let refused = matches!(points.fate, Some(Fate::Refused(nth)) if points.passed > nth);
        if refused {
            points.fate = None;
        }
        refused
    }

    async fn wait(&self, states: &[State]) {
        let mut state = self.0.state.subscribe();
        // The sender lives in `self`, so the channel cannot close under us.
        let _ = state.wait_for(|state| states.contains(state)).await;
    }

    fn points(&self) -> MutexGuard<'_, Points> {
        self.0.points.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Boundary for Life {
    async fn reach(&self, verb: &'static str) -> Result<(), BackendError> {
        self.pass(|| format!("an effect of {verb}"));
        // What was handed to a thread, a dropped runtime does not end.
        self.wait(&[State::Running, State::Left]).await;
        if self.is_refused() {
            let what = format!("the platform refuses an effect of {verb}");
            return Err(BackendError::new(BackendErrorKind::Failed, what));
        }
        Ok(())
    }
}
