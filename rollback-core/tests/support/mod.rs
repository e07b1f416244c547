//! A backend of a few lines, and an engine on it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rollback_core::engine::{Report, RollbackEngine, Workload};
use rollback_core::history::Fence;
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;

#[derive(Debug, Default)]
pub struct Target {
    pub live: Option<Instance>,
    pub standbys: Vec<Instance>,
    pub gone: BTreeSet<String>,
    pub unreachable: bool,
    pub vanishes_at_switch: bool,
    pub switches: usize,
    pub switch_fails: BTreeSet<String>,
    /// Refuses to put anything away.
    pub retire_fails: bool,
    /// Today's configuration: what a resolved release gets as its facet `env`.
    pub env: BTreeMap<String, FacetValue>,
    /// Today's unit: what it gets as its facet `unit`.
    pub unit: Option<String>,
    /// What the branch `main` means.
    pub branch: Option<&'static str>,
    /// What the last `retain` was to keep.
    pub window: Option<Vec<String>>,
    /// The fencing token of whoever published last.
    pub published: Option<Fence>,
    /// That of whoever has let go what is no more needed.
    pub retained_by: Option<Fence>,
    /// What is live was stopped, as by a reboot.
    pub stopped: bool,
    /// What started last, as running evidence.
    pub boots: usize,
    /// How often something was put away.
    pub retires: usize,
    /// For so many more looks, health cannot be told.
    pub not_yet: usize,
    /// The same of one release alone.
    pub not_yet_of: BTreeMap<String, usize>,
    /// Today's configuration cannot be read.
    pub configured_fails: bool,
    /// Why what is live could not be put back.
    pub no_way_back: Option<String>,
    /// For so many more times, switching to what is not sick fails.
    pub switch_fails_for: usize,
}

/// Releases are their references; those that begin with "sick" are unhealthy.
#[derive(Debug, Clone)]
pub struct Shelf(pub Arc<Mutex<Target>>, WorkloadId, Place);

impl Default for Shelf {
    fn default() -> Self {
        Self::of("api@web-1")
    }
}

impl Shelf {
    pub fn of(workload: &str) -> Self {
        let place = Place::new("shelf", workload);
        Self(Arc::default(), workload.parse().unwrap(), place)
    }

    pub fn at(mut self, place: Place) -> Self {
        self.2 = place;
        self
    }

    pub fn live(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap()
            .live
            .as_ref()
            .map(|i| i.release.artifact().digest.clone())
    }

    fn reach(&self) -> Result<std::sync::MutexGuard<'_, Target>, BackendError> {
        let target = self.0.lock().unwrap();
        if target.unreachable {
            return Err(BackendError::new(BackendErrorKind::Unreachable, "shelf away").untouched());
        }
        Ok(target)
    }
}

#[async_trait]
impl Backend for Shelf {
    fn kind(&self) -> BackendKind {
        "shelf".parse().unwrap()
    }

    fn workload(&self) -> &WorkloadId {
        &self.1
    }

    fn place(&self) -> Place {
        self.2.clone()
    }

    fn rollout(&self) -> Rollout {
        Rollout::Replace
    }

    fn default_restore(&self) -> Restore {
        Restore::Everything
    }

    async fn resolve(&self, _: &Context, reference: &str) -> Result<Release, BackendError> {
        let target = self.reach()?;
        if reference.is_empty() || reference == "missing" {
            return Err(
                BackendError::new(BackendErrorKind::NotFound, "no such release")
                    .on(reference)
                    .untouched(),
            );
        }
        let artifact = match target.branch {
            Some(digest) if reference == "main" => Artifact::by_branch("main", digest),
            _ => Artifact::new(reference, reference),
        };
        let mut release = Release::new(self.kind(), artifact);
        if !target.env.is_empty() {
            release = release.with_facet("env", Facet::Table(target.env.clone()));
        }
        if let Some(unit) = &target.unit {
            release = release.with_facet("unit", Facet::Text(unit.clone()));
        }
        Ok(release)
    }

    async fn observe(&self, _: &Context) -> Result<Observation, BackendError> {
        let target = self.reach()?;
        let live = target.live.as_ref().map_or(Live::Nothing, |instance| {
            let running = match target.stopped {
                false => Running::Yes,
                true => Running::No("stopped".into()),
            };
            let evidence = Evidence::default().with("boot", target.boots.to_string());
            let way_back = match &target.no_way_back {
                Some(why) => WayBack::None(why.clone()),
                None => WayBack::Exact,
            };
            let sighting = Sighting::new(instance.clone(), running).evidence(evidence);
            Live::One(sighting.way_back(way_back))
        });
        Ok(Observation::new(live, target.published.clone()))
    }

    async fn availability(&self, _: &Context, end: &End) -> Result<Availability, BackendError> {
        let target = self.reach()?;
        Ok(match end.release().map(|r| &r.artifact().digest) {
            Some(digest) if target.gone.contains(digest) => {
                Availability::Gone("it was pruned".into())
            }
            _ if end.instance().is_some_and(|i| target.standbys.contains(i)) => {
                Availability::Standby
            }
            _ => Availability::Local,
        })
    }

