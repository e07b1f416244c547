//! [`Machine`]: what outlives processes; [`Process`]: one of them, with a runtime of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::health::Gate;
use rollback_core::id::{Actor, WorkloadId};
use rollback_core::time::{Clock, Timestamp};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::disk::Disk;
use super::hooks::{Hook, Hooks, Traces};
use super::life::{Fate, Life};
use super::scenario::{Bringing, Hanging, Says};
use super::threads::{ThreadedBackend, Threads};
use crate::fake::{FakeBackend, FakeTarget};

/// The workload of every scenario.
pub(super) fn api() -> WorkloadId {
    "api@simulated".parse().expect("a valid id")
}

/// Who asks for things.
pub(super) fn me() -> Actor {
    Actor::user("simulator").expect("a valid name")
}

/// A clock that goes on by a millisecond each time that it is read. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Ticks(Arc<AtomicI64>);

impl Default for Ticks {
    fn default() -> Self {
        // 2026, in microseconds: both ten years before and ten years after are in range.
        Self(Arc::new(AtomicI64::new(1_780_000_000_000_000)))
    }
}

impl Ticks {
    /// Sets the clock by so many years of 365 days, back if negative.
    pub(super) fn jump(&self, years: i64) {
        let year = 365 * 24 * 60 * 60 * 1_000_000;
        self.0.fetch_add(years * year, Ordering::SeqCst);
    }
}

impl Clock for Ticks {
    fn now(&self) -> Timestamp {
        let now = self.0.fetch_add(1_000, Ordering::SeqCst);
        Timestamp::from_microsecond(now).expect("an instant in range")
    }
}

/// What outlives every process. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) disk: Disk,
    pub(super) target: FakeTarget,
    pub(super) clock: Ticks,
    pub(super) traces: Traces,
    pub(super) threads: Threads,
}

impl Machine {
    pub(super) fn new(bringing: Bringing) -> Self {
        let target = match bringing {
            Bringing::Replace | Bringing::InPlace => FakeTarget::replacing(),
            Bringing::Beside => FakeTarget::beside(),
        };
        if bringing == Bringing::InPlace {
            target.now_in_place();
        }
        Self {
            disk: Disk::default(),
            target,
            clock: Ticks::default(),
            traces: Traces::default(),
            threads: Threads::default(),
        }
    }
}

/// How a process is composed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) knows_the_workload: Known,
    pub(super) hanging: Hanging,
    pub(super) says: Says,
    pub(super) panics: Option<Hook>,
    pub(super) heals: Option<&'static str>,
}

/// Whether the workload is in the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Yes,
    No,
}

/// How far a process has come.
#[derive(Debug)]
pub(super) enum Came<T> {
    /// It has ended by itself.
    ToItsEnd(T),
    /// It has halted at its point.
    ToItsPoint,
    /// It panicked where nobody caught it.
    Apart,
}

/// A process. Dropping it ends its runtime, and what the runtime had spawned.
#[derive(Debug)]
pub(super) struct Process<T> {
    runtime: Runtime,
    life: Life,
    driver: JoinHandle<T>,
    threads: Threads,
}

impl<T: Send + 'static> Process<T> {
    /// Starts one that does `act`, and meets this fate.
    pub(super) fn start<F>(
        machine: &Machine,
        program: Program,
        fate: Option<Fate>,
        act: impl FnOnce(Composed) -> F,
    ) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let life = Life::new(fate);
        let driver = runtime.spawn(act(Composed {
            machine: machine.clone(),
            program,
            life: life.clone(),
        }));
        Self {
            runtime,
            life,
            driver,
            threads: machine.threads.clone(),
        }
    }

    /// Lets it go on until it halts or ends.
    pub(super) fn run(&mut self) -> Came<T> {
        let (life, driver) = (&self.life, &mut self.driver);
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = life.halted() => Came::ToItsPoint,
                ended = driver => ended.map_or(Came::Apart, Came::ToItsEnd),
            }
        })
    }

    /// Lets one that halted go on to its end.
    pub(super) fn resume(&mut self) -> Came<T> {
        self.life.resume();
        self.run()
    }

    /// The name of the last point that it passed.
    pub(super) fn last_point(&self) -> String {
        self.life.last_point()
    }

    /// Whether its fate is yet to come.
    pub(super) fn is_fated(&self) -> bool {
        self.life.is_fated()
    }

    /// SIGKILL: nothing of it goes on.
    pub(super) fn kill(self) {
        let (life, threads) = (self.life.clone(), self.threads.clone());
        drop(self);
        threads.die_with(&life);
    }

    /// `main` returns: the runtime is dropped, and what was handed to a thread goes on when the
    /// machine lets it.
    pub(super) fn leave(self) {
        let life = self.life.clone();
        drop(self);
        life.leave();
    }
}

/// What a process is composed of.
#[derive(Debug, Clone)]
pub(super) struct Composed {
    pub(super) machine: Machine,
    program: Program,
    pub(super) life: Life,
}

impl Composed {
    /// A new engine, which knows nothing of what other ones run.
    pub(super) fn engine(&self) -> RollbackEngine {
        let (machine, program, life) = (&self.machine, self.program, &self.life);
        let hooks = Hooks {
            life: life.clone(),
            target: machine.target.clone(),
            traces: machine.traces.clone(),
            panics: program.panics,
            heals: program.heals,
        };
        let backend =
            FakeBackend::new(api(), machine.target.clone()).with_boundary(Arc::new(life.clone()));
        let backend = ThreadedBackend::new(backend, machine.threads.clone(), life.clone());
        let mut workload = Workload::new(backend).policy(program.says.policy()).gate(
            Gate::default()
                .retries(1)
                .interval(Duration::from_millis(1))
                .start_period(Duration::ZERO),
        );
        let mut builder =
            RollbackEngine::builder(machine.disk.open(life.clone())).clock(machine.clock.clone());
        if program.hanging == Hanging::Everything {
            workload = hooks.hang_on(workload);
            builder = builder.observer(hooks);
        }
        if program.knows_the_workload == Known::Yes {
            builder = builder.workload(workload);
        }
        builder.build().expect("an engine")
    }
}
