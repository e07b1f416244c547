//! [`Drain`]: what a container is told before it is stopped, so that it ends what it is at.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bollard::query_parameters::{KillContainerOptionsBuilder, WaitContainerOptionsBuilder};
use futures_util::StreamExt;
use rollback_core::backend::Operation;
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind, Chain};
use rollback_process::{Program, end_leftovers};

use crate::backend::DockerBackend;
use crate::client::Client;
use crate::container::Container;
use crate::error;
use crate::wanted::bad;

/// Longest drain that can be asked for: a switch waits for it, and so does whoever deploys next.
const LONGEST: Duration = Duration::from_secs(3600);
/// How much longer than the container dockerd may take to answer.
const MARGIN: Duration = Duration::from_secs(60);

/// What a container is told before it is stopped, and for how long it is waited for, an hour at most.
/// Its stop signal is its own, and comes afterwards. While it is drained dockerd does not start it again:
/// it may end for good. `Debug` hides arguments.
#[derive(Clone, PartialEq, Eq)]
pub struct Drain(Way);

#[derive(Clone, PartialEq, Eq)]
enum Way {
    Signal { signal: Signal, wait: Duration },
    Program { argv: Vec<String>, within: Duration },
}

impl Drain {
    /// Its first process gets this signal, and so long to go on after it; it is not waited for once it
    /// has ended.
    pub fn signal(signal: Signal, wait: Duration) -> Self {
        Self(Way::Signal { signal, wait })
    }

    /// This program with its arguments is run on this host, without a shell, and ended after so long. It
    /// is told of the deployment what hooks are (`ROLLBACK_DEPLOYMENT` and so on) and which container is
    /// drained, `ROLLBACK_CONTAINER`.
    pub fn program<S: Into<String>>(argv: impl IntoIterator<Item = S>, within: Duration) -> Self {
        Self(Way::Program {
            argv: argv.into_iter().map(Into::into).collect(),
            within,
        })
    }

    /// How long it takes at most.
    pub(crate) fn longest(&self) -> Duration {
        match &self.0 {
            Way::Signal { wait: longest, .. }
            | Way::Program {
                within: longest, ..
            } => *longest,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), BackendError> {
        let longest = self.longest();
        if longest > LONGEST {
            let subject = format!("{} s", longest.as_secs());
            return Err(bad("a container is drained for an hour at most", &subject));
        }
        match &self.0 {
            Way::Signal { .. } => Ok(()),
            Way::Program { argv, .. } => program(argv).map(drop),
        }
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Way::Signal { signal, wait } => f
                .debug_struct("Signal")
                .field("signal", signal)
                .field("wait", wait)
                .finish(),
            Way::Program { argv, within } => f
                .debug_struct("Program")
                .field("program", &argv.first())
                .field("within", within)
                .finish_non_exhaustive(),
        }
    }
}

/// A signal as docker takes it: `SIGUSR1`, `USR1`, `SIGRTMIN+3`, `10`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Signal(String);

/// Those that docker knows by name, but for the real-time ones.
const SIGNALS: [&str; 33] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU",
];

impl FromStr for Signal {
    type Err = BackendError;

