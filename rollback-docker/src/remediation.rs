//! [`RestartContainer`]: the live container, started anew.

use std::sync::Arc;

use async_trait::async_trait;
use rollback_core::backend::Operation;
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind, HookError};
use rollback_core::guard::Remediation;

use crate::backend::{DockerBackend, refuse_swarm};
use crate::inventory::Inventory;

/// Heals by restarting the container, with its own time to stop. It stays the same container:
/// nothing is recreated, and one that is no longer the live one is left alone. So is a task of a
/// Swarm service, in whose place the Swarm starts another one.
#[derive(Debug, Clone)]
pub struct RestartContainer {
    backend: Arc<DockerBackend>,
}

impl RestartContainer {
    /// Restarts this backend's live container. The backend is shared with the workload:
    /// `Workload::new(Arc::clone(&backend))`.
    pub fn new(backend: Arc<DockerBackend>) -> Self {
        Self { backend }
    }

    async fn restart(&self, cx: &Context, op: &Operation) -> Result<String, BackendError> {
        let client = &self.backend.client().await?;
        let inventory = Inventory::with_others(client).await;
        let inventory = inventory.map_err(BackendError::untouched)?;
        let live = inventory.at(&op.to).await?;
        let Some(live) = live.filter(|c| c.summary.name == self.backend.config.container) else {
            return Err(BackendError::new(
                BackendErrorKind::Conflict,
                "the container of this deployment is not the live one",
            )
            .on(&self.backend.config.container)
            .transient(false)
            .untouched());
        };
        self.backend.myself.spare(&live.summary)?;
        refuse_swarm(&live).map_err(BackendError::untouched)?;
        let claimed = self
            .backend
            .claim(cx, client, Some(&live.summary.image))
            .await;
        claimed.map_err(BackendError::untouched)?;
        cx.check()?;
        // Between stop and start nobody is to be told to stop: nothing would run.
        if live.summary.is_up() {
            client.stop(&live).await?;
        }
        client.start(&live).await?;
        if let Some(now) = client.inspect(&live.summary.id).await? {
            let seen = self
                .backend
                .see_to_dependents(cx, client, &inventory, &now, &[]);
            self.backend.tell(cx, seen.await);
        }
        Ok(format!("restarted container {}", live.summary.short_id()))
    }
}

#[async_trait]
impl Remediation for RestartContainer {
    fn name(&self) -> String {
        format!("restart {}", self.backend.config.container)
    }

    async fn attempt(&self, cx: &Context, op: &Operation, _: &str) -> Result<String, HookError> {
        self.restart(cx, op).await.map_err(HookError::from)
    }

    // What it asks of the platform ends by itself.
    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}
