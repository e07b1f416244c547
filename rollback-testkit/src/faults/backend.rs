//! [`FaultyBackend`]: a backend whose verbs fail when told to.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rollback_core::backend::{
    Availability, Backend, End, Evidence, Instance, Observation, Operation, Place, Preflight,
    Prepared, Rollout, Started,
};
use rollback_core::context::Context;
use rollback_core::diagnosis::Words;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::health::View;
use rollback_core::id::{BackendKind, WorkloadId};
use rollback_core::release::{Release, Restore};

use super::Side;

/// A verb of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// [`Backend::resolve`].
    Resolve,
    /// [`Backend::observe`].
    Observe,
    /// [`Backend::availability`].
    Availability,
    /// [`Backend::prepare`].
    Prepare,
    /// [`Backend::start`].
    Start,
    /// [`Backend::switch`].
    Switch,
    /// [`Backend::retire`].
    Retire,
    /// [`Backend::health`].
    Health,
    /// [`Backend::diagnose`].
    Diagnose,
    /// [`Backend::preflight`].
    Preflight,
    /// [`Backend::retain`].
    Retain,
}

impl Verb {
    /// Every verb that can be made to fail.
    pub const ALL: &[Self] = &[
        Self::Resolve,
        Self::Observe,
        Self::Availability,
        Self::Prepare,
        Self::Start,
        Self::Switch,
        Self::Retire,
        Self::Health,
        Self::Diagnose,
        Self::Preflight,
        Self::Retain,
    ];

    /// Whether a failure of it surely leaves the live release as it is.
    fn is_harmless(self) -> bool {
        matches!(
            self,
            Self::Resolve | Self::Observe | Self::Availability | Self::Prepare
        )
    }
}

/// What fails next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerbFault {
    /// The verb that fails.
    pub verb: Verb,
    /// At which call of it, counted from now; 1 is the next.
    pub nth: usize,
    /// How many calls after that one fail as well.
    pub more: usize,
    /// On which side of its effect.
    pub side: Side,
    /// The kind of the error that it fails with.
    pub kind: BackendErrorKind,
}

/// When a backend fails. Shared with the test, which sets it.
#[derive(Debug, Clone, Default)]
pub struct VerbTrap(Arc<Mutex<Option<VerbFault>>>);

impl VerbTrap {
    /// Fails like this.
    pub fn set(&self, fault: VerbFault) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// Fails no more; whether the fault had yet to happen.
    pub fn clear(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .is_some()
    }

    fn spring(&self, verb: Verb) -> Option<(Side, BackendError)> {
        let mut trap = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = trap.as_mut().filter(|f| f.verb == verb)?;
        if fault.nth > 1 {
            fault.nth -= 1;
            return None;
        }
        let (side, kind) = (fault.side, fault.kind);
        match fault.more {
            0 => *trap = None,
            _ => fault.more -= 1,
        }
        let error = BackendError::new(kind, format!("a fault was injected into {verb:?}"));
        Some((
            side,
            if verb.is_harmless() {
                error.untouched()
            } else {
                error
            },
        ))
    }
}

/// Forwards to a backend, and fails as a [`VerbTrap`] says.
#[derive(Debug, Clone)]
pub struct FaultyBackend {
    inner: Arc<dyn Backend>,
    trap: VerbTrap,
}

impl FaultyBackend {
    /// Fails as the trap says.
    pub fn new(inner: Arc<dyn Backend>, trap: VerbTrap) -> Self {
        Self { inner, trap }
    }

    async fn call<T>(
        &self,
        verb: Verb,
        effect: impl Future<Output = Result<T, BackendError>> + Send,
    ) -> Result<T, BackendError> {
        match self.trap.spring(verb) {
            Some((Side::Before, error)) => Err(error),
            Some((Side::After, error)) => effect.await.and(Err(error)),
            None => effect.await,
        }
    }
}

#[async_trait]
impl Backend for FaultyBackend {
    fn kind(&self) -> BackendKind {
        self.inner.kind()
    }

    fn workload(&self) -> &WorkloadId {
        self.inner.workload()
    }

    fn place(&self) -> Place {
        self.inner.place()
    }

    fn rollout(&self) -> Rollout {
        self.inner.rollout()
    }

    fn default_restore(&self) -> Restore {
        self.inner.default_restore()
    }

    async fn resolve(&self, cx: &Context, reference: &str) -> Result<Release, BackendError> {
        self.call(Verb::Resolve, self.inner.resolve(cx, reference))
            .await
    }

    async fn observe(&self, cx: &Context) -> Result<Observation, BackendError> {
        self.call(Verb::Observe, self.inner.observe(cx)).await
    }

    async fn availability(
        &self,
        cx: &Context,
        candidate: &End,
    ) -> Result<Availability, BackendError> {
        self.call(Verb::Availability, self.inner.availability(cx, candidate))
            .await
    }

    async fn preflight(
        &self,
        cx: &Context,
        from: &End,
        to: &End,
    ) -> Result<Preflight, BackendError> {
        self.call(Verb::Preflight, self.inner.preflight(cx, from, to))
            .await
    }

    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        self.call(Verb::Prepare, self.inner.prepare(cx, op)).await
    }

    async fn start(&self, cx: &Context, op: &Operation) -> Result<Started, BackendError> {
        self.call(Verb::Start, self.inner.start(cx, op)).await
    }

    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        self.call(Verb::Switch, self.inner.switch(cx, op)).await
    }

    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        self.call(Verb::Retire, self.inner.retire(cx, op)).await
    }

    async fn health(&self, cx: &Context, instance: &Instance) -> Result<View, BackendError> {
        self.call(Verb::Health, self.inner.health(cx, instance))
            .await
    }

    async fn diagnose(&self, cx: &Context, instance: &Instance) -> Result<Words, BackendError> {
        self.call(Verb::Diagnose, self.inner.diagnose(cx, instance))
            .await
    }

    async fn configured(
        &self,
        cx: &Context,
        live: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        self.inner.configured(cx, live).await
    }

    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        self.call(Verb::Retain, self.inner.retain(cx, window)).await
    }
}
