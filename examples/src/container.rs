//! A container on a docker daemon, as docker's own client shows it. Dropping it removes the container, those
//! that were kept of it, and their images.

use std::error::Error;
use std::path::{Path, PathBuf};

use crate::client::Client;

/// Where the example plays.
#[derive(Debug)]
pub struct Container {
    client: Client,
    name: String,
    port: u16,
    dir: tempfile::TempDir,
}

impl Container {
    /// One at the daemon that `DOCKER_HOST` names, or at the usual one.
    pub fn new() -> Result<Self, Box<dyn Error>> {
        let needs = "this example needs docker's client, and a daemon on this host: `cargo xtask docker` \
                     starts one. DOCKER_HOST names its socket, as unix:///PATH";
        let client = Client::new().map_err(|why| format!("{needs} ({why})"))?;
        let seen = client.run(&["version", "--format", "{{.Server.Version}}"]);
        seen.map_err(|e| format!("{needs} ({e})"))?;
        // One that was free just now, and that the next program is not given at once.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        Ok(Self {
            client,
            name: format!("rollback-example-{}", std::process::id()),
            port,
            dir: tempfile::Builder::new()
                .prefix("rollback-example-")
                .tempdir()?,
        })
    }

    /// The daemon's socket.
    pub fn socket(&self) -> &Path {
        self.client.socket()
    }

    /// The container's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is called in the history.
    pub fn workload(&self) -> String {
        format!("{}@docker", self.name)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The embedder's own directory.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The image that runs, as it was asked for, and how many containers are kept.
    pub fn shows(&self) -> Result<String, String> {
        let format = "{{.State.Status}}, {{.State.Health.Status}}: {{json .Config.Env}}";
        let live = self.client.run(&["inspect", "-f", format, &self.name])?;
        let version = live.split('"').find_map(|v| v.strip_prefix("VERSION="));
        let state = live.split(':').next().unwrap_or_default();
        let kept = self.all("exited")?.len();
        Ok(format!(
            "{} is {state}; {kept} kept",
            version.unwrap_or("what has no version")
        ))
    }

    fn all(&self, status: &str) -> Result<Vec<String>, String> {
        let of = format!("label=rollback.workload={}", self.workload());
        let mut list = vec!["ps", "-aq", "--no-trunc", "--filter", &of];
        let filter = format!("status={status}");
        if !status.is_empty() {
            list.extend(["--filter", &filter]);
        }
        let ids = self.client.run(&list)?;
        Ok(ids.split_whitespace().map(str::to_owned).collect())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Nothing is left to tell of a failure, and what one step has not removed the next may.
        let mut images = Vec::new();
        for id in self.all("").unwrap_or_default() {
            images.extend(self.client.run(&["inspect", "-f", "{{.Image}}", &id]));
            let _ = self.client.run(&["rm", "-f", "-v", &id]);
        }
        // By its id an image goes with all the names it has: those that people gave it stay.
        let format =
            "{{range .RepoTags}}{{println .}}{{end}}{{range .RepoDigests}}{{println .}}{{end}}";
        for image in images {
            let names = self.client.run(&["image", "inspect", "-f", format, &image]);
            let names = names.unwrap_or_default();
            for name in names.lines().filter(|name| {
                name.starts_with("rollback.local/rollback-example-") || name.contains('@')
            }) {
                let _ = self.client.run(&["image", "rm", name]);
            }
        }
    }
}
