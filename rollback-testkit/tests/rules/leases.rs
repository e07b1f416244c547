//! Leases that expire: kept as long as a run acts, and minded when they are over.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::error::{HookError, StoreError, StoreErrorKind};
use rollback_core::guard::Restart;
use rollback_core::history::{HistoryReader, HistoryStore, Liveness};
use rollback_core::memory::MemoryStore;
use rollback_core::policy::{Keep, Retention};
use rollback_core::prelude::*;
use rollback_testkit::fake::{Boundary, FakeBackend, FakeTarget};
use rollback_testkit::intercept::{Intercept, InterceptedStore, Write};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::support::{api, me};

/// What is held is trusted for this long.
const SPAN: Duration = Duration::from_secs(9);

/// How the store is, as one process sees it.
#[derive(Debug, Clone, Default)]
struct Link(Arc<AtomicU8>);

impl Link {
    const AWAY: u8 = 1;
    const FENCES: u8 = 2;
    /// The next renewal's answer never comes.
    const LOSES_ONE: u8 = 3;
    /// The next two do not.
    const LOSES_TWO: u8 = 5;
    /// Each answer comes late.
    const SLOW: u8 = 4;

    fn set(&self, how: u8) {
        self.0.store(how, Ordering::SeqCst);
    }

    fn answer(&self) -> Result<(), StoreError> {
        let kind = match self.0.load(Ordering::SeqCst) {
            Self::AWAY => StoreErrorKind::Io,
            Self::FENCES => StoreErrorKind::Fenced,
            _ => return Ok(()),
        };
        Err(StoreError::new(kind, "so it is said"))
    }
}

impl Intercept for Link {
    type Passed = ();

    fn before(&self, _: Write<'_>) -> Result<(), StoreError> {
        // What was fenced is for the run to mind: here, nobody keeps it from writing.
        match self.answer() {
            Err(e) if e.kind() == StoreErrorKind::Io => Err(e),
            _ => Ok(()),
        }
    }

    fn renews(&self, _: &WorkloadId) -> Result<(), StoreError> {
        self.answer()
    }

    fn renewal_takes(&self) -> Duration {
        match self.0.load(Ordering::SeqCst) {
            Self::LOSES_ONE => {
                self.set(0);
                SPAN * 1_000
            }
            Self::LOSES_TWO => {
                self.set(Self::LOSES_ONE);
                SPAN * 1_000
            }
            // Later than a second one is sent, and early enough.
            Self::SLOW => SPAN / 3,
            _ => Duration::ZERO,
        }
    }

