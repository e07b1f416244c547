//! Specifications from releases, and releases from specifications.

use bollard::models::{
    ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated, ServiceSpecUpdateConfig,
    ServiceSpecUpdateConfigFailureActionEnum as OnFailure, ServiceSpecUpdateConfigOrderEnum as By,
};
use rollback_core::error::BackendError;
use rollback_core::release::{Artifact, FacetValue, Release};

use super::backend::SwarmBackend;
use super::build;
use super::config::{SwarmConfig, UpdateOrder, nanos};
use super::marks::Marks;
use super::record::Record;
use super::rows::{self, REPLICAS};
use super::service::{Seen, image, replicas};
use super::survey::Survey;
use crate::backend::{digests, image_id, lost_values};
use crate::client::Client;
use crate::fingerprint::Key;
use crate::reference::Reference;
use crate::settings::{
    self, BY_HAND, ENV, SERVICE, Table, env_table, rows_table, table, value, with_table,
};

impl SwarmBackend {
    /// The specification of a release. Values that today's configuration does not have may be in
    /// what is live, or in a record.
    pub(super) fn spec_of(
        &self,
        release: &Release,
        survey: &Survey,
        key: &Key,
    ) -> Result<ServiceSpec, BackendError> {
        let live = survey.service.as_ref().map(|s| &s.spec);
        let kept = survey.records.iter().rev().map(|r| &r.spec).chain(live);
        let kept: Vec<_> = kept.map(|s| (rows::rows(s), rows::env(s))).collect();
        let today = (&self.config.wanted.rows, &self.config.wanted.env);
        let (rows, env) = settings::values(release, SERVICE, today, &kept, key)
            .map_err(|lost| lost_values(&lost, release))?;
        let mut spec = build::spec(&rows, &env)?;
        set_image(&mut spec, &release.artifact().digest);
        Ok(spec)
    }

    /// What is live, as a release: what was recorded, with what people have changed since; or, where
    /// it was made by hand, all that it shows.
    pub(super) async fn seen(
        &self,
        client: &Client,
        survey: &Survey,
        live: &Seen,
    ) -> Result<Release, BackendError> {
        if let Some(record) = survey.of_live() {
            return Ok(record.release.clone());
        }
        let key = self.key().await?;
        let artifact = self.artifact(client, image(&live.spec)).await?;
        match survey.own(live).next() {
            Some(record) => Ok(changed(record, live, artifact, &key)),
            None => Ok(captured(&self.kind, live, artifact, &key)),
        }
    }

    /// What an image's name in a specification means. One that has no digest means what this node
    /// has by it, or nothing that is sure.
    async fn artifact(&self, client: &Client, name: &str) -> Result<Artifact, BackendError> {
        let (shown, _) = name.split_once('@').unwrap_or((name, ""));
        match Reference::parse(name) {
            Ok(Reference::Digest { repository, digest }) => {
                Ok(Artifact::new(shown, format!("{repository}@{digest}")))
            }
            Ok(Reference::Tag { repository, .. }) => {
                let here = client.image(name).await?;
                let prefix = format!("{repository}@");
                let digest = match &here {
                    Some(here) => match digests(here).find(|d| d.starts_with(&prefix)) {
                        Some(digest) => digest.to_owned(),
                        None => image_id(here)?,
                    },
                    None => name.to_owned(),
                };
                Ok(Artifact::new(name, digest))
            }
            Ok(Reference::Id(_)) | Err(_) => Ok(Artifact::new(name, name)),
        }
    }
}

/// A record's release with what its service shows otherwise.
fn changed(record: &Record, live: &Seen, artifact: Artifact, key: &Key) -> Release {
    let was = &record.release;
    let same = image(&live.spec) == record.image() || image(&live.spec) == image(&record.spec);
    let artifact = if same {
        was.artifact().clone()
    } else {
        artifact
    };
    let mut release = Release::new(was.backend().clone(), artifact);
    for (name, facet) in was.facets() {
        release = release.with_facet(name, facet.clone());
    }
    let mut table = table(&release, SERVICE);
    let (before, now) = (rows::rows(&record.spec), rows::rows(&live.spec));
    for row in before.keys().chain(now.keys()) {
        match now.get(row) {
            text if text == before.get(row) => {}
            Some(text) => drop(table.insert(row.clone(), value(key, row, text))),
            None => drop(table.remove(row)),
        }
    }
    if record.fixes_replicas() {
        let now = replicas(&live.spec).map(|n| FacetValue::Plain(n.to_string()));
        now.map(|now| table.insert(REPLICAS.to_owned(), now));
    }
    let env = rows::env(&live.spec);
    let env = env_table(
        key,
        env.iter().map(|(name, v)| (name.as_str(), v.0.as_str())),
    );
    with_table(&with_table(&release, SERVICE, table), ENV, env)
}

/// The release of a service that was made by hand.
fn captured(
    kind: &rollback_core::id::BackendKind,
    live: &Seen,
    artifact: Artifact,
    key: &Key,
) -> Release {
    let (rows, env) = (rows::rows(&live.spec), rows::env(&live.spec));
    let names = rows.keys().cloned();
    let names = names.chain(env.keys().map(|name| format!("env:{name}")));
    let by_hand: Table = names
        .map(|row| (row, FacetValue::Plain(String::new())))
        .collect();
    let env = env_table(
        key,
        env.iter().map(|(name, v)| (name.as_str(), v.0.as_str())),
    );
    let release = Release::new(kind.clone(), artifact);
    let release = with_table(&release, SERVICE, rows_table(key, &rows));
    with_table(&with_table(&release, ENV, env), BY_HAND, by_hand)
}

