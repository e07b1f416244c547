//! [`EngineBuilder`]: composes a store, a catalog and observers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use super::awaiting::Awaiting;
use super::inner::Inner;
use super::observing::Observing;
use super::owing;
use crate::backend::{Backend, Place};
use crate::dependencies::Graph;
use crate::engine::{RollbackEngine, Workload};
use crate::error::{Error, ErrorKind};
use crate::guard::{Authorizer, Observer};
use crate::history::HistoryStore;
use crate::id::{StackName, WorkloadId};
use crate::stack::Stack;
use crate::time::{Clock, SystemClock};

/// Builds a [`RollbackEngine`].
#[derive(Debug)]
pub struct EngineBuilder {
    store: Arc<dyn HistoryStore>,
    clock: Arc<dyn Clock>,
    workloads: Vec<Workload>,
    stacks: Vec<Stack>,
    observers: Vec<Arc<dyn Observer>>,
    authorizer: Option<Arc<dyn Authorizer>>,
}

impl EngineBuilder {
    pub(super) fn new(store: Arc<dyn HistoryStore>) -> Self {
        Self {
            store,
            clock: Arc::new(SystemClock),
            workloads: Vec::new(),
            stacks: Vec::new(),
            observers: Vec::new(),
            authorizer: None,
        }
    }

    /// Adds a workload to the catalog.
    #[must_use]
    pub fn workload(mut self, workload: Workload) -> Self {
        self.workloads.push(workload);
        self
    }

    /// Adds a stack of workloads that are in the catalog, and in no other stack.
    #[must_use]
    pub fn stack(mut self, stack: Stack) -> Self {
        self.stacks.push(stack);
        self
    }

    /// Adds an observer.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// Asks before anybody does anything; without one, everybody may do everything.
    #[must_use]
    pub fn authorizer(mut self, authorizer: impl Authorizer + 'static) -> Self {
        self.authorizer = Some(Arc::new(authorizer));
        self
    }

    /// Reads the time from here; the machine's clock unless set.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The engine.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`](ErrorKind::InvalidRequest) if a workload is in the catalog twice, two of
    /// them have the same place, or one has a policy that cannot hold; if a stack is, has no workload,
    /// or has one that is in no catalog or in another stack as well.
    pub fn build(self) -> Result<RollbackEngine, Error> {
        let mut catalog: BTreeMap<WorkloadId, Workload> = BTreeMap::new();
        let mut places: BTreeMap<Place, WorkloadId> = BTreeMap::new();
        let mut graph = Graph::default();
        for workload in self.workloads {
            let id = workload.id.clone();
            workload.policy.check_with(&workload.gate).map_err(|e| {
                Error::new(ErrorKind::InvalidRequest, e.to_string())
                    .on(&id)
                    .advice("correct the policy that the workload is composed with")
            })?;
            for other in &workload.needs {
                graph.declare(id.clone(), other.clone());
            }
            let place = workload.backend.place();
            if let Some(other) = places.get(&place).filter(|other| **other != id) {
                return Err(Error::new(
                    ErrorKind::InvalidRequest,
                    format!("{other} and {id} are made live at the same place"),
                )
                .on(place)
                .advice("give every workload a place of its own"));
            }
            places.insert(place, id.clone());
            if catalog.insert(id.clone(), workload).is_some() {
                return Err(Error::new(
                    ErrorKind::InvalidRequest,
                    "a workload is in the catalog twice",
                )
                .on(id)
                .advice("give every workload one backend"));
            }
        }
        Ok(RollbackEngine::from_inner(Inner {
            store: self.store,
            identity: OnceCell::new(),
            clock: self.clock,
            stacks: stacks(self.stacks, &catalog)?,
            catalog,
            graph,
            authorizer: self.authorizer,
            observing: Observing::new(self.observers),
            running: Mutex::new(HashMap::new()),
            owing: Awaiting::default(),
            on_settled: owing::settled,
        }))
    }
}

/// The stacks by their names.
fn stacks(
    all: Vec<Stack>,
    catalog: &BTreeMap<WorkloadId, Workload>,
) -> Result<BTreeMap<StackName, Stack>, Error> {
    let mut stacks: BTreeMap<StackName, Stack> = BTreeMap::new();
    let wrong = |what: String| Error::new(ErrorKind::InvalidRequest, what);
    for stack in all {
        let name = stack.name().clone();
        if stack.workloads().is_empty() {
            return Err(wrong("a stack has no workload".into())
                .on(&name)
                .advice("name what belongs to it"));
        }
        for workload in stack.workloads() {
            if !catalog.contains_key(workload) {
                return Err(wrong(format!("{workload} is not in the catalog"))
                    .on(&name)
                    .advice("add it to the builder with its backend"));
            }
            let other = stacks.values().find(|s| s.workloads().contains(workload));
            if let Some(other) = other {
                return Err(
                    wrong(format!("{workload} belongs to {} already", other.name()))
                        .on(&name)
                        .advice("let each workload belong to one stack at most"),
                );
            }
        }
        if stacks.insert(name.clone(), stack).is_some() {
            return Err(wrong("a stack is there twice".into())
                .on(&name)
                .advice("give every stack a name of its own"));
        }
    }
    Ok(stacks)
}
