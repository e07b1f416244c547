//! [`Summary`]: what a list says of a container, which is enough to know whose it is and whether it
//! runs.

use std::cmp::Reverse;

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummary,
    ContainerSummaryStateEnum,
};
use rollback_core::backend::Handle;
use rollback_core::history::Fence;
use rollback_core::id::DeploymentId;
use rollback_core::time::Timestamp;

use crate::marks::Marks;

/// What Docker says of a container that was never started.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The name of a container that runs beside what is live, until it goes live for the first time.
pub(crate) fn beside_name(park: &str) -> String {
    format!("{park}-beside")
}

/// A container, as a list and an inspection alike show it.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The image's id.
    pub(crate) image: String,
    /// What this crate wrote on it, if it made it.
    pub(crate) ours: Option<Marks>,
    pub(crate) phase: Phase,
    /// When it was made, in seconds since 1970.
    created: i64,
}

/// What a container is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It was never started.
    Created,
    Running,
    /// It waits to be restarted.
    Restarting,
    Paused,
    /// It has run.
    Exited,
    /// It is being removed, or cannot be: nothing starts it again.
    Ending,
}

impl Phase {
    fn listed(state: ContainerSummaryStateEnum) -> Self {
        use ContainerSummaryStateEnum as State;
        match state {
            State::CREATED => Self::Created,
            State::RUNNING | State::STOPPING => Self::Running,
            State::RESTARTING => Self::Restarting,
            State::PAUSED => Self::Paused,
            State::REMOVING | State::DEAD => Self::Ending,
            State::EXITED | State::EMPTY => Self::Exited,
        }
    }

    fn inspected(state: &ContainerState) -> Self {
        let is = |flag| flag == Some(true);
        match state.status {
            Some(ContainerStateStatusEnum::DEAD | ContainerStateStatusEnum::REMOVING) => {
                Self::Ending
            }
            _ if is(state.restarting) => Self::Restarting,
            _ if is(state.paused) => Self::Paused,
            _ if is(state.running) => Self::Running,
            _ if state.started_at.as_ref().is_none_or(|at| at == NEVER) => Self::Created,
            _ => Self::Exited,
        }
    }
}

impl Summary {
    /// `None` if dockerd left out what every container has.
    pub(crate) fn listed(workload: &str, listed: ContainerSummary) -> Option<Self> {
        let image = listed.image_id?;
        let labels = listed.labels.unwrap_or_default();
        // What links to it gives it further names, with a slash in the middle.
        let mut names = listed.names?.into_iter();
        let own = |name: &String| !name.trim_start_matches('/').contains('/');
        Some(Self {
            id: listed.id?,
            name: names.find(own)?.trim_start_matches('/').to_owned(),
            ours: Marks::read(workload, &image, &labels),
            image,
            phase: Phase::listed(listed.state?),
            created: listed.created.unwrap_or(0),
        })
    }

    /// `None` if dockerd left out what every container has.
    pub(crate) fn inspected(workload: &str, inspect: &ContainerInspectResponse) -> Option<Self> {
        let image = inspect.image.clone()?;
        let labels = inspect.config.as_ref().and_then(|c| c.labels.as_ref());
        let created: Option<Timestamp> = inspect.created.as_ref().and_then(|at| at.parse().ok());
        Some(Self {
            id: inspect.id.clone()?,
            name: inspect.name.as_ref()?.trim_start_matches('/').to_owned(),
            ours: labels.and_then(|labels| Marks::read(workload, &image, labels)),
            image,
            phase: Phase::inspected(&inspect.state.clone().unwrap_or_default()),
            created: created.map_or(0, |at| at.as_microsecond().div_euclid(1_000_000)),
        })
    }

    /// The id of the container that was made first. dockerd gives each a new one and takes none
    /// that is asked for, so one that was made anew says on a label whose place it takes.
    pub(crate) fn handle(&self) -> Handle {
        let marks = self.ours.as_ref();
        Handle::new(
            marks
                .and_then(|m| m.stands_for.as_ref())
                .unwrap_or(&self.id),
        )
    }

    /// Of containers with one handle, the one with the least claim is it. Labels cannot be changed
    /// and names can: a recreation goes on by renaming, and this is how far it is read from them.
    pub(crate) fn claim(&self, live_name: &str) -> impl Ord + use<> {
        let is = |name: Option<String>| name.as_ref() == Some(&self.name);
        let place = match () {
            () if self.name == live_name => 0,
            () if self.is_up() => 1,
            () if is(self.anew_name()) => 3,
            () if is(self.broken_name()) => 4,
            () => 2,
        };
        let newest = Reverse(self.created);
        (!self.is_sound(), place, newest, self.id.clone())
    }

    /// Whether it was made anew in place of another.
    pub(crate) fn stands_in(&self) -> bool {
        self.handle().as_str() != self.id
    }

    /// The name of what shall take this one's place, until it does.
    pub(crate) fn anew_name(&self) -> Option<String> {
        let marks = self.ours.as_ref()?;
        Some(format!("{}-anew", marks.park))
    }

    /// Its name once another one takes its place.
    pub(crate) fn broken_name(&self) -> Option<String> {
        let marks = self.ours.as_ref()?;
        Some(format!("{}-broken-{}", marks.park, self.short_id()))
    }

    /// Whether it was made to run beside what is live, and never went live itself.
    pub(crate) fn was_never_live(&self) -> bool {
        let marks = self.ours.as_ref();
        marks.is_some_and(|marks| self.name == beside_name(&marks.park))
    }

    /// Its name while it is not live.
    pub(crate) fn parked(&self, live_name: &str) -> String {
        match &self.ours {
            Some(marks) => marks.park.clone(),
            None => format!("{live_name}-{}", self.short_id()),
        }
    }

    /// The id as people see it.
    pub(crate) fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// Whether it runs, waits to be restarted, or is paused: it has not been stopped.
    pub(crate) fn is_up(&self) -> bool {
        matches!(
            self.phase,
            Phase::Running | Phase::Restarting | Phase::Paused
        )
    }

    pub(crate) fn was_never_started(&self) -> bool {
        self.phase == Phase::Created
    }

    /// Whether it could be started as it stands.
    pub(crate) fn is_sound(&self) -> bool {
        self.phase != Phase::Ending
    }

    /// Whether this deployment made it.
    pub(crate) fn is_made_by(&self, deployment: &DeploymentId) -> bool {
        let marks = self.ours.as_ref();
        marks.is_some_and(|m| m.deployment == deployment.as_str())
    }

    /// Whether another tool knows it by its labels.
    pub(crate) fn wears(&self) -> bool {
        self.ours.as_ref().is_some_and(|m| m.wears.is_some())
    }

    /// The name that its image was given for it.
    pub(crate) fn gave(&self) -> Option<&str> {
        self.ours.as_ref()?.gave.as_deref()
    }

    pub(crate) fn fence(&self) -> Option<&Fence> {
        self.ours.as_ref()?.fence.as_ref()
    }
}
