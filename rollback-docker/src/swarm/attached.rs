//! Secrets and configs that the tasks of a service are given: known by their names, as networks are.
//! An id means nothing once one was made anew.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{ServiceSpec, TaskSpecContainerSpec};
use bollard::query_parameters::{ListConfigsOptionsBuilder, ListSecretsOptionsBuilder};
use rollback_core::error::BackendError;
use serde_json::Value;

use super::service::container;
use crate::client::Client;
use crate::error;

/// The rows that name them, and the field of each that is an id.
const ROWS: [(&str, &str); 2] = [
    ("container:Secrets", "SecretID"),
    ("container:Configs", "ConfigID"),
];

/// The ids of what a specification names, by their names.
#[derive(Debug, Default)]
pub(super) struct Attached {
    secrets: BTreeMap<String, String>,
    configs: BTreeMap<String, String>,
}

impl Attached {
    /// Looks them up.
    pub(super) async fn of(client: &Client, spec: &ServiceSpec) -> Result<Self, BackendError> {
        let Some(container) = container(spec) else {
            return Ok(Self::default());
        };
        Ok(Self {
            secrets: client.secret_ids(&secrets(container)).await?,
            configs: client.config_ids(&configs(container)).await?,
        })
    }

    /// What of a specification is not there, in words.
    fn missing(&self, container: &TaskSpecContainerSpec) -> Vec<String> {
        let lacks = |what: &str, names: Vec<String>, ids: &BTreeMap<String, String>| {
            let missing = names.into_iter().filter(|name| !ids.contains_key(name));
            Vec::from_iter(missing.map(|name| format!("{what} {name}")))
        };
        let mut missing = lacks("secret", secrets(container), &self.secrets);
        missing.extend(lacks("config", configs(container), &self.configs));
        missing
    }

    /// Fails, naming it, if something that a specification names is not there.
    pub(super) fn check(&self, spec: &ServiceSpec) -> Result<(), BackendError> {
        let missing = container(spec).map(|container| self.missing(container));
        match missing.unwrap_or_default() {
            missing if missing.is_empty() => Ok(()),
            missing => Err(error::gone(
                "what the specification gives its tasks is gone",
                missing.join(", "),
            )
            .advice(
                "make it anew under the same name (`docker secret create`), or deploy another",
            )),
        }
    }

    /// The specification with the ids that its names have now.
    pub(super) fn put_into(&self, spec: &mut ServiceSpec) {
        let template = spec.task_template.as_mut();
        let Some(container) = template.and_then(|t| t.container_spec.as_mut()) else {
            return;
        };
        let put = |name: &Option<String>, id: &mut Option<String>, ids: &BTreeMap<_, String>| {
            if let Some(known) = name.as_ref().and_then(|name| ids.get(name)) {
                *id = Some(known.clone());
            }
        };
        for secret in container.secrets.iter_mut().flatten() {
            put(&secret.secret_name, &mut secret.secret_id, &self.secrets);
        }
        for config in container.configs.iter_mut().flatten() {
            put(&config.config_name, &mut config.config_id, &self.configs);
        }
    }
}

impl Client {
    async fn secret_ids(&self, names: &[String]) -> Result<BTreeMap<String, String>, BackendError> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let options = ListSecretsOptionsBuilder::default().filters(&by_names(names));
        let listed = self.docker.list_secrets(Some(options.build())).await;
        let listed =
            listed.map_err(|e| self.refused("cannot list the secrets", names[0].as_str(), e));
        let listed = listed?.into_iter();
        Ok(listed
            .filter_map(|s| Some((s.spec?.name?, s.id?)))
            .collect())
    }

    async fn config_ids(&self, names: &[String]) -> Result<BTreeMap<String, String>, BackendError> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let options = ListConfigsOptionsBuilder::default().filters(&by_names(names));
        let listed = self.docker.list_configs(Some(options.build())).await;
        let listed =
            listed.map_err(|e| self.refused("cannot list the configs", names[0].as_str(), e));
        let listed = listed?.into_iter();
        Ok(listed
            .filter_map(|c| Some((c.spec?.name?, c.id?)))
            .collect())
    }
}

/// Whether a row names some.
pub(super) fn has_ids(row: &str) -> bool {
    ROWS.iter().any(|(of, _)| *of == row)
}

/// A row without the ids of what it names.
pub(super) fn without_ids(row: &str, value: &mut Value) {
    let Some((_, id)) = ROWS.iter().find(|(of, _)| *of == row) else {
        return;
    };
    let all = value.as_array_mut().into_iter().flatten();
    for one in all.filter_map(Value::as_object_mut) {
        one.remove(*id);
    }
}

/// What managers list: all whose names begin with one of these.
fn by_names(names: &[String]) -> HashMap<&'static str, Vec<String>> {
    HashMap::from([("name", names.to_vec())])
}

fn secrets(container: &TaskSpecContainerSpec) -> Vec<String> {
    let all = container.secrets.iter().flatten();
    all.filter_map(|s| s.secret_name.clone()).collect()
}

fn configs(container: &TaskSpecContainerSpec) -> Vec<String> {
    let all = container.configs.iter().flatten();
    all.filter_map(|c| c.config_name.clone()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rollback_core::error::BackendErrorKind;
    use serde_json::json;

    use super::super::rows;
    use super::*;

    fn spec(secret: &str) -> ServiceSpec {
        let secret = json!({"SecretID": secret, "SecretName": "key", "File": {"Name": "key"}});
        let config = json!({"ConfigID": "c", "ConfigName": "conf", "File": {"Name": "conf"}});
        let container = json!({"Image": "a", "Secrets": [secret], "Configs": [config]});
        let spec = json!({"TaskTemplate": {"ContainerSpec": container}});
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn what_tasks_are_given_is_known_by_its_name() {
        assert_eq!(rows::rows(&spec("one")), rows::rows(&spec("other")));
        let mut attached = Attached {
            secrets: BTreeMap::from([("key".to_owned(), "new".to_owned())]),
            configs: BTreeMap::new(),
        };
        let mut sent = spec("old");
        let e = attached.check(&sent).unwrap_err();
        assert_eq!(e.kind(), BackendErrorKind::Gone, "{e}");
        assert!(e.to_string().contains("config conf"), "{e}");
        assert!(!e.to_string().contains("secret key"), "{e}");
        attached.configs.insert("conf".to_owned(), "c".to_owned());
        attached.check(&sent).unwrap();
        attached.put_into(&mut sent);
        assert_eq!(sent, spec("new"));
    }
}