    async fn prepare(&self, _: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        let mut target = self.reach()?;
        let to = match &op.to {
            End::Placed(instance) => instance.clone(),
            end => Instance::new(
                end.release().unwrap().clone(),
                Handle::new(op.deployment.as_str()),
            ),
        };
        if target.gone.contains(&to.release.artifact().digest) {
            return Err(BackendError::new(BackendErrorKind::Gone, "pruned").untouched());
        }
        if !target.standbys.contains(&to) {
            target.standbys.push(to.clone());
        }
        Ok(Prepared::new(Rollout::Replace, to))
    }

    async fn start(&self, _: &Context, _: &Operation) -> Result<Started, BackendError> {
        Ok(Started::default())
    }

    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        let mut target = self.reach()?;
        target.switches += 1;
        if std::mem::take(&mut target.vanishes_at_switch) {
            target.unreachable = true;
            return Err(BackendError::new(
                BackendErrorKind::Unreachable,
                "shelf away",
            ));
        }
        cx.may_publish(target.published.as_ref())?;
        let to = op.to.instance().cloned();
        let sick = |i: &Instance| i.release.artifact().digest.starts_with("sick");
        if target.switch_fails_for > 0 && !to.as_ref().is_some_and(sick) {
            target.switch_fails_for -= 1;
            return Err(BackendError::new(BackendErrorKind::Failed, "it hiccups"));
        }
        if let Some(to) = &to
            && target.switch_fails.contains(&to.release.artifact().digest)
        {
            target.live = None;
            return Err(BackendError::new(
                BackendErrorKind::Failed,
                "it does not start",
            ));
        }
        target.live = to;
        target.stopped = false;
        target.published = cx.fence().cloned().or(target.published.take());
        Ok(Evidence::default()
            .with("switch", target.switches.to_string())
            .with("boot", target.boots.to_string()))
    }

    async fn retire(&self, _: &Context, _: &Operation) -> Result<(), BackendError> {
        let mut target = self.reach()?;
        if target.retire_fails {
            return Err(BackendError::new(BackendErrorKind::Failed, "it is in use"));
        }
        target.retires += 1;
        Ok(())
    }

    async fn health(&self, _: &Context, instance: &Instance) -> Result<View, BackendError> {
        let mut target = self.reach()?;
        if target.not_yet > 0 {
            target.not_yet -= 1;
            return Ok(View::NotYet("it starts".into()));
        }
        let digest = &instance.release.artifact().digest;
        if let Some(left) = target.not_yet_of.get_mut(digest).filter(|left| **left > 0) {
            *left -= 1;
            return Ok(View::NotYet("it starts".into()));
        }
        Ok(if digest.starts_with("sick") {
            View::Failed(format!("{digest} is sick"))
        } else if digest.starts_with("mute") {
            View::NoOpinion
        } else {
            View::Healthy
        })
    }

    async fn configured(
        &self,
        _: &Context,
        live: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        let target = self.reach()?;
        if target.configured_fails {
            return Err(BackendError::new(
                BackendErrorKind::Corrupt,
                "the key is damaged",
            ));
        }
        let Some(live) = live else { return Ok(None) };
        let mut release = Release::new(self.kind(), live.artifact().clone());
        if !target.env.is_empty() {
            release = release.with_facet("env", Facet::Table(target.env.clone()));
        }
        if let Some(unit) = &target.unit {
            release = release.with_facet("unit", Facet::Text(unit.clone()));
        }
        Ok(Some(release))
    }

    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        let mut target = self.reach()?;
        target.retained_by = cx.fence().cloned();
        let names = window.iter().map(|i| i.release.artifact().digest.clone());
        target.window = Some(names.collect());
        Ok(())
    }
}

pub struct Bench {
    pub shelf: Shelf,
    pub store: MemoryStore,
    pub engine: RollbackEngine,
    pub api: WorkloadId,
}

pub fn me() -> Actor {
    Actor::user("ada").unwrap()
}

impl Bench {
    pub fn new() -> Self {
        Self::with(|workload| workload)
    }

    pub fn armed() -> Self {
        Self::with(Workload::auto_rollback)
    }

    pub fn with(adjust: impl FnOnce(Workload) -> Workload) -> Self {
        let (shelf, store) = (Shelf::default(), MemoryStore::new());
        let api: WorkloadId = "api@web-1".parse().unwrap();
        let workload = adjust(Workload::new(shelf.clone()));
        let engine = RollbackEngine::builder(store.clone())
            .workload(workload)
            .build()
            .unwrap();
        Self {
            shelf,
            store,
            engine,
            api,
        }
    }

    pub async fn deploy(&self, reference: &str) -> Report {
        self.engine
            .deploy(&self.api, reference, me())
            .await
            .unwrap()
            .await
            .unwrap()
    }

    pub async fn adopt(&self) -> Report {
        let run = self.engine.adopt(&self.api, me()).await.unwrap();
        run.await.unwrap()
    }

    pub async fn rollback(&self, goal: Goal) -> Result<Report, Error> {
        self.engine.rollback(&self.api, goal, me()).await?.await
    }

    pub fn live(&self) -> String {
        self.shelf.live().unwrap_or_else(|| "nothing".into())
    }
}
