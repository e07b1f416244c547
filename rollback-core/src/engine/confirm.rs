//! Confirming what would go back by itself.

use super::confirmed::speaks_for;
use crate::deployment::Annotation;
use crate::engine::RollbackEngine;
use crate::error::{Error, ErrorKind};
use crate::guard::Verb;
use crate::id::{Actor, DeploymentId, ShortText};

impl RollbackEngine {
    /// Confirms a deployment that would go back by itself
    /// ([`confirm_within`](crate::request::Request::confirm_within)): it stays. Of a group any member does, for all.
    ///
    /// # Errors
    ///
    /// - [`InvalidRequest`](ErrorKind::InvalidRequest): it need not be confirmed, is in flight, or did
    ///   not go live.
    /// - [`Stale`](ErrorKind::Stale): it is not live any more, or goes back already.
    /// - [`NotFound`](ErrorKind::NotFound) without such a record; [`Refused`](ErrorKind::Refused) and
    ///   [`Store`](ErrorKind::Store) as of [all verbs](RollbackEngine#errors-of-all-verbs).
    pub async fn confirm(
        &self,
        id: &DeploymentId,
        text: ShortText,
        actor: &Actor,
    ) -> Result<(), Error> {
        let inner = self.inner();
        let record = inner.record(id).await?;
        let workload = record.workload().clone();
        inner
            .allow(actor, &workload, Verb::Confirm, Some(id))
            .await?;
        let not = |what: &str, advice: &str| {
            Err(Error::new(ErrorKind::InvalidRequest, what)
                .on(id)
                .advice(advice))
        };
        if record.opening().confirm_within.is_none() {
            return not("it need not be confirmed", "it stays as it is");
        }
        if record.settlement().is_none() {
            return not("it is in flight", "confirm it when it has gone live");
        }
        if !record.went_live() {
            return not("it did not go live", "show it to see why");
        }
        let speaks = speaks_for(inner, record).await?;
        let note = self.say(text, actor);
        let annotation = Annotation::Confirm(note);
        inner.store.annotate(speaks.id(), &annotation).await?;
        // Who goes back looks for this once more when he is on record: one of both sees the other.
        let state = inner.store.workload(&workload).await?;
        let goes_back = match &state.in_flight {
            Some(in_flight) => {
                let purpose = inner
                    .record(&in_flight.deployment)
                    .await?
                    .purpose()
                    .cloned();
                purpose.is_some_and(|p| p.is_owed())
            }
            None => false,
        };
        if goes_back || state.live.known() != Some(id) {
            let what = match goes_back {
                true => "it was confirmed too late: it goes back already",
                false => "it was confirmed too late: something else is live",
            };
            return Err(Error::new(ErrorKind::Stale, what)
                .on(id)
                .advice("look at what is live; redo brings it back"));
        }
        Ok(())
    }
}
