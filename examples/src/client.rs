//! Docker's own client, as a person would use it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SOCKET: &str = "/var/run/docker.sock";

/// The client of one daemon.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// Of the daemon that `DOCKER_HOST` names, or of the usual one. Asks nobody yet.
    pub fn new() -> Result<Self, String> {
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        let socket = match host.strip_prefix("unix://") {
            Some(path) => PathBuf::from(path),
            None if host.is_empty() => SOCKET.into(),
            None => return Err(format!("not {host}")),
        };
        Ok(Self { socket })
    }

    /// The daemon's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What a command says; or what it complains of.
    pub fn run(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new("docker")
            .arg("-H")
            .arg(format!("unix://{}", self.socket.display()))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("docker: {e}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }
}
