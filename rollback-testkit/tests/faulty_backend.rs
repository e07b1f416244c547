//! Every verb fails once, and for as long as anybody tries, before and after its effect; in the
//! end one release is live, it is the one on record, and nothing is unfinished.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::history::HistoryReader;
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_testkit::fake::{FakeBackend, FakeTarget};
use rollback_testkit::faults::{FaultyBackend, Side, Verb, VerbFault, VerbTrap};

struct World {
    engine: RollbackEngine,
    store: MemoryStore,
    target: FakeTarget,
    trap: VerbTrap,
}

fn api() -> WorkloadId {
    "api@fake".parse().unwrap()
}

fn me() -> Actor {
    Actor::user("fault-sweep").unwrap()
}

impl World {
    fn new(target: FakeTarget) -> Self {
        let (store, trap) = (MemoryStore::new(), VerbTrap::default());
        let backend = FaultyBackend::new(
            Arc::new(FakeBackend::new(api(), target.clone())),
            trap.clone(),
        );
        let gate = Gate::default()
            .retries(1)
            .interval(Duration::from_millis(1))
            .start_period(Duration::ZERO);
        let engine = RollbackEngine::builder(store.clone())
            .workload(Workload::new(backend).gate(gate).auto_rollback())
            .build()
            .unwrap();
        Self {
            engine,
            store,
            target,
            trap,
        }
    }

    async fn request(&self, request: Request) -> Result<(), Error> {
        self.engine.run(request).await?.await.map(|_| ())
    }

    async fn check(&self, context: &str) {
        assert_eq!(self.target.violations(), Vec::<String>::new(), "{context}");
        for recovered in self.engine.recover().await.unwrap() {
            recovered
                .result
                .unwrap_or_else(|e| panic!("{context}: not recovered: {e}"));
        }
        let state = self.store.workload(&api()).await.unwrap();
        assert!(state.in_flight.is_none(), "{context}: unfinished");
        let LiveRecord::Known(id) = &state.live else {
            panic!("{context}: {:?}", state.live)
        };
        let live = self.engine.get(id).await.unwrap();
        let handle = live.instance().map(|i| i.handle.clone());
        assert_eq!(self.target.live(), handle, "{context}: record and target");
        // What cannot be put away runs on, and the record says that somebody has to look.
        let newest = self
            .engine
            .list(&Query::workload(&api()).limit(1))
            .await
            .unwrap();
        let excused = newest.deployments[0].outcome() == Some(Outcome::Degraded)
            && context.contains("Retire");
        assert!(self.target.running() == 1 || excused, "{context}: one runs");
        // And nobody has to clean up before the next deployment.
        self.request(Request::deploy(api(), "v9", me()))
            .await
            .unwrap();
        assert_eq!(self.target.serving().as_deref(), Some("v9"), "{context}");
        assert_eq!(self.target.running(), 1, "{context}: one runs");
    }
}

async fn sweep(make: fn() -> FakeTarget) {
    let kinds = [BackendErrorKind::Failed, BackendErrorKind::Unreachable];
    for &verb in Verb::ALL {
        for side in [Side::Before, Side::After] {
            for kind in kinds {
                for (nth, more) in [(1, 0), (2, 0), (1, 100)] {
                    for broken in [false, true] {
                        let fault = VerbFault {
                            verb,
                            nth,
                            more,
                            side,
                            kind,
                        };
                        let context = format!("{fault:?}, broken: {broken}");
                        let world = World::new(make());
                        world
                            .request(Request::deploy(api(), "v1", me()))
                            .await
                            .unwrap();
                        world.trap.set(fault);
                        let next = if broken { "broken2" } else { "v2" };
                        // However it ends, it is an answer; what counts is what is left.
                        let _ = world.request(Request::deploy(api(), next, me())).await;
                        world.trap.clear();
                        world.check(&context).await;
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_verb_fails_before_and_after_its_effect_replacing() {
    sweep(FakeTarget::replacing).await;
}

#[tokio::test(start_paused = true)]
async fn every_verb_fails_before_and_after_its_effect_beside() {
    sweep(FakeTarget::beside).await;
}
