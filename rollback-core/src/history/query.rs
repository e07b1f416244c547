//! [`Query`] and [`Page`]: which records to list, and what comes of it.

use super::{Fault, Sequence};
use crate::deployment::{Deployment, Outcome, TriggerKind};
use crate::id::{BackendKind, ServiceName, ShortText, TargetName, WorkloadId};
use crate::time::Timestamp;

/// Which records to list. Start from [`Query::default`]: the newest 50 of everything.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// Of this service.
    pub service: Option<ServiceName>,
    /// On this target.
    pub target: Option<TargetName>,
    /// By this backend.
    pub backend: Option<BackendKind>,
    /// Ended like this.
    pub outcome: Option<Outcome>,
    /// Set off by this.
    pub trigger: Option<TriggerKind>,
    /// By this person or component (their name alone).
    pub actor: Option<ShortText>,
    /// With this label.
    pub label: Option<(String, String)>,
    /// Opened at or after this.
    pub since: Option<Timestamp>,
    /// Opened before this.
    pub until: Option<Timestamp>,
    /// Older than this: the key of the next page.
    pub before: Option<Sequence>,
    /// At most so many, 1 to 1,000.
    pub limit: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            service: None,
            target: None,
            backend: None,
            outcome: None,
            trigger: None,
            actor: None,
            label: None,
            since: None,
            until: None,
            before: None,
            limit: 50,
        }
    }
}

impl Query {
    /// Everything of one workload, newest 50.
    pub fn workload(workload: &WorkloadId) -> Self {
        Self {
            service: Some(workload.service().clone()),
            target: Some(workload.target().clone()),
            ..Self::default()
        }
    }

    /// The same with another page size.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Whether a record is meant, page and limit aside. Stores that filter by other means agree
    /// with this.
    pub fn matches(&self, d: &Deployment) -> bool {
        let new = d.opening();
        self.service
            .as_ref()
            .is_none_or(|s| s == d.workload().service())
            && self
                .target
                .as_ref()
                .is_none_or(|t| t == d.workload().target())
            && self
                .backend
                .as_ref()
                .is_none_or(|b| new.backend() == Some(b))
            && self.outcome.is_none_or(|o| d.outcome() == Some(o))
            && self.trigger.is_none_or(|t| d.trigger().kind() == t)
            && self.actor.as_ref().is_none_or(|a| a == d.actor().name())
            && self
                .label
                .as_ref()
                .is_none_or(|(k, v)| new.labels.get(k) == Some(v))
            && self.since.is_none_or(|t| new.opened_at >= t)
            && self.until.is_none_or(|t| new.opened_at < t)
    }
}

/// Records, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The records that answer, newest first.
    pub deployments: Vec<Deployment>,
    /// `before` of the next page; `None` at the end.
    pub next: Option<Sequence>,
    /// Records that could not be read. Never fatal to the rest.
    pub unreadable: Vec<Fault>,
}

impl Page {
    /// Records, newest first; after which of them the next page begins, if there is one; and what could
    /// not be read.
    pub fn new(
        deployments: Vec<Deployment>,
        next: Option<Sequence>,
        unreadable: Vec<Fault>,
    ) -> Self {
        Self {
            deployments,
            next,
            unreadable,
        }
    }
}
