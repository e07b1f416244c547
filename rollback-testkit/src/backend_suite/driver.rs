//! Drives a backend's verbs as the engine does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rollback_core::backend::{
    Availability, Backend, End, Evidence, Instance, Live, Observation, Operation, Preflight,
    Rollout,
};
use rollback_core::context::Context;
use rollback_core::error::BackendError;
use rollback_core::health::View;
use rollback_core::history::Sequence;
use rollback_core::id::DeploymentId;
use rollback_core::release::Release;
use rollback_core::time::{Clock, SystemClock};

use crate::world::{Build, World};

/// Longest time for one verb.
const VERB: Duration = Duration::from_secs(90);

static SEQUENCE: AtomicU64 = AtomicU64::new(1);

/// A verb that has effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// [`Backend::prepare`].
    Prepare,
    /// [`Backend::start`].
    Start,
    /// [`Backend::switch`].
    Switch,
    /// [`Backend::retire`].
    Retire,
}

/// One world, driven verb by verb. Every call makes a new backend value, as a new process would.
#[derive(Clone)]
pub struct Driver {
    world: Arc<dyn World>,
    /// What the last `prepare` said.
    rollout: Arc<Mutex<Option<Rollout>>>,
}

impl Driver {
    /// Drives this world.
    pub fn new(world: Arc<dyn World>) -> Self {
        Self {
            world,
            rollout: Arc::default(),
        }
    }

    /// A context with time enough.
    pub fn cx() -> Context {
        Context::new(VERB)
    }

    /// A new backend value.
    pub fn backend(&self) -> Arc<dyn Backend> {
        self.world.backend()
    }

    /// Resolves a build's reference.
    pub async fn resolve(&self, build: Build) -> Release {
        let reference = self.world.reference(build);
        self.backend()
            .resolve(&Self::cx(), &reference)
            .await
            .unwrap_or_else(|e| panic!("{reference} does not resolve: {e}"))
    }

    /// Looks at what is live.
    pub async fn observe(&self) -> Observation {
        let seen = self.backend().observe(&Self::cx()).await;
        seen.unwrap_or_else(|e| panic!("observe failed: {e}"))
    }

    /// Asks how near an end is.
    pub async fn availability(&self, end: &End) -> Availability {
        let near = self.backend().availability(&Self::cx(), end).await;
        near.unwrap_or_else(|e| panic!("availability failed: {e}"))
    }

    /// Looks ahead.
    pub async fn preflight(&self, from: &End, to: &End) -> Preflight {
        let seen = self.backend().preflight(&Self::cx(), from, to).await;
        seen.unwrap_or_else(|e| panic!("preflight failed: {e}"))
    }

    /// Everything that can be seen: what is live, and how near these ends are.
    pub async fn look(&self, ends: &[&End]) -> (Observation, Vec<Availability>) {
        let mut near = Vec::new();
        for end in ends {
            near.push(self.availability(end).await);
        }
        (self.observe().await, near)
    }

    /// The live instance.
    pub async fn live(&self) -> End {
        match self.observe().await.live {
            Live::Nothing => End::Nothing,
            Live::One(sighting) => End::Placed(sighting.instance),
            // Suites leave no rollout to itself but one that they go on with.
            Live::RollingOut(rolling) => End::Placed(rolling.to.instance),
            other => panic!("not one is live: {other:?}"),
        }
    }

    /// A new deployment from what is live to `to`.
    pub async fn operation(&self, to: End) -> Operation {
        Operation::new(
            self.world.workload(),
            DeploymentId::generate(SystemClock.now()),
            Sequence(SEQUENCE.fetch_add(1, Ordering::SeqCst)),
            self.live().await,
            to,
        )
    }

    /// A new deployment of a build.
    pub async fn operation_to(&self, build: Build) -> Operation {
        let release = self.resolve(build).await;
        self.operation(End::Planned(release)).await
    }

