//! [`SystemdBackend`]: the eight verbs.

use std::time::Duration;

use async_trait::async_trait;
use rollback_core::backend::{
    Backend, End, Evidence, Instance, Live, Observation, Operation, Prepared, Rollout, Running,
    Sighting,
};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::health::View;
use rollback_core::id::BackendKind;
use rollback_core::release::{Release, Restore};

use crate::config::SystemdConfig;
use crate::files;
use crate::manager::{Bus, UnitState};
use crate::release::kind;
use crate::shelf::{Shelf, Shelved};
use crate::unit::{Placed, Unit};

/// Between two looks at a unit that should stay as it is.
const LOOK: Duration = Duration::from_millis(100);

/// One systemd service unit, whose file is rewound.
#[derive(Debug, Clone)]
pub struct SystemdBackend {
    unit: Unit,
}

impl SystemdBackend {
    /// A backend; makes its state directory.
    pub fn new(config: SystemdConfig) -> Result<Self, BackendError> {
        let shelf = Shelf::open(&config.state).map_err(BackendError::untouched)?;
        Ok(Self {
            unit: Unit { config, shelf },
        })
    }

    pub(crate) fn config(&self) -> &SystemdConfig {
        &self.unit.config
    }

    /// Does work on files where it holds up nobody, and waits for its end whatever happens.
    pub(crate) async fn files<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Unit) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let unit = self.unit.clone();
        let joined = tokio::task::spawn_blocking(move || work(&unit)).await;
        joined.unwrap_or_else(|e| {
            Err(BackendError::new(Kind::Failed, "work on the unit's files broke off").because(e))
        })
    }

    /// Whether the unit is what `to` and this deployment made it, restarted and all.
    async fn is_done(&self, bus: &Bus, op: &Operation, to: &Instance) -> Option<UnitState> {
        let state = bus.state().await.ok()?;
        let enablement = state.file_state.clone();
        let place = self.files(move |unit| unit.in_place(&enablement)).await;
        let place = place.ok().flatten()?;
        let installed = place.installed?;
        let same = installed.handle == to.handle
            && installed.by == op.deployment
            && place.instance.release.digest() == to.release.digest()
            && !state.needs_reload
            // An instance that ended by itself since is not restarted either: it is judged.
            && installed.invocation.as_ref().is_some_and(|i| *i == state.invocation);
        same.then_some(state)
    }

    async fn take_down(&self, cx: &Context, bus: &Bus) -> Result<Evidence, BackendError> {
        let state = bus.state().await?;
        // A unit may run on although its file is gone.
        if state.active != "inactive" {
            bus.stop(cx).await?;
        }
        cx.check()?;
        if self.config().enable && state.file_state == "enabled" {
            bus.set_enabled(false).await?;
            cx.check()?;
        }
        let again = cx.clone();
        self.files(move |unit| {
            files::remove(&files::own_path(&unit.config))?;
            again.check()
        })
        .await?;
        bus.reload().await?;
        cx.check()?;
        self.files(|unit| unit.shelf.set_installed(None)).await?;
        Ok(Evidence::default())
    }

    /// A release of ours is enabled if that was asked for; what was found gets back what it had.
    async fn set_enabled(&self, bus: &Bus, shelved: &Shelved) -> Result<(), BackendError> {
        let wanted = match shelved.enablement.as_deref() {
            None | Some("enabled") => true,
            Some("disabled") => false,
            Some(_) => return Ok(()),
        };
        if self.config().enable {
            bus.set_enabled(wanted).await?;
            bus.reload().await?;
        }
        Ok(())
    }

    /// Reads back what the manager made of it: a reload may report success and not have happened
    /// (systemd#43001), and another file may come first.
    fn verify(&self, state: &UnitState, placed: Placed) -> Result<(), BackendError> {
        let own = state.fragment == files::own_name(self.config());
        let ours = match placed {
            Placed::Written => own,
            Placed::Uncovered => !own,
            Placed::Linked => true,
        };
        if ours && !state.needs_reload && state.load == "loaded" {
            return Ok(());
        }
        Err(
            BackendError::new(Kind::Failed, "the manager has not loaded the new unit")
                .on(format!(
                    "{} ({}, from {:?})",
                    self.config().unit,
                    state.load,
                    state.fragment
                ))
                .advice("look at that file and at the manager's journal"),
        )
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
    Ok(())
}

fn evidence(state: &UnitState) -> Evidence {
    Evidence::default()
        .with("invocation_id", state.invocation.clone())
        .with("main_pid", state.main_pid.to_string())
}

#[async_trait]
impl Backend for SystemdBackend {
    fn kind(&self) -> BackendKind {
        kind()
    }

    fn default_restore(&self) -> Restore {
        Restore::Everything
    }

    async fn resolve(&self, _: &Context, reference: &str) -> Result<Release, BackendError> {
        let reference = reference.to_owned();
        let resolved = self.files(move |unit| unit.resolve(&reference)).await;
        resolved.map_err(BackendError::untouched)
    }