/// What is sent to make a record live where this stands: the record, marked, rolled out as the
/// configuration says. `started` is the greatest number that any task was started with.
pub(super) fn to_send(
    config: &SwarmConfig,
    record: &Record,
    marks: &Marks,
    live: Option<&Seen>,
    started: u64,
) -> Result<ServiceSpec, BackendError> {
    let mut spec = record.spec.clone();
    spec.name = Some(config.service.clone());
    set_image(&mut spec, record.image());
    marks.write(
        &config.workload.to_string(),
        spec.labels.get_or_insert_default(),
    )?;
    // Whatever was there before, its tasks are others.
    let of_live = live.and_then(|live| live.template.force_update);
    let started = of_live.unwrap_or(0).max(started);
    let template = spec.task_template.get_or_insert_default();
    template.force_update = Some(started.saturating_add(1));
    // Whoever has scaled it meanwhile knows why.
    if let Some(scaled) = live.and_then(Seen::scale)
        && !record.fixes_replicas()
        && replicas(&spec).is_some()
    {
        set_replicas(&mut spec, scaled);
    }
    let update = spec.update_config.get_or_insert_default();
    *update = ServiceSpecUpdateConfig {
        parallelism: Some(i64::from(config.parallelism)),
        monitor: Some(nanos(config.monitor)),
        order: Some(match config.order {
            UpdateOrder::StopFirst => By::STOP_FIRST,
            UpdateOrder::StartFirst => By::START_FIRST,
        }),
        // Going back is for the engine, which knows where to.
        failure_action: Some(OnFailure::PAUSE),
        max_failure_ratio: Some(0.0),
        delay: update.delay,
    };
    Ok(spec)
}

/// The same service with other labels and so many tasks, and nothing else.
pub(super) fn ending(
    config: &SwarmConfig,
    live: &Seen,
    marks: &Marks,
) -> Result<ServiceSpec, BackendError> {
    let mut spec = live.spec.clone();
    marks.write(
        &config.workload.to_string(),
        spec.labels.get_or_insert_default(),
    )?;
    if replicas(&spec).is_some() {
        set_replicas(&mut spec, 0);
    }
    Ok(spec)
}

fn set_replicas(spec: &mut ServiceSpec, replicas: i64) {
    spec.mode = Some(ServiceSpecMode {
        replicated: Some(ServiceSpecModeReplicated {
            replicas: Some(replicas),
        }),
        ..Default::default()
    });
}

fn set_image(spec: &mut ServiceSpec, image: &str) {
    let template = spec.task_template.get_or_insert_default();
    let container = template.container_spec.get_or_insert_default();
    container.image = Some(image.to_owned());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rollback_core::backend::{Handle, Operation};
    use rollback_core::context::Context;
    use serde_json::json;

    use super::super::marks::Ending;
    use super::*;

    fn marks(ending: Option<Ending>) -> Marks {
        Marks {
            handle: Handle::new("h"),
            deployment: "d".to_owned(),
            fence: None,
            ending,
        }
    }

    fn live(spec: &ServiceSpec) -> Seen {
        let shown = json!({"ID": "s", "Version": {"Index": 7}, "Spec": spec});
        Seen::new("api@web-1", shown).unwrap()
    }

    fn record() -> Record {
        let release = Release::new("swarm".parse().unwrap(), Artifact::new("a", "a@sha256:1"));
        let op = Operation::new(
            "api@web-1".parse().unwrap(),
            "deploy-20260315-143022-a3f2b901a3f2b901".parse().unwrap(),
            rollback_core::history::Sequence(1),
            rollback_core::backend::End::Nothing,
            rollback_core::backend::End::Planned(release.clone()),
        );
        let spec = json!({
            "Name": "api", "Mode": {"Replicated": {"Replicas": 1}},
            "TaskTemplate": {"ContainerSpec": {"Image": "a"}},
        });
        let cx = Context::new(std::time::Duration::from_secs(1));
        Record::planned(&cx, &op, release, serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn the_number_of_tasks_outlives_a_removal_that_was_cut_off_even_twice() {
        let config = SwarmConfig::new("api@web-1".parse().unwrap(), "api", "/state");
        let mut scaled = record().spec;
        set_replicas(&mut scaled, 3);
        let mut live = live(&scaled);
        for _ in 0..2 {
            let marks = marks(Some(Ending {
                replicas: live.scale(),
            }));
            let sent = ending(&config, &live, &marks).unwrap();
            assert_eq!(replicas(&sent), Some(0));
            live = self::live(&sent);
        }
        let sent = to_send(&config, &record(), &marks(None), Some(&live), 0).unwrap();
        assert_eq!(replicas(&sent), Some(3));
        // Older versions have not noted it down.
        live.marks = Some(marks(Some(Ending { replicas: None })));
        let sent = to_send(&config, &record(), &marks(None), Some(&live), 0).unwrap();
        assert_eq!(replicas(&sent), Some(1));
    }

    #[test]
    fn no_start_has_the_number_of_a_task_that_is_still_listed() {
        let config = SwarmConfig::new("api@web-1".parse().unwrap(), "api", "/state");
        let live = live(&record().spec);
        let sent = to_send(&config, &record(), &marks(None), Some(&live), 4).unwrap();
        assert_eq!(sent.task_template.unwrap().force_update, Some(5));
    }
}
