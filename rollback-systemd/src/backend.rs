//! [`SystemdBackend`]: the verbs.

use std::sync::Arc;

use async_trait::async_trait;
use rollback_core::backend::{
    Availability, Backend, End, Evidence, Instance, Live, Observation, Operation, Place, Prepared,
    Rollout, Running, Sighting, Started,
};
use rollback_core::context::Context;
use rollback_core::diagnosis::Words;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::health::View;
use rollback_core::id::{BackendKind, WorkloadId};
use rollback_core::release::{Release, Restore};

use crate::acting::acting;
use crate::config::SystemdConfig;
use crate::health;
use crate::link::Link;
use crate::manager::Bus;
use crate::record::{Installed, is_done};
use crate::release::kind;
use crate::shelf::Shelf;
use crate::state::UnitState;
use crate::unit::Unit;

/// One systemd service unit, whose file is rewound.
#[derive(Debug, Clone)]
pub struct SystemdBackend {
    unit: Unit,
    link: Arc<Link>,
}

impl SystemdBackend {
    /// A backend; makes its state directory.
    ///
    /// # Errors
    ///
    /// The live unit was not touched: [`Denied`](rollback_core::error::BackendErrorKind::Denied),
    /// [`Exhausted`](rollback_core::error::BackendErrorKind::Exhausted),
    /// [`NotFound`](rollback_core::error::BackendErrorKind::NotFound) or
    /// [`Failed`](rollback_core::error::BackendErrorKind::Failed) if the state directory cannot be
    /// made or written, [`Locked`](rollback_core::error::BackendErrorKind::Locked) if another
    /// process has been making its key for ten seconds.
    pub fn new(config: SystemdConfig) -> Result<Self, BackendError> {
        let shelf = Shelf::open(&config.state).map_err(BackendError::untouched)?;
        Ok(Self {
            unit: Unit { config, shelf },
            link: Arc::default(),
        })
    }

    /// The connection for a verb that only looks. One with effects makes its own: it goes on in a
    /// thread where nobody else's can be waited for.
    pub(crate) async fn bus(&self) -> Result<Arc<Bus>, BackendError> {
        self.link.bus(self.config()).await
    }

    pub(crate) fn config(&self) -> &SystemdConfig {
        &self.unit.config
    }

    /// Does work on files where it holds up nobody, and waits for its end. If nobody waits any
    /// more it goes on to its end, and the lease lives as long: it owns the context.
    pub(crate) async fn files<T: Send + 'static>(
        &self,
        cx: &Context,
        work: impl FnOnce(&Unit, &Context) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let (unit, cx) = (self.unit.clone(), cx.clone());
        let joined = tokio::task::spawn_blocking(move || work(&unit, &cx)).await;
        joined.unwrap_or_else(|e| {
            Err(BackendError::new(Kind::Failed, "work on the unit's files broke off").because(e))
        })
    }

    async fn ready(&self, cx: &Context, op: &Operation) -> Result<Instance, BackendError> {
        if op.workload != self.config().workload {
            return Err(BackendError::new(
                Kind::InvalidReference,
                "this backend serves another workload",
            )
            .on(&op.workload)
            .advice("give every workload a backend of its own"));
        }
        let bus = self.bus().await?;
        let state = bus.looked().await?;
        check_state(self.config(), &state)?;
        bus.may_manage().await?;
        let (op, enablement) = (op.clone(), state.file_state);
        let ready = self
            .files(cx, move |unit, cx| unit.prepare(cx, &op, &enablement))
            .await?;
        cx.check()?;
        self.check_loads(cx, &bus, &ready).await?;
        Ok(ready.to)
    }
}

/// Refuses what this backend cannot rewind.
fn check_state(config: &SystemdConfig, state: &UnitState) -> Result<(), BackendError> {
    let refuse = |what: &str, advice: &str| {
        Err(BackendError::new(Kind::Unsupported, what)
            .on(&config.unit)
            .advice(advice))
    };
    if state.load == "masked" {
        return refuse("the unit is masked", "unmask it first");
    }
    if state.fragment.starts_with("/run/systemd/transient") {
        return refuse("the unit is transient", "stop it, and deploy a unit file");
    }
    if state.id != config.unit.as_str() {
        let advice = format!("manage {} instead", state.id);
        return refuse("the unit is another one's alias", &advice);
    }
    if let Some(refuses) = state.refuses {
        let what = format!("the live unit could not be put back: it has {refuses}=");
        return refuse(&what, "take that out of it and its drop-ins first");
    }
    Ok(())
}

pub(crate) fn evidence(state: &UnitState) -> Evidence {
    Evidence::default()
        .with("invocation_id", state.invocation.clone())
        .with("main_pid", state.main_pid.to_string())
}