    async fn observe(&self, _: &Context, ends: &[End]) -> Result<Observation, BackendError> {
        let bus = Bus::connect(self.config()).await?;
        let state = bus.state().await.map_err(BackendError::untouched)?;
        let ends = ends.to_vec();
        let look = move |unit: &Unit| {
            let live = match unit.in_place(&state.file_state)? {
                None => Live::Nothing,
                Some(place) => Live::One(Sighting {
                    running: match state.active.as_str() {
                        "active" | "reloading" => Running::Yes,
                        _ => Running::No(state.describe()),
                    },
                    evidence: evidence(&state),
                    way_back: place.way_back,
                    instance: place.instance,
                }),
            };
            let handle = match &live {
                Live::One(sighting) => Some(&sighting.instance.handle),
                _ => None,
            };
            let standbys = unit.shelf.all()?.into_iter().map(|(i, _)| i);
            let standbys = standbys.filter(|i| Some(&i.handle) != handle).collect();
            let availability: Result<_, _> = ends.iter().map(|e| unit.availability(e)).collect();
            Ok(Observation {
                standbys,
                availability: availability?,
                live,
                published: None,
            })
        };
        self.files(look).await.map_err(BackendError::untouched)
    }

    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        let bus = Bus::connect(self.config()).await?;
        let ready = async {
            if op.workload != self.config().workload {
                return Err(BackendError::new(
                    Kind::InvalidReference,
                    "this backend serves another workload",
                )
                .on(&op.workload)
                .advice("give every workload a backend of its own"));
            }
            let state = bus.state().await?;
            check_state(self.config(), &state)?;
            let (cx, op) = (cx.clone(), op.clone());
            self.files(move |unit| unit.prepare(&cx, &op, &state.file_state))
                .await
        };
        let (to, way_back) = ready.await.map_err(BackendError::untouched)?;
        Ok(Prepared {
            rollout: Rollout::Replace,
            to,
            way_back,
        })
    }

    async fn start(&self, _: &Context, _: &Operation) -> Result<Evidence, BackendError> {
        Ok(Evidence::default())
    }

    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        let bus = Bus::connect(self.config()).await?;
        let to = match &op.to {
            End::Nothing => return self.take_down(cx, &bus).await,
            End::Planned(release) => {
                return Err(
                    BackendError::new(Kind::Failed, "this release was not prepared")
                        .on(release)
                        .untouched(),
                );
            }
            End::Placed(instance) => instance,
        };
        if let Some(state) = self.is_done(&bus, op, to).await {
            return Ok(evidence(&state));
        }
        let (again, by, target) = (cx.clone(), op.deployment.clone(), to.clone());
        let (placed, shelved, mut installed) = self
            .files(move |unit| unit.place(&again, &by, &target))
            .await?;
        cx.check()?;
        bus.reload().await?;
        cx.check()?;
        self.set_enabled(&bus, &shelved).await?;
        cx.check()?;
        // Before the restart: what the manager did not load must not be started either.
        self.verify(&bus.state().await?, placed)?;
        bus.restart(cx).await?;
        cx.check()?;
        let state = bus.state().await?;
        self.verify(&state, placed)?;
        installed.invocation = Some(state.invocation.clone());
        installed.enablement = Some(state.file_state.clone());
        self.files(move |unit| unit.shelf.set_installed(Some(&installed)))
            .await?;
        Ok(evidence(&state))
    }

    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        cx.check()?;
        let (cx, by) = (cx.clone(), op.deployment.clone());
        self.files(move |unit| unit.discard(&cx, &by)).await
    }

    async fn health(&self, cx: &Context, op: &Operation) -> Result<View, BackendError> {
        let bus = Bus::connect(self.config()).await?;
        let first = bus.state().await?;
        if let Some(to) = op.to.instance() {
            let enablement = first.file_state.clone();
            let place = self.files(move |unit| unit.in_place(&enablement)).await?;
            if place.is_none_or(|place| place.instance.handle != to.handle) {
                return Ok(View::failed("another unit file is in place"));
            }
        }
        let end = tokio::time::Instant::now() + self.config().soak;
        loop {
            let now = bus.state().await?;
            let settled =
                now.active == "active" && matches!(now.sub.as_str(), "running" | "exited");
            if now.invocation != first.invocation || now.restarts != first.restarts {
                return Ok(View::failed(format!(
                    "it restarted by itself; {}",
                    now.describe()
                )));
            }
            if matches!(now.active.as_str(), "failed" | "inactive" | "deactivating")
                || now.sub == "auto-restart"
            {
                return Ok(View::failed(now.describe()));
            }
            if settled && tokio::time::Instant::now() >= end {
                return Ok(View::Healthy);
            }
            if cx.remaining() <= LOOK {
                return Ok(View::failed(format!("not up in time: {}", now.describe())));
            }
            cx.sleep(LOOK).await?;
        }
    }

    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        let (cx, window) = (cx.clone(), window.to_vec());
        self.files(move |unit| unit.retain(&cx, &window)).await
    }

    async fn configured(
        &self,
        _: &Context,
        _: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        Ok(None)
    }
}
