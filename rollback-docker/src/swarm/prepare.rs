//! Everything that can fail, before anything moves: the image, the specification, the way back.

use bollard::models::ServiceSpec;
use rollback_core::backend::{End, Handle, Instance, Operation, Prepared, Reuse, Rollout, WayBack};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::release::Release;

use super::api::Change;
use super::attached::Attached;
use super::backend::SwarmBackend;
use super::image::Known;
use super::record::Record;
use super::rows::rows;
use super::service::{Seen, replicas};
use super::spec::whole;
use super::survey::Survey;
use crate::client::Client;
use crate::reference::Reference;
use crate::settings::SERVICE;

impl SwarmBackend {
    /// The release of a reference with today's configuration.
    pub(super) async fn resolve_reference(
        &self,
        cx: &Context,
        reference: &str,
    ) -> Result<Release, BackendError> {
        Reference::parse(reference)?;
        let client = &self.client().await?;
        let artifact = self.source.artifact(cx, client, reference).await?;
        cx.check()?;
        let survey = Survey::take(client, &self.config).await?;
        let live = match &survey.service {
            Some(live) => Some(self.known(client, &survey, live).await?.release),
            None => None,
        };
        let bare = Release::new(self.kind.clone(), artifact);
        let (wanted, key) = (&self.config.wanted, &self.key().await?);
        Ok(wanted.today(SERVICE, &bare, live.as_ref(), key))
    }

    pub(super) async fn prepare_service(
        &self,
        cx: &Context,
        op: &Operation,
    ) -> Result<Prepared, BackendError> {
        cx.check()?;
        let Some(release) = op.to.release() else {
            return Err(BackendError::new(
                Kind::InvalidReference,
                "there is no release to prepare",
            ));
        };
        let client = &self.client().await?;
        let survey = &Survey::take(client, &self.config).await?;
        refuse_stranger(op, survey)?;
        cx.check()?;
        let standing = self.standing(survey, &op.to, Some(op));
        let image = self.have_image(cx, client, op, release, standing.is_some());
        image.await?;
        cx.check()?;
        let way_back = self.remember(cx, client, op, survey).await?;
        let record = match standing {
            Some(record) => record.clone(),
            None => {
                let spec = self.spec_of(release, survey, &self.key().await?)?;
                Record::planned(cx, op, release.clone(), spec)
            }
        };
        let attached = Attached::of(client, &record.spec).await?;
        attached.check(&record.spec)?;
        refuse_job(&record.spec)?;
        refuse_other_mode(survey, replicas(&record.spec).is_some())?;
        if standing.is_none() {
            cx.check()?;
            cx.say("writing the specification down");
            self.keep(client, op, &record).await?;
        }
        let to = Instance::new(record.release, record.handle);
        cx.check()?;
        Ok(Prepared::new(Rollout::Managed, to).way_back(way_back))
    }

    /// Writes a record down. One that is there already, by this deployment, is the same.
    async fn keep(
        &self,
        client: &Client,
        op: &Operation,
        record: &Record,
    ) -> Result<(), BackendError> {
        let config = record.write(op)?;
        let name = config.name.clone().unwrap_or_default();
        if client.create_config(config).await? == Change::Made {
            return Ok(());
        }
        let survey = Survey::take(client, &self.config).await?;
        let instance = Instance::new(record.release.clone(), record.handle.clone());
        match survey.of(&instance) {
            Some(_) => Ok(()),
            None => Err(BackendError::new(
                Kind::Conflict,
                "another record has the name of this one",
            )
            .on(name)
            .advice("remove it with `docker config rm`, if nobody needs it")
            .transient(false)),
        }
    }

