//! [`Threads`]: what a process has handed to its platform's threads, and what a dropped runtime
//! does not end; [`ThreadedBackend`]: a backend that acts in them, as one does whose steps block.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as Waking, Poll, Waker};

use async_trait::async_trait;
use rollback_core::backend::{
    Availability, Backend, End, Evidence, Instance, Observation, Operation, Place, Preflight,
    Prepared, Rollout, Started,
};
use rollback_core::context::Context;
use rollback_core::diagnosis::Words;
use rollback_core::error::BackendError;
use rollback_core::health::View;
use rollback_core::id::{BackendKind, WorkloadId};
use rollback_core::release::{Release, Restore};
use tokio::sync::oneshot;

use super::life::Life;
use crate::fake::FakeBackend;

type Body = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Steps that block, each in a thread of its own. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Threads(Arc<Mutex<Vec<Thread>>>);

/// One of them, and whose it is.
#[derive(Clone)]
struct Thread {
    life: Life,
    /// `None`: it has ended.
    body: Arc<Mutex<Option<Body>>>,
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").finish_non_exhaustive()
    }
}

impl Threads {
    /// Runs a step in a thread, and waits for it. Who stops waiting does not stop the step.
    async fn run<T: Send + 'static>(
        &self,
        life: &Life,
        step: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (tell, mut told) = oneshot::channel();
        let body: Body = Box::pin(async move {
            // Nobody waits for it any more: nothing to tell.
            let _ = tell.send(step.await);
        });
        let thread = Thread {
            life: life.clone(),
            body: Arc::new(Mutex::new(Some(body))),
        };
        self.all().push(thread.clone());
        std::future::poll_fn(|waking| {
            thread.advance(waking);
            Pin::new(&mut told).poll(waking)
        })
        .await
        .ok()
    }

    /// The process was killed: its threads are gone with it.
    pub(super) fn die_with(&self, life: &Life) {
        let (dead, others) = self.all().drain(..).partition(|t| t.life.is(life));
        *self.all() = others;
        // Not under the lock: what they hold may be anything.
        drop::<Vec<Thread>>(dead);
    }

    /// Lets every thread of a process that is gone go on for so many steps, or to its end. Says
    /// whether one is left.
    pub(super) fn go_on(&self, steps: usize) -> bool {
        let mut waking = Waking::from_waker(Waker::noop());
        let mut left: Vec<Thread> = Vec::new();
        for _ in 0..steps {
            self.all().retain(|t| lock(&t.body).is_some());
            left.clear();
            left.extend(self.all().iter().filter(|t| t.life.is_left()).cloned());
            if left.is_empty() {
                break;
            }
            for thread in &left {
                thread.advance(&mut waking);
            }
        }
        !left.is_empty()
    }

    fn all(&self) -> MutexGuard<'_, Vec<Thread>> {
        lock(&self.0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Thread {
    fn advance(&self, waking: &mut Waking<'_>) {
        let mut body = lock(&self.body);
        if let Some(step) = body.as_mut()
            && step.as_mut().poll(waking) == Poll::Ready(())
        {
            *body = None;
        }
    }
}

/// A [`FakeBackend`] each of whose effects is made in a thread.
#[derive(Debug, Clone)]
pub(super) struct ThreadedBackend {
    inner: FakeBackend,
    threads: Threads,
    life: Life,
}

impl ThreadedBackend {
    pub(super) fn new(inner: FakeBackend, threads: Threads, life: Life) -> Self {
        Self {
            inner,
            threads,
            life,
        }
    }

    async fn act<T, F>(&self, step: F) -> Result<T, BackendError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, BackendError>> + Send + 'static,
    {
        self.life.goes_on().await;
        match self.threads.run(&self.life, step).await {
            Some(result) => {
                self.life.goes_on().await;
                result
            }
            // Only a dead process loses a thread.
            None => std::future::pending().await,
        }
    }
}

macro_rules! in_thread {
    ($self:ident, $cx:ident, $what:ident, $verb:ident) => {{
        let (inner, cx, what) = ($self.inner.clone(), $cx.clone(), $what.to_owned());
        $self.act(async move { inner.$verb(&cx, &what).await })
    }};
}

#[async_trait]
impl Backend for ThreadedBackend {
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
        self.life.goes_on().await;
        self.inner.resolve(cx, reference).await
    }

    async fn observe(&self, cx: &Context) -> Result<Observation, BackendError> {
        self.life.goes_on().await;
        self.inner.observe(cx).await
    }

    async fn availability(
        &self,
        cx: &Context,
        candidate: &End,
    ) -> Result<Availability, BackendError> {
        self.life.goes_on().await;
        self.inner.availability(cx, candidate).await
    }

    async fn preflight(
        &self,
        cx: &Context,
        from: &End,
        to: &End,
    ) -> Result<Preflight, BackendError> {
        self.life.goes_on().await;
        self.inner.preflight(cx, from, to).await
    }

    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        in_thread!(self, cx, op, prepare).await
    }

    async fn start(&self, cx: &Context, op: &Operation) -> Result<Started, BackendError> {
        in_thread!(self, cx, op, start).await
    }

    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        in_thread!(self, cx, op, switch).await
    }

    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        in_thread!(self, cx, op, retire).await
    }

    async fn health(&self, cx: &Context, instance: &Instance) -> Result<View, BackendError> {
        self.life.goes_on().await;
        self.inner.health(cx, instance).await
    }

    async fn diagnose(&self, cx: &Context, instance: &Instance) -> Result<Words, BackendError> {
        self.life.goes_on().await;
        self.inner.diagnose(cx, instance).await
    }

    async fn configured(
        &self,
        cx: &Context,
        live: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        self.life.goes_on().await;
        self.inner.configured(cx, live).await
    }

    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        in_thread!(self, cx, window, retain).await
    }
}
