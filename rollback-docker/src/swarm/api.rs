//! What [`Client`] asks of a manager: services, their tasks, and the configs that records are
//! kept in.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use bollard::models::{Config, ConfigSpec, Node, ServiceSpec, Task};
use bollard::query_parameters::{
    InspectNetworkOptions, ListConfigsOptionsBuilder, ListNodesOptions, ListTasksOptionsBuilder,
    UpdateConfigOptionsBuilder,
};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};

use serde_json::Value;

use super::confidence;
use crate::client::Client;
use crate::error;
use crate::marks::WORKLOAD;

/// How a change that says what it was based on ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Made,
    /// Somebody's change came first.
    Raced,
}

impl Client {
    /// The service of this name, as dockerd shows it: the client library reads it and loses its health
    /// check. `None` if there is none. Where no service is called so, dockerd shows one whose id begins
    /// with that: somebody else's.
    pub(super) async fn service(&self, name: &str) -> Result<Option<Value>, BackendError> {
        let path = format!("/services/{name}");
        let shown = self.raw(&path, "cannot inspect the service", name).await;
        let shown = shown.map_err(manager)?;
        Ok(shown.filter(|shown| shown["Spec"]["Name"] == name))
    }

    /// Makes a service; raced if the name is taken.
    pub(super) async fn create_service(
        &self,
        cx: &Context,
        name: &str,
        image: &str,
        spec: ServiceSpec,
    ) -> Result<Change, BackendError> {
        let login = self.credentials.of(cx, image).await;
        let login = login.map_err(BackendError::untouched)?;
        match self.docker.create_service(spec.clone(), login).await {
            Ok(_) => Ok(Change::Made),
            Err(e) if error::status(&e) == Some(409) => Ok(Change::Raced),
            Err(e) => Err(self.declined("cannot create the service", name, &spec, e)),
        }
    }

    /// Changes a service that is at this version.
    pub(super) async fn update_service(
        &self,
        cx: &Context,
        id: &str,
        image: &str,
        spec: ServiceSpec,
        version: u64,
    ) -> Result<Change, BackendError> {
        let login = self.credentials.of(cx, image).await;
        let login = login.map_err(BackendError::untouched)?;
        // The client library takes no version that 31 bits do not hold.
        let path = format!("/services/{id}/update?version={version}");
        let answer = self.post(&path, login, &spec);
        match answer.await {
            Ok(_) => Ok(Change::Made),
            Err(e) if error::is_out_of_sequence(&e) || error::status(&e) == Some(404) => {
                Ok(Change::Raced)
            }
            Err(e) => Err(self.declined("cannot update the service", id, &spec, e)),
        }
    }

    /// Removes a service; its tasks stop after that.
    pub(super) async fn remove_service(&self, id: &str) -> Result<(), BackendError> {
        match self.docker.delete_service(id).await {
            Ok(()) => Ok(()),
            Err(e) if error::status(&e) == Some(404) => Ok(()),
            Err(e) => Err(self.refused("cannot remove the service", id, e)),
        }
    }

    /// The tasks of the service with this name, and of those that had it and were removed.
    pub(super) async fn tasks(&self, service: &str) -> Result<Vec<Task>, BackendError> {
        // A task is called after its service, its place and its id.
        let filters = HashMap::from([("name", vec![format!("{service}.")])]);
        let options = ListTasksOptionsBuilder::default().filters(&filters).build();
        let listed = self.docker.list_tasks(Some(options)).await;
        listed.map_err(|e| self.refused("cannot list the tasks", service, e))
    }

    /// What networks are called, by the names and ids they are asked for by.
    pub(super) async fn network_names<'a>(
        &self,
        asked: impl Iterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, String>, BackendError> {
        let mut names = BTreeMap::new();
        for id in asked {
            let answer = self
                .docker
                .inspect_network(id, None::<InspectNetworkOptions>);
            match answer.await {
                Ok(network) => drop(names.insert(id.to_owned(), network.name.unwrap_or_default())),
                // Removed by force: what is left of it is its id.
                Err(e) if error::status(&e) == Some(404) => {}
                Err(e) => return Err(self.refused("cannot inspect the network", id, e)),
            }
        }
        names.retain(|_, name| !name.is_empty());
        Ok(names)
    }

    /// The Swarm's nodes.
    pub(super) async fn nodes(&self) -> Result<Vec<Node>, BackendError> {
        let listed = self.docker.list_nodes(None::<ListNodesOptions>).await;
        listed.map_err(|e| self.refused("cannot list the nodes", "swarm", e))
    }

    /// The configs that this crate made for a workload.
    pub(super) async fn configs(&self, workload: &str) -> Result<Vec<Config>, BackendError> {
        let filters = HashMap::from([("label", vec![format!("{WORKLOAD}={workload}")])]);
        let options = ListConfigsOptionsBuilder::default()
            .filters(&filters)
            .build();
        let listed = self.docker.list_configs(Some(options)).await;
        listed.map_err(|e| self.refused("cannot list the records", workload, e))
    }

    /// Makes a config; raced if the name is taken.
    pub(super) async fn create_config(&self, spec: ConfigSpec) -> Result<Change, BackendError> {
        let name = spec.name.clone().unwrap_or_default();
        match self.docker.create_config(spec).await {
            Ok(_) => Ok(Change::Made),
            Err(e) if error::status(&e) == Some(409) => Ok(Change::Raced),
            Err(e) => Err(self.refused("cannot keep a record", name, e)),
        }
    }