    /// Writes down what is live, where it is not on record as it is: it was made, or changed, by
    /// hand.
    async fn remember(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        survey: &Survey,
    ) -> Result<WayBack, BackendError> {
        let Some(live) = &survey.service else {
            return Ok(match op.from {
                End::Placed(_) => WayBack::None("its service is gone".into()),
                End::Nothing | End::Planned(_) => WayBack::Exact,
            });
        };
        if !live.lost.is_empty() {
            return Err(BackendError::new(
                Kind::Unsupported,
                "the service has settings that this version does not know, and could not put back",
            )
            .on(live.lost.join(", "))
            .advice("take them away, or remove the service and deploy it anew"));
        }
        refuse_job(&live.spec)?;
        let Known { release, way_back } = self.known(client, survey, live).await?;
        if survey.of_live().is_none() {
            let instance = Instance::new(release, live.handle());
            let found = Record::found(cx, op, instance, whole(live));
            cx.check()?;
            self.keep(client, op, &found).await?;
        }
        Ok(way_back)
    }

    /// The record by which exactly this release can be put in place: its own, what this very
    /// deployment has written, or any that is not live.
    pub(super) fn standing<'a>(
        &self,
        survey: &'a Survey,
        end: &End,
        op: Option<&Operation>,
    ) -> Option<&'a Record> {
        let wanted = end.release()?;
        let live = survey.live_handle();
        let anew = op.is_some_and(|op| op.reuse == Reuse::Never);
        // What is live is itself as long as nobody has changed it; what has its handle and is
        // something else could not be told from it.
        let is_whole = |r: &&Record| {
            live.as_ref() != Some(&r.handle)
                || survey
                    .of_live()
                    .is_some_and(|own| own.config.id == r.config.id)
        };
        let made = |r: &&Record| op.is_some_and(|op| r.is_made_by(op) && r.is_planned());
        let own = match (anew, end.instance()) {
            (false, Some(instance)) => survey.of(instance).filter(is_whole),
            _ => None,
        };
        let mut alike = survey.alike(wanted);
        own.or_else(|| alike.clone().find(made))
            .or_else(|| alike.find(|r| !anew && live.as_ref() != Some(&r.handle)))
    }
}

/// A service of somebody else's that has taken the name is not ours to change.
fn refuse_stranger(op: &Operation, survey: &Survey) -> Result<(), BackendError> {
    match &survey.service {
        Some(live) if live.marks.is_none() && !is_end(op, &live.handle()) => Err(stranger(live)),
        _ => Ok(()),
    }
}

/// Whether an operation names this instance.
pub(super) fn is_end(op: &Operation, handle: &Handle) -> bool {
    let ends = [&op.from, &op.to];
    ends.iter()
        .any(|end| end.instance().is_some_and(|i| i.handle == *handle))
}

/// A job is done once its tasks have ended: it is nothing that is live, and Swarm changes none.
fn refuse_job(spec: &ServiceSpec) -> Result<(), BackendError> {
    if !rows(spec).contains_key("service:Mode") {
        return Ok(());
    }
    Err(BackendError::new(
        Kind::Unsupported,
        "a job is no service that can be rolled out",
    )
    .on(spec.name.as_deref().unwrap_or("service:Mode"))
    .advice("remove it, or configure another name"))
}

/// Swarm does not change the mode of a service.
fn refuse_other_mode(survey: &Survey, is_replicated: bool) -> Result<(), BackendError> {
    let Some(live) = &survey.service else {
        return Ok(());
    };
    if replicas(&live.spec).is_some() == is_replicated {
        return Ok(());
    }
    Err(BackendError::new(
        Kind::Unsupported,
        "a service with a number of tasks and one with a task on each node cannot become one \
         another",
    )
    .on(&live.id)
    .advice("remove the service, or configure another name"))
}

/// What somebody else has put in the way.
pub(super) fn stranger(live: &Seen) -> BackendError {
    let what = match &live.marks {
        Some(marks) => format!(
            "the service is what this deployment does not know: {} made it so",
            marks.deployment
        ),
        None => "another service has taken the name since".to_owned(),
    };
    BackendError::new(Kind::Conflict, what)
        .on(&live.id)
        .advice("adopt it, or put it away")
        .transient(false)
}

/// What somebody has changed since a record was written.
pub(super) fn changed_by_hand(live: &Seen, record: &Record) -> BackendError {
    let changes = live.differences(record).join(", ");
    let what = format!("the service was changed by hand since this was planned ({changes})");
    BackendError::new(Kind::Conflict, what)
        .on(&live.id)
        .advice("look what is live and plan again, or adopt it")
        .transient(false)
}
