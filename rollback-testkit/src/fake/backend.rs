//! [`FakeBackend`]: the eight verbs on a [`FakeTarget`].

use std::fmt;
use std::sync::{Arc, MutexGuard};

use async_trait::async_trait;
use rollback_core::backend::{
    Address, Availability, Backend, End, Evidence, Handle, Instance, Live, Observation, Operation,
    Place, Prepared, Reuse, Rollout, Started,
};
use rollback_core::context::Context;
use rollback_core::diagnosis::Words;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::health::View;
use rollback_core::id::{BackendKind, WorkloadId};
use rollback_core::release::{Artifact, Facet, Release, Restore};

use super::{FakeTarget, Placed, State};

/// Is asked each time a verb is about to have an effect on the target.
#[async_trait]
pub trait Boundary: fmt::Debug + Send + Sync {
    /// The verb goes on when this returns; an error is the platform's refusal of the effect.
    async fn reach(&self, verb: &'static str) -> Result<(), BackendError>;
}

/// A backend on a [`FakeTarget`]. References are digests; those that begin with `broken` are
/// unhealthy, `missing` is not found.
#[derive(Debug, Clone)]
pub struct FakeBackend {
    workload: WorkloadId,
    target: FakeTarget,
    boundary: Option<Arc<dyn Boundary>>,
}

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

/// A release with today's configuration.
fn configured(release: Release, text: &str) -> Release {
    release.with_facet("config", Facet::Text(text.to_owned()))
}

fn kind() -> BackendKind {
    "fake".parse().expect("a valid name")
}

pub(super) fn release(digest: &str) -> Release {
    Release::new(kind(), Artifact::new(digest, digest))
}

/// The port at which the `start`th thing that was started answers.
fn port(start: u64) -> u16 {
    u16::try_from(start).unwrap_or(u16::MAX)
}

impl FakeBackend {
    /// A backend value for this workload, on this target.
    pub fn new(workload: WorkloadId, target: FakeTarget) -> Self {
        Self {
            workload,
            target,
            boundary: None,
        }
    }

    /// The same, with somebody who is told of each boundary between two effects.
    #[must_use]
    pub fn with_boundary(mut self, boundary: Arc<dyn Boundary>) -> Self {
        self.boundary = Some(boundary);
        self
    }