    /// # Errors
    ///
    /// [`InvalidReference`](BackendErrorKind::InvalidReference) for what is no signal.
    fn from_str(text: &str) -> Result<Self, BackendError> {
        let name = text.strip_prefix("SIG").unwrap_or(text);
        let further = |base: &str, sign: char, most: u8| {
            let number = name.strip_prefix(base)?;
            match number.strip_prefix(sign) {
                Some(number) => number.parse().ok().filter(|n| (1..=most).contains(n)),
                None => number.is_empty().then_some(0),
            }
        };
        let number = text.parse().is_ok_and(|n: u8| (1..=64).contains(&n));
        let real_time = further("RTMIN", '+', 15).or_else(|| further("RTMAX", '-', 14));
        match number || SIGNALS.contains(&name) || real_time.is_some() {
            true => Ok(Self(text.to_owned())),
            false => Err(bad("this is no signal such as SIGUSR1", text)),
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl DockerBackend {
    /// Drains a container that runs and is about to be stopped. That it could not be drained stops
    /// nobody: it is told.
    pub(crate) async fn drain(
        &self,
        cx: &Context,
        client: &Client,
        op: &Operation,
        container: &Container,
    ) -> Option<String> {
        let drain = self.config.swap.drain.as_ref()?;
        let name = &container.summary.name;
        cx.say(format!("draining {name}"));
        let cx = &cx.within(drain.longest());
        let drained = match &drain.0 {
            Way::Signal { signal, wait } => client.warn(cx, container, signal, *wait).await,
            Way::Program { argv, .. } => run(cx, argv, op, container).await,
        };
        let e = drained.err()?;
        Some(format!("{name} was not drained: {}", Chain::of(&e)))
    }
}

/// Ends a drain's program that a killed process left running for this deployment, whatever is configured
/// by now: it would act late.
pub(crate) async fn end_running(op: &Operation) -> Result<(), BackendError> {
    let ended = end_leftovers(&op.deployment).await;
    ended.map(drop).map_err(|e| e.stops(&op.deployment))
}

async fn run(
    cx: &Context,
    argv: &[String],
    op: &Operation,
    container: &Container,
) -> Result<(), BackendError> {
    let program = program(argv)?.env("ROLLBACK_CONTAINER", &container.summary.id);
    let ran = program.run_for(cx, op).await;
    ran.map_err(|e| BackendError::new(BackendErrorKind::Failed, e.to_string()).on(program.name()))
}

fn program(argv: &[String]) -> Result<Program, BackendError> {
    let (program, args) = argv.split_first().map_or(("", argv), |(p, a)| (&**p, a));
    Program::new(program, args).map_err(|e| bad(&e.to_string(), program))
}

impl Client {
    /// Sends it a signal, and waits for so long, or until it has ended.
    async fn warn(
        &self,
        cx: &Context,
        container: &Container,
        signal: &Signal,
        wait: Duration,
    ) -> Result<(), BackendError> {
        let id = &container.summary.id;
        let options = KillContainerOptionsBuilder::default().signal(&signal.0);
        let sent = self.docker.kill_container(id, Some(options.build()));
        match sent.await {
            Ok(()) => {}
            // It has ended meanwhile.
            Err(e) if matches!(error::status(&e), Some(404 | 409)) => return Ok(()),
            Err(e) => return Err(self.failed("cannot send the container a signal", id, e)),
        }
        // It counts in whole seconds.
        let patience = wait.saturating_add(MARGIN);
        let docker = self.docker.clone().with_timeout(patience);
        let options = WaitContainerOptionsBuilder::default().condition("not-running");
        let mut ended = docker.wait_container(id, Some(options.build()));
        // Whether it has ended, or the time is over, or nobody knows: it is stopped now.
        tokio::select! {
            _ = ended.next() => Ok(()),
            () = tokio::time::sleep(wait.min(cx.remaining())) => Ok(()),
            () = cx.cancellation().cancelled() => cx.check(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_signal_is_what_docker_takes_for_one() {
        for signal in [
            "SIGUSR1",
            "USR1",
            "10",
            "64",
            "SIGRTMIN",
            "RTMIN+15",
            "SIGRTMAX-14",
        ] {
            assert_eq!(signal.parse::<Signal>().unwrap().to_string(), signal);
        }
        for bad in [
            "", "SIG", "usr1", "0", "65", "RTMIN+16", "RTMIN-1", "RTMAX+1", "-9",
        ] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_drain_could_hold_up_everybody_for_ever() {
        let signal: Signal = "USR1".parse().unwrap();
        assert!(Drain::signal(signal.clone(), LONGEST).validate().is_ok());
        assert!(Drain::signal(signal, Duration::MAX).validate().is_err());
        let longer = LONGEST + Duration::from_secs(1);
        assert!(Drain::program(["true"], longer).validate().is_err());
    }

    #[test]
    fn debug_of_a_drain_shows_no_argument() {
        let drain = Drain::program(["/bin/drain", "--token", "hunter2"], Duration::from_secs(1));
        let shown = format!("{drain:?}");
        assert!(
            shown.contains("/bin/drain") && !shown.contains("hunter2"),
            "{shown}"
        );
        assert!(Drain::program([""], Duration::ZERO).validate().is_err());
    }
}