    /// Changes the labels of a config that is at this version.
    pub(super) async fn update_config(
        &self,
        id: &str,
        spec: ConfigSpec,
        version: u64,
    ) -> Result<Change, BackendError> {
        let version = i64::try_from(version).unwrap_or(i64::MAX);
        let options = UpdateConfigOptionsBuilder::default()
            .version(version)
            .build();
        match self.docker.update_config(id, spec, options).await {
            Ok(()) => Ok(Change::Made),
            Err(e) if error::is_out_of_sequence(&e) || error::status(&e) == Some(404) => {
                Ok(Change::Raced)
            }
            Err(e) => Err(self.refused("cannot change a record", id, e)),
        }
    }

    pub(super) async fn remove_config(&self, id: &str) -> Result<(), BackendError> {
        match self.docker.delete_config(id).await {
            Ok(()) => Ok(()),
            Err(e) if error::status(&e) == Some(404) => Ok(()),
            Err(e) => Err(self.refused("cannot remove a record", id, e)),
        }
    }

    /// The error of a change of a service: the managers repeat values that they do not take.
    fn declined(
        &self,
        what: &str,
        subject: &str,
        spec: &ServiceSpec,
        e: bollard::errors::Error,
    ) -> BackendError {
        let is_refusal = error::status(&e).is_some_and(|status| (400..500).contains(&status));
        let e = self.refused(what, subject, without_secrets(spec, e));
        if is_refusal { e.untouched() } else { e }
    }

    /// The error of a request that only a manager answers.
    pub(super) fn refused(
        &self,
        what: &str,
        subject: impl Display,
        e: bollard::errors::Error,
    ) -> BackendError {
        manager(self.failed(what, subject, e))
    }
}

/// An answer without the values of what was sent. Before it is cut to a length, or half a value might
/// stay.
fn without_secrets(spec: &ServiceSpec, e: bollard::errors::Error) -> bollard::errors::Error {
    match e {
        bollard::errors::Error::DockerResponseServerError {
            status_code,
            message,
        } => bollard::errors::Error::DockerResponseServerError {
            status_code,
            message: confidence::told(spec, &message),
        },
        e => e,
    }
}

/// Says what to do where no manager answers: because somebody else was asked, or for a while.
fn manager(e: BackendError) -> BackendError {
    let text = e.to_string();
    let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
    let (kind, advice) = match () {
        () if says(&["is encrypted and needs to be unlocked"]) => {
            (Kind::Unreachable, "run `docker swarm unlock`")
        }
        () if says(&["does not have a leader"]) => {
            (Kind::Unreachable, "bring most of the Swarm's managers back")
        }
        // It says as well that it is no manager, which it will be, or is again.
        () if says(&["Manager is being prepared or has trouble connecting"]) => (
            Kind::Unreachable,
            "try again: the manager is starting, or is cut off from the others",
        ),
        () if says(&[
            "code = Unavailable",
            "code = DeadlineExceeded",
            "context deadline exceeded",
        ]) =>
        {
            (
                Kind::Unreachable,
                "try again; if it stays so, look at the managers with `docker node ls`",
            )
        }
        () if says(&["not a swarm manager", "Worker nodes can't be used"]) => (
            Kind::Unsupported,
            "talk to a manager of a Swarm (`docker swarm init` makes one)",
        ),
        () => return e,
    };
    BackendError::new(kind, "no manager of a Swarm answers")
        .advice(advice)
        .because(e)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn answer(status_code: u16, message: &str) -> bollard::errors::Error {
        bollard::errors::Error::DockerResponseServerError {
            status_code,
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_manager_that_is_away_for_a_while_is_told_from_what_is_none() {
        for (message, kind) in [
            (
                "This node is not a swarm manager. Manager is being prepared or has trouble \
                 connecting to the cluster.",
                Kind::Unreachable,
            ),
            (
                "rpc error: code = Unavailable desc = connection error",
                Kind::Unreachable,
            ),
            (
                "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
                Kind::Unreachable,
            ),
            (
                "rpc error: code = Unknown desc = The swarm does not have a leader.",
                Kind::Unreachable,
            ),
            (
                "Swarm is encrypted and needs to be unlocked before it can be used. Please use \
                 \"docker swarm unlock\" to unlock it.",
                Kind::Unreachable,
            ),
            (
                "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm \
                 join\" to connect this node to swarm and try again.",
                Kind::Unsupported,
            ),
            (
                "This node is not a swarm manager. Worker nodes can't be used to view or modify \
                 cluster state.",
                Kind::Unsupported,
            ),
        ] {
            let e = manager(error::docker("cannot look", "api", answer(503, message)));
            assert_eq!(e.kind(), kind, "{message}");
            assert_eq!(e.is_transient(), kind == Kind::Unreachable, "{message}");
        }
    }

    #[test]
    fn a_refusal_that_repeats_a_long_value_is_masked_before_it_is_cut() {
        let secret = "s3cret-".repeat(100);
        let pair = format!("PASSWORD={secret}");
        let spec = json!({"TaskTemplate": {"ContainerSpec": {"Env": [pair]}}});
        let spec = serde_json::from_value(spec).unwrap();
        let e = without_secrets(&spec, answer(400, &format!("bad {pair:?}")));
        let told = error::text(&e);
        assert!(
            told.contains("PASSWORD") && !told.contains("s3cret"),
            "{told}"
        );
    }
}