    pub(super) fn reach(&self) -> Result<MutexGuard<'_, State>, BackendError> {
        let state = self.target.lock();
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
    pub(super) async fn boundary(
        &self,
        cx: &Context,
        verb: &'static str,
    ) -> Result<(), BackendError> {
        // Lets other tasks in, as a real platform would.
        tokio::task::yield_now().await;
        cx.check()?;
        if let Some(boundary) = &self.boundary {
            boundary.reach(verb).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Backend for FakeBackend {
    fn kind(&self) -> BackendKind {
        kind()
    }

    fn workload(&self) -> &WorkloadId {
        &self.workload
    }

    fn place(&self) -> Place {
        Place::new("fake", self.workload.to_string())
    }

    fn rollout(&self) -> Rollout {
        self.target.lock().rollout()
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
        let release = release(reference);
        Ok(match &state.configured {
            Some(text) => configured(release, text),
            None => release,
        })
    }

    async fn observe(&self, _: &Context) -> Result<Observation, BackendError> {
        let state = self.reach()?;
        let seen = state.live.as_ref().and_then(|live| state.sighting(live));
        let live = state
            .rolling_out()
            .unwrap_or_else(|| seen.map_or(Live::Nothing, Live::One));
        Ok(Observation::new(live, state.published.clone()))
    }

    async fn availability(&self, _: &Context, end: &End) -> Result<Availability, BackendError> {
        let state = self.reach()?;
        let stands = end
            .instance()
            .is_some_and(|i| state.placed.contains_key(&i.handle));
        let digest = end.release().map(|r| &r.artifact().digest);
        Ok(match digest {
            Some(digest) if state.lost.contains(digest) => Availability::Gone("it was lost".into()),
            _ if stands => Availability::Standby,
            _ => Availability::Local,
        })
    }

    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        let _busy = Busy::enter(&self.target, "prepare");
        self.boundary(cx, "prepare")
            .await
            .map_err(BackendError::untouched)?;
        let wanted = match op.to.release() {
            Some(release) => release.clone(),
            None => return Err(BackendError::new(Kind::Failed, "nothing to prepare").untouched()),
        };
        let handle = {
            let mut state = self.reach()?;
            if state.lost.contains(&wanted.artifact().digest) {
                return Err(BackendError::new(Kind::Gone, "it was lost").untouched());
            }
            let same = |p: &&Placed| state.in_place && p.instance.release == wanted;
            let stands = op
                .to
                .instance()
                .and_then(|i| state.placed.get(&i.handle))
                .or_else(|| state.placed.values().find(same))
                .filter(|p| p.complete && !p.tampered)
                .filter(|p| op.reuse == Reuse::Kept || p.by.as_ref() == Some(&op.deployment));
            match stands {
                Some(placed) => placed.instance.handle.clone(),
                None => {
                    let handle = Handle::new(format!("by-{}", op.deployment));
                    let instance = Instance::new(wanted.clone(), handle.clone());
                    state.placed.entry(handle.clone()).or_insert(Placed {
                        instance,
                        by: Some(op.deployment.clone()),
                        sequence: op.sequence,
                        running: None,
                        was_live: false,
                        complete: false,
                        tampered: false,
                    });
                    handle
                }
            }
        };
        self.boundary(cx, "prepare")
            .await
            .map_err(BackendError::untouched)?;
        let mut state = self.reach()?;
        let rollout = state.rollout();
        let Some(placed) = state.placed.get_mut(&handle) else {
            return Err(BackendError::new(Kind::Corrupt, "it vanished").untouched());
        };
        placed.complete = true;
        Ok(Prepared::new(rollout, placed.instance.clone()))
    }

    async fn start(&self, cx: &Context, op: &Operation) -> Result<Started, BackendError> {
        let _busy = Busy::enter(&self.target, "start");
        self.boundary(cx, "start").await?;
        let mut state = self.reach()?;
        if !state.beside {
            return Ok(Started::default());
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
        let evidence = Evidence::default().with("start", start.to_string());
        Ok(Started::new(evidence).at("main", Address::new("fake", port(start))))
    }

    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        let _busy = Busy::enter(&self.target, "switch");
        self.boundary(cx, "switch").await?;
        let to = op.to.instance().map(|i| i.handle.clone());
        if matches!(op.to, End::Planned(_)) {
            self.target
                .lock()
                .violations
                .push("switch to what was not prepared".into());
        }
        let managed = self.target.lock().managed;
        if let Some(to) = to.as_ref().filter(|_| managed) {
            return self.roll_out(cx, op, to).await;
        }
        {
            let mut state = self.reach()?;
            state.publish(cx)?;
            state.is_known(op)?;
            if !state.beside {
                // Replace: what was live stops first.
                state.stop_all_but(to.as_ref(), op);
                if state.live != to {
                    state.live = None;
                }
            }
        }
        self.boundary(cx, "switch").await?;
        let mut state = self.reach()?;
        state.publish(cx)?;
        state.is_known(op)?;
        let Some(handle) = to else {
            state.stop_all_but(None, op);
            state.live = None;
            state.rolling = None;
            return Ok(Evidence::default());
        };
        state.bring_up(op, &handle)
    }

    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        let _busy = Busy::enter(&self.target, "retire");
        self.boundary(cx, "retire").await?;
        {
            let mut state = self.reach()?;
            state.publish(cx)?;
            let to = op.to.instance().map(|i| i.handle.clone());
            state.stop_all_but(to.as_ref(), op);
        }
        self.boundary(cx, "retire").await?;
        let mut state = self.reach()?;
        state.publish(cx)?;
        let live = state.live.clone();
        // What this deployment made and never made live goes; the rest stands by.
        state.placed.retain(|handle, p| {
            p.was_live || p.by.as_ref() != Some(&op.deployment) || Some(handle) == live.as_ref()
        });
        Ok(())
    }

    async fn health(&self, _: &Context, instance: &Instance) -> Result<View, BackendError> {
        let state = self.reach()?;
        let runs = state
            .placed
            .get(&instance.handle)
            .is_some_and(|p| p.running.is_some());
        let digest = &instance.release.artifact().digest;
        let rolls = state.rolling.as_ref();
        Ok(
            if rolls.is_some_and(|rolling| rolling.to == instance.handle) {
                View::NotYet("it is being rolled out".to_owned())
            } else if !runs {
                View::failed("it does not run")
            } else if digest.starts_with("broken") || state.sick.contains(digest) {
                View::failed(format!("{digest} answers 500"))
            } else {
                View::Healthy
            },
        )
    }

    async fn diagnose(&self, _: &Context, instance: &Instance) -> Result<Words, BackendError> {
        let state = self.reach()?;
        let digest = &instance.release.artifact().digest;
        let sick = digest.starts_with("broken") || state.sick.contains(digest);
        let stands = state.placed.get(&instance.handle);
        Ok(match stands {
            Some(placed) if sick => Words::default()
                .fact("runs", placed.running.is_some())
                .log(&format!("{digest} starts\n{digest} is sick")),
            _ => Words::default(),
        })
    }

    async fn configured(
        &self,
        _: &Context,
        live: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        let state = self.reach()?;
        Ok(match (&state.configured, live) {
            (Some(text), Some(live)) => Some(configured(live.clone(), text)),
            _ => None,
        })
    }

    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        let _busy = Busy::enter(&self.target, "retain");
        self.boundary(cx, "retain").await?;
        // It may have been told to stop while it waited there.
        if cx.cancellation().is_cancelled() {
            cx.check()?;
        }
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
