//! The fencing token, as it is kept at the Swarm: as a label on a config of its own, which outlives
//! the service, and on the service, in one step with what is published.

use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};

use super::api::Change;
use super::backend::SwarmBackend;
use super::marks::read_fence;
use super::record::{self, TOKEN};
use super::survey::Survey;
use crate::client::Client;

/// How often a token is written that somebody else writes at the same time.
const TRIES: usize = 20;

impl SwarmBackend {
    /// Refuses if a later actor has published here; else keeps this one's token. Everything that
    /// changes the service asks this first.
    pub(super) async fn claim(
        &self,
        cx: &Context,
        client: &Client,
        survey: &Survey,
    ) -> Result<(), BackendError> {
        let Some(own) = cx.fence() else {
            return Ok(());
        };
        let workload = self.config.workload.to_string();
        let mut again = None;
        for _ in 0..TRIES {
            let now: &Survey = again.as_ref().unwrap_or(survey);
            cx.may_publish(now.published().as_ref())?;
            let kept = now.token.as_ref();
            let token = kept.and_then(|token| read_fence(token.label(TOKEN)?));
            if token.as_ref() == Some(own) {
                return Ok(());
            }
            cx.check()?;
            let fresh = record::token(&workload, own)?;
            let change = match kept {
                None => client.create_config(fresh).await?,
                Some(kept) => {
                    let mut spec = kept.spec.clone();
                    spec.labels = fresh.labels;
                    client.update_config(&kept.id, spec, kept.version).await?
                }
            };
            match change {
                Change::Made => return Ok(()),
                Change::Raced => again = Some(Survey::take(client, &self.config).await?),
            }
        }
        Err(BackendError::new(
            BackendErrorKind::Conflict,
            "others write their tokens at the same time",
        )
        .on(&self.config.service))
    }
}
