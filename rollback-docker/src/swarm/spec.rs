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
use crate::backend::lost_values;
use crate::fingerprint::Key;
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
        if let Some(live) = live {
            keep_operators_choice(&mut spec, live);
        }
        Ok(spec)
    }

    /// What is live and on no record as it is, as a release: what was recorded, with what people have
    /// changed since; or, where it was made by hand, all that it shows.
    pub(super) async fn seen(
        &self,
        survey: &Survey,
        live: &Seen,
        artifact: Artifact,
    ) -> Result<Release, BackendError> {
        let key = self.key().await?;
        match survey.own(live).next() {
            Some(record) => Ok(changed(record, live, artifact, &key)),
            None => Ok(captured(&self.kind, live, artifact, &key)),
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
    if let Some(live) = live {
        keep_operators_choice(&mut spec, &live.spec);
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

/// The same service with other marks, and nothing else.
pub(super) fn marked(
    config: &SwarmConfig,
    live: &Seen,
    marks: &Marks,
) -> Result<ServiceSpec, BackendError> {
    let mut spec = live.spec.clone();
    marks.write(
        &config.workload.to_string(),
        spec.labels.get_or_insert_default(),
    )?;
    Ok(spec)
}

/// The same with no task.
pub(super) fn ending(
    config: &SwarmConfig,
    live: &Seen,
    marks: &Marks,
) -> Result<ServiceSpec, BackendError> {
    let mut spec = marked(config, live, marks)?;
    if replicas(&spec).is_some() {
        set_replicas(&mut spec, 0);
    }
    Ok(spec)
}

/// What a service is, its tasks as many as it had before its removal was cut off.
pub(super) fn whole(live: &Seen) -> ServiceSpec {
    let mut spec = live.spec.clone();
    if live.is_ending() && replicas(&spec).is_some() {
        // One, where nobody has noted how many.
        set_replicas(&mut spec, live.scale().unwrap_or(1));
    }
    spec
}

fn set_replicas(spec: &mut ServiceSpec, replicas: i64) {
    spec.mode = Some(ServiceSpecMode {
        replicated: Some(ServiceSpecModeReplicated {
            replicas: Some(replicas),
        }),
        ..Default::default()
    });
}

/// What is an operator's to say, and no configuration's or record's: how long Swarm waits between two
/// tasks, and how it goes back where somebody asks it to.
fn keep_operators_choice(spec: &mut ServiceSpec, live: &ServiceSpec) {
    spec.rollback_config = live.rollback_config.clone();
    let delay = live.update_config.as_ref().and_then(|update| update.delay);
    spec.update_config.get_or_insert_default().delay = delay;
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
        assert_eq!(
            replicas(&whole(&live)),
            Some(3),
            "nor is none put on record"
        );
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
