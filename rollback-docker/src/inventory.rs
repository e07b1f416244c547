//! [`Inventory`]: the workload's containers, as one verb works from them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures_util::future::try_join_all;
use rollback_core::backend::{End, Handle};
use rollback_core::error::BackendError;

use crate::client::Client;
use crate::container::Container;
use crate::marks::{WORKLOAD, is_id};
use crate::summary::Summary;

/// The containers that this crate made for the workload, listed once. One that a verb needs more of
/// is inspected, once. What a verb changes does not show in it.
#[derive(Debug)]
pub(crate) struct Inventory<'a> {
    client: &'a Client,
    ours: Vec<Summary>,
    all: Vec<ContainerSummary>,
    /// By id or by name, as they were asked for; `None` for what is not there.
    inspected: Mutex<HashMap<String, Option<Arc<Container>>>>,
}

impl<'a> Inventory<'a> {
    pub(crate) async fn take(client: &'a Client) -> Result<Self, BackendError> {
        Ok(Self {
            client,
            ours: client.list().await?,
            all: Vec::new(),
            inspected: Mutex::default(),
        })
    }

    /// The same, with all other containers of the daemon.
    pub(crate) async fn with_others(client: &'a Client) -> Result<Self, BackendError> {
        let all = client.listed(&HashMap::new()).await?;
        Ok(Self {
            client,
            ours: client.ours(all.clone()),
            all,
            inspected: Mutex::default(),
        })
    }

    /// Inspects at once what is live and what stands at these ends, for those that ask for it to find
    /// it known.
    pub(crate) async fn look_at(&self, ends: &[&End]) -> Result<(), BackendError> {
        let handles = ends.iter().filter_map(|end| end.instance());
        let handles = handles.map(|instance| &instance.handle);
        let known = handles.filter(|handle| is_id(handle.as_str()));
        let ids = known.map(|h| self.holder(h).map_or(h.as_str(), |c| &c.id));
        let ids = BTreeSet::from_iter(ids.chain(self.live().map(|c| &*c.id)));
        let looks = ids.into_iter().map(|id| self.container(id));
        try_join_all(looks).await.map(drop)
    }

    /// The container of a recorded handle, for a verb that needs no other.
    pub(crate) async fn find(
        client: &'a Client,
        handle: &Handle,
    ) -> Result<Option<Arc<Container>>, BackendError> {
        if !is_id(handle.as_str()) {
            return Ok(None);
        }
        let own = client.inspect(handle.as_str()).await?;
        // A name is given once: nobody has a better claim than what has the live one.
        let best = own.filter(|c| {
            let c = &c.summary;
            c.name == client.live_name && c.is_sound() && c.handle() == *handle
        });
        match best {
            Some(best) => Ok(Some(Arc::new(best))),
            None => Self::take(client).await?.of(handle).await,
        }
    }

    /// Those that this crate made, oldest first.
    pub(crate) fn ours(&self) -> &[Summary] {
        &self.ours
    }

    /// All containers of the daemon, where they were listed.
    pub(crate) fn all(&self) -> &[ContainerSummary] {
        &self.all
    }

    /// Whether another container has this one's handle with a better claim: it is what is left of a
    /// recreation.
    pub(crate) fn is_leftover(&self, container: &Summary) -> bool {
        let best = self.holder(&container.handle());
        best.is_some_and(|best| best.id != container.id)
    }

    /// Which of ours has a handle.
    pub(crate) fn holder(&self, handle: &Handle) -> Option<&Summary> {
        let same = self.ours.iter().filter(|c| c.handle() == *handle);
        same.min_by_key(|c| c.claim(&self.client.live_name))
    }

    /// Which of ours has the live name.
    pub(crate) fn live(&self) -> Option<&Summary> {
        self.ours.iter().find(|c| c.name == self.client.live_name)
    }

    /// The container with the live name, whoever made it.
    pub(crate) async fn named(&self) -> Result<Option<Arc<Container>>, BackendError> {
        match self.live() {
            Some(live) => self.container(&live.id).await,
            None => self.container(&self.client.live_name).await,
        }
    }

    /// The container of a recorded handle, whoever made it. What is not an id cannot be one of
    /// dockerd's.
    pub(crate) async fn of(&self, handle: &Handle) -> Result<Option<Arc<Container>>, BackendError> {
        if !is_id(handle.as_str()) {
            return Ok(None);
        }
        let id = self.holder(handle).map_or(handle.as_str(), |c| &c.id);
        let found = self.container(id).await?;
        Ok(found.filter(|c| c.summary.handle() == *handle))
    }

    /// The container in which an end stands, if it does.
    pub(crate) async fn at(&self, end: &End) -> Result<Option<Arc<Container>>, BackendError> {
        match end.instance() {
            Some(instance) => self.of(&instance.handle).await,
            None => Ok(None),
        }
    }

    /// A container by its id or name.
    pub(crate) async fn container(&self, id: &str) -> Result<Option<Arc<Container>>, BackendError> {
        if let Some(known) = self.known(id) {
            return Ok(known);
        }
        let found = self.client.inspect(id).await?.map(Arc::new);
        let mut inspected = self
            .inspected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = &found {
            inspected.insert(found.summary.id.clone(), Some(Arc::clone(found)));
        }
        inspected.insert(id.to_owned(), found.clone());
        Ok(found)
    }

    fn known(&self, id: &str) -> Option<Option<Arc<Container>>> {
        let inspected = self.inspected.lock();
        let inspected = inspected.unwrap_or_else(PoisonError::into_inner);
        inspected.get(id).cloned()
    }
}

impl Client {
    /// The containers that this crate made for the workload, oldest first.
    pub(crate) async fn list(&self) -> Result<Vec<Summary>, BackendError> {
        let label = format!("{WORKLOAD}={}", self.workload);
        let filters = HashMap::from([("label", vec![label])]);
        Ok(self.ours(self.listed(&filters).await?))
    }

    async fn listed(
        &self,
        filters: &HashMap<&str, Vec<String>>,
    ) -> Result<Vec<ContainerSummary>, BackendError> {
        let options = ListContainersOptionsBuilder::default().all(true);
        let options = options.filters(filters).build();
        let listed = self.docker.list_containers(Some(options)).await;
        listed.map_err(|e| self.failed("cannot list the containers", &self.workload, e))
    }

    fn ours(&self, mut listed: Vec<ContainerSummary>) -> Vec<Summary> {
        listed.sort_by_key(|c| c.created);
        let listed = listed.into_iter();
        let all = listed.filter_map(|c| Summary::listed(&self.workload, c));
        all.filter(|c| c.ours.is_some()).collect()
    }
}
