//! [`FakeWorld`]: the fake target as the suites drive it.

use std::sync::Arc;

use async_trait::async_trait;
use rollback_core::backend::Backend;
use rollback_core::id::WorkloadId;

use super::{FakeBackend, FakeTarget};
use crate::backend_suite::WorldBuilder;
use crate::world::{Build, World};

/// A world on a [`FakeTarget`].
#[derive(Debug, Clone)]
pub struct FakeWorld {
    target: FakeTarget,
}

impl FakeWorld {
    /// The world around a target.
    pub fn on(target: FakeTarget) -> Self {
        Self { target }
    }
}

/// Makes a [`FakeWorld`] of its own for each case of a suite.
#[derive(Debug, Clone, Copy)]
pub struct FakeWorlds {
    make: fn() -> FakeTarget,
}

impl FakeWorlds {
    /// Worlds on targets made by this.
    pub fn new(make: fn() -> FakeTarget) -> Self {
        Self { make }
    }
}

#[async_trait]
impl WorldBuilder for FakeWorlds {
    async fn build(&self) -> Box<dyn World> {
        Box::new(FakeWorld {
            target: (self.make)(),
        })
    }
}

#[async_trait]
impl World for FakeWorld {
    fn workload(&self) -> WorkloadId {
        "api@fake".parse().expect("a valid id")
    }

    fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(FakeBackend::new(self.workload(), self.target.clone()))
    }

    fn reference(&self, build: Build) -> String {
        build.answer().to_owned()
    }

    async fn serving(&self) -> Option<String> {
        self.target.serving()
    }

    async fn running(&self) -> usize {
        self.target.running()
    }

    async fn install_by_hand(&self, build: Build) {
        self.target.lock().install(build.answer());
    }

    async fn tamper(&self) {
        let mut state = self.target.lock();
        if let Some(live) = state.live.clone()
            && let Some(placed) = state.placed.get_mut(&live)
        {
            placed.tampered = true;
        }
    }

    async fn reconfigure(&self) -> bool {
        self.target.configure("another");
        true
    }

    async fn lose(&self, build: Build) {
        self.target.lose(build.answer());
    }

    async fn cut(&self) {
        self.target.cut();
    }

    async fn mend(&self) {
        self.target.mend();
    }
}
