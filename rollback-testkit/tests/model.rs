//! Random histories against a reference model: deploys good and broken, rollbacks to every goal,
//! failures of the store at every write, recovery.
//!
//! `PROPTEST_CASES` sets how many.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::error::StoreErrorKind;
use rollback_core::history::HistoryReader;
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_testkit::fake::{FakeBackend, FakeTarget};
use rollback_testkit::faults::{FaultyStore, Side, Trap};

/// What a person would expect, in a few lines: the releases that went live, in order, each with
/// whether it was healthy, and which of them a rollback brought back.
#[derive(Debug, Clone, Default)]
struct Model {
    beside: bool,
    next: usize,
    /// What was last deployed again.
    again: Option<String>,
    /// Settled lives: digest, healthy, and the index of the life whose release it brings back, or goes
    /// on with.
    lives: Vec<(String, bool, Option<usize>)>,
    /// After a fault the model no longer knows which way it went; the invariants still hold.
    in_doubt: bool,
}

impl Model {
    fn live(&self) -> Option<&str> {
        self.lives.last().map(|l| l.0.as_str())
    }

    fn origin(&self, mut i: usize) -> usize {
        while let Some(of) = self.lives[i].2 {
            i = of;
        }
        i
    }

    /// The newest healthy life before the origin of what is live that is another release.
    fn last_healthy(&self) -> Option<usize> {
        let live = self.lives.len().checked_sub(1)?;
        (0..self.origin(live))
            .rev()
            .find(|i| self.lives[*i].1 && Some(self.lives[*i].0.as_str()) != self.live())
    }

    fn previous(&self) -> Option<usize> {
        let mut at = self.origin(self.lives.len().checked_sub(1)?);
        loop {
            let before = at.checked_sub(1)?;
            if Some(self.lives[before].0.as_str()) != self.live() {
                return Some(before);
            }
            at = self.origin(before);
        }
    }

