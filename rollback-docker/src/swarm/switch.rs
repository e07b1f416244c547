//! The switch: one update of the service, from the version that was looked at. Every step is told
//! from what the managers show, so that a switch cut off anywhere goes on where it stopped.

use rollback_core::backend::{End, Evidence, Handle, Operation};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};

use super::api::Change;
use super::attached::Attached;
use super::backend::SwarmBackend;
use super::follow::Followed;
use super::marks::{Ending, Marks};
use super::prepare::{changed_by_hand, is_end, stranger};
use super::record::Record;
use super::service::{Seen, Update, image};
use super::spec::{ending, marked, to_send};
use super::survey::Survey;
use super::task::last_start;
use crate::client::Client;
use crate::error;

/// How often a service is looked at afresh whose version has moved and which is what it was.
const TRIES: usize = 20;
/// How often a rollout is asked for again whose tasks got in the way of those before them.
const COLLISIONS: usize = 2;

impl SwarmBackend {
    pub(super) async fn roll_out(
        &self,
        cx: &Context,
        op: &Operation,
    ) -> Result<Evidence, BackendError> {
        let untouched = BackendError::untouched;
        cx.check().map_err(untouched)?;
        let client = &self.client().await.map_err(untouched)?;
        let mut survey = self.survey(cx, client, op).await.map_err(untouched)?;
        self.claim(cx, client, &survey).await.map_err(untouched)?;
        cx.check().map_err(untouched)?;
        let record = match &op.to {
            End::Nothing => None,
            _ => Some(recorded_end(&survey, op).map_err(untouched)?.clone()),
        };
        let mut collisions = 0;
        for _ in 0..TRIES {
            let live = survey.service.as_ref();
            let asked = match &record {
                Some(record) => {
                    let again = collisions > 0;
                    let asked = self.ask_for(cx, client, op, live, record, again).await;
                    asked.map_err(|e| if again { asked_before(e) } else { e })?
                }
                None => self.ask_to_end(cx, client, op, live).await?,
            };
            if asked == Change::Made {
                cx.check()?;
                let Some(record) = &record else {
                    return self.put_away(cx, client, live).await;
                };
                match self.follow(cx, record).await? {
                    Followed::InPlace(evidence) => return Ok(evidence),
                    Followed::Collided(e) if collisions == COLLISIONS => return Err(e),
                    Followed::Collided(_) => collisions += 1,
                }
                survey = self.survey(cx, client, op).await?;
                continue;
            }
            let before = survey.service;
            let now = self.survey(cx, client, op).await;
            survey = now.map_err(|e| if collisions > 0 { e } else { e.untouched() })?;
            let is_changed = match (&before, &survey.service) {
                // What Swarm itself writes moves the version, too.
                (Some(before), Some(now)) => before.spec != now.spec || before.marks != now.marks,
                // Somebody has removed it, which is what was wanted where it was to end.
                (Some(_), None) => record.is_some(),
                (None, _) => false,
            };
            if is_changed {
                break;
            }
        }
        let e = BackendError::new(
            Kind::Conflict,
            "the service was changed as it was to be updated",
        );
        let e = e.on(&self.config.service);
        Err(if collisions > 0 { e } else { e.untouched() })
    }

    /// What stands there, if it is this deployment's to change.
    async fn survey(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
    ) -> Result<Survey, BackendError> {
        let survey = Survey::take(client, &self.config).await?;
        if let Some(live) = &survey.service {
            if !knows(cx, op, live)? {
                return Err(stranger(live));
            }
            let recorded = survey.own(live).next();
            if let Some(recorded) = recorded.filter(|_| survey.of_live().is_none())
                && !live.is_ending()
            {
                return Err(changed_by_hand(live, recorded));
            }
        }
        Ok(survey)
    }

    /// Asks the managers for a record, unless they are at it and it is not to be asked again.
    async fn ask_for(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        live: Option<&Seen>,
        record: &Record,
        again: bool,
    ) -> Result<Change, BackendError> {
        let untouched = BackendError::untouched;
        if let Some(live) = live
            && live.handle() == record.handle
            && !again
            && !is_to_be_asked_again(live, op)
        {
            return self.renew(cx, client, op, live, record).await;
        }
        if !record.is_used {
            let (id, used, version) = (&record.config.id, record.used(), record.config.version);
            let marked = client.update_config(id, used, version).await;
            marked.map_err(untouched)?;
            cx.check().map_err(untouched)?;
        }
        let marks = marks(cx, op, record.handle.clone());
        let tasks = client.tasks(&self.config.service).await;
        let started = last_start(&tasks.map_err(untouched)?);
        let mut spec = to_send(&self.config, record, &marks, live, started).map_err(untouched)?;
        let attached = Attached::of(client, &spec).await.map_err(untouched)?;
        attached.check(&spec).map_err(untouched)?;
        attached.put_into(&mut spec);
        let image = record.image();
        cx.say("asking the Swarm for it");
        match live {
            Some(live) => {
                client
                    .update_service(cx, &live.id, image, spec, live.version)
                    .await
            }
            None => {
                self.wait_for_none(cx, client).await.map_err(untouched)?;
                // That takes its time, and a name that is free tells of nobody who came meanwhile.
                let now = Survey::take(client, &self.config)
                    .await
                    .map_err(untouched)?;
                self.claim(cx, client, &now).await.map_err(untouched)?;
                if now.service.is_some() {
                    return Ok(Change::Raced);
                }
                client
                    .create_service(cx, &self.config.service, image, spec)
                    .await
            }
        }
    }

