//! [`Destination`]: a daemon behind ssh. Docker's own client at the other end connects standard input and
//! output with it (`docker system dial-stdio`).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::address::split;
use super::refusal::Refusal;
use crate::wanted::bad;

/// Longest complaint of ssh's that is repeated.
const MAX_WORDS: usize = 400;

/// How long an ssh that was told to end may take.
const GRACE: Duration = Duration::from_secs(2);

/// Before all that ssh's own configuration says.
const OPTIONS: [&str; 5] = [
    // Nobody is there to be asked for a password, and no terminal to ask at.
    "BatchMode=yes",
    // What is deployed is not handed to whoever answers.
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=30",
    // A host that is dark says nothing, and would be waited for without an end.
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
];

/// Who is logged in to, and how.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    config: Option<PathBuf>,
}

impl Destination {
    pub(super) fn parse(text: &str) -> Result<Self, BackendError> {
        let no = |what| bad(what, "an ssh destination");
        let text = text.strip_prefix("ssh://").unwrap_or(text);
        // A path would be the socket at the other end, which docker's own client knows.
        let text = text.strip_suffix('/').unwrap_or(text);
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, text),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err(no("a password is ssh's to know"));
        }
        let word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if user
            .is_some_and(|user| user.is_empty() || user.starts_with('-') || !user.chars().all(word))
        {
            return Err(no("this is no user's name"));
        }
        let (host, port) = split(rest)?;
        Ok(Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
            config: None,
        })
    }

    pub(super) fn configured(mut self, config: PathBuf) -> Self {
        self.config = Some(config);
        self
    }

    pub(super) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Starts ssh. Whether it comes through shows when something is asked.
    pub(super) fn connect(&self) -> io::Result<Pipe> {
        let mut ssh = Command::new("ssh");
        ssh.arg("-T");
        for option in OPTIONS {
            ssh.args(["-o", option]);
        }
        if let Some(config) = &self.config {
            ssh.arg("-F").arg(config);
        }
        if let Some(port) = self.port {
            ssh.args(["-p", &port.to_string()]);
        }
        if let Some(user) = &self.user {
            ssh.args(["-l", user]);
        }
        ssh.args(["--", &self.host, "docker", "system", "dial-stdio"]);
        ssh.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = ssh.spawn().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => io::Error::from(Refusal::new(
                Kind::Unsupported,
                "there is no program `ssh` here",
                "install OpenSSH's client",
            )),
            _ => e,
        })?;
        let piped = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = piped else {
            return Err(io::Error::other("ssh was started without its pipes"));
        };
        Ok(Pipe {
            stdin,
            stdout,
            complaint: Some(tokio::spawn(listen(stderr))),
            ssh: Some(Ssh(child)),
        })
    }
}

/// Without the user: a place is the same whoever comes.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// An ssh that connects with a daemon. It ends when this is dropped.
pub(super) struct Pipe {
    stdin: ChildStdin,
    stdout: ChildStdout,
    /// What it complains of, until the daemon has said something.
    complaint: Option<JoinHandle<String>>,
    /// Until this is dropped.
    ssh: Option<Ssh>,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if let Some(ssh) = self.ssh.take() {
            ssh.ask(Signal::TERM);
            // Without a runtime it ends at once.
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(ssh.end());
            }
        }
    }
}

/// An ssh, and the programs that it has started to get through (`ProxyCommand`): they are of its process
/// group. A shared connection that it leaves to others (`ControlPersist`) is not.
struct Ssh(Child);

impl Ssh {
    fn ask(&self, signal: Signal) {
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            // There may be nobody left in it.
            let _ = kill_process_group(group, signal);
        }
    }

    /// Waits for it to end by itself, for a while.
    async fn end(mut self) {
        let _ = tokio::time::timeout(GRACE, self.0.wait()).await;
    }
}

/// Who is still there by then is killed.
impl Drop for Ssh {
    fn drop(&mut self) {
        self.ask(Signal::KILL);
    }
}

