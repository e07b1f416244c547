//! [`Group`]: the processes that a program and its children form.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpgrp, kill_process_group, test_kill_process_group};
use tokio::process::Child;

use crate::stat::Stat;

/// How long is waited for what was killed, in looks.
const LOOKS: u32 = 400;
const PAUSE: Duration = Duration::from_millis(5);

/// A process group, by the number of whoever leads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group(Pid);

impl Group {
    pub(crate) fn led_by(leader: Pid) -> Self {
        Self(leader)
    }

    /// Its number.
    pub(crate) fn number(self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    /// Whether this process is one of them.
    pub(crate) fn is_own(self) -> bool {
        getpgrp() == self.0
    }

    /// Kills all that may be killed. Gone already is as good.
    pub(crate) fn kill(self) {
        let _ = kill_process_group(self.0, Signal::KILL);
    }

    /// Waits for what was killed; whether nothing of it does anything any more.
    pub(crate) async fn is_gone(self) -> bool {
        for _ in 0..LOOKS {
            if self.is_dead() {
                return true;
            }
            tokio::time::sleep(PAUSE).await;
        }
        false
    }

    fn is_dead(self) -> bool {
        match test_kill_process_group(self.0) {
            Err(Errno::SRCH) => true,
            // It became another user's.
            Err(_) => false,
            // One that nobody has waited for still has its number: some containers have nobody who
            // does.
            Ok(()) => processes().is_some_and(|mut all| !all.any(|pid| self.has(pid))),
        }
    }

    fn has(self, pid: Pid) -> bool {
        Stat::of(pid).is_some_and(|stat| stat.group == self.number())
    }
}

/// What was begun and has not ended by itself: killed when dropped.
pub(crate) struct Begun(Option<Group>);

impl Begun {
    /// The program leads a group of its own number.
    pub(crate) fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw).map(Group::led_by))
    }

    /// The program ended by itself, and its number may be another's by now.
    pub(crate) fn ended(mut self) {
        self.0 = None;
    }

    /// Kills it with what it started, and waits for all of it: none of it does anything once somebody
    /// has been told no.
    pub(crate) async fn kill(mut self, child: &mut Child) -> io::Result<()> {
        let group = self.0.take();
        // Before it is waited for: afterwards the number may be another's.
        if let Some(group) = group {
            group.kill();
        }
        child.kill().await?;
        match group {
            Some(group) if !group.is_gone().await => {
                Err(io::Error::other("what it started runs on"))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            group.kill();
        }
    }
}

/// All processes, by `/proc`; `None` where there is none.
pub(crate) fn processes() -> Option<impl Iterator<Item = Pid>> {
    let entries = fs::read_dir("/proc").ok()?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Some(numbers.filter_map(Pid::from_raw))
}
