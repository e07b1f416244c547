//! [`Marks`]: what this crate writes on a service that it makes live, and on nothing of its tasks.

use std::collections::HashMap;

use rollback_core::backend::Handle;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::history::Fence;

use crate::marks::{DEPLOYMENT, FENCE, HANDLE, WORKLOAD};

/// On a service that is about to be removed: how many tasks it had.
const ENDING: &str = "rollback.ending";

/// This crate's labels on a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marks {
    /// Which instance it is: the name of a record.
    pub(super) handle: Handle,
    /// Who put it there.
    pub(super) deployment: String,
    /// By what right.
    pub(super) fence: Option<Fence>,
    /// Whether it is about to be removed, and what it was.
    pub(super) ending: Option<Ending>,
}

/// What a service was that is about to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    /// How many tasks it had, where that is a number and is known.
    pub(super) replicas: Option<i64>,
}

impl Marks {
    /// Labels can be copied by hand: those of another workload are none of ours.
    pub(super) fn read(workload: &str, labels: &HashMap<String, String>) -> Option<Self> {
        if labels.get(WORKLOAD)? != workload {
            return None;
        }
        Some(Self {
            handle: Handle::new(labels.get(HANDLE)?),
            deployment: labels.get(DEPLOYMENT)?.clone(),
            fence: labels.get(FENCE).and_then(|text| read_fence(text)),
            ending: labels.get(ENDING).map(|text| Ending {
                replicas: text.parse().ok(),
            }),
        })
    }

    pub(super) fn write(
        &self,
        workload: &str,
        labels: &mut HashMap<String, String>,
    ) -> Result<(), BackendError> {
        strip(labels);
        labels.insert(WORKLOAD.to_owned(), workload.to_owned());
        labels.insert(HANDLE.to_owned(), self.handle.to_string());
        labels.insert(DEPLOYMENT.to_owned(), self.deployment.clone());
        if let Some(fence) = &self.fence {
            labels.insert(FENCE.to_owned(), write_fence(fence)?);
        }
        if let Some(ending) = self.ending {
            let replicas = ending.replicas.map(|n| n.to_string());
            let text = replicas.unwrap_or_else(|| "true".to_owned());
            labels.insert(ENDING.to_owned(), text);
        }
        Ok(())
    }
}

/// Takes this crate's labels away.
pub(super) fn strip(labels: &mut HashMap<String, String>) {
    labels.retain(|name, _| !name.starts_with("rollback."));
}

pub(super) fn read_fence(text: &str) -> Option<Fence> {
    serde_json::from_str(text).ok()
}

pub(super) fn write_fence(fence: &Fence) -> Result<String, BackendError> {
    serde_json::to_string(fence).map_err(|e| {
        BackendError::new(BackendErrorKind::Failed, "a token cannot be written").because(e)
    })
}
