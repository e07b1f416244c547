//! A backend whose references are tags that move, with an environment of today.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rollback_core::backend::Preflight;
use rollback_core::context::Context;
use rollback_core::diagnosis::Words;
use rollback_core::prelude::*;
use rollback_testkit::fake::{FakeBackend, FakeTarget};

/// What the outside world says today: what a tag means, and which environment is configured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<Today>>);

#[derive(Debug, Default)]
struct Today {
    tags: BTreeMap<String, String>,
    branches: BTreeMap<String, String>,
    env: BTreeMap<String, FacetValue>,
    texts: BTreeMap<String, String>,
    resolved: usize,
}

impl Registry {
    /// From now on the tag means this.
    pub(crate) fn tag(&self, tag: &str, digest: &str) {
        let mut today = self.0.lock().unwrap();
        today.tags.insert(tag.into(), digest.into());
    }

    /// From now on the branch means this.
    pub(crate) fn branch(&self, branch: &str, digest: &str) {
        let mut today = self.0.lock().unwrap();
        today.branches.insert(branch.into(), digest.into());
    }

    /// From now on releases are deployed with this variable.
    pub(crate) fn env(&self, key: &str, value: &str) {
        let value = FacetValue::Plain(value.into());
        self.0.lock().unwrap().env.insert(key.into(), value);
    }

    /// The same for a secret, of which only a fingerprint is known.
    pub(crate) fn secret(&self, key: &str, fingerprint: &str) {
        let value = FacetValue::Fingerprint(fingerprint.into());
        self.0.lock().unwrap().env.insert(key.into(), value);
    }

    /// From now on releases are deployed with this text.
    pub(crate) fn text(&self, name: &str, text: &str) {
        let mut today = self.0.lock().unwrap();
        today.texts.insert(name.into(), text.into());
    }

    /// How often a reference was resolved.
    pub(crate) fn resolved(&self) -> usize {
        self.0.lock().unwrap().resolved
    }
}

/// [`FakeBackend`] with tags and an environment. Of releases that begin with `mute` the platform
/// has no view; of those that begin with `idle` nothing is to run; `tight` ones do not fit on the disk.
#[derive(Debug, Clone)]
pub(crate) struct Tagged {
    inner: FakeBackend,
    registry: Registry,
}

impl Tagged {
    pub(crate) fn new(workload: WorkloadId, target: FakeTarget, registry: Registry) -> Self {
        Self {
            inner: FakeBackend::new(workload, target),
            registry,
        }
    }
}

impl Tagged {
    /// An artifact with what is configured today.
    fn with_facets(&self, artifact: Artifact) -> Release {
        let mut release = Release::new(self.kind(), artifact);
        let today = self.registry.0.lock().unwrap();
        if !today.env.is_empty() {
            release = release.with_facet("env", Facet::Table(today.env.clone()));
        }
        for (name, text) in &today.texts {
            release = release.with_facet(name, Facet::Text(text.clone()));
        }
        release
    }
}

#[async_trait]
impl Backend for Tagged {
    fn kind(&self) -> BackendKind {
        self.inner.kind()
    }

    fn workload(&self) -> &WorkloadId {
        self.inner.workload()
    }

    fn place(&self) -> Place {
        self.inner.place()
    }

    fn rollout(&self) -> Rollout {
        self.inner.rollout()
    }

    fn default_restore(&self) -> Restore {
        self.inner.default_restore()
    }

    async fn resolve(&self, cx: &Context, reference: &str) -> Result<Release, BackendError> {
        let (tag, branch) = {
            let mut today = self.registry.0.lock().unwrap();
            today.resolved += 1;
            (
                today.tags.get(reference).cloned(),
                today.branches.get(reference).cloned(),
            )
        };
        let digest = tag.or_else(|| branch.clone());
        let digest = digest.unwrap_or_else(|| reference.to_owned());
        // What there is, and how it is spelt, the backend knows.
        self.inner.resolve(cx, &digest).await?;
        let artifact = match branch {
            Some(_) => Artifact::by_branch(reference, digest),
            None => Artifact::new(reference, digest),
        };
        Ok(self.with_facets(artifact))
    }

    async fn observe(&self, cx: &Context) -> Result<Observation, BackendError> {
        self.inner.observe(cx).await
    }

    async fn availability(
        &self,
        cx: &Context,
        candidate: &End,
    ) -> Result<Availability, BackendError> {
        self.inner.availability(cx, candidate).await
    }

    async fn preflight(
        &self,
        _: &Context,
        from: &End,
        to: &End,
    ) -> Result<Preflight, BackendError> {
        let digest = |end: &End| end.release().map(|r| r.artifact().digest.clone());
        Ok(match digest(to) {
            Some(to) if to.starts_with("tight") => {
                let from = digest(from).unwrap_or_default();
                Preflight::default().remark(format!("{to} does not fit beside {from}"))
            }
            _ => Preflight::default(),
        })
    }

    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        self.inner.prepare(cx, op).await
    }

    async fn start(&self, cx: &Context, op: &Operation) -> Result<Started, BackendError> {
        self.inner.start(cx, op).await
    }

    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        self.inner.switch(cx, op).await
    }

    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        self.inner.retire(cx, op).await
    }

    async fn health(&self, cx: &Context, instance: &Instance) -> Result<View, BackendError> {
        let verdict = self.inner.health(cx, instance).await?;
        let mute = &instance.release.artifact().digest;
        Ok(match verdict {
            View::Healthy if mute.starts_with("mute") => View::NoOpinion,
            View::Healthy if mute.starts_with("idle") => View::Idle("scaled to none".into()),
            verdict => verdict,
        })
    }

    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        self.inner.retain(cx, window).await
    }

    async fn diagnose(&self, cx: &Context, instance: &Instance) -> Result<Words, BackendError> {
        self.inner.diagnose(cx, instance).await
    }

    async fn configured(
        &self,
        _: &Context,
        live: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        let Some(live) = live else { return Ok(None) };
        Ok(Some(self.with_facets(live.artifact().clone())))
    }
}
