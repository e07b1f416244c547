//! The platform of a workload that is only on record: nothing can be asked of it, and nothing is let
//! go there.

use async_trait::async_trait;
use rollback_core::health::View;
use rollback_core::id::InvalidId;
use rollback_core::prelude::*;

#[derive(Debug)]
pub(crate) struct Bare {
    kind: BackendKind,
    workload: WorkloadId,
}

impl Bare {
    pub(crate) fn new(workload: WorkloadId) -> Result<Self, InvalidId> {
        Ok(Self {
            kind: "unknown".parse()?,
            workload,
        })
    }
}

fn unknown() -> BackendError {
    BackendError::new(
        BackendErrorKind::Unsupported,
        "how this workload is deployed is not known",
    )
    .advice("add it to workloads.json")
    .untouched()
}

#[async_trait]
impl Backend for Bare {
    fn kind(&self) -> BackendKind {
        self.kind.clone()
    }

    fn workload(&self) -> &WorkloadId {
        &self.workload
    }

    fn place(&self) -> Place {
        Place::new("unknown", self.workload.to_string())
    }

    fn rollout(&self) -> Rollout {
        Rollout::Replace
    }

    fn default_restore(&self) -> Restore {
        Restore::Everything
    }

    async fn resolve(&self, _: &Context, _: &str) -> Result<Release, BackendError> {
        Err(unknown())
    }

    async fn observe(&self, _: &Context) -> Result<Observation, BackendError> {
        Err(unknown())
    }

    async fn availability(&self, _: &Context, _: &End) -> Result<Availability, BackendError> {
        Err(unknown())
    }

    async fn prepare(&self, _: &Context, _: &Operation) -> Result<Prepared, BackendError> {
        Err(unknown())
    }

    async fn start(&self, _: &Context, _: &Operation) -> Result<Started, BackendError> {
        Err(unknown())
    }

    async fn switch(&self, _: &Context, _: &Operation) -> Result<Evidence, BackendError> {
        Err(unknown())
    }

    async fn retire(&self, _: &Context, _: &Operation) -> Result<(), BackendError> {
        Err(unknown())
    }

    async fn health(&self, _: &Context, _: &Instance) -> Result<View, BackendError> {
        Err(unknown())
    }

    async fn configured(
        &self,
        _: &Context,
        _: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        Ok(None)
    }

    async fn retain(&self, _: &Context, _: &[Instance]) -> Result<(), BackendError> {
        Ok(())
    }
}
