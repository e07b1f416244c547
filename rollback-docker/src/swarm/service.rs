//! [`Seen`]: a service as a manager shows it.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::{
    Service, ServiceSpec, ServiceUpdateStatusStateEnum as State, TaskSpec, TaskSpecContainerSpec,
};
use rollback_core::backend::Handle;
use rollback_core::error::{BackendError, BackendErrorKind};

use serde_json::Value;

use super::marks::{Ending, Marks, strip};
use super::record::Record;
use super::rows;
use crate::client::Client;
use crate::defaults::says_nothing;

/// A service, looked at once.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) id: String,
    /// What a change is compared with.
    pub(super) version: u64,
    /// Without this crate's labels, networks by name.
    pub(super) spec: ServiceSpec,
    /// What its tasks are to be, as Swarm itself says it.
    pub(super) template: TaskSpec,
    /// Settings that this version does not know: they cannot be put back.
    pub(super) lost: Vec<String>,
    /// What this crate wrote on it, if it put it there.
    pub(super) marks: Option<Marks>,
    pub(super) update: Update,
}

/// What a manager says of the last change of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Update {
    /// Nothing: there was none, or it has not begun.
    None,
    Rolling,
    Done,
    /// A task failed, and Swarm has stopped: nothing goes on.
    Paused(String),
    /// Swarm itself goes back to what was before.
    Reverting(String),
    /// Swarm itself has gone back, which means that the change failed.
    Reverted(String),
}

impl Seen {
    pub(super) async fn look(
        client: &Client,
        workload: &str,
        name: &str,
    ) -> Result<Option<Self>, BackendError> {
        let Some(shown) = client.service(name).await? else {
            return Ok(None);
        };
        let lacks = || {
            let what = "dockerd's answer lacks a service's id, version or specification";
            BackendError::new(BackendErrorKind::Unsupported, what).on(name)
        };
        let seen = Self::new(workload, shown).ok_or_else(lacks)?;
        let ids = targets(&seen.spec).into_iter();
        let names = client.network_names(ids.filter(|t| is_id(t))).await?;
        Ok(Some(seen.named(&names)))
    }

    pub(super) fn new(workload: &str, mut shown: Value) -> Option<Self> {
        // As the client library reads it in tasks.
        let template = serde_json::from_value(shown["Spec"]["TaskTemplate"].clone()).ok()?;
        let container = &mut shown["Spec"]["TaskTemplate"]["ContainerSpec"];
        if let Some(container) = container.as_object_mut()
            && let Some(check) = container.remove("Healthcheck")
        {
            // dockerd takes either spelling, and shows one that the library does not know.
            container.insert("HealthCheck".into(), check);
        }
        let whole = shown["Spec"].clone();
        let service: Service = serde_json::from_value(shown).ok()?;
        let mut spec = service.spec?;
        let lost = lost(&whole, &serde_json::to_value(&spec).ok()?, "");
        let labels = spec.labels.get_or_insert_default();
        let marks = Marks::read(workload, labels);
        strip(labels);
        let status = service.update_status.unwrap_or_default();
        let message = status.message.unwrap_or_default();
        Some(Self {
            id: service.id?,
            version: service.version?.index?,
            template,
            lost,
            spec,
            marks,
            update: match status.state {
                None | Some(State::EMPTY) => Update::None,
                Some(State::UPDATING) => Update::Rolling,
                Some(State::COMPLETED) => Update::Done,
                Some(State::PAUSED | State::ROLLBACK_PAUSED) => Update::Paused(message),
                Some(State::ROLLBACK_STARTED) => Update::Reverting(message),
                Some(State::ROLLBACK_COMPLETED) => Update::Reverted(message),
            },
        })
    }

    /// The same with its networks by name: an id means nothing once a network was made anew.
    fn named(mut self, names: &BTreeMap<String, String>) -> Self {
        let template = self.spec.task_template.as_mut();
        let of_tasks = template.and_then(|t| t.networks.as_mut());
        for list in [self.spec.networks.as_mut(), of_tasks] {
            for network in list.into_iter().flatten() {
                if let Some(name) = network.target.as_ref().and_then(|t| names.get(t)) {
                    network.target = Some(name.clone());
                }
            }
        }
        self
    }

    /// Whether it is about to be removed.
    pub(super) fn is_ending(&self) -> bool {
        self.ending().is_some()
    }

    pub(super) fn ending(&self) -> Option<Ending> {
        self.marks.as_ref()?.ending
    }

    /// How many tasks it is to have: where its removal was cut off, those that it had before, if that
    /// is known. `None` where every node has one.
    pub(super) fn scale(&self) -> Option<i64> {
        match self.ending() {
            Some(ending) => ending.replicas,
            None => replicas(&self.spec),
        }
    }

    /// Which instance it is. One that was made by hand is known by the service's own id.
    pub(super) fn handle(&self) -> Handle {
        match &self.marks {
            Some(marks) => marks.handle.clone(),
            None => Handle::new(&self.id),
        }
    }

