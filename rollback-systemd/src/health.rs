//! The manager's view of a unit, looked at once. Pure.

use std::time::Duration;

use rollback_core::health::View;

use crate::record::{Installed, is_done};
use crate::state::UnitState;

/// What there is to judge by.
pub(crate) struct Look<'a> {
    pub(crate) state: &'a UnitState,
    /// What the switch has written down; `None`: somebody else made the unit.
    pub(crate) installed: Option<&'a Installed>,
    /// When the manager was started.
    pub(crate) boot: u64,
    /// For how long it has to be active.
    pub(crate) soak: Duration,
}

impl Look<'_> {
    /// The view, `now` after the machine was started.
    pub(crate) fn view(&self, now: Duration) -> View {
        let state = self.state;
        if is_done(self.installed, state, self.boot) {
            return View::Healthy;
        }
        if let Some(why) = self.restarted() {
            return View::failed(format!("{why}; {}", state.describe()));
        }
        if state.sub == "auto-restart" {
            return View::failed(state.describe());
        }
        match state.active.as_str() {
            "failed" | "inactive" | "deactivating" => View::failed(state.describe()),
            "active" if state.runs() => {
                let runs = now.saturating_sub(state.active_since);
                if runs >= self.soak {
                    return View::Healthy;
                }
                View::NotYet(format!(
                    "it has been active for {runs:.1?} of {:?}",
                    self.soak
                ))
            }
            _ => View::NotYet(state.describe()),
        }
    }

    /// Why what runs is not what the switch has started, if it is not.
    fn restarted(&self) -> Option<&'static str> {
        let installed = self.installed?;
        let again = installed
            .restarts
            .is_some_and(|counted| self.state.restarts > counted);
        // After a reboot it is another invocation by right, and was counted from none.
        if installed.boot.is_some_and(|boot| boot != self.boot) {
            return (self.state.restarts > 0).then_some("it restarted by itself");
        }
        if again {
            return Some("it restarted by itself");
        }
        match &installed.invocation {
            Some(own) if *own != self.state.invocation => {
                Some("it was restarted since it was switched to")
            }
            _ => None,
        }
    }
}

/// How long ago the machine was started, as the manager counts it.
pub(crate) fn since_start() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}
