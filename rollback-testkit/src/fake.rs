//! [`FakeBackend`]: a strict backend in memory, for tests of the engine.
//!
//! It does what its verbs promise and nothing more, and it notes every time the engine breaks its
//! own promise: a switch to what was not prepared, two verbs at once, a release that would run
//! twice.

mod backend;
mod managed;
mod rules;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rollback_core::backend::{Evidence, Handle, Instance, Rollout, Running, Sighting};
use rollback_core::history::{Fence, Sequence};
use rollback_core::id::DeploymentId;

use backend::release;
pub use backend::{Boundary, FakeBackend};
use managed::Rolling;
pub use world::{FakeWorld, FakeWorlds};

/// What survives the death of an engine: the target itself. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct FakeTarget(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    beside: bool,
    managed: bool,
    rolling: Option<Rolling>,
    /// Releases whose rollout gets nowhere.
    stalled: BTreeSet<String>,
    /// How many updates somebody else will win.
    races: usize,
    in_place: bool,
    placed: BTreeMap<Handle, Placed>,
    live: Option<Handle>,
    starts: u64,
    lost: Vec<String>,
    sick: BTreeSet<String>,
    by_hand: u64,
    /// What was taken away by hand, and is found gone.
    removed: BTreeSet<Handle>,
    published: Option<Fence>,
    configured: Option<String>,
    away: bool,
    verbs_running: usize,
    violations: Vec<String>,
}

#[derive(Debug, Clone)]
struct Placed {
    instance: Instance,
    by: Option<DeploymentId>,
    /// That deployment's place in its history.
    sequence: Sequence,
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

    /// From now on its backend places a release where it already stands.
    pub fn now_in_place(&self) {
        self.lock().in_place = true;
    }

    /// From now on its backend stops one release to start the other.
    pub fn now_replacing(&self) {
        self.lock().beside = false;
    }

    /// From now on its backend runs both for a while.
    pub fn now_beside(&self) {
        self.lock().beside = true;
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

    /// Everything that stands at the target, live or not, by handle.
    pub fn standing(&self) -> Vec<Standing> {
        let state = self.lock();
        let standing = state.placed.iter().map(|(handle, placed)| Standing {
            handle: handle.clone(),
            digest: placed.instance.release.artifact().digest.clone(),
            by: placed.by.clone(),
            runs: placed.running.is_some(),
            was_live: placed.was_live,
            complete: placed.complete,
        });
        standing.collect()
    }

    /// From now on the release is unhealthy, whatever it is called.
    pub fn sicken(&self, digest: &str) {
        self.lock().sick.insert(digest.to_owned());
    }

    /// Makes the release healthy again after [`sicken`](Self::sicken).
    pub fn heal(&self, digest: &str) {
        self.lock().sick.remove(digest);
    }

    /// From now on releases are deployed with this configuration. What is live stays as it is.
    pub fn configure(&self, text: &str) {
        self.lock().configured = Some(text.to_owned());
    }

    /// The newest fencing token that is kept here.
    pub fn published(&self) -> Option<Fence> {
        self.lock().published.clone()
    }

    /// Makes a release live the way a person would: what runs is stopped, and another instance,
    /// which no backend made, takes its place.
    pub fn put_live_by_hand(&self, digest: &str) -> Handle {
        let mut state = self.lock();
        for placed in state.placed.values_mut() {
            placed.running = None;
        }
        state.install(digest)
    }

    /// Stops what is live the way a person would. It stays in its place.
    pub fn stop_by_hand(&self) {
        let mut state = self.lock();
        if let Some(live) = state.live.clone()
            && let Some(placed) = state.placed.get_mut(&live)
        {
            placed.running = None;
        }
    }

    /// Removes what is live the way a person would.
    pub fn remove_by_hand(&self) {
        let mut state = self.lock();
        state.rolling = None;
        if let Some(live) = state.live.take() {
            state.placed.remove(&live);
            state.removed.insert(live);
        }
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

    /// Answers again after [`cut`](Self::cut).
    pub fn mend(&self) {
        self.lock().away = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What is seen of what stands there.
    fn sighting(&self, handle: &Handle) -> Option<Sighting> {
        let placed = self.placed.get(handle)?;
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
        Some(Sighting::new(instance, running).evidence(evidence))
    }

    /// How its backend brings releases up.
    fn rollout(&self) -> Rollout {
        match (self.managed, self.beside) {
            (true, _) => Rollout::Managed,
            (false, true) => Rollout::Beside,
            (false, false) => Rollout::Replace,
        }
    }

    /// An instance that no backend made is live.
    fn install(&mut self, digest: &str) -> Handle {
        self.starts += 1;
        self.by_hand += 1;
        let handle = Handle::new(format!("by-hand-{}", self.by_hand));
        let placed = Placed {
            instance: Instance::new(release(digest), handle.clone()),
            by: None,
            sequence: Sequence(0),
            running: Some(self.starts),
            was_live: true,
            complete: true,
            tampered: false,
        };
        self.placed.insert(handle.clone(), placed);
        self.live = Some(handle.clone());
        self.rolling = None;
        handle
    }
}

/// An instance at the target, as tests look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Where the backend finds it.
    pub handle: Handle,
    /// Its artifact's digest.
    pub digest: String,
    /// The deployment that made it; `None`: it was made by hand.
    pub by: Option<DeploymentId>,
    /// Whether it runs.
    pub runs: bool,
    /// Whether it was ever live.
    pub was_live: bool,
    /// Whether it is whole.
    pub complete: bool,
}
