//! [`FakeBackend`]: a strict backend in memory, for tests of the engine.
//!
//! It does what its verbs promise and nothing more, and it notes every time the engine breaks its
//! own promise: a switch to what was not prepared, two verbs at once, a release that would run
//! twice.

mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rollback_core::backend::{
    Availability, Backend, End, Evidence, Handle, Instance, Live, Observation, Operation, Prepared,
    Reuse, Rollout, Running, Sighting, WayBack,
};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::health::View;
use rollback_core::id::{BackendKind, DeploymentId};
use rollback_core::release::{Artifact, Release, Restore};

pub use world::{FakeWorld, FakeWorlds};

/// What survives the death of an engine: the target itself. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct FakeTarget(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    beside: bool,
    placed: BTreeMap<Handle, Placed>,
    live: Option<Handle>,
    starts: u64,
    lost: Vec<String>,
    away: bool,
    verbs_running: usize,
    violations: Vec<String>,
}

#[derive(Debug, Clone)]
struct Placed {
    instance: Instance,
    by: Option<DeploymentId>,
    running: Option<u64>,
    was_live: bool,
    complete: bool,
    tampered: bool,
}

impl FakeTarget {
    /// A target whose backend stops one release to start the other.
    pub fn replacing() -> Self {
        Self::default()
    }

    /// A target whose backend runs both for a while.
    pub fn beside() -> Self {
        let target = Self::default();
        target.lock().beside = true;
        target
    }

    /// Promises that the engine has broken.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// What has the traffic: the artifact's digest of the live, running instance.
    pub fn serving(&self) -> Option<String> {
        let state = self.lock();
        let placed = state.placed.get(state.live.as_ref()?)?;
        placed
            .running
            .map(|_| placed.instance.release.artifact().digest.clone())
    }

    /// How many instances run.
    pub fn running(&self) -> usize {
        self.lock()
            .placed
            .values()
            .filter(|p| p.running.is_some())
            .count()
    }

    /// The live instance's handle.
    pub fn live(&self) -> Option<Handle> {
        self.lock().live.clone()
    }

    /// Whether an instance stands at the target, live or not.
    pub fn stands(&self, handle: &Handle) -> bool {
        self.lock().placed.contains_key(handle)
    }

    /// Destroys a release everywhere but where it is live: what stands by, and what could be
    /// fetched.
    pub fn lose(&self, digest: &str) {
        let mut state = self.lock();
        let live = state.live.clone();
        state.lost.push(digest.to_owned());
        state.placed.retain(|handle, p| {
            Some(handle) == live.as_ref() || p.instance.release.artifact().digest != digest
        });
    }

    /// Does not answer until [`mend`](Self::mend).
    pub fn cut(&self) {
        self.lock().away = true;
    }

    /// Ends [`cut`](Self::cut).
    pub fn mend(&self) {
        self.lock().away = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A backend on a [`FakeTarget`]. References are digests; those that begin with `broken` are
/// unhealthy, `missing` is not found.
#[derive(Debug, Clone)]
pub struct FakeBackend(FakeTarget);

/// Notes two verbs at once.
struct Busy<'a>(&'a FakeTarget);

impl<'a> Busy<'a> {
    fn enter(target: &'a FakeTarget, verb: &str) -> Self {
        let mut state = target.lock();
        state.verbs_running += 1;
        if state.verbs_running > 1 {
            state
                .violations
                .push(format!("{verb} while another verb runs"));
        }
        Self(target)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.lock().verbs_running -= 1;
    }
}

fn kind() -> BackendKind {
    "fake".parse().expect("a valid name")
}

fn release(digest: &str) -> Release {
    Release::new(kind(), Artifact::new(digest, digest))
}

impl FakeBackend {
    /// A backend value on this target.
    pub fn new(target: FakeTarget) -> Self {
        Self(target)
    }

    fn reach(&self) -> Result<MutexGuard<'_, State>, BackendError> {
        let state = self.0.lock();
        if state.away {
            return Err(
                BackendError::new(Kind::Unreachable, "the target does not answer")
                    .untouched()
                    .advice("try again"),
            );
        }
        Ok(state)
    }