    fn after(&self, _: Write<'_>, (): ()) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A part of the switch, which nobody can cancel, that takes long, and stops when it is told to.
#[derive(Debug, Clone)]
struct Slow {
    takes: Duration,
    store: MemoryStore,
    began: Arc<Semaphore>,
    /// When it was told to stop, and whether the lease's holder lived then.
    told: Arc<Mutex<Option<(Instant, Liveness)>>>,
}

#[async_trait]
impl Restart for Slow {
    fn name(&self) -> String {
        "slow".into()
    }

    fn runs_on(&self, _: TriggerKind) -> bool {
        true
    }

    async fn restart(&self, cx: &Context, _: &Operation) -> Result<(), HookError> {
        self.began.add_permits(1);
        tokio::select! {
            () = tokio::time::sleep(self.takes) => Ok(()),
            () = cx.cancellation().cancelled() => {
                let state = self.store.workload(&api()).await.unwrap();
                let liveness = state.in_flight.unwrap().liveness;
                *self.told.lock().unwrap() = Some((Instant::now(), liveness));
                // It takes a second to come to rest.
                tokio::time::sleep(Duration::from_secs(1)).await;
                Err("told to stop".into())
            }
        }
    }
}

struct Bench {
    store: MemoryStore,
    target: FakeTarget,
    link: Link,
    slow: Slow,
}

impl Bench {
    fn new(takes: Duration) -> Self {
        let store = MemoryStore::with_ttl(SPAN);
        Self {
            target: FakeTarget::replacing(),
            link: Link::default(),
            slow: Slow {
                takes,
                store: store.clone(),
                began: Arc::new(Semaphore::new(0)),
                told: Arc::default(),
            },
            store,
        }
    }

    /// An engine whose switches are slow, over the link.
    fn slow_engine(&self) -> RollbackEngine {
        let store = InterceptedStore::new(Arc::new(self.store.clone()), self.link.clone());
        let workload = Workload::new(FakeBackend::new(api(), self.target.clone()));
        RollbackEngine::builder(store)
            .workload(workload.restart(self.slow.clone()))
            .build()
            .unwrap()
    }

    /// Another process's.
    fn engine(&self) -> RollbackEngine {
        RollbackEngine::builder(self.store.clone())
            .workload(
                Workload::new(FakeBackend::new(api(), self.target.clone())).restart(Slow {
                    takes: Duration::ZERO,
                    ..self.slow.clone()
                }),
            )
            .build()
            .unwrap()
    }

    async fn last_event(&self, id: &DeploymentId) -> &'static str {
        let record = self.store.get(id).await.unwrap().unwrap();
        record.events().last().unwrap().event.name()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_ran_out_under_a_switch_that_takes_long() {
    let bench = Bench::new(SPAN * 10);
    let run = bench
        .slow_engine()
        .deploy(&api(), "v1", me())
        .await
        .unwrap();
    bench.slow.began.acquire().await.unwrap().forget();
    for _ in 0..9 {
        tokio::time::sleep(SPAN).await;
        let state = bench.store.workload(&api()).await.unwrap();
        assert_eq!(state.in_flight.unwrap().liveness, Liveness::Alive);
        assert!(bench.engine().recover().await.unwrap().is_empty());
    }
    assert!(run.await.unwrap().succeeded());
    assert_eq!(*bench.slow.told.lock().unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_lease_ran_out_when_answers_were_lost_or_all_came_late() {
    for how in [Link::LOSES_ONE, Link::LOSES_TWO, Link::SLOW] {
        let bench = Bench::new(SPAN * 10);
        let engine = bench.slow_engine();
        let run = engine.deploy(&api(), "v1", me()).await.unwrap();
        bench.slow.began.acquire().await.unwrap().forget();
        bench.link.set(how);
        assert!(run.await.unwrap().succeeded(), "{how}");
        assert_eq!(*bench.slow.told.lock().unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_switch_went_on_when_its_lease_could_not_be_renewed() {
    let bench = Bench::new(SPAN * 10);
    let run = bench
        .slow_engine()
        .deploy(&api(), "v1", me())
        .await
        .unwrap();
    let id = run.id().clone();
    bench.slow.began.acquire().await.unwrap().forget();
    tokio::time::sleep(SPAN * 2).await;
    let away = Instant::now();
    bench.link.set(Link::AWAY);
    let error = run.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
    let (told, liveness) = bench.slow.told.lock().unwrap().expect("it is told to stop");
    assert!(told < away + SPAN, "{:?}", told - away);
    assert_eq!(liveness, Liveness::Alive, "nobody else can have taken it");
    // And it has come to rest before anybody else can.
    assert!(Instant::now() < away + SPAN);
    let state = bench.store.workload(&api()).await.unwrap();
    assert_eq!(state.in_flight.unwrap().liveness, Liveness::Alive);
    assert_eq!(bench.last_event(&id).await, "switch-intended");
    tokio::time::sleep(SPAN).await;
    let recovered = bench.engine().recover().await.unwrap();
    assert!(recovered[0].result.as_ref().unwrap().succeeded());
    assert_eq!(bench.target.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_fenced_in_the_middle_of_an_effect_went_back() {
    let bench = Bench::new(SPAN * 10);
    let run = bench
        .slow_engine()
        .deploy(&api(), "v1", me())
        .await
        .unwrap();
    let id = run.id().clone();
    bench.slow.began.acquire().await.unwrap().forget();
    bench.link.set(Link::FENCES);
    let error = run.await.unwrap_err();
    let fenced = ErrorKind::Store(StoreErrorKind::Fenced);
    assert_eq!(error.kind(), fenced, "{error}");
    assert!(bench.slow.told.lock().unwrap().is_some());
    // Whoever has the workload now goes on from here.
    assert_eq!(bench.last_event(&id).await, "switch-intended");
}

/// Before each effect of this verb, two spans pass.
#[derive(Debug)]
struct Waits(&'static str);

#[async_trait]
impl Boundary for Waits {
    async fn reach(&self, verb: &'static str) -> Result<(), BackendError> {
        if verb == self.0 {
            tokio::time::sleep(SPAN * 2).await;
        }
        Ok(())
    }
}

fn none() -> Retention {
    Retention::new(Keep::new(0, 0), Keep::new(0, 0))
}

/// An engine whose clean-up is slow to let go, over the link; three releases are there.
async fn to_be_cleaned_up(bench: &Bench) -> RollbackEngine {
    for n in 1..=3 {
        let run = bench.engine().deploy(&api(), format!("v{n}"), me()).await;
        assert!(run.unwrap().await.unwrap().succeeded());
    }
    let retains =
        FakeBackend::new(api(), bench.target.clone()).with_boundary(Arc::new(Waits("retain")));
    let store = InterceptedStore::new(Arc::new(bench.store.clone()), bench.link.clone());
    RollbackEngine::builder(store)
        .workload(Workload::new(retains))
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_exclusion_ran_out_under_a_clean_up_that_takes_long() {
    let bench = Bench::new(SPAN);
    let engine = to_be_cleaned_up(&bench).await;
    let cleaning = tokio::spawn(async move { engine.clean_up(&api(), Some(none()), &me()).await });
    tokio::time::sleep(SPAN / 2 * 3).await;
    let excluded = bench.store.exclude(&api()).await.unwrap_err();
    assert_eq!(excluded.kind(), StoreErrorKind::Busy);
    cleaning.await.unwrap().unwrap();
    // It has ended its exclusion itself: nobody waits until it is over.
    let run = bench.engine().deploy(&api(), "v4", me()).await.unwrap();
    assert!(run.await.unwrap().succeeded());
}

#[tokio::test(start_paused = true)]
async fn a_clean_up_went_on_when_its_exclusion_was_over() {
    let bench = Bench::new(SPAN);
    let engine = to_be_cleaned_up(&bench).await;
    let standing = bench.target.standing().len();
    let cleaning = tokio::spawn(async move { engine.clean_up(&api(), Some(none()), &me()).await });
    tokio::time::sleep(SPAN / 9).await;
    bench.link.set(Link::AWAY);
    let stopped = cleaning.await.unwrap().unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::Interrupted, "{stopped}");
    assert_eq!(
        bench.target.standing().len(),
        standing,
        "nothing was let go"
    );
    let run = bench.engine().deploy(&api(), "v4", me()).await.unwrap();
    assert!(run.await.unwrap().succeeded());
}
