//! Everything that can fail, before anything moves: the image, the specification, the way back.

use bollard::models::ServiceSpec;
use rollback_core::backend::{End, Handle, Instance, Operation, Prepared, Reuse, Rollout, WayBack};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::release::Release;

use super::api::Change;
use super::backend::SwarmBackend;
use super::record::Record;
use super::rows::rows;
use super::service::{Seen, image, replicas};
use super::survey::Survey;
use crate::backend::image_id;
use crate::client::Client;
use crate::error;
use crate::reference::Reference;
use crate::settings::SERVICE;
use crate::tag::Hold;

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
            Some(live) => Some(self.seen(client, &survey, live).await?),
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
        self.have_image(cx, client, op, release).await?;
        cx.check()?;
        let way_back = self.remember(cx, client, op, survey).await?;
        let standing = self.standing(survey, &op.to, Some(op));
        let record = match standing {
            Some(record) => record.clone(),
            None => {
                let spec = self.spec_of(release, survey, &self.key().await?)?;
                Record::planned(cx, op, release.clone(), spec)
            }
        };
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
        let release = self.seen(client, survey, live).await?;
        let way_back = way_back(&release, &live.spec);
        if survey.of_live().is_none() {
            let instance = Instance::new(release, live.handle());
            let found = Record::found(cx, op, instance, live.spec.clone());
            cx.check()?;
            self.keep(client, op, &found).await?;
        }
        Ok(way_back)
    }

    /// The image is at hand before anything moves. A Swarm of one node runs it here, so it is
    /// fetched and pinned; of several, each fetches it when it is given a task, so the registry has
    /// to have it.
    async fn have_image(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        release: &Release,
    ) -> Result<(), BackendError> {
        if client.nodes().await?.len() > 1 {
            let digest = &release.artifact().digest;
            if !matches!(Reference::parse(digest)?, Reference::Digest { .. }) {
                return Err(BackendError::new(
                    Kind::Unsupported,
                    "the image came from no registry, and other nodes of this Swarm cannot get it",
                )
                .on(digest)
                .advice("push it to a registry that every node reaches"));
            }
            client
                .remote(cx, digest)
                .await
                .map_err(|e| match e.kind() {
                    Kind::NotFound => {
                        error::gone("the registry no longer has the image", digest).because(e)
                    }
                    _ => e,
                })?;
            return Ok(());
        }
        let image = self.source.fetch(cx, client, release).await?;
        cx.check()?;
        let hold = Hold::by(cx, op, release).to_string();
        if client
            .tag(&image_id(&image)?, &self.source.pins, &hold)
            .await?
        {
            return Ok(());
        }
        let what = "the image was removed as it was to be pinned";
        Err(error::gone(what, release).transient(true))
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

/// How faithfully what is live can be brought back: by its specification, whose image has to be
/// known by more than a tag. What a tag means here now need not be what the tasks were started with.
pub(super) fn way_back(release: &Release, live: &ServiceSpec) -> WayBack {
    let lossy = |why: &str| WayBack::Lossy(vec![why.to_owned()]);
    match (
        Reference::parse(&release.artifact().digest),
        Reference::parse(image(live)),
    ) {
        (Ok(Reference::Tag { .. }) | Err(_), _) => {
            lossy("its image is known by its tag alone, which may mean another one by then")
        }
        (_, Ok(Reference::Tag { .. })) => lossy(
            "its specification names a tag: its tasks may run another image than it means now",
        ),
        _ => WayBack::Exact,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rollback_core::release::Artifact;

    use super::*;

    #[test]
    fn what_the_tag_of_a_service_made_by_hand_means_now_was_taken_for_what_it_runs() {
        let id = format!("sha256:{}", "a".repeat(64));
        let release = Release::new("swarm".parse().unwrap(), Artifact::new("app:latest", &id));
        let of = |image: &str| {
            let container = bollard::models::TaskSpecContainerSpec {
                image: Some(image.to_owned()),
                ..Default::default()
            };
            let template = bollard::models::TaskSpec {
                container_spec: Some(container),
                ..Default::default()
            };
            let spec = ServiceSpec {
                task_template: Some(template),
                ..Default::default()
            };
            way_back(&release, &spec)
        };
        assert!(matches!(of("app:latest"), WayBack::Lossy(_)));
        assert_eq!(of(&id), WayBack::Exact);
        assert_eq!(of(&format!("app:latest@{id}")), WayBack::Exact);
    }
}
