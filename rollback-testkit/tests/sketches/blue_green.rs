//! Two slots behind a proxy, of which one has the traffic.
//!
//! On paper: `prepare` places a release in the slot that is not live, `start` runs it there and gives
//! the slot's address, at which checks judge it; `switch` asks the router, which is the backend's own
//! matter: its one conditional write moves the traffic and keeps the fence. `retire` waits until the
//! former slot's requests have ended, then stops it; a failed successor is stopped by the `retire` of
//! the reversed operation, and no traffic was moved. `observe` asks the router first, the slots second.
//! Awkward: a slot is used again, so a handle names the deployment too; of the kept releases one alone
//! stands by, the others are `Local`. A proxy that forgets its state on a restart shows the former slot:
//! that reads as somebody's hand, so the backend has to make what it publishes last there.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use rollback_core::history::Fence;
use rollback_core::prelude::*;

use crate::sketched;

/// Where releases run by turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Blue,
    Green,
}

impl Slot {
    fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    /// What stands in the slot is told apart by who put it there.
    fn handle(self, by: &DeploymentId) -> Handle {
        Handle::new(format!("{self}/{by}"))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blue => "blue",
            Self::Green => "green",
        })
    }
}

/// What a proxy shows.
#[derive(Debug, Clone)]
struct Routed {
    /// Where new requests go; `None`: nowhere.
    to: Option<Slot>,
    /// What its next change is compared with.
    revision: String,
    /// Who moved the traffic last.
    published: Option<Fence>,
    /// Requests that the other slot still answers.
    draining: u64,
}

/// A proxy: whichever, as long as a change is one conditional write.
#[async_trait]
trait Router: fmt::Debug + Send + Sync {
    /// Its name and address, the same after a restart.
    fn name(&self) -> String;

    /// Looks once.
    async fn routed(&self, cx: &Context) -> Result<Routed, BackendError>;

    /// Sends new requests to a slot, and keeps the context's fence, if nothing was changed since `seen`:
    /// `Conflict` if it was.
    async fn route(&self, cx: &Context, seen: &Routed, to: Slot) -> Result<Routed, BackendError>;
}

/// A proxy that is not there.
#[derive(Debug)]
struct NoProxy;

#[async_trait]
impl Router for NoProxy {
    fn name(&self) -> String {
        "127.0.0.1:2019/shop".into()
    }

    async fn routed(&self, _: &Context) -> Result<Routed, BackendError> {
        Ok(Routed {
            to: Some(Slot::Blue),
            revision: "/shop 1f".into(),
            published: None,
            draining: 0,
        })
    }

    async fn route(&self, _: &Context, seen: &Routed, _: Slot) -> Result<Routed, BackendError> {
        let what = format!("it is not at {} any more", seen.revision);
        Err(BackendError::new(BackendErrorKind::Conflict, what).untouched())
    }
}

#[derive(Debug, Clone)]
struct BlueGreen {
    workload: WorkloadId,
    router: Arc<dyn Router>,
}

impl BlueGreen {
    /// Where the slot answers, whoever has the traffic.
    fn address(slot: Slot) -> Address {
        match slot {
            Slot::Blue => Address::new("127.0.0.1", 8001),
            Slot::Green => Address::new("127.0.0.1", 8002),
        }
    }
}

#[async_trait]
impl Backend for BlueGreen {
    fn kind(&self) -> BackendKind {
        "blue-green".parse().unwrap()
    }

    fn workload(&self) -> &WorkloadId {
        &self.workload
    }

    fn place(&self) -> Place {
        Place::new("proxy", self.router.name())
    }

    fn rollout(&self) -> Rollout {
        Rollout::Beside
    }

    fn default_restore(&self) -> Restore {
        Restore::Everything
    }

    async fn resolve(&self, _: &Context, _: &str) -> Result<Release, BackendError> {
        Ok(crate::release(self))
    }

    async fn observe(&self, cx: &Context) -> Result<Observation, BackendError> {
        let routed = self.router.routed(cx).await?;
        match routed.to {
            None => Ok(Observation::new(Live::Nothing, routed.published)),
            Some(_) => Err(sketched(
                "observe: what stands in the slot, and whether it runs",
            )),
        }
    }

    async fn availability(&self, _: &Context, _: &End) -> Result<Availability, BackendError> {
        Err(sketched("availability: what the other slot has"))
    }

    async fn prepare(&self, _: &Context, _: &Operation) -> Result<Prepared, BackendError> {
        Err(sketched("prepare: fill the slot that is not live"))
    }

    async fn start(&self, cx: &Context, op: &Operation) -> Result<Started, BackendError> {
        let routed = self.router.routed(cx).await?;
        let slot = routed.to.map_or(Slot::Blue, Slot::other);
        let evidence = Evidence::default().with("slot", slot.handle(&op.deployment).as_str());
        Ok(Started::new(evidence).at("http", Self::address(slot)))
    }

    async fn switch(&self, cx: &Context, _: &Operation) -> Result<Evidence, BackendError> {
        let seen = self.router.routed(cx).await?;
        cx.may_publish(seen.published.as_ref())?;
        let to = seen.to.map_or(Slot::Blue, Slot::other);
        let routed = self.router.route(cx, &seen, to).await?;
        Ok(Evidence::default().with("revision", routed.revision))
    }

    async fn retire(&self, cx: &Context, _: &Operation) -> Result<(), BackendError> {
        let routed = self.router.routed(cx).await?;
        cx.say(format!("{} requests are still answered", routed.draining));
        Err(sketched("retire: stop the slot, once it has drained"))
    }

    async fn health(&self, _: &Context, _: &Instance) -> Result<View, BackendError> {
        Ok(View::NoOpinion)
    }

    async fn configured(
        &self,
        _: &Context,
        _: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        Ok(None)
    }

    async fn retain(&self, _: &Context, _: &[Instance]) -> Result<(), BackendError> {
        Err(sketched("retain: what neither slot nor window has"))
    }
}

fn blue_green(workload: &str) -> BlueGreen {
    BlueGreen {
        workload: crate::workload(workload),
        router: Arc::new(NoProxy),
    }
}

#[tokio::test]
async fn two_slots_are_composed_like_any_other_platform() {
    crate::composes(Arc::new(blue_green("api@web-1"))).await;
    crate::has_its_place_alone(blue_green("api@web-1"), blue_green("web@web-1"));
}

#[tokio::test]
async fn a_check_reaches_the_slot_that_has_no_traffic() {
    let backend = blue_green("api@web-1");
    let (cx, id) = (
        Context::new(std::time::Duration::from_secs(5)),
        "deploy-20260315-143022-a3f2b901".parse().unwrap(),
    );
    let release = crate::release(&backend);
    let to = End::Planned(release.clone());
    let sequence = rollback_core::history::Sequence(1);
    let op = Operation::new(backend.workload.clone(), id, sequence, End::Nothing, to);
    let started = backend.start(&cx, &op).await.unwrap();
    let instance = Instance::new(release, Slot::Green.handle(&op.deployment));
    let probe = Probe::beside(op.workload.clone(), instance, started.addresses);
    assert!(Aim::Port(Some("http".into())).reaches(&probe));
    assert!(!Aim::Live.reaches(&probe));
    assert_eq!(
        probe.addresses.of(None),
        Some(&BlueGreen::address(Slot::Green))
    );
    // The traffic is moved in one step, or not.
    let lost = backend.switch(&cx, &op).await.unwrap_err();
    assert!(lost.is_transient(), "{lost}");
    assert_eq!(lost.impact(), rollback_core::error::LiveImpact::Untouched);
}
