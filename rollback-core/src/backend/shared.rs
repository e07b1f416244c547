//! Backends behind pointers: what is shared is a backend as well.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Availability, Backend, End, Evidence, Instance, Observation, Operation, Place, Preflight,
    Prepared, Rollout, Started,
};
use crate::context::Context;
use crate::diagnosis::Words;
use crate::error::BackendError;
use crate::health::View;
use crate::id::{BackendKind, WorkloadId};
use crate::release::{Release, Restore};

/// Forwards every verb, those with a body of their own too.
macro_rules! forwards {
    ($($pointer:ident),*) => {$(
        #[async_trait]
        impl<T: Backend + ?Sized> Backend for $pointer<T> {
            fn kind(&self) -> BackendKind {
                (**self).kind()
            }

            fn workload(&self) -> &WorkloadId {
                (**self).workload()
            }

            fn place(&self) -> Place {
                (**self).place()
            }

            fn rollout(&self) -> Rollout {
                (**self).rollout()
            }

            fn default_restore(&self) -> Restore {
                (**self).default_restore()
            }

            async fn resolve(&self, cx: &Context, reference: &str) -> Result<Release, BackendError> {
                (**self).resolve(cx, reference).await
            }

            async fn observe(&self, cx: &Context) -> Result<Observation, BackendError> {
                (**self).observe(cx).await
            }

            async fn availability(
                &self,
                cx: &Context,
                candidate: &End,
            ) -> Result<Availability, BackendError> {
                (**self).availability(cx, candidate).await
            }

            async fn preflight(
                &self,
                cx: &Context,
                from: &End,
                to: &End,
            ) -> Result<Preflight, BackendError> {
                (**self).preflight(cx, from, to).await
            }

            async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
                (**self).prepare(cx, op).await
            }

            async fn start(&self, cx: &Context, op: &Operation) -> Result<Started, BackendError> {
                (**self).start(cx, op).await
            }

            async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
                (**self).switch(cx, op).await
            }

            async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
                (**self).retire(cx, op).await
            }

            async fn health(&self, cx: &Context, instance: &Instance) -> Result<View, BackendError> {
                (**self).health(cx, instance).await
            }

            async fn diagnose(
                &self,
                cx: &Context,
                instance: &Instance,
            ) -> Result<Words, BackendError> {
                (**self).diagnose(cx, instance).await
            }

            async fn configured(
                &self,
                cx: &Context,
                live: Option<&Release>,
            ) -> Result<Option<Release>, BackendError> {
                (**self).configured(cx, live).await
            }

            async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
                (**self).retain(cx, window).await
            }
        }
    )*};
}

forwards!(Arc, Box);