    /// Runs one verb with a context of one's own.
    ///
    /// # Errors
    ///
    /// The verb's own, as it is.
    pub async fn verb(
        &self,
        step: Step,
        cx: &Context,
        op: &mut Operation,
    ) -> Result<Evidence, BackendError> {
        let backend = self.backend();
        match step {
            Step::Prepare => {
                let prepared = backend.prepare(cx, op).await?;
                let planned = op.to.release().expect("prepare goes somewhere");
                assert_eq!(
                    prepared.to.release.digest(),
                    planned.digest(),
                    "what is prepared is what was planned"
                );
                op.to = End::Placed(prepared.to);
                *self.lock() = Some(prepared.rollout);
                Ok(Evidence::default())
            }
            Step::Start => backend.start(cx, op).await.map(|started| started.evidence),
            Step::Switch => backend.switch(cx, op).await,
            Step::Retire => backend.retire(cx, op).await.map(|()| Evidence::default()),
        }
    }

    /// Runs one verb that must succeed.
    pub async fn must(&self, step: Step, op: &mut Operation) -> Evidence {
        let result = self.verb(step, &Self::cx(), op).await;
        result.unwrap_or_else(|e| panic!("{step:?} failed: {e}"))
    }

    /// The verbs that make a prepared operation live, in the engine's order.
    fn to_live(&self) -> &'static [Step] {
        match *self.lock() {
            Some(Rollout::Beside) => &[Step::Start, Step::Switch],
            _ => &[Step::Switch],
        }
    }

    /// Makes a prepared operation live; both may run until it is retired.
    pub async fn go_live(&self, op: &mut Operation) {
        for step in self.to_live() {
            self.must(*step, op).await;
        }
    }

    /// The verbs that a deployment of this operation takes, forward. It is prepared to tell.
    pub async fn steps(&self, op: &Operation) -> Vec<Step> {
        self.must(Step::Prepare, &mut op.clone()).await;
        let mut steps = vec![Step::Prepare];
        steps.extend(self.to_live());
        steps.push(Step::Retire);
        steps
    }

    fn lock(&self) -> MutexGuard<'_, Option<Rollout>> {
        self.rollout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deploys a build from beginning to end; the operation, placed.
    pub async fn deploy(&self, build: Build) -> Operation {
        let op = self.operation_to(build).await;
        self.run(op).await
    }

    /// Runs an operation from beginning to end.
    pub async fn run(&self, mut op: Operation) -> Operation {
        self.must(Step::Prepare, &mut op).await;
        self.finish(op).await
    }

    /// Runs a prepared operation to its end.
    pub async fn finish(&self, mut op: Operation) -> Operation {
        self.go_live(&mut op).await;
        self.must(Step::Retire, &mut op).await;
        op
    }

    /// Goes back from after `switch` was begun.
    pub async fn go_back(&self, op: &Operation) {
        let mut back = op.reversed();
        self.must(Step::Switch, &mut back).await;
        self.must(Step::Retire, &mut back).await;
    }

    /// The platform's view of `op.to`, once it can tell.
    pub async fn health(&self, op: &Operation) -> View {
        let deadline = Instant::now() + VERB;
        let instance = placed(op);
        loop {
            let view = self.backend().health(&Self::cx(), &instance).await;
            match view.unwrap_or_else(|e| panic!("health failed: {e}")) {
                View::NotYet(why) => assert!(Instant::now() < deadline, "not yet: {why}"),
                view => return view,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Checks what serves, that it alone runs, and that the backend sees this instance live.
    pub async fn expect(&self, build: Build, instance: Option<&Instance>) {
        assert_eq!(
            self.world.serving().await.as_deref(),
            Some(build.answer()),
            "what serves"
        );
        assert_eq!(self.world.running().await, 1, "exactly one runs");
        let seen = self.observe().await;
        if let Some(instance) = instance {
            assert!(
                seen.shows(instance),
                "{instance:?} is live, not {:?}",
                seen.live
            );
        }
    }

    /// Checks that nothing serves, runs or is live.
    pub async fn expect_nothing(&self) {
        assert_eq!(self.world.serving().await, None, "nothing serves");
        assert_eq!(self.world.running().await, 0, "nothing runs");
        assert_eq!(self.live().await, End::Nothing);
    }
}

/// The instance that an operation has placed.
pub(super) fn placed(op: &Operation) -> Instance {
    op.to.instance().cloned().expect("prepared")
}