impl Pipe {
    /// Why nothing comes of it, once that is known.
    fn why(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(complaint) = &mut self.complaint else {
            return Poll::Ready(io::ErrorKind::BrokenPipe.into());
        };
        let words = ready!(Pin::new(complaint).poll(cx)).unwrap_or_default();
        self.complaint = None;
        Poll::Ready(refusal(&words).into())
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stdout).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.complaint = None;
            return Poll::Ready(Ok(()));
        }
        match self.complaint {
            Some(_) => self.why(cx).map(Err),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(&mut self.stdin).poll_write(cx, buf)) {
            Ok(written) => Poll::Ready(Ok(written)),
            Err(_) => self.why(cx).map(Err),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_shutdown(cx)
    }
}

/// The last line that it says on standard error: what comes before are warnings and banners.
async fn listen(mut stderr: ChildStderr) -> String {
    let (mut said, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        said.extend_from_slice(&buffer[..read]);
        let surplus = said.len().saturating_sub(MAX_WORDS);
        said.drain(..surplus);
    }
    last_line(&String::from_utf8_lossy(&said))
}

/// Without who was to be logged in: `me@host: Permission denied`.
fn last_line(said: &str) -> String {
    let line = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    let words = line.unwrap_or_default().split_whitespace();
    let bare = words.map(|word| word.rsplit('@').next().unwrap_or(word));
    Vec::from_iter(bare).join(" ")
}

fn refusal(words: &str) -> Refusal {
    let says = |all: &[&str]| all.iter().any(|one| words.contains(one));
    let of_docker = words.contains("docker");
    let (kind, advice) = if says(&[
        "Host key verification failed",
        "HOST IDENTIFICATION HAS CHANGED",
    ]) {
        (
            Kind::Unauthorized,
            "have ssh know the host's key (`known_hosts`), after a look whether it is the host's",
        )
    } else if says(&["Permission denied", "Too many authentication failures"]) {
        (
            Kind::Unauthorized,
            "give ssh a key that the host takes, without a passphrase or from an agent",
        )
    } else if says(&["permission denied"]) {
        (Kind::Denied, "give that user docker's socket on that host")
    } else if of_docker && says(&["not found", "No such file"]) {
        (Kind::Unsupported, "install docker's client on that host")
    } else {
        (Kind::Unreachable, "try `ssh` to the host by hand")
    };
    let what = match words {
        "" => "ssh ended without a word".to_owned(),
        words => format!("ssh says: {words}"),
    };
    Refusal::new(kind, what, advice)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_destination_has_no_password_and_is_no_option_of_sshs() {
        let me = Destination::parse("ssh://me@host.example:2222/").unwrap();
        assert_eq!(me.to_string(), "host.example:2222");
        assert_eq!(me.user.as_deref(), Some("me"));
        for text in [
            "me:hunter2@host",
            "-oProxyCommand=x",
            "-l@host",
            "a@b@host",
            "host/run/x",
            "",
        ] {
            let e = Destination::parse(text).map(drop).unwrap_err().to_string();
            assert!(!e.contains("hunter2"), "{e}");
        }
    }

    #[test]
    fn a_warning_of_sshs_was_taken_for_what_ended_it_and_a_user_was_told() {
        for (said, kind) in [
            (
                "Warning: Identity file /x not accessible: No such file or directory.\n\
                 ssh: connect to host h port 22: Connection timed out\r\n",
                Kind::Unreachable,
            ),
            (
                "bash: line 1: docker: command not found\n",
                Kind::Unsupported,
            ),
            (
                "me@h: Permission denied (publickey,password).\n",
                Kind::Unauthorized,
            ),
            (
                "dial unix /var/run/docker.sock: connect: permission denied\n\n",
                Kind::Denied,
            ),
            ("Host key verification failed.\n", Kind::Unauthorized),
            ("", Kind::Unreachable),
        ] {
            let words = last_line(said);
            assert!(!words.contains("me@"), "{words}");
            assert_eq!(refusal(&words).kind, kind, "{said}");
        }
    }
}
