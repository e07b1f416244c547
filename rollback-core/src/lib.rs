//! Record every deploy, and reverse any of them.
//!
//! An embedding program composes a [`RollbackEngine`] from a
//! [`HistoryStore`](history::HistoryStore), a [`Backend`](backend::Backend) for each workload,
//! and its health checks. The engine then deploys, rolls back, recovers after a crash, and keeps
//! the history. After a crash at any instant nothing acknowledged is lost, exactly one release is
//! live, and nobody has to clean up.
//!
//! ```
//! use rollback_core::prelude::*;
//! # #[path = "../tests/support/mod.rs"]
//! # mod support;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let backend = support::Shelf::default();
//! let api: WorkloadId = "api@web-1".parse()?;
//! let engine = RollbackEngine::builder(MemoryStore::new())
//!     .workload(Workload::new(backend).auto_rollback())
//!     .build()?;
//! engine.recover().await?; // settles what a crash left unfinished
//!
//! let ada = Actor::user("ada")?;
//! let good = engine.deploy(&api, "v1", ada.clone()).await?.await?;
//! assert!(good.succeeded());
//!
//! let bad = engine.deploy(&api, "sick-v2", ada.clone()).await?.await?;
//! assert_eq!(bad.outcome(), Outcome::FailedAndRolledBack);
//! println!("{}", bad.summary());
//!
//! for d in engine.list(&Query::workload(&api)).await?.deployments {
//!     println!("{} {:?} by {}", d.id(), d.outcome(), d.actor());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Where things are
//!
//! | to | see |
//! |---|---|
//! | run things | [`engine`], [`request`] |
//! | read what happened | [`deployment`], [`event`], [`diagnosis`], [`lineage`], [`compare`] |
//! | know what would happen | [`plan`], [`planner`], [`points`], [`drift`] |
//! | know what is kept | [`retention`] |
//! | write a backend | [`backend`], [`context`], [`release`], [`masking`] |
//! | write a store | [`history`]; [`memory`] is a small one to read first |
//! | hook into runs | [`guard`], [`health`], [`policy`], [`dependencies`], [`breaker`] |
//! | know what a crash leads to | [`recover`] |
//! | decide what to do at three in the morning | [`guide`] |
//!
//! Errors are in [`error`]: each says what happened, to what, whether anything changed, and what
//! to do next. Names are parsed at the edge, in [`id`]; time is behind [`time`].

pub mod backend;
pub mod bisect;
pub mod breaker;
pub mod compare;
pub mod context;
pub mod dependencies;
pub mod deployment;
pub mod diagnosis;
pub mod drift;
pub mod engine;
pub mod error;
pub mod event;
pub mod group;
pub mod guard;
#[doc = include_str!("guide.md")]
pub mod guide {}
pub mod health;
pub mod history;
pub mod id;
pub mod lineage;
pub mod masking;
pub mod memory;
mod newer;
mod no_point;
pub mod owed;
pub mod plan;
pub mod planner;
pub mod points;
pub mod policy;
pub mod recover;
pub mod release;
pub mod request;
pub mod retention;
pub mod retrace;
pub mod stack;
pub mod time;
pub mod told;
mod wish;
pub mod withheld;

pub use engine::{Report, RollbackEngine, Run, Workload};
pub use error::{Error, ErrorKind};
pub use request::{Goal, Request};

/// What a first program needs, and who writes a backend, a check or a hook.
pub mod prelude {
    pub use crate::backend::{
        Address, Addresses, Availability, Backend, End, Evidence, Handle, Instance, Live,
        Observation, Operation, Place, Prepared, Reuse, Rollout, Running, Sighting, Started, Tasks,
        WayBack,
    };
    pub use crate::context::Context;
    pub use crate::deployment::{
        Deployment, LiveRecord, Opening, Outcome, Settlement, Trigger, TriggerKind,
    };
    pub use crate::engine::{AutomaticRollback, Report, RollbackEngine, Run, Workload};
    pub use crate::error::{
        BackendError, BackendErrorKind, Error, ErrorKind, HookError, StoreError, StoreErrorKind,
    };
    pub use crate::event::{Event, TimedEvent};
    pub use crate::health::{
        Aim, Gate, HealthCheck, Healthy, Probe, Site, Unhealthy, Verdict, View,
    };
    pub use crate::history::{HistoryReader, HistoryStore, Query};
    pub use crate::id::{
        Actor, BackendKind, DeploymentId, GuardName, IdempotencyKey, ServiceName, ShortText,
        TargetName, WorkloadId,
    };
    pub use crate::memory::MemoryStore;
    pub use crate::plan::{Plan, Refusal, Warning};
    pub use crate::policy::{Policy, RollbackMode};
    pub use crate::release::{Artifact, Facet, FacetValue, Release, Restore};
    pub use crate::request::{Goal, Request};
    pub use crate::time::{Clock, SystemClock, Timestamp};
}

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
