//! What is kept and what may go: the end of a deployment, and the window.

use std::collections::BTreeMap;

use rollback_core::backend::{Instance, Operation};
use rollback_core::context::Context;
use rollback_core::error::BackendError;

use super::backend::SwarmBackend;
use super::record::Record;
use super::survey::Survey;
use crate::pins::Pins;
use crate::tag::artifact_of;

impl SwarmBackend {
    /// Removes what this deployment has written down and never made live. The service stays as it
    /// is: Swarm ends the tasks of what was live before by itself.
    pub(super) async fn retire_records(
        &self,
        cx: &Context,
        op: &Operation,
    ) -> Result<(), BackendError> {
        cx.check()?;
        let client = &self.client().await?;
        let survey = &Survey::take(client, &self.config).await?;
        let to = op.to.instance().map(|to| &to.handle);
        let is_undone = |r: &&Record| {
            let kept = r.is_used || Some(&r.handle) == to;
            r.is_made_by(op) && !kept && !survey.is_needed(cx, r)
        };
        for record in survey.records.iter().filter(is_undone) {
            client.remove_config(&record.config.id).await?;
            cx.check()?;
        }
        let kept = survey.records.iter().filter(|r| !is_undone(r));
        let kept: Vec<&str> = kept.map(|r| artifact_of(&r.release)).collect();
        let of_to = op.to.release().map(artifact_of);
        let needed = |artifact: &str| of_to == Some(artifact) || kept.contains(&artifact);
        let unpinned = self.source.unpin_undone(cx, client, op, needed).await;
        unpinned.map(drop)
    }

    pub(super) async fn retain_window(
        &self,
        cx: &Context,
        window: &[Instance],
    ) -> Result<(), BackendError> {
        cx.check()?;
        let client = &self.client().await?;
        let survey = &Survey::take(client, &self.config).await?;
        let is_wanted = |r: &Record| {
            let digest = r.release.digest();
            let same = |i: &Instance| i.handle == r.handle || i.release.digest() == digest;
            window.iter().any(same) || survey.is_needed(cx, r)
        };
        let mut kept: BTreeMap<String, Option<String>> = BTreeMap::new();
        for instance in window {
            kept.insert(artifact_of(&instance.release).to_owned(), None);
        }
        for record in &survey.records {
            if is_wanted(record) {
                kept.insert(artifact_of(&record.release).to_owned(), None);
                continue;
            }
            cx.check()?;
            client.remove_config(&record.config.id).await?;
        }
        let pins = Pins::read(client, &self.source.pins).await?;
        self.source.pin(cx, client, &pins, window, &kept).await
    }
}
