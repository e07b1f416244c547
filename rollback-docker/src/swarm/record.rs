//! [`Record`]: the whole specification of an instance, kept at the Swarm itself.
//!
//! Swarm remembers one former specification, and forgets it when it goes back to it. So each
//! instance has a record of its own: a config, which the managers keep as they keep services, with
//! the values of its variables in it. Nothing mounts it. Its name is the instance's handle; what was
//! found live has the handle that it was found with, as a label.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bollard::models::{Config, ConfigSpec, ServiceSpec};
use rollback_core::backend::{Handle, Instance, Operation};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::history::Fence;
use rollback_core::release::Release;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::marks::{read_fence, write_fence};
use super::rows::REPLICAS;
use super::service::image;
use crate::fingerprint;
use crate::marks::{DEPLOYMENT, FENCE, HANDLE, WORKLOAD};
use crate::settings::{SERVICE, table};
use crate::tag::pin_name;

/// On the record of an instance that was live, or was about to be.
const USED: &str = "rollback.used";
/// On the one config that is no record but the newest fencing token.
pub(super) const TOKEN: &str = "rollback.token";

/// What an instance is made of.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) handle: Handle,
    pub(super) release: Release,
    /// Without this crate's labels, networks by name.
    pub(super) spec: ServiceSpec,
    /// Who made it.
    pub(super) deployment: String,
    pub(super) fence: Option<Fence>,
    /// Whether it was, or may have been, live.
    pub(super) is_used: bool,
    pub(super) config: Kept,
}

/// A config at the Swarm, as it was read.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    pub(super) id: String,
    pub(super) version: u64,
    pub(super) spec: ConfigSpec,
    created: String,
}

/// What a record's data says.
#[derive(Serialize, Deserialize)]
struct Body {
    release: Release,
    spec: ServiceSpec,
}

impl Kept {
    pub(super) fn new(config: Config) -> Option<Self> {
        Some(Self {
            id: config.id?,
            version: config.version?.index?,
            spec: config.spec?,
            created: config.created_at.unwrap_or_default(),
        })
    }

    pub(super) fn label(&self, name: &str) -> Option<&String> {
        self.spec.labels.as_ref()?.get(name)
    }
}

impl Record {
    /// What this deployment makes of a release.
    pub(super) fn planned(
        cx: &Context,
        op: &Operation,
        release: Release,
        spec: ServiceSpec,
    ) -> Self {
        let instance = Instance::new(release, Handle::new(name(op)));
        Self::new(cx, op, instance, spec)
    }

    /// What this deployment has found live.
    pub(super) fn found(cx: &Context, op: &Operation, live: Instance, spec: ServiceSpec) -> Self {
        Self {
            is_used: true,
            ..Self::new(cx, op, live, spec)
        }
    }

    fn new(cx: &Context, op: &Operation, instance: Instance, spec: ServiceSpec) -> Self {
        Self {
            handle: instance.handle,
            release: instance.release,
            spec,
            deployment: op.deployment.to_string(),
            fence: cx.fence().cloned(),
            is_used: false,
            config: Kept::default(),
        }
    }

    /// The image to run: by its digest, also where it was asked for by a tag.
    pub(super) fn image(&self) -> &str {
        let asked = image(&self.spec);
        match asked.contains("sha256:") {
            true => asked,
            false => &self.release.artifact().digest,
        }
    }

    /// Whether the number of tasks is part of it.
    pub(super) fn fixes_replicas(&self) -> bool {
        table(&self.release, SERVICE).contains_key(REPLICAS)
    }

    /// `None` for what this crate has not written.
    pub(super) fn read(kept: Kept) -> Option<Self> {
        let body = BASE64_STANDARD.decode(kept.spec.data.as_ref()?).ok()?;
        let body: Body = serde_json::from_slice(&body).ok()?;
        Some(Self {
            handle: Handle::new(kept.label(HANDLE)?),
            release: body.release,
            spec: body.spec,
            deployment: kept.label(DEPLOYMENT)?.clone(),
            fence: kept.label(FENCE).and_then(|text| read_fence(text)),
            is_used: kept.label(USED).is_some(),
            config: kept,
        })
    }

    /// The config that keeps it.
    pub(super) fn write(&self, op: &Operation) -> Result<ConfigSpec, BackendError> {
        let body = Body {
            release: self.release.clone(),
            spec: self.spec.clone(),
        };
        let body = serde_json::to_vec(&body).map_err(|e| {
            BackendError::new(BackendErrorKind::Failed, "a record cannot be written").because(e)
        })?;
        let mut labels = HashMap::from([
            (WORKLOAD.to_owned(), op.workload.to_string()),
            (HANDLE.to_owned(), self.handle.to_string()),
            (DEPLOYMENT.to_owned(), self.deployment.clone()),
        ]);
        if let Some(fence) = &self.fence {
            labels.insert(FENCE.to_owned(), write_fence(fence)?);
        }
        if self.is_used {
            labels.insert(USED.to_owned(), "true".to_owned());
        }
        let own = name(op);
        let is_own = self.handle.as_str() == own;
        Ok(ConfigSpec {
            name: Some(if is_own { own } else { self.name_of_found(op) }),
            labels: Some(labels),
            data: Some(BASE64_STANDARD.encode(body)),
            templating: None,
        })
    }

