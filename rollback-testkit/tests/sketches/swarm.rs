//! A Swarm service, which the managers roll out by themselves.
//!
//! On paper: one `service update` with the service's version index is the compare-and-set, and it
//! carries image, configuration and the fence (labels of the service) in one step: `switch`. A stale
//! index is `Conflict`. `UpdateStatus` and the tasks give `RollingOut` and progress; a task's `Err` and
//! exit code give `diagnose`. `prepare` makes the configs and secrets, which are immutable and bear the
//! deployment's id; `retain` removes them.
//! Awkward: Swarm keeps one former spec only, so a way back is built of the record, and `prepare` must
//! find every secret of it by name. The service must have `failure_action=pause`: Swarm's own rollback
//! would look like somebody's hand. A paused update is `RollingOut` for good; `health` says that it failed.

use async_trait::async_trait;
use rollback_core::backend::RollingOut;
use rollback_core::context::RolloutProgress;
use rollback_core::prelude::*;

use crate::sketched;

/// The number that a manager compares an update with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct VersionIndex(u64);

/// `UpdateStatus.State`, of the states that tell something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UpdateState {
    Updating,
    Paused,
    Completed,
}

/// A service as a manager shows it.
#[derive(Debug, Clone)]
struct ServiceSeen {
    /// By the label that `switch` writes.
    instance: Instance,
    index: VersionIndex,
    state: UpdateState,
    progress: RolloutProgress,
}

impl ServiceSeen {
    /// What `observe` makes of it.
    fn live(&self) -> Live {
        // The index grows with what nobody started, a label or the number of replicas: it is no
        // evidence of a start.
        let seen = Sighting::new(self.instance.clone(), Running::Yes);
        match self.state {
            UpdateState::Completed => Live::One(seen),
            UpdateState::Updating | UpdateState::Paused => {
                Live::RollingOut(Box::new(RollingOut::new(seen, None, self.progress)))
            }
        }
    }

    /// What `health` makes of it.
    fn view(&self) -> View {
        match self.state {
            UpdateState::Updating => View::NotYet(self.progress.to_string()),
            UpdateState::Paused => View::failed("the update was paused: a task failed"),
            UpdateState::Completed => View::Healthy,
        }
    }
}

/// What an update with a stale index fails with.
fn lost_race(VersionIndex(index): VersionIndex) -> BackendError {
    let what = format!("the service was updated since version {index}");
    BackendError::new(BackendErrorKind::Conflict, what).untouched()
}

#[derive(Debug, Clone)]
struct Swarm {
    workload: WorkloadId,
    /// The cluster's id: each of its managers has the same.
    cluster: String,
    service: String,
}

#[async_trait]
impl Backend for Swarm {
    fn kind(&self) -> BackendKind {
        "swarm".parse().unwrap()
    }

    fn workload(&self) -> &WorkloadId {
        &self.workload
    }

    fn place(&self) -> Place {
        Place::new(format!("swarm {}", self.cluster), self.service.clone())
    }

    fn rollout(&self) -> Rollout {
        Rollout::Managed
    }

    fn default_restore(&self) -> Restore {
        Restore::Everything
    }

    async fn resolve(&self, _: &Context, _: &str) -> Result<Release, BackendError> {
        Err(sketched(
            "resolve: the tag's digest, as the registry has it",
        ))
    }

    async fn observe(&self, _: &Context) -> Result<Observation, BackendError> {
        Err(sketched("observe: the service, its labels, its tasks"))
    }

    async fn availability(&self, _: &Context, _: &End) -> Result<Availability, BackendError> {
        Err(sketched("availability: configs and secrets by name"))
    }

    async fn prepare(&self, _: &Context, _: &Operation) -> Result<Prepared, BackendError> {
        Err(sketched("prepare: make configs and secrets"))
    }

    async fn start(&self, _: &Context, _: &Operation) -> Result<Started, BackendError> {
        Ok(Started::default())
    }

    async fn switch(&self, _: &Context, _: &Operation) -> Result<Evidence, BackendError> {
        Err(sketched("switch: update at the index, and wait"))
    }

    async fn retire(&self, _: &Context, _: &Operation) -> Result<(), BackendError> {
        Err(sketched("retire: remove what was never live"))
    }

    async fn health(&self, _: &Context, _: &Instance) -> Result<View, BackendError> {
        Err(sketched("health: the update's state, the tasks'"))
    }

    async fn configured(
        &self,
        _: &Context,
        live: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        Ok(live.cloned())
    }

    async fn retain(&self, _: &Context, _: &[Instance]) -> Result<(), BackendError> {
        Err(sketched("retain: remove configs that no release names"))
    }
}

fn swarm(workload: &str) -> Swarm {
    Swarm {
        workload: crate::workload(workload),
        cluster: "k3sqbx3v4".into(),
        service: "shop_api".into(),
    }
}

#[tokio::test]
async fn a_swarm_service_is_composed_like_any_other() {
    crate::composes(std::sync::Arc::new(swarm("api@shop"))).await;
    crate::has_its_place_alone(swarm("api@shop"), swarm("web@shop"));
}

#[test]
fn an_update_that_swarm_has_paused_is_a_rollout_that_failed() {
    let release = crate::release(&swarm("api@shop"));
    let mut seen = ServiceSeen {
        instance: Instance::new(release, Handle::new("deploy-20260315-143022-a3f2b901")),
        index: VersionIndex(41),
        state: UpdateState::Paused,
        progress: RolloutProgress::new(3, 1, 1),
    };
    let observed = Observation::new(seen.live(), None);
    assert!(observed.leads_to(&seen.instance) && !observed.shows(&seen.instance));
    assert!(seen.view().is_failed());
    seen.state = UpdateState::Updating;
    assert_eq!(seen.view().verdict(), Verdict::Unknown);
    seen.state = UpdateState::Completed;
    assert!(Observation::new(seen.live(), None).shows(&seen.instance));
    assert!(lost_race(seen.index).is_transient());
}