/// Whether the unit runs. A oneshot that has done its work has no process to run.
fn running(state: &UnitState, installed: Option<&Installed>, boot: u64) -> Running {
    match state.active.as_str() {
        "active" | "reloading" => Running::Yes,
        _ if is_done(installed, state, boot) => Running::NotApplicable,
        _ => Running::No(state.describe()),
    }
}

#[async_trait]
impl Backend for SystemdBackend {
    fn kind(&self) -> BackendKind {
        kind()
    }

    fn workload(&self) -> &WorkloadId {
        &self.config().workload
    }

    fn place(&self) -> Place {
        let config = self.config();
        let manager = match &config.bus {
            Some(bus) => bus.clone(),
            None => "systemd".to_owned(),
        };
        Place::new(manager, config.unit.as_str())
    }

    fn rollout(&self) -> Rollout {
        Rollout::Replace
    }

    fn default_restore(&self) -> Restore {
        Restore::Everything
    }

    async fn resolve(&self, cx: &Context, reference: &str) -> Result<Release, BackendError> {
        let reference = reference.to_owned();
        let resolved = self
            .files(cx, move |unit, _| unit.resolve(&reference))
            .await;
        resolved.map_err(BackendError::untouched)
    }

    async fn observe(&self, cx: &Context) -> Result<Observation, BackendError> {
        let bus = self.bus().await?;
        let state = bus.looked().await.map_err(BackendError::untouched)?;
        let boot = bus.boot().await.map_err(BackendError::untouched)?;
        let look = move |unit: &Unit, _: &Context| {
            let live = match unit.in_place(&state.file_state)? {
                None => Live::Nothing,
                // Its way back is exact: `prepare` keeps the very bytes that are in place.
                Some(place) => {
                    let running = running(&state, place.installed.as_ref(), boot);
                    let sighting = Sighting::new(place.instance, running);
                    Live::One(sighting.evidence(evidence(&state)))
                }
            };
            Ok(Observation::new(live, unit.shelf.published()?))
        };
        self.files(cx, look).await.map_err(BackendError::untouched)
    }

    async fn availability(
        &self,
        cx: &Context,
        candidate: &End,
    ) -> Result<Availability, BackendError> {
        let candidate = candidate.clone();
        let near = self.files(cx, move |unit, _| unit.availability(&candidate));
        near.await.map_err(BackendError::untouched)
    }

    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        let to = self.ready(cx, op).await.map_err(BackendError::untouched)?;
        Ok(Prepared::new(Rollout::Replace, to))
    }

    async fn start(&self, _: &Context, _: &Operation) -> Result<Started, BackendError> {
        Ok(Started::default())
    }

    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        let (backend, op) = (self.clone(), op.clone());
        acting(
            cx,
            move |cx| async move { backend.switched(&cx, &op).await },
        )
        .await
    }

    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        cx.check()?;
        let by = op.deployment.clone();
        self.files(cx, move |unit, cx| unit.discard(cx, &by)).await
    }

    async fn health(&self, cx: &Context, instance: &Instance) -> Result<View, BackendError> {
        let bus = self.bus().await?;
        let state = bus.looked().await?;
        let enablement = state.file_state.clone();
        let place = self.files(cx, move |unit, _| unit.in_place(&enablement));
        let place = place.await?;
        let in_place = place.as_ref().map(|place| &place.instance.handle);
        if in_place != Some(&instance.handle) {
            return Ok(View::failed("another unit file is in place"));
        }
        if bus.is_stopping().await? {
            return Ok(View::NotYet("the machine is shutting down".to_owned()));
        }
        let installed = place.and_then(|place| place.installed);
        let look = health::Look {
            state: &state,
            installed: installed.as_ref(),
            boot: bus.boot().await?,
            soak: self.config().soak,
        };
        Ok(look.view(health::since_start()))
    }

    async fn diagnose(&self, cx: &Context, instance: &Instance) -> Result<Words, BackendError> {
        self.words(cx, instance).await
    }

    async fn configured(
        &self,
        _: &Context,
        live: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        // The unit is its reference's, all of it. Whether it is enabled is the program's to say,
        // if it says so.
        Ok(live
            .filter(|_| self.config().enable)
            .map(without_enablement))
    }

    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        let window = window.to_vec();
        self.files(cx, move |unit, cx| unit.retain(cx, &window))
            .await
    }
}

/// The release without what somebody made of its enablement: the next switch enables it.
fn without_enablement(live: &Release) -> Release {
    let bare = Release::new(live.backend().clone(), live.artifact().clone());
    let facets = live.facets().iter();
    facets
        .filter(|(name, _)| *name != crate::unit::ENABLEMENT)
        .fold(bare, |r, (name, facet)| {
            r.with_facet(name.clone(), facet.clone())
        })
}
