//! [`Engine`]: a process that runs programs, so that it can be told whether it still does.

use std::fs;

use rustix::process::{Pid, getpid};
use serde::{Deserialize, Serialize};

use crate::stat::{Stat, of};

/// The process that ran a program, by what no other process has: its number and when it began, and
/// the machine's start that this is counted from. With the service that it was a part of, where
/// the system's manager had started it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    pid: i32,
    /// In ticks since the machine started.
    began: u64,
    boot: String,
    service: Option<Service>,
}

/// A run of a service under systemd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Service {
    unit: String,
    /// Another one whenever the service is started.
    invocation: String,
}

impl Engine {
    /// This process, as what it runs is told of it.
    pub fn this() -> Self {
        let pid = getpid();
        Self {
            pid: pid.as_raw_nonzero().get(),
            began: Stat::of(pid).map_or(0, |stat| stat.began),
            boot: boot(),
            service: Service::of(pid),
        }
    }

    /// Whether that process has not ended.
    pub fn lives(&self) -> bool {
        let this = Pid::from_raw(self.pid).and_then(Stat::of);
        self.boot == boot() && this.is_some_and(|stat| stat.began == self.began)
    }

    /// Whether this one runs in the same service as that one did, and the service, or the whole
    /// machine, was started anew in between.
    pub fn was_restarted_since(&self, earlier: &Self) -> bool {
        let (Some(now), Some(then)) = (&self.service, &earlier.service) else {
            return false;
        };
        now.unit == then.unit && now.invocation != then.invocation
    }

    /// Whether a command's words name the service that this process is a part of.
    pub fn is_named_by(&self, words: &[String]) -> bool {
        self.service.as_ref().is_some_and(|service| {
            let short = service.unit.strip_suffix(".service");
            words
                .iter()
                .any(|word| *word == service.unit || Some(word.as_str()) == short)
        })
    }

    /// As a program is told of it: a number alone may be another's one day.
    pub(crate) fn mark(&self) -> String {
        format!("{}:{}:{}", self.pid, self.began, self.boot)
    }

    /// What [`mark`](Self::mark) wrote.
    pub(crate) fn parse(mark: &str) -> Option<Self> {
        let mut parts = mark.splitn(3, ':');
        let (pid, began, boot) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            pid: pid.parse().ok()?,
            began: began.parse().ok()?,
            boot: boot.to_owned(),
            service: None,
        })
    }
}

impl Service {
    fn of(pid: Pid) -> Option<Self> {
        let groups = String::from_utf8(of(pid, "cgroup")?).ok()?;
        // `<number>:<controllers>:<path>` (cgroups(7)); the manager's own hierarchy is number 0, or
        // has a name.
        let unit = groups.lines().find_map(|line| {
            let (head, path) = line.rsplit_once(':')?;
            let managed = head == "0:" || head.ends_with(":name=systemd");
            let mut parts = path.rsplit('/').filter(|_| managed);
            parts.find(|part| part.ends_with(".service"))
        })?;
        Some(Self {
            unit: unit.to_owned(),
            invocation: std::env::var("INVOCATION_ID").ok()?,
        })
    }
}

fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(unit: Option<(&str, &str)>) -> Engine {
        Engine {
            service: unit.map(|(unit, invocation)| Service {
                unit: unit.to_owned(),
                invocation: invocation.to_owned(),
            }),
            ..Engine::this()
        }
    }

    #[test]
    fn this_process_lives_and_one_of_another_start_does_not() {
        let this = Engine::this();
        assert!(this.lives());
        assert!(Engine::parse(&this.mark()).is_some_and(|e| e.lives()));
        let later = Engine {
            began: this.began + 1,
            ..this.clone()
        };
        assert!(!later.lives());
        let before = Engine {
            boot: "another".to_owned(),
            ..this
        };
        assert!(!before.lives());
        assert_eq!(Engine::parse("12"), None);
    }

    #[test]
    fn only_a_service_that_was_started_anew_was_restarted() {
        let (one, two) = (
            engine(Some(("a.service", "1"))),
            engine(Some(("a.service", "2"))),
        );
        assert!(two.was_restarted_since(&one));
        assert!(!one.was_restarted_since(&one));
        assert!(!engine(Some(("b.service", "2"))).was_restarted_since(&one));
        assert!(!engine(None).was_restarted_since(&engine(None)));
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(one.is_named_by(&words("systemctl restart a")));
        assert!(one.is_named_by(&words("systemctl restart a.service")));
        assert!(!one.is_named_by(&words("systemctl restart b")));
        assert!(!engine(None).is_named_by(&words("systemctl restart a")));
    }
}
