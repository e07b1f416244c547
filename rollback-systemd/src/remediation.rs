//! [`RestartUnit`]: the live unit, started anew.

use std::time::Duration;

use async_trait::async_trait;
use rollback_core::backend::Operation;
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind, HookError};
use rollback_core::guard::Remediation;

use crate::acting::acting;
use crate::backend::SystemdBackend;
use crate::manager::Bus;

/// A unit that is told to start needs this long before anybody can say more of it.
const MOMENT: Duration = Duration::from_millis(100);

/// Heals by restarting the unit: failures counted so far are reset first, so that one that
/// crashed in a loop is not refused. Nothing else is changed, neither files nor enablement; a unit
/// whose file is no longer the operation's is left alone.
#[derive(Debug, Clone)]
pub struct RestartUnit {
    backend: SystemdBackend,
}

impl RestartUnit {
    /// Restarts this backend's unit.
    pub fn new(backend: SystemdBackend) -> Self {
        Self { backend }
    }

    async fn restart(&self, cx: &Context, op: &Operation) -> Result<String, BackendError> {
        let bus = Bus::connect(self.backend.config()).await?;
        let place = self.backend.files(cx, |unit, _| unit.in_place("")).await?;
        let wanted = op.to.instance().map(|i| &i.handle);
        let live = place.as_ref().map(|p| &p.instance.handle);
        if wanted.is_none() || live != wanted {
            return Err(
                BackendError::new(Kind::Conflict, "another unit file is in place")
                    .on(&self.backend.config().unit)
                    .transient(false)
                    .untouched(),
            );
        }
        cx.check()?;
        let mut installed = place.and_then(|p| p.installed);
        let held = self.backend.files(cx, |unit, cx| unit.shelf.publish(cx));
        bus.restart(cx, held.await?).await?;
        cx.sleep(MOMENT).await?;
        let now = bus.state().await?;
        // What runs now is what the switch has put in place: a switch that is repeated after a
        // crash must not restart it once more.
        if let Some(installed) = &mut installed {
            installed.invocation = Some(now.invocation.clone());
            installed.restarts = Some(0);
            installed.boot = Some(bus.boot().await?);
            installed.done = now.rests();
            drop(self.backend.note(cx, installed).await?);
        }
        Ok(format!(
            "restarted, invocation {}; {}",
            now.invocation,
            now.describe()
        ))
    }
}

#[async_trait]
impl Remediation for RestartUnit {
    fn name(&self) -> String {
        format!("restart {}", self.backend.config().unit)
    }

    async fn attempt(&self, cx: &Context, op: &Operation, _: &str) -> Result<String, HookError> {
        let (own, op) = (self.clone(), op.clone());
        let acts = acting(cx, move |cx| async move { own.restart(&cx, &op).await });
        acts.await.map_err(HookError::from)
    }

    // What it asks of the platform ends by itself.
    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}
