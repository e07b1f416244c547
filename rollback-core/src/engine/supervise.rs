//! [`Supervision`]: recovery for programs that live long.

use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};

use crate::context::Cancellation;
use crate::engine::RollbackEngine;
use crate::error::Chain;

/// Recovers what was left unfinished, as long as it lives; see [`RollbackEngine::supervise`].
#[derive(Debug)]
#[must_use = "dropping it ends the supervision"]
pub struct Supervision {
    ended: Cancellation,
    task: Option<JoinHandle<()>>,
}

impl Supervision {
    /// Ends it, and waits until a recovery under way has come to rest.
    pub async fn stop(mut self) {
        self.ended.cancel();
        if let Some(task) = self.task.take() {
            // A supervision that panicked has stopped as well.
            let _ = task.await;
        }
    }
}

impl Drop for Supervision {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl RollbackEngine {
    /// Recovers now, and then again and again, `every` so often, until the handle is dropped: a
    /// deployment whose process died, or that gave up because the platform or the store was away,
    /// is settled while this program lives, and blocks its workload and those that depend on it no
    /// longer than that. What a recovery could not do is in the log, and tried again.
    ///
    /// Call it once, inside the runtime that the engine runs in.
    pub fn supervise(&self, every: Duration) -> Supervision {
        let ended = Cancellation::new();
        let (engine, until) = (self.clone(), ended.clone());
        let task = tokio::spawn(async move {
            // Each round by itself: one workload that takes long, or never ends, holds up no other.
            // What a round has taken over is alive to the next one.
            let mut rounds = JoinSet::new();
            while !until.is_cancelled() {
                let engine = engine.clone();
                rounds.spawn(async move { round(&engine).await });
                tokio::select! {
                    () = until.cancelled() => {}
                    () = tokio::time::sleep(every) => {}
                }
                while rounds.try_join_next().is_some() {}
            }
            // What has been taken over is brought to rest.
            while rounds.join_next().await.is_some() {}
        });
        Supervision {
            ended,
            task: Some(task),
        }
    }
}

async fn round(engine: &RollbackEngine) {
    match engine.recover().await {
        Ok(recovered) => {
            for one in recovered.iter().filter(|one| one.result.is_ok()) {
                tracing::info!(workload = %one.workload, "recovered");
            }
        }
        Err(e) => tracing::warn!(error = %Chain::of(&e), "nothing could be recovered"),
    }
}
