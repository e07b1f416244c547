//! [`HealthCheck`]: one question about health, what it is asked of, and its answers.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::Site;
use crate::backend::{Addresses, Instance};
use crate::context::Context;
use crate::id::WorkloadId;

/// What a check is asked to look at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Probe {
    /// The workload that the instance is of, for a check that several share.
    pub workload: WorkloadId,
    /// The instance that should answer.
    pub instance: Instance,
    /// Whether it has the traffic, or runs beside what has.
    pub site: Site,
    /// Where it answers, by the names of its ports: what `start` gave. Empty at what is live, which is
    /// looked at where it always is.
    pub addresses: Addresses,
}

impl Probe {
    /// This instance of the workload, which is live.
    pub fn live(workload: WorkloadId, instance: Instance) -> Self {
        Self {
            workload,
            instance,
            site: Site::Live,
            addresses: Addresses::default(),
        }
    }

    /// This one, which runs beside what is live and answers there.
    pub fn beside(workload: WorkloadId, instance: Instance, addresses: Addresses) -> Self {
        Self {
            workload,
            instance,
            site: Site::Beside,
            addresses,
        }
    }
}

/// What a check can be aimed at. What has the traffic answers for itself alone: a check that always
/// looks there would vouch with it for a successor that it has never seen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Aim {
    /// Only what is live: it has no opinion of a successor beside it.
    Live,
    /// An address of the instance: that of the port of this name, or of the only one. Without such an
    /// address it has no opinion of a successor.
    Port(Option<String>),
    /// Whatever instance the probe names: it finds it by itself, or by all the probe says.
    Instance,
}

impl Aim {
    /// Whether a check that is aimed like this can look at what a probe names.
    pub fn reaches(&self, probe: &Probe) -> bool {
        match (probe.site, self) {
            (Site::Live, _) | (_, Self::Instance) => true,
            (Site::Beside, Self::Live) => false,
            (Site::Beside, Self::Port(port)) => probe.addresses.of(port.as_deref()).is_some(),
        }
    }
}

/// A check's yes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Healthy {
    /// What a person should know all the same: by what lesser proof it was decided, say. It is
    /// recorded beside the verdict.
    pub note: Option<String>,
}

impl Healthy {
    /// A plain yes.
    pub fn yes() -> Self {
        Self::default()
    }

    /// A yes with a remark.
    pub fn noting(note: impl Into<String>) -> Self {
        Self {
            note: Some(note.into()),
        }
    }
}

/// Why a check says no: one or a few lines for a person, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{diagnostic}")]
#[non_exhaustive]
pub struct Unhealthy {
    /// What was seen, and what was expected.
    pub diagnostic: String,
}

impl Unhealthy {
    /// A no with its reason.
    pub fn new(diagnostic: impl Into<String>) -> Self {
        Self {
            diagnostic: diagnostic.into(),
        }
    }
}

/// One question about health, asked once. The [`Gate`](super::Gate) repeats it.
///
/// An implementor answers within the context's deadline, says `Ok` only on proof ("starting" and
/// "nothing configured" are not proof), and keeps secrets out of the diagnostic.
#[async_trait]
pub trait HealthCheck: fmt::Debug + Send + Sync {
    /// A name for people, such as `GET http://127.0.0.1:8080/healthz`.
    fn name(&self) -> String;

    /// What it can be aimed at. Unless it says otherwise it looks at what is live, and is not asked
    /// about anything else.
    fn aim(&self) -> Aim {
        Aim::Live
    }

    /// Looks once, within the context's deadline.
    ///
    /// # Errors
    ///
    /// [`Unhealthy`]: whatever is no proof of health, an answer that does not come included. It is
    /// recorded if it is the last one, so it has no secrets.
    async fn check(&self, cx: &Context, probe: &Probe) -> Result<Healthy, Unhealthy>;
}

/// Forwards everything, what has a body of its own too.
macro_rules! forwards {
    ($($pointer:ident),*) => {$(
        #[async_trait]
        impl<T: HealthCheck + ?Sized> HealthCheck for $pointer<T> {
            fn name(&self) -> String {
                (**self).name()
            }

            fn aim(&self) -> Aim {
                (**self).aim()
            }

            async fn check(&self, cx: &Context, probe: &Probe) -> Result<Healthy, Unhealthy> {
                (**self).check(cx, probe).await
            }
        }
    )*};
}

forwards!(Arc, Box);