    /// The name of what this deployment has found: another one each time that somebody has changed what
    /// is live, and then it is prepared for again.
    fn name_of_found(&self, op: &Operation) -> String {
        let workload = of(&op.workload.to_string());
        let what = format!("{} {}", op.deployment, self.release.digest());
        format!("rollback.{workload}.{}-{}.was", op.sequence, of(&what))
    }

    /// The config of one that is about to be live.
    pub(super) fn used(&self) -> ConfigSpec {
        let mut spec = self.config.spec.clone();
        let labels = spec.labels.get_or_insert_default();
        labels.insert(USED.to_owned(), "true".to_owned());
        spec
    }

    /// Whether it is of what a deployment has planned, and not of what one has found.
    pub(super) fn is_planned(&self) -> bool {
        self.config.spec.name.as_deref() == Some(self.handle.as_str())
    }

    pub(super) fn is_made_by(&self, op: &Operation) -> bool {
        self.deployment == op.deployment.as_str()
    }

    /// Whether another history than this one has made it.
    pub(super) fn is_elsewhere(&self, cx: &Context) -> bool {
        match (cx.fence(), &self.fence) {
            (Some(own), Some(its)) => own.history != its.history,
            (None, _) | (_, None) => false,
        }
    }

    /// When it was made, by the Swarm's own account: later is greater.
    pub(super) fn age(&self) -> (&str, &str) {
        (&self.config.created, &self.config.id)
    }
}

/// The config that keeps the newest token.
pub(super) fn token(workload: &str, fence: &Fence) -> Result<ConfigSpec, BackendError> {
    let labels = HashMap::from([
        (WORKLOAD.to_owned(), workload.to_owned()),
        (TOKEN.to_owned(), write_fence(fence)?),
    ]);
    Ok(ConfigSpec {
        name: Some(format!("rollback.{}.token", of(workload))),
        labels: Some(labels),
        data: Some(BASE64_STANDARD.encode("see the labels")),
        templating: None,
    })
}

/// The name of a deployment's own record: at most 64 characters, as Swarm wants it.
fn name(op: &Operation) -> String {
    let workload = of(&op.workload.to_string());
    format!("rollback.{workload}.{}", pin_name(op))
}

fn of(text: &str) -> String {
    fingerprint::hex(&Sha256::digest(text)[..6])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use rollback_core::backend::End;
    use rollback_core::history::Sequence;
    use rollback_core::release::Artifact;

    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_has_a_name_that_swarm_takes() {
        let release = Release::new(
            "swarm".parse().unwrap(),
            Artifact::new("a:v1", "a@sha256:1"),
        );
        let op = Operation::new(
            "api@web-1".parse().unwrap(),
            "deploy-20260315-143022-a3f2b901a3f2b901".parse().unwrap(),
            Sequence(u64::MAX),
            End::Nothing,
            End::Planned(release.clone()),
        );
        let cx = Context::new(Duration::from_secs(1));
        let spec = ServiceSpec {
            name: Some("api".into()),
            ..Default::default()
        };
        let live = Instance::new(release.clone(), Handle::new("by-hand"));
        let planned = Record::planned(&cx, &op, release, spec.clone());
        let found = Record::found(&cx, &op, live, spec.clone());
        for (record, is_planned) in [(planned, true), (found, false)] {
            let written = record.write(&op).unwrap();
            let name = written.name.clone().unwrap();
            assert!(name.len() <= 64, "{name}");
            let kept = Kept {
                spec: written,
                ..Kept::default()
            };
            let read = Record::read(kept).unwrap();
            assert_eq!(read.handle, record.handle);
            assert_eq!(read.release, record.release);
            assert_eq!(read.spec, spec);
            assert!(read.is_made_by(&op));
            assert_eq!(read.is_planned(), is_planned);
            assert_eq!(read.is_used, !is_planned);
        }
    }

    #[test]
    fn what_older_versions_wrote_is_read() {
        let body = r#"{"release":{"backend":"swarm","artifact":{"reference":"a:v1","digest":"a@sha256:1"}},"spec":{"Name":"api","TaskTemplate":{"ContainerSpec":{"Image":"a@sha256:1","Env":["A=b"]}}}}"#;
        let labels = [(HANDLE, "h"), (DEPLOYMENT, "d"), (WORKLOAD, "api@web-1")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let kept = Kept {
            spec: ConfigSpec {
                labels: Some(labels.into()),
                data: Some(BASE64_STANDARD.encode(body)),
                ..Default::default()
            },
            ..Kept::default()
        };
        let record = Record::read(kept).unwrap();
        assert_eq!(record.image(), "a@sha256:1");
        assert_eq!(record.release.artifact().reference, "a:v1");
    }
}
