//! Another process on the same site: the test's own executable, started again for one named test.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rollback_testkit::service::unavailable;

use super::Site;

/// Where the child finds the site; set in it alone.
const PLACE: &str = "ROLLBACK_GIT_CHILD";

/// A child process, killed when the test ends, however it ends.
pub struct Other {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Other {
    /// Starts one and waits until it is ready. It goes on when it is told.
    pub fn spawn(test: &str, site: &Site) -> Self {
        Self::through(&[], test, site).unwrap()
    }

    /// The same, started by another program, such as `strace`; `None` where there is none, which
    /// has then been said.
    pub fn through(by: &[&str], test: &str, site: &Site) -> Option<Self> {
        let own = std::env::current_exe().unwrap();
        let words: Vec<&str> = by.iter().copied().chain([own.to_str().unwrap()]).collect();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(PLACE, &site.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(e) => {
                unavailable(&format!("{} cannot be run: {e}", words[0]));
                return None;
            }
        };
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut other = Self { child, lines };
        assert_eq!(other.hear().as_deref(), Some("ready"), "{test}");
        Some(other)
    }

    pub fn tell(&mut self, what: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{what}").unwrap();
    }

    /// The next line that the child said itself; `None` when it has said its last.
    pub fn hear(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
                return None;
            }
            if let Some(said) = line.trim_end().strip_prefix('@') {
                return Some(said.to_owned());
            }
        }
    }

    /// Tells it to go on, and gives what it says.
    pub fn go(&mut self) -> Option<String> {
        self.tell("go");
        self.hear()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The site of the parent; `None` in a process that is no child.
pub fn parents() -> Option<Site> {
    Some(Site::at(std::env::var_os(PLACE)?.as_ref()))
}

/// Says that this child is ready, and gives what it is told then.
pub fn ready() -> String {
    // Some systems let only a parent watch a process. Where there is no such rule this fails.
    let _ = rustix::process::set_ptracer(rustix::process::PTracer::Any);
    say("ready");
    listen()
}

/// Both, for a child that has nothing to do before it is ready.
pub fn told() -> Option<(Site, String)> {
    let site = parents()?;
    Some((site, ready()))
}

/// What the child says to its parent, after whatever the test harness has printed.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n@{line}").unwrap();
    out.flush().unwrap();
}

/// What the child is told by its parent.
pub fn listen() -> String {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}
