//! A Kubernetes deployment, which the cluster rolls out by itself.
//!
//! On paper: one update with the object's `resourceVersion` is the compare-and-set (409 is `Conflict`)
//! and carries template and fence (an annotation) in one step: `switch`. `observedGeneration` of at
//! least the `generation` that the update was answered with, then the replica counts, give progress;
//! `observe` gives `RollingOut` until then. `prepare` is a dry run and the copies of config maps and
//! secrets under names by their content, so that a former template finds its own. `diagnose` asks the
//! newest failed pod. `replicas` is never written.
//! Awkward: the replica set has no name before the update, but `prepare` has to give a handle: it is the
//! deployment's id, a label in the template. An autoscaler moves `generation` without starting anything:
//! recovery then judges again, which is harmless. A stuck ordered pod has to be deleted by `switch`.

use async_trait::async_trait;
use rollback_core::backend::RollingOut;
use rollback_core::context::RolloutProgress;
use rollback_core::diagnosis::Words;
use rollback_core::prelude::*;

use crate::sketched;

/// The object as the API server shows it.
#[derive(Debug, Clone)]
struct ObjectSeen {
    /// By the label in its template.
    instance: Instance,
    /// What an update of it is compared with.
    resource_version: String,
    generation: u64,
    observed_generation: u64,
    progress: RolloutProgress,
}

impl ObjectSeen {
    /// Status of an older generation tells nothing of what was asked last.
    fn is_rolled_out(&self) -> bool {
        self.observed_generation >= self.generation
            && self.progress.available == self.progress.desired
    }

    /// What `switch` gives when it is.
    fn evidence(&self) -> Evidence {
        Evidence::default().with("generation", self.generation.to_string())
    }

    /// What `observe` makes of it.
    fn live(&self) -> Live {
        let seen = Sighting::new(self.instance.clone(), Running::Yes).evidence(self.evidence());
        match self.is_rolled_out() {
            true => Live::One(seen),
            false => Live::RollingOut(Box::new(RollingOut::new(seen, None, self.progress))),
        }
    }

    /// What an update on top of it fails with after somebody else's.
    fn lost_race(&self) -> BackendError {
        let what = format!("the object is not at {} any more", self.resource_version);
        BackendError::new(BackendErrorKind::Conflict, what).untouched()
    }
}

#[derive(Debug, Clone)]
struct Kubernetes {
    workload: WorkloadId,
    /// The cluster, by the uid of its `kube-system` namespace.
    cluster: String,
    namespace: String,
    name: String,
}

#[async_trait]
impl Backend for Kubernetes {
    fn kind(&self) -> BackendKind {
        "kubernetes".parse().unwrap()
    }

    fn workload(&self) -> &WorkloadId {
        &self.workload
    }

    fn place(&self) -> Place {
        let name = format!("{}/{}", self.namespace, self.name);
        Place::new(format!("kubernetes {}", self.cluster), name)
    }

    fn rollout(&self) -> Rollout {
        Rollout::Managed
    }

    fn default_restore(&self) -> Restore {
        Restore::Everything
    }

    async fn resolve(&self, _: &Context, _: &str) -> Result<Release, BackendError> {
        Err(sketched("resolve: the image's digest"))
    }

    async fn observe(&self, _: &Context) -> Result<Observation, BackendError> {
        Err(sketched("observe: the object, its replica sets"))
    }

    async fn availability(&self, _: &Context, _: &End) -> Result<Availability, BackendError> {
        Err(sketched("availability: config maps and secrets by name"))
    }

    async fn prepare(&self, _: &Context, _: &Operation) -> Result<Prepared, BackendError> {
        Err(sketched("prepare: copy the configuration, dry run"))
    }

    async fn start(&self, _: &Context, _: &Operation) -> Result<Started, BackendError> {
        Ok(Started::default())
    }

    async fn switch(&self, _: &Context, _: &Operation) -> Result<Evidence, BackendError> {
        Err(sketched("switch: update at the resource version, and wait"))
    }

    async fn retire(&self, _: &Context, _: &Operation) -> Result<(), BackendError> {
        Err(sketched("retire: remove what was never live"))
    }

    async fn health(&self, _: &Context, _: &Instance) -> Result<View, BackendError> {
        Err(sketched("health: conditions of this generation, the pods"))
    }

    async fn diagnose(&self, _: &Context, _: &Instance) -> Result<Words, BackendError> {
        Err(sketched("diagnose: the newest failed pod, its log"))
    }

    async fn configured(
        &self,
        _: &Context,
        _: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        Err(sketched("configured: the manifests of the program"))
    }

    async fn retain(&self, _: &Context, _: &[Instance]) -> Result<(), BackendError> {
        Err(sketched("retain: remove copies that no release names"))
    }
}

fn kubernetes(workload: &str) -> Kubernetes {
    Kubernetes {
        workload: crate::workload(workload),
        cluster: "5f3c9a6e".into(),
        namespace: "shop".into(),
        name: "api".into(),
    }
}

#[tokio::test]
async fn a_kubernetes_deployment_is_composed_like_any_other() {
    crate::composes(std::sync::Arc::new(kubernetes("api@shop"))).await;
    crate::has_its_place_alone(kubernetes("api@shop"), kubernetes("web@shop"));
}

#[tokio::test]
async fn a_status_of_an_older_generation_is_a_rollout_under_way() {
    let backend = kubernetes("api@shop");
    let handle = Handle::new("deploy-20260315-143022-a3f2b901");
    let mut seen = ObjectSeen {
        instance: Instance::new(crate::release(&backend), handle),
        resource_version: "81723".into(),
        generation: 5,
        observed_generation: 4,
        progress: RolloutProgress::new(3, 3, 3),
    };
    let observed = Observation::new(seen.live(), None);
    assert!(observed.leads_to(&seen.instance) && !observed.shows(&seen.instance));
    seen.observed_generation = 5;
    let observed = Observation::new(seen.live(), None);
    let sighting = observed.sighting_of(&seen.instance).unwrap();
    assert_eq!(sighting.evidence, seen.evidence());
    assert!(seen.lost_race().is_transient());
}
