//! What stands at the Swarm, as it is now. Changes nothing.

use rollback_core::backend::{
    Availability, End, Evidence, Instance, Live, Observation, RollingOut, Running, Sighting,
};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};

use super::attached::Attached;
use super::backend::SwarmBackend;
use super::image::Known;
use super::nodes::Down;
use super::service::{Seen, Update};
use super::survey::Survey;
use super::tasks::Standing;

impl SwarmBackend {
    pub(super) async fn look(&self, cx: &Context) -> Result<Observation, BackendError> {
        cx.check()?;
        let client = &self.client().await?;
        let survey = Survey::take(client, &self.config).await?;
        cx.check()?;
        let published = survey.published();
        let Some(live) = &survey.service else {
            return Ok(Observation::new(Live::Nothing, published));
        };
        let Known { release, way_back } = self.known(client, &survey, live).await?;
        let tasks = client.tasks(&self.config.service).await?;
        let now = Standing::of(live, tasks, &Down::default());
        let instance = Instance::new(release, live.handle());
        let (running, is_rolling) = state(live, &now);
        let evidence = match running {
            Running::Yes => now.evidence(live),
            _ => Evidence::default(),
        };
        let sighting = Sighting::new(instance, running)
            .evidence(evidence)
            .way_back(way_back);
        let live = match is_rolling {
            true => {
                let progress = now.progress(&live.update);
                Live::RollingOut(Box::new(RollingOut::new(sighting, None, progress)))
            }
            false => Live::One(sighting),
        };
        Ok(Observation::new(live, published))
    }

    /// How near an end is: by a record its specification, by a node its image.
    pub(super) async fn nearness(
        &self,
        cx: &Context,
        end: &End,
    ) -> Result<Availability, BackendError> {
        cx.check()?;
        let Some(wanted) = end.release() else {
            return Ok(Availability::Standby);
        };
        let client = &self.client().await?;
        let survey = &Survey::take(client, &self.config).await?;
        cx.check()?;
        let standing = self.standing(survey, end, None);
        let made = match standing {
            Some(record) => Ok(record.spec.clone()),
            None => self.spec_of(wanted, survey, &self.key().await?),
        };
        let made = match made {
            Ok(spec) => Attached::of(client, &spec).await?.check(&spec),
            Err(e) => Err(e),
        };
        match made {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), Kind::Gone | Kind::Unsupported) => {
                return Ok(Availability::Gone(e.untouched().to_string()));
            }
            Err(e) => return Err(e),
        }
        Ok(match self.reach(cx, client, wanted).await? {
            Availability::Local if standing.is_some() => Availability::Standby,
            near => near,
        })
    }
}

/// Whether it runs, and whether the managers are at it still.
fn state(live: &Seen, now: &Standing) -> (Running, bool) {
    let failure = || now.last_failure().map(|_| "its tasks fail");
    let why = |what: &str| Running::No(what.to_owned());
    match &live.update {
        _ if live.is_ending() => (why("its removal was cut off"), false),
        Update::Rolling | Update::Reverting(_) => (Running::Yes, true),
        Update::Paused(_) => (why("Swarm has paused its rollout: a task failed"), true),
        _ if now.desired == 0 => (why("it is scaled to no task"), false),
        _ if !now.running.is_empty() => (Running::Yes, false),
        _ => match failure() {
            Some(what) => (why(what), false),
            None => (Running::Yes, true),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_swarm_has_paused_is_no_release_that_is_live() {
        let shown = |state: &str| {
            let shown = json!({
                "ID": "s", "Version": {"Index": 7}, "UpdateStatus": {"State": state},
                "Spec": {"TaskTemplate": {"ContainerSpec": {"Image": "a"}}},
            });
            Seen::new("api@web-1", shown).unwrap()
        };
        let of = |seen: &str| {
            state(
                &shown(seen),
                &Standing::of(&shown(seen), Vec::new(), &Down::default()),
            )
        };
        assert!(matches!(of("paused"), (Running::No(_), true)));
        assert!(matches!(of("rollback_paused"), (Running::No(_), true)));
        assert!(matches!(of("updating"), (Running::Yes, true)));
        assert!(matches!(of("rollback_started"), (Running::Yes, true)));
        // Nothing has failed, so it is being brought up.
        assert!(matches!(of("completed"), (Running::Yes, true)));
    }
}