    fn rolled_back(&mut self, to: Option<usize>) {
        if let Some(to) = to {
            let (digest, healthy, _) = self.lives[to].clone();
            self.lives.push((digest, healthy, Some(to)));
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Deploy {
        broken: bool,
    },
    Again {
        index: usize,
    },
    LastHealthy,
    Previous,
    Faulty {
        nth: usize,
        after: bool,
        broken: bool,
    },
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Act;

    fn init_state() -> BoxedStrategy<Self> {
        any::<bool>()
            .prop_map(|beside| Self {
                beside,
                ..Self::default()
            })
            .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Act> {
        prop_oneof![
            4 => any::<bool>().prop_map(|broken| Act::Deploy { broken }),
            1 => any::<usize>().prop_map(|index| Act::Again { index }),
            2 => Just(Act::LastHealthy),
            2 => Just(Act::Previous),
            3 => (1..20_usize, any::<bool>(), any::<bool>())
                .prop_map(|(nth, after, broken)| Act::Faulty { nth, after, broken }),
        ]
        .boxed()
    }

    fn apply(mut state: Self, act: &Act) -> Self {
        match act {
            // Beside the live release a broken one is found out before it has the traffic.
            Act::Deploy { broken: true } if state.beside => state.next += 1,
            Act::Deploy { broken } => {
                state.next += 1;
                state
                    .lives
                    .push((digest(*broken, state.next), !broken, None));
                if *broken {
                    let to = state.last_healthy();
                    state.rolled_back(to);
                }
            }
            Act::Again { index } if !state.lives.is_empty() => {
                let (digest, healthy, _) = state.lives[index % state.lives.len()].clone();
                let goes_on = state.live() == Some(&*digest);
                let live = state.lives.len() - 1;
                state.again = Some(digest.clone());
                state.lives.push((digest, healthy, goes_on.then_some(live)));
                if !healthy {
                    let to = state.last_healthy();
                    state.rolled_back(to);
                }
            }
            Act::Again { .. } => {}
            Act::LastHealthy => {
                let to = state.last_healthy();
                state.rolled_back(to);
            }
            Act::Previous => {
                let to = state.previous();
                state.rolled_back(to);
            }
            Act::Faulty { .. } => {
                state.next += 1;
                state.in_doubt = true;
            }
        }
        state
    }
}

fn digest(broken: bool, n: usize) -> String {
    format!("{}{n}", if broken { "broken" } else { "good" })
}

struct Real {
    runtime: tokio::runtime::Runtime,
    engine: RollbackEngine,
    store: MemoryStore,
    target: FakeTarget,
    trap: Trap,
}

impl Real {
    fn api() -> WorkloadId {
        "api@fake".parse().unwrap()
    }

    async fn request(&self, request: Request) -> Result<(), Error> {
        self.engine.run(request).await?.await.map(|_| ())
    }

    fn me() -> Actor {
        Actor::user("model").unwrap()
    }
}

impl StateMachineTest for Real {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(model: &Model) -> Self {
        let target = if model.beside {
            FakeTarget::beside()
        } else {
            FakeTarget::replacing()
        };
        let (store, trap) = (MemoryStore::new(), Trap::default());
        let workload = Workload::new(FakeBackend::new(Self::api(), target.clone())).auto_rollback();
        let engine =
            RollbackEngine::builder(FaultyStore::new(Arc::new(store.clone()), trap.clone()))
                .workload(workload)
                .build()
                .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Self {
            runtime,
            engine,
            store,
            target,
            trap,
        }
    }

    fn apply(real: Self, model: &Model, act: Act) -> Self {
        let api = Self::api();
        real.runtime.block_on(async {
            match act {
                Act::Deploy { broken } => {
                    let request = Request::deploy(api, digest(broken, model.next), Self::me());
                    real.request(request).await.unwrap();
                }
                Act::Again { .. } => {
                    if let Some(digest) = &model.again {
                        let request = Request::deploy(api, digest.clone(), Self::me());
                        real.request(request).await.unwrap();
                    }
                }
                Act::LastHealthy | Act::Previous => {
                    let goal = if matches!(act, Act::Previous) {
                        Goal::Previous
                    } else {
                        Goal::LastHealthy
                    };
                    if let Err(e) = real.request(Request::rollback(api, goal, Self::me())).await {
                        assert!(e.refusal().is_some(), "only a refusal: {e}");
                    }
                }
                Act::Faulty { nth, after, broken } => {
                    let side = if after { Side::After } else { Side::Before };
                    // Not transient: the engine stops at once, as if it had been killed.
                    real.trap.set(nth, side, StoreErrorKind::ReadOnly);
                    let request = Request::deploy(api, digest(broken, model.next), Self::me());
                    let result = real.request(request).await;
                    assert!(
                        result.is_err() || real.trap.is_set(),
                        "a sprung trap is an error"
                    );
                    real.trap.clear();
                    for recovered in real.engine.recover().await.unwrap() {
                        recovered
                            .result
                            .unwrap_or_else(|e| panic!("not recovered: {e}"));
                    }
                }
            }
        });
        real
    }

    fn check_invariants(real: &Self, model: &Model) {
        let api = Self::api();
        assert_eq!(real.target.violations(), Vec::<String>::new());
        real.runtime.block_on(async {
            let state = real.store.workload(&api).await.unwrap();
            assert!(state.in_flight.is_none(), "nothing is unfinished at rest");
            let page = real.store.list(&Query::workload(&api).limit(1_000)).await.unwrap();
            match &state.live {
                LiveRecord::Known(id) => {
                    let live = real.store.get(id).await.unwrap().unwrap();
                    let handle = &live.instance().unwrap().handle;
                    assert_eq!(real.target.live().as_ref(), Some(handle), "record and target agree");
                    assert_eq!(real.target.running(), 1, "exactly one runs");
                }
                LiveRecord::Nothing => {
                    assert_eq!(real.target.live(), None);
                    assert_eq!(real.target.running(), 0);
                }
                LiveRecord::Unknown => panic!("nobody has touched the target by hand"),
            }
            for d in &page.deployments {
                assert!(d.outcome().is_some(), "{} is settled", d.id());
                let automatic = page.deployments.iter().filter(|o| {
                    matches!(o.trigger(), Trigger::AutomaticRollback { failed, .. } if failed == d.id())
                });
                let automatic = automatic.count();
                let may = usize::from(d.trigger().restores().is_none());
                assert!(automatic <= may, "{automatic} automatic rollbacks of {}", d.id());
            }
            if !model.in_doubt {
                assert_eq!(real.target.serving().as_deref(), model.live());
                assert!(page.deployments.len() >= model.lives.len());
            }
        });
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(200),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_history_ends_at_rest_as_the_model_says(sequential 1..25 => Real);
}