    /// Whether it is as it was recorded, whatever was started anew since, or scaled where the
    /// number of tasks is left to others.
    pub(super) fn is_like(&self, record: &Record) -> bool {
        self.differences(record).is_empty()
    }

    /// The names of what is not as it was recorded.
    pub(super) fn differences(&self, record: &Record) -> Vec<String> {
        let (spec, image) = (&record.spec, image(&self.spec));
        let mut out: BTreeSet<String> = self.lost.iter().cloned().collect();
        if image != self::image(spec) && image != record.image() {
            out.insert("image".to_owned());
        }
        if record.fixes_replicas() && replicas(&self.spec) != replicas(spec) {
            out.insert(rows::REPLICAS.to_owned());
        }
        differ(&rows::rows(&self.spec), &rows::rows(spec), &mut out);
        differ(&rows::env(&self.spec), &rows::env(spec), &mut out);
        Vec::from_iter(out)
    }
}

pub(super) fn container(spec: &ServiceSpec) -> Option<&TaskSpecContainerSpec> {
    spec.task_template.as_ref()?.container_spec.as_ref()
}

pub(super) fn image(spec: &ServiceSpec) -> &str {
    container(spec)
        .and_then(|c| c.image.as_deref())
        .unwrap_or_default()
}

/// How many tasks it is to have; `None` where every node has one.
pub(super) fn replicas(spec: &ServiceSpec) -> Option<i64> {
    let mode = spec.mode.as_ref();
    if mode.is_some_and(|mode| mode.replicated.is_none()) {
        return None;
    }
    let replicated = mode.and_then(|mode| mode.replicated.as_ref());
    Some(replicated.and_then(|r| r.replicas).unwrap_or(1))
}

/// What of an answer is not in what was read of it.
fn lost(whole: &Value, read: &Value, at: &str) -> Vec<String> {
    match whole {
        Value::Object(fields) => {
            let lost = |(name, value)| lost(value, &read[name], &format!("{at}/{name}"));
            fields.iter().flat_map(lost).collect()
        }
        Value::Array(all) => {
            let lost = |(n, value)| lost(value, &read[n], at);
            all.iter().enumerate().flat_map(lost).collect()
        }
        value if read.is_null() && !says_nothing(value) => vec![at.to_owned()],
        _ => Vec::new(),
    }
}

fn differ<V>(one: &BTreeMap<String, V>, other: &BTreeMap<String, V>, out: &mut BTreeSet<String>)
where
    V: PartialEq,
{
    let names = one.keys().chain(other.keys());
    out.extend(
        names
            .filter(|name| one.get(*name) != other.get(*name))
            .cloned(),
    );
}

fn targets(spec: &ServiceSpec) -> Vec<&str> {
    let of_tasks = spec
        .task_template
        .as_ref()
        .and_then(|t| t.networks.as_ref());
    let all = [spec.networks.as_ref(), of_tasks];
    let all = all.into_iter().flatten().flatten();
    all.filter_map(|network| network.target.as_deref())
        .collect()
}

/// Whether this is an id as Swarm gives it.
fn is_id(text: &str) -> bool {
    text.len() == 25
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn shown(container: Value) -> Value {
        json!({
            "ID": "s", "Version": {"Index": 7},
            "UpdateStatus": {"State": "paused", "Message": "a task failed"},
            "Spec": {
                "Name": "api",
                "Labels": {
                    "team": "a", "rollback.workload": "api@web-1", "rollback.handle": "h",
                    "rollback.deployment": "d",
                },
                "TaskTemplate": {"ContainerSpec": container},
            },
        })
    }

    #[test]
    fn the_health_check_of_a_service_is_read_as_dockerd_spells_it() {
        let check = json!({"Image": "a", "Healthcheck": {"Test": ["CMD", "/check"]}});
        let seen = Seen::new("api@web-1", shown(check)).unwrap();
        let check = container(&seen.spec).unwrap().health_check.clone();
        assert_eq!(check.unwrap().test.unwrap(), ["CMD", "/check"]);
        assert_eq!(seen.lost, Vec::<String>::new());
    }

    #[test]
    fn what_would_be_lost_on_the_way_back_is_named() {
        let more = json!({"Image": "a", "Brand": {"New": [{"Thing": true}]}, "Other": false});
        let seen = Seen::new("api@web-1", shown(more)).unwrap();
        assert_eq!(seen.lost, ["/TaskTemplate/ContainerSpec/Brand/New/Thing"]);
    }

    #[test]
    fn whose_it_is_is_no_part_of_what_it_is() {
        let seen = Seen::new("api@web-1", shown(json!({"Image": "a"}))).unwrap();
        assert_eq!(seen.handle().as_str(), "h");
        assert_eq!(seen.spec.labels.unwrap().len(), 1);
        assert_eq!(seen.update, Update::Paused("a task failed".into()));
        let other = Seen::new("web@web-1", shown(json!({"Image": "a"}))).unwrap();
        assert_eq!(
            other.handle().as_str(),
            "s",
            "another workload's labels are nobody's"
        );
    }
}
