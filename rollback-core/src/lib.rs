//! Record every deploy and reverse any of them.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backend;
pub mod context;
pub mod deployment;
pub mod drift;
pub mod engine;
pub mod error;
pub mod event;
pub mod guard;
pub mod health;
pub mod history;
pub mod id;
pub mod lineage;
pub mod memory;
pub mod plan;
pub mod planner;
pub mod policy;
pub mod recover;
pub mod release;
pub mod request;
pub mod time;

/// What most programs need.
pub mod prelude {
    pub use crate::backend::{
        Availability, Backend, End, Evidence, Handle, Instance, Live, Observation, Operation,
        Prepared, Rollout, Running, Sighting, WayBack,
    };
    pub use crate::context::Context;
    pub use crate::deployment::{
        Deployment, LiveRecord, NewDeployment, Outcome, Settlement, Trigger, TriggerKind,
    };
    pub use crate::error::{
        BackendError, BackendErrorKind, Error, ErrorKind, StoreError, StoreErrorKind,
    };
    pub use crate::event::{Event, TimedEvent};
    pub use crate::health::{Gate, HealthCheck, Probe, Site, Unhealthy, Verdict};
    pub use crate::history::{HistoryStore, Query};
    pub use crate::id::{Actor, BackendKind, DeploymentId, ServiceName, TargetName, WorkloadId};
    pub use crate::plan::{Plan, Refusal, Warning};
    pub use crate::policy::{AutoRollback, Policy};
    pub use crate::release::{Artifact, Facet, FacetValue, Release, Restore};
    pub use crate::request::{Goal, Request};
    pub use crate::time::{Clock, SystemClock, Timestamp};
}
