//! A platform that rolls releases out by itself, replica by replica, as orchestrators do: a switch
//! says what is wanted, and waits.

use rollback_core::backend::{Evidence, Handle, Live, Operation, RollingOut};
use rollback_core::context::{Context, RolloutProgress};
use rollback_core::error::{BackendError, BackendErrorKind as Kind};

use super::backend::FakeBackend;
use super::{FakeTarget, State};

/// So many replicas has each release.
const REPLICAS: u32 = 3;

/// How many times it is looked at until one more replica is ready.
const LOOKS: u32 = 2;

/// A rollout under way.
#[derive(Debug, Clone)]
pub(super) struct Rolling {
    pub(super) to: Handle,
    from: Option<Handle>,
    looks: u32,
}

impl Rolling {
    fn progress(&self) -> RolloutProgress {
        let ready = (self.looks / LOOKS).min(REPLICAS);
        // The newest is not available yet.
        RolloutProgress::new(REPLICAS, ready, ready.saturating_sub(1))
    }
}

impl FakeTarget {
    /// A target that rolls releases out by itself.
    pub fn managed() -> Self {
        let target = Self::default();
        target.lock().managed = true;
        target
    }

    /// From now on no rollout of this release gets anywhere.
    pub fn stall(&self, digest: &str) {
        self.lock().stalled.insert(digest.to_owned());
    }

    /// Lets rollouts of the release go on after [`stall`](Self::stall).
    pub fn go_on(&self, digest: &str) {
        self.lock().stalled.remove(digest);
    }

    /// Somebody else's update comes first, so many times.
    pub fn race(&self, times: usize) {
        self.lock().races = times;
    }

    /// Somebody asks the platform for another release that stands there, by hand.
    pub fn roll_out_by_hand(&self, digest: &str) -> Handle {
        let mut state = self.lock();
        let before = state.live.clone();
        let handle = state.install(digest);
        state.live = before;
        state.ask_for(&handle);
        handle
    }
}

impl State {
    /// What the platform shows while it rolls out.
    pub(super) fn rolling_out(&self) -> Option<Live> {
        let rolling = self.rolling.as_ref()?;
        let to = self.sighting(&rolling.to)?;
        let from = rolling.from.as_ref().and_then(|from| self.placed.get(from));
        let from = from.map(|placed| placed.instance.clone());
        let rolling = RollingOut::new(to, from, rolling.progress());
        Some(Live::RollingOut(Box::new(rolling)))
    }

    /// The platform is to bring this up; it goes on with what it is at already.
    fn ask_for(&mut self, to: &Handle) {
        let before = self.rolling.as_ref().map(|rolling| rolling.to.clone());
        if before.as_ref() == Some(to) {
            return;
        }
        self.starts += 1;
        let start = self.starts;
        if let Some(placed) = self.placed.get_mut(to) {
            placed.running.get_or_insert(start);
        }
        self.rolling = Some(Rolling {
            to: to.clone(),
            from: before.or_else(|| self.live.clone()),
            looks: 0,
        });
    }

    /// The platform goes on by itself, looked at or not; `None`: it is done.
    fn goes_on(&mut self) -> Option<RolloutProgress> {
        let stalled = self.rolling.as_ref().is_some_and(|rolling| {
            let placed = self.placed.get(&rolling.to);
            placed.is_some_and(|p| self.stalled.contains(&p.instance.release.artifact().digest))
        });
        let rolling = self.rolling.as_mut()?;
        if !stalled {
            rolling.looks += 1;
        }
        (rolling.looks <= REPLICAS * LOOKS).then(|| rolling.progress())
    }
}

impl FakeBackend {
    /// Says what is wanted, and waits until it is so.
    pub(super) async fn roll_out(
        &self,
        cx: &Context,
        op: &Operation,
        to: &Handle,
    ) -> Result<Evidence, BackendError> {
        {
            let mut state = self.reach()?;
            state.publish(cx)?;
            state.is_known(op)?;
            state.is_placed(to)?;
            if state.races > 0 {
                state.races -= 1;
                let raced = BackendError::new(Kind::Conflict, "the object was updated meanwhile");
                return Err(raced.untouched().advice("try again"));
            }
            if state.live.as_ref() != Some(to) || state.rolling.is_some() {
                state.ask_for(to);
            }
        }
        loop {
            self.boundary(cx, "switch").await?;
            {
                let mut state = self.reach()?;
                state.publish(cx)?;
                state.is_known(op)?;
                match state.goes_on() {
                    Some(progress) => cx.rolls_out(progress),
                    None => {
                        state.rolling = None;
                        return state.bring_up(op, to);
                    }
                }
            }
            // As a poll of a real platform does; a test's clock may be paused.
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}
