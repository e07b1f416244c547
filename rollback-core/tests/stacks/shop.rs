//! A stack of three workloads, and what is asked of it.

use std::collections::BTreeMap;

use rollback_core::engine::GroupReport;
use rollback_core::error::Error;
use rollback_core::id::StackName;
use rollback_core::prelude::*;
use rollback_core::stack::{Stack, StackGoal, StackRequest};

use crate::support::{Shelf, me};

pub(crate) struct Shop {
    pub(crate) engine: RollbackEngine,
    pub(crate) store: MemoryStore,
    pub(crate) shelves: BTreeMap<WorkloadId, Shelf>,
}

pub(crate) fn shop() -> StackName {
    "shop".parse().unwrap()
}

pub(crate) fn id(name: &str) -> WorkloadId {
    format!("{name}@shop-1").parse().unwrap()
}

pub(crate) const ALL: [&str; 3] = ["api", "db", "web"];

impl Shop {
    /// `web` needs `api`, which needs `db`.
    pub(crate) fn new() -> Self {
        let store = MemoryStore::new();
        let mut builder = RollbackEngine::builder(store.clone());
        let mut shelves = BTreeMap::new();
        for name in ALL {
            let shelf = Shelf::of(id(name).to_string().as_str());
            let mut workload = Workload::new(shelf.clone()).auto_rollback();
            workload = match name {
                "web" => workload.depends_on(id("api")),
                "api" => workload.depends_on(id("db")),
                _ => workload,
            };
            builder = builder.workload(workload);
            shelves.insert(id(name), shelf);
        }
        let engine = builder.stack(Stack::new(shop(), ALL.map(id))).build();
        Self {
            engine: engine.unwrap(),
            store,
            shelves,
        }
    }

    pub(crate) fn shelf(&self, name: &str) -> &Shelf {
        &self.shelves[&id(name)]
    }

    /// What is live on `api`, `db` and `web`.
    pub(crate) fn live(&self) -> [String; 3] {
        ALL.map(|name| self.shelf(name).live().unwrap_or_else(|| "nothing".into()))
    }

    pub(crate) async fn run(&self, request: StackRequest) -> Result<GroupReport, Error> {
        Ok(self.engine.run_stack(request).await?.await)
    }

    pub(crate) async fn deploy(&self, references: &[(&str, &str)]) -> GroupReport {
        self.run(deploy(references)).await.unwrap()
    }

    pub(crate) async fn everything(&self, reference: &str) -> GroupReport {
        self.deploy(&ALL.map(|name| (name, reference))).await
    }

    pub(crate) async fn rollback(&self, goal: StackGoal) -> Result<GroupReport, Error> {
        self.run(StackRequest::rollback(shop(), goal, me())).await
    }

    pub(crate) async fn newest(&self, name: &str) -> Deployment {
        let page = self.engine.list(&Query::workload(&id(name))).await.unwrap();
        page.deployments.into_iter().next().unwrap()
    }
}

pub(crate) fn deploy(references: &[(&str, &str)]) -> StackRequest {
    let references = references.iter().map(|(name, r)| (id(name), *r));
    StackRequest::deploy(shop(), references, me())
}