    /// Puts this deployment's marks on what is in place already, which starts no task anew: else it
    /// would bear the token of an earlier one. Not while the managers are at it, or have given it up:
    /// they would forget how far they are.
    async fn renew(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        live: &Seen,
        record: &Record,
    ) -> Result<Change, BackendError> {
        let borne = live.marks.as_ref().and_then(|marks| marks.fence.as_ref());
        let is_at_rest = matches!(
            live.update,
            Update::None | Update::Done | Update::Reverted(_)
        );
        if cx.fence().is_none() || cx.fence() == borne || !is_at_rest || !live.lost.is_empty() {
            return Ok(Change::Made);
        }
        let marks = marks(cx, op, record.handle.clone());
        let untouched = BackendError::untouched;
        let spec = marked(&self.config, live, &marks).map_err(untouched)?;
        client
            .update_service(cx, &live.id, image(&live.spec), spec, live.version)
            .await
    }

    /// Ends the tasks of a service that is to be removed. A removal tells nobody which version it is
    /// of, so this does, first.
    async fn ask_to_end(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        live: Option<&Seen>,
    ) -> Result<Change, BackendError> {
        let Some(live) = live else {
            return Ok(Change::Made);
        };
        let marks = Marks {
            ending: Some(Ending {
                replicas: live.scale(),
            }),
            ..marks(cx, op, live.handle())
        };
        let spec = ending(&self.config, live, &marks).map_err(BackendError::untouched)?;
        client
            .update_service(cx, &live.id, image(&live.spec), spec, live.version)
            .await
    }

    /// Removes a service that has been told to end, and waits for the last of its tasks.
    async fn put_away(
        &self,
        cx: &Context,
        client: &Client,
        live: Option<&Seen>,
    ) -> Result<Evidence, BackendError> {
        if let Some(live) = live {
            client.remove_service(&live.id).await?;
            cx.check()?;
        }
        self.wait_for_none(cx, client).await?;
        Ok(Evidence::default().with("service", "none"))
    }
}

/// The error of asking once more, which may leave what is live as it is: asking before did not.
fn asked_before(e: BackendError) -> BackendError {
    BackendError::new(
        e.kind(),
        "the rollout was given up, and could not be asked for again",
    )
    .transient(e.is_transient())
    .because(e)
}

/// What a service bears that this deployment puts in place.
fn marks(cx: &Context, op: &Operation, handle: Handle) -> Marks {
    Marks {
        handle,
        deployment: op.deployment.to_string(),
        fence: cx.fence().cloned(),
        ending: None,
    }
}

/// The record to be made live.
fn recorded_end<'a>(survey: &'a Survey, op: &Operation) -> Result<&'a Record, BackendError> {
    let End::Placed(instance) = &op.to else {
        let e = BackendError::new(Kind::Failed, "the release was not prepared");
        return Err(match op.to.release() {
            Some(release) => e.on(release),
            None => e,
        });
    };
    survey
        .of(instance)
        .ok_or_else(|| error::gone("the record of the specification is gone", &instance.handle))
}

/// Whether what the service is already is asked for all the same, which starts its tasks anew: where
/// it was to be removed, or where Swarm has given up what an earlier deployment asked for.
fn is_to_be_asked_again(live: &Seen, op: &Operation) -> bool {
    let by_this = |marks: &Marks| marks.deployment == op.deployment.as_str();
    let by_other = !live.marks.as_ref().is_some_and(by_this);
    live.is_ending() || (by_other && matches!(live.update, Update::Paused(_)))
}

/// Whether a service that is in the way may be changed.
fn knows(cx: &Context, op: &Operation, live: &Seen) -> Result<bool, BackendError> {
    if is_end(op, &live.handle()) {
        return Ok(true);
    }
    let Some(marks) = &live.marks else {
        return Ok(false);
    };
    if marks.deployment == op.deployment.as_str() {
        return Ok(true);
    }
    cx.may_publish(marks.fence.as_ref())?;
    Ok(match (cx.fence(), &marks.fence) {
        (Some(own), Some(its)) => own.history == its.history,
        (own, its) => own.is_none() && its.is_none(),
    })
}