    /// A boundary between two effects.
    async fn boundary(cx: &Context) -> Result<(), BackendError> {
        // Lets other tasks in, as a real platform would.
        tokio::task::yield_now().await;
        cx.check()
    }
}

#[async_trait]
impl Backend for FakeBackend {
    fn kind(&self) -> BackendKind {
        kind()
    }

    fn default_restore(&self) -> Restore {
        Restore::Everything
    }

    async fn resolve(&self, _: &Context, reference: &str) -> Result<Release, BackendError> {
        let state = self.reach()?;
        let valid = !reference.is_empty()
            && reference.len() < 100
            && reference.chars().all(|c| c.is_ascii_alphanumeric())
            && reference.starts_with(|c: char| c.is_ascii_alphabetic());
        if !valid {
            return Err(BackendError::new(Kind::InvalidReference, "not a reference").untouched());
        }
        if reference == "missing" || state.lost.iter().any(|l| l == reference) {
            return Err(BackendError::new(Kind::NotFound, "no such release")
                .on(reference)
                .untouched());
        }
        Ok(release(reference))
    }

    async fn observe(&self, _: &Context, ends: &[End]) -> Result<Observation, BackendError> {
        let state = self.reach()?;
        let live = match state.live.as_ref().and_then(|h| state.placed.get(h)) {
            None => Live::Nothing,
            Some(placed) => {
                let mut instance = placed.instance.clone();
                if placed.tampered {
                    instance.release = release("tampered");
                }
                let running = match placed.running {
                    Some(_) => Running::Yes,
                    None => Running::No("stopped".into()),
                };
                let start = placed.running.unwrap_or_default().to_string();
                let evidence = Evidence::default().with("start", start);
                Live::One(Sighting {
                    instance,
                    running,
                    evidence,
                    way_back: WayBack::Exact,
                })
            }
        };
        let standbys = state
            .placed
            .values()
            .filter(|p| p.complete && Some(&p.instance.handle) != state.live.as_ref())
            .map(|p| p.instance.clone())
            .collect();
        let availability = ends
            .iter()
            .map(|end| {
                let stands = end
                    .instance()
                    .is_some_and(|i| state.placed.contains_key(&i.handle));
                let digest = end.release().map(|r| r.artifact().digest.clone());
                match digest {
                    Some(digest) if state.lost.contains(&digest) => {
                        Availability::Gone("it was lost".into())
                    }
                    _ if stands => Availability::Standby,
                    _ => Availability::Local,
                }
            })
            .collect();
        Ok(Observation {
            live,
            standbys,
            availability,
            published: None,
        })
    }

    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        let _busy = Busy::enter(&self.0, "prepare");
        Self::boundary(cx).await.map_err(BackendError::untouched)?;
        let wanted = match op.to.release() {
            Some(release) => release.clone(),
            None => return Err(BackendError::new(Kind::Failed, "nothing to prepare").untouched()),
        };
        let handle = {
            let mut state = self.reach()?;
            if state.lost.contains(&wanted.artifact().digest) {
                return Err(BackendError::new(Kind::Gone, "it was lost").untouched());
            }
            let stands = op
                .to
                .instance()
                .and_then(|i| state.placed.get(&i.handle))
                .filter(|p| p.complete && !p.tampered)
                .filter(|p| op.reuse == Reuse::Kept || p.by.as_ref() == Some(&op.deployment));
            match stands {
                Some(placed) => placed.instance.handle.clone(),
                None => {
                    let handle = Handle::new(format!("by-{}", op.deployment));
                    let instance = Instance {
                        release: wanted.clone(),
                        handle: handle.clone(),
                    };
                    state.placed.entry(handle.clone()).or_insert(Placed {
                        instance,
                        by: Some(op.deployment.clone()),
                        running: None,
                        was_live: false,
                        complete: false,
                        tampered: false,
                    });
                    handle
                }
            }
        };
        Self::boundary(cx).await.map_err(BackendError::untouched)?;
        let mut state = self.reach()?;
        let rollout = if state.beside {
            Rollout::Beside
        } else {
            Rollout::Replace
        };
        let Some(placed) = state.placed.get_mut(&handle) else {
            return Err(BackendError::new(Kind::Corrupt, "it vanished").untouched());
        };
        placed.complete = true;
        Ok(Prepared {
            rollout,
            to: placed.instance.clone(),
            way_back: WayBack::Exact,
        })
    }

    async fn start(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        let _busy = Busy::enter(&self.0, "start");
        Self::boundary(cx).await?;
        let mut state = self.reach()?;
        if !state.beside {
            return Ok(Evidence::default());
        }
        state.starts += 1;
        let start = state.starts;
        let handle = op.to.instance().map(|i| i.handle.clone());
        let Some(placed) = handle.and_then(|h| state.placed.get_mut(&h)) else {
            state
                .violations
                .push("start of what was not prepared".into());
            return Err(BackendError::new(Kind::Failed, "not prepared"));
        };
        let start = *placed.running.get_or_insert(start);
        Ok(Evidence::default().with("start", start.to_string()))
    }

    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        let _busy = Busy::enter(&self.0, "switch");
        Self::boundary(cx).await?;
        let to = op.to.instance().map(|i| i.handle.clone());
        if matches!(op.to, End::Planned(_)) {
            self.0
                .lock()
                .violations
                .push("switch to what was not prepared".into());
        }
        {
            let mut state = self.reach()?;
            if !state.beside {
                // Replace: everything else stops first.
                for placed in state.placed.values_mut() {
                    if Some(&placed.instance.handle) != to.as_ref() {
                        placed.running = None;
                    }
                }
                if state.live != to {
                    state.live = None;
                }
            }
        }
        Self::boundary(cx).await?;
        let mut state = self.reach()?;
        let Some(handle) = to else {
            for placed in state.placed.values_mut() {
                placed.running = None;
            }
            state.live = None;
            return Ok(Evidence::default());
        };
        state.starts += 1;
        let start = state.starts;
        let Some(placed) = state.placed.get_mut(&handle) else {
            state.violations.push("switch to what is not there".into());
            return Err(BackendError::new(Kind::Gone, "it is not there"));
        };
        if !placed.complete {
            return Err(BackendError::new(Kind::Corrupt, "it is half made"));
        }
        placed.was_live = true;
        let start = *placed.running.get_or_insert(start);
        state.live = Some(handle);
        Ok(Evidence::default().with("start", start.to_string()))
    }

    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        let _busy = Busy::enter(&self.0, "retire");
        Self::boundary(cx).await?;
        {
            let mut state = self.reach()?;
            let to = op.to.instance().map(|i| i.handle.clone());
            for placed in state.placed.values_mut() {
                if Some(&placed.instance.handle) != to.as_ref() {
                    placed.running = None;
                }
            }
        }
        Self::boundary(cx).await?;
        let mut state = self.reach()?;
        let live = state.live.clone();
        // What this deployment made and never made live goes; the rest stands by.
        state.placed.retain(|handle, p| {
            p.was_live || p.by.as_ref() != Some(&op.deployment) || Some(handle) == live.as_ref()
        });
        Ok(())
    }

    async fn health(&self, _: &Context, op: &Operation) -> Result<View, BackendError> {
        let state = self.reach()?;
        let Some(instance) = op.to.instance() else {
            return Ok(View::NoOpinion);
        };
        let runs = state
            .placed
            .get(&instance.handle)
            .is_some_and(|p| p.running.is_some());
        let digest = &instance.release.artifact().digest;
        Ok(if !runs {
            View::Failed("it does not run".to_owned())
        } else if digest.starts_with("broken") {
            View::Failed(format!("{digest} answers 500"))
        } else {
            View::Healthy
        })
    }

    async fn configured(
        &self,
        _: &Context,
        _: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        Ok(None)
    }

    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        let _busy = Busy::enter(&self.0, "retain");
        Self::boundary(cx).await?;
        let mut state = self.reach()?;
        let live = state.live.clone();
        state.placed.retain(|handle, p| {
            p.by.is_none()
                || Some(handle) == live.as_ref()
                || window.iter().any(|i| i.handle == *handle)
        });
        Ok(())
    }
}
