//! What [`Client`] asks of a manager: services, their tasks, and the configs that records are
//! kept in.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use bollard::models::{Config, ConfigSpec, Node, ServiceSpec, Task};
use bollard::query_parameters::{
    InspectNetworkOptions, ListConfigsOptionsBuilder, ListNodesOptions, ListTasksOptionsBuilder,
    UpdateConfigOptionsBuilder, UpdateServiceOptionsBuilder,
};
use rollback_core::error::{BackendError, BackendErrorKind as Kind};

use serde_json::Value;

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
    /// The service of this name or id, as dockerd shows it: the client library reads it and loses
    /// its health check. `None` if there is none.
    pub(super) async fn service(&self, name: &str) -> Result<Option<Value>, BackendError> {
        let path = format!("/services/{name}");
        let shown = self.raw(&path, "cannot inspect the service", name).await;
        shown.map_err(manager)
    }

    /// Makes a service; raced if the name is taken.
    pub(super) async fn create_service(
        &self,
        name: &str,
        image: &str,
        spec: ServiceSpec,
    ) -> Result<Change, BackendError> {
        let login = self.credentials.of(image);
        match self.docker.create_service(spec, login).await {
            Ok(_) => Ok(Change::Made),
            Err(e) if error::status(&e) == Some(409) => Ok(Change::Raced),
            Err(e) => Err(self.refused("cannot create the service", name, e)),
        }
    }

    /// Changes a service that is at this version.
    pub(super) async fn update_service(
        &self,
        id: &str,
        image: &str,
        spec: ServiceSpec,
        version: u64,
    ) -> Result<Change, BackendError> {
        // The client library's own limit.
        let version = i32::try_from(version).map_err(|_| {
            BackendError::new(Kind::Unsupported, "the service's version is too high").on(id)
        })?;
        let options = UpdateServiceOptionsBuilder::default()
            .version(version)
            .build();
        let login = self.credentials.of(image);
        let answer = self.docker.update_service(id, spec, options, login);
        match answer.await {
            Ok(_) => Ok(Change::Made),
            Err(e) if error::is_out_of_sequence(&e) => Ok(Change::Raced),
            Err(e) => Err(self.refused("cannot update the service", id, e)),
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

    /// The error of a request that only a manager answers.
    fn refused(
        &self,
        what: &str,
        subject: impl Display,
        e: bollard::errors::Error,
    ) -> BackendError {
        manager(self.failed(what, subject, e))
    }
}

/// Says what to do where somebody else than a manager was asked, or one without a leader.
fn manager(e: BackendError) -> BackendError {
    let text = e.to_string();
    let says = |words: &str| text.contains(words);
    let (kind, advice) = match () {
        () if says("does not have a leader") => {
            (Kind::Unreachable, "bring most of the Swarm's managers back")
        }
        () if says("not a swarm manager") => (
            Kind::Unsupported,
            "talk to a manager of a Swarm (`docker swarm init` makes one)",
        ),
        () => return e,
    };
    BackendError::new(kind, "no manager of a Swarm answers")
        .advice(advice)
        .because(e)
}
