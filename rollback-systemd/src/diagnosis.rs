//! What there is to say of a unit that failed.

use rollback_core::backend::{Handle, Instance};
use rollback_core::context::Context;
use rollback_core::diagnosis::Words;
use rollback_core::error::{BackendError, Chain};
use rollback_core::time::Timestamp;
use tokio::time::timeout;

use crate::backend::SystemdBackend;
use crate::hidden::Hidden;
use crate::journal::{Invocation, Journal, READING, Wanted};
use crate::manager::Bus;
use crate::record::Installed;
use crate::state::UnitState;

impl SystemdBackend {
    /// The manager's facts and the last lines of the log; or, for a fact, why there are none.
    pub(crate) async fn words(
        &self,
        cx: &Context,
        instance: &Instance,
    ) -> Result<Words, BackendError> {
        let bus = self.bus().await?;
        let state = bus.looked().await.map_err(BackendError::untouched)?;
        let mut words = Words::default()
            .fact("state", format!("{} ({})", state.active, state.sub))
            .fact("result", &state.result)
            .fact("exit_status", state.exit_status)
            .fact("restarts", state.restarts)
            .fact("invocation_id", &state.invocation);
        if !state.load_error.is_empty() {
            words = words.fact("load_error", &state.load_error);
        }
        let log = in_time(self.log(cx, &bus, &state, instance)).await;
        Ok(match log {
            Ok(log) => words.log(&log),
            Err(why) => words.fact("no_log", why),
        })
    }

    async fn log(
        &self,
        cx: &Context,
        bus: &Bus,
        state: &UnitState,
        instance: &Instance,
    ) -> Result<String, String> {
        // What is read may hang for ever, on a file system that is away: it must not keep the lease.
        let cx = &cx.looking();
        let words = |e: BackendError| Chain::of(&e).to_string();
        let installed = self.files(cx, |unit, _| unit.shelf.installed()).await;
        let installed = installed.map_err(words)?;
        let of = invocations(installed.as_ref(), &instance.handle, &state.invocation)?;
        let last = Invocation::parse(&state.invocation);
        let mut wanted = Wanted {
            unit: &self.config().unit,
            processes: match last {
                Some(last) if of.contains(&last) => &state.started,
                _ => &[],
            },
            invocations: of,
            boot: i64::try_from(bus.boot().await.map_err(words)?)
                .ok()
                .and_then(Timestamp::from_microsecond)
                .unwrap_or(Timestamp::UNIX_EPOCH),
        };
        // Without knowing what to hide nothing is shown.
        let properties = bus.properties_of(self.config().unit.as_str()).await;
        let properties = properties.map_err(words)?;
        if let Some(last) = Invocation::parse(&state.invocation)
            && wanted.invocations.contains(&last)
            && Hidden::is_filed(&properties)?
        {
            // What a file had at an earlier start nobody knows any more.
            wanted.invocations = vec![last];
        }
        let everybodys = bus.environment().await.map_err(words)?;
        let hidden = self.files(cx, move |unit, _| {
            Ok(Hidden::of(&properties, &everybodys, &unit.config))
        });
        let hidden = hidden.await.map_err(words)??;
        let journal = Journal::below(&self.config().root);
        journal.last_lines(cx, &wanted, hidden).await
    }
}

/// The log, or none where it takes too long: the facts are not to be lost with it.
async fn in_time(log: impl Future<Output = Result<String, String>>) -> Result<String, String> {
    let late = format!("it could not be had within {} s", READING.as_secs());
    timeout(READING, log).await.unwrap_or(Err(late))
}

/// The invocations of this instance: the one that its switch made, and the last one, which may be
/// a restart. What ran before the switch is another release, also where the new one never came to
/// run.
fn invocations(
    installed: Option<&Installed>,
    handle: &Handle,
    last: &str,
) -> Result<Vec<Invocation>, &'static str> {
    let mut of = Vec::new();
    let mut former = false;
    if let Some(installed) = installed {
        if installed.handle != *handle {
            return Err("another unit file is in place");
        }
        of.extend(installed.invocation.as_deref().and_then(Invocation::parse));
        former = installed.before.as_deref() == Some(last)
            || installed
                .former
                .as_ref()
                .is_some_and(|f| f.invocation == last);
    }
    let last = Invocation::parse(last).filter(|last| !former && !of.contains(last));
    of.extend(last);
    if of.is_empty() {
        return Err("it was not started, or the manager does not remember that it was");
    }
    Ok(of)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rollback_core::id::DeploymentId;
    use rollback_core::time::{Clock, SystemClock};

    use super::*;
    use crate::record::Former;

    fn id(digit: char) -> String {
        digit.to_string().repeat(32)
    }

    fn installed(invocation: Option<char>, former: char) -> Installed {
        Installed {
            handle: Handle::new("h"),
            by: DeploymentId::generate(SystemClock.now()),
            invocation: invocation.map(id),
            drop_ins: BTreeMap::new(),
            enablement: None,
            former: Some(Former {
                handle: Handle::new("before"),
                digest: String::new(),
                invocation: id(former),
            }),
            before: Some(id(former)),
            restarts: None,
            boot: None,
            done: false,
        }
    }

    #[test]
    fn the_log_of_the_healthy_former_release_was_shown_for_one_that_never_ran() {
        let (h, other) = (Handle::new("h"), Handle::new("other"));
        let of = |installed: Option<Installed>, handle: &Handle, last: &str| {
            invocations(installed.as_ref(), handle, last).map(|ids| {
                ids.iter()
                    .filter_map(|i| {
                        (0..8).find(|d| Invocation::parse(&id(digit(*d))).as_ref() == Some(i))
                    })
                    .collect::<Vec<u32>>()
            })
        };
        of(Some(installed(None, '1')), &h, &id('1')).unwrap_err();
        of(Some(installed(Some('2'), '1')), &other, &id('2')).unwrap_err();
        of(Some(installed(None, '1')), &h, "").unwrap_err();
        of(None, &h, "").unwrap_err();
        // A restart that failed, or was not written down any more.
        assert_eq!(of(Some(installed(None, '1')), &h, &id('2')), Ok(vec![2]));
        assert_eq!(
            of(Some(installed(Some('2'), '1')), &h, &id('2')),
            Ok(vec![2])
        );
        // It restarted by itself since.
        assert_eq!(
            of(Some(installed(Some('2'), '1')), &h, &id('3')),
            Ok(vec![2, 3])
        );
        // The manager has forgotten it.
        assert_eq!(of(Some(installed(Some('2'), '1')), &h, ""), Ok(vec![2]));
        // Deployed over itself, and not restarted for it.
        assert_eq!(
            of(Some(installed(Some('1'), '1')), &h, &id('1')),
            Ok(vec![1])
        );
        assert_eq!(of(None, &h, &id('2')), Ok(vec![2]));
    }

    #[tokio::test]
    async fn what_hung_before_the_journal_was_asked_lost_the_facts_with_the_log() {
        let hangs = std::future::pending();
        let why = timeout(3 * READING, in_time(hangs)).await.unwrap();
        assert!(why.unwrap_err().contains("within 3 s"));
        let log = in_time(async { Ok("no table".to_owned()) }).await;
        assert_eq!(log.unwrap(), "no table");
    }

    fn digit(d: u32) -> char {
        char::from_digit(d, 16).unwrap()
    }
}
