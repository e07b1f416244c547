//! What the kernel says of a process.

use std::fs::File;
use std::io::Read;

use rustix::process::Pid;

/// More than most of its files have: what fits is read at once, and each read of one makes the
/// kernel write all of it.
const USUAL: usize = 8 * 1024;

/// A file of a process's below `/proc`; `None` for one that is gone, and for another user's.
pub(crate) fn of(pid: Pid, file: &str) -> Option<Vec<u8>> {
    let mut file = File::open(format!("/proc/{}/{file}", pid.as_raw_nonzero())).ok()?;
    let mut content = Vec::with_capacity(USUAL);
    file.read_to_end(&mut content).ok()?;
    Some(content)
}

/// What the kernel says of a process that has not ended.
pub(crate) struct Stat {
    pub(crate) group: i32,
    session: i32,
    /// In ticks since the machine started.
    pub(crate) began: u64,
}

impl Stat {
    pub(crate) fn of(pid: Pid) -> Option<Self> {
        let stat = String::from_utf8(of(pid, "stat")?).ok()?;
        // pid (name) state ppid pgrp session … starttime, the 22nd (proc_pid_stat(5)); a name may
        // contain anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let field = |nth: usize| fields.get(nth - 3).copied();
        (!matches!(field(3)?, "Z" | "X")).then_some(Self {
            group: field(5)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            began: field(22)?.parse().ok()?,
        })
    }

    /// A service that was started properly leads a session, too.
    pub(crate) fn leads_its_group(&self, pid: Pid) -> bool {
        let pid = pid.as_raw_nonzero().get();
        self.group == pid && self.session != pid
    }
}
