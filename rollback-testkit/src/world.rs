//! [`World`]: one target with one service on a real platform, as the backend suite, the kill
//! sweep and the fault tests drive it.

use std::sync::Arc;

use async_trait::async_trait;
use rollback_core::backend::Backend;
use rollback_core::id::WorkloadId;

/// One of the releases that every world can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Build {
    /// Healthy; serves "v1", by which it is told from the others.
    V1,
    /// Healthy; serves "v2", by which it is told from the others.
    V2,
    /// Healthy; serves "v3", by which it is told from the others.
    V3,
    /// Can be prepared and switched to, but is not healthy: it exits at once or answers 500.
    Broken,
    /// A well-formed reference to nothing.
    Missing,
}

impl Build {
    /// What it answers when it serves.
    pub fn answer(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
            Self::Broken => "broken",
            Self::Missing => "missing",
        }
    }
}

/// A target with one service. Dropping it tears the service down, also after a failed test.
#[async_trait]
pub trait World: Send + Sync {
    /// The id of the workload that its backend serves.
    fn workload(&self) -> WorkloadId;

    /// A new backend value for it, as a new process would make one.
    fn backend(&self) -> Arc<dyn Backend>;

    /// The reference under which a build is deployed.
    fn reference(&self, build: Build) -> String;

    /// What serves now, asked of the service itself and never of the backend: an answer such as
    /// "v1", or `None` if nothing answers. Waits up to a few seconds for an answer that settles.
    async fn serving(&self) -> Option<String>;

    /// How many instances of the service run now (processes, containers), asked of the platform
    /// and never of the backend. A world without processes says 1 while something is published.
    async fn running(&self) -> usize;

    /// Makes a build live the way a person would, without the backend: for adoption.
    async fn install_by_hand(&self, build: Build);

    /// Changes what is live by hand: drift.
    async fn tamper(&self);

    /// Changes what the program has configured, so that backends made from now on would deploy every
    /// build otherwise; what is live stays as it is. Says whether it did: not where references are
    /// the whole configuration.
    async fn reconfigure(&self) -> bool {
        false
    }

    /// Destroys a build's artifact everywhere: what stands by, what is cached, what can be fetched.
    async fn lose(&self, build: Build);

    /// Makes the platform unreachable for backends made from now on, until [`mend`](Self::mend).
    async fn cut(&self);

    /// Makes the platform reachable again after [`cut`](Self::cut).
    async fn mend(&self);
}
