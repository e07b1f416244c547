//! A Swarm of one node, as docker's own client shows it, with a service and its images. Dropping it
//! removes them, and what was recorded of the service.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::client::Client;

/// What is said where there is no such Swarm.
const NEEDS: &str = "this example needs docker's client, and a daemon that is the only node of a Swarm: \
     `docker swarm init --advertise-addr 127.0.0.1` makes it one, `docker swarm leave --force` \
     ends that. DOCKER_HOST names its socket, as unix:///PATH";
/// What every image has, so that it is found again.
const LABEL: &str = "rollback.example";
const VERSION: &str = "rollback.example.version";
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the example plays.
#[derive(Debug)]
pub struct Swarm {
    client: Client,
    name: String,
    dir: tempfile::TempDir,
}

impl Swarm {
    /// The one that `DOCKER_HOST` names, or the usual one.
    pub fn new() -> Result<Self, Box<dyn Error>> {
        let client = Client::new().map_err(|why| format!("{NEEDS} ({why})"))?;
        let swarm = Self {
            client,
            name: format!("rollback-example-{}", std::process::id()),
            dir: tempfile::Builder::new()
                .prefix("rollback-example-")
                .tempdir()?,
        };
        let format = "{{.Swarm.ControlAvailable}} {{.Swarm.Nodes}}";
        let seen = swarm.docker(&["info", "--format", format]);
        let seen = seen.map_err(|e| format!("{NEEDS} ({e})"))?;
        match seen.trim() {
            "true 1" => Ok(swarm),
            "true 0" | "false 0" => Err(format!("{NEEDS} (it is in no Swarm)").into()),
            _ => {
                Err(format!("{NEEDS} (it has other nodes, which would not have the images)").into())
            }
        }
    }

    /// The daemon's socket.
    pub fn socket(&self) -> &Path {
        self.client.socket()
    }

    /// The name of the service, and of the repository of its images.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the service is called in the history.
    pub fn workload(&self) -> String {
        format!("{}@swarm", self.name)
    }

    /// The embedder's own directory.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Builds images of a program, each a version and its mode. They are on this daemon alone.
    pub fn build(&self, server: &Path, releases: &[(&str, &str)]) -> Result<(), Box<dyn Error>> {
        let context = self.dir.path().join("image");
        fs::create_dir_all(&context)?;
        fs::copy(server, context.join("server"))?;
        for (version, mode) in releases {
            // As process 1 the program has no default for SIGTERM.
            let file = format!(
                "FROM scratch\nCOPY server /server\nENTRYPOINT [\"/server\"]\nSTOPSIGNAL SIGKILL\n\
                 ENV VERSION={version} MODE={mode}\nLABEL {LABEL}={} {VERSION}={version}\n",
                self.name
            );
            fs::write(context.join("Dockerfile"), file)?;
            let tag = format!("{}:{version}", self.name);
            let context = context.display().to_string();
            self.docker(&["build", "-q", "-t", &tag, &context])?;
        }
        Ok(())
    }

    /// The version and the number of tasks that the service has, as docker itself says.
    pub fn shows(&self) -> Result<String, String> {
        let filter = format!("name={}", self.name);
        let shown = self.docker(&[
            "service",
            "ls",
            "--filter",
            &filter,
            "--format",
            "{{.Image}} {{.Replicas}}",
        ])?;
        let Some((image, tasks)) = shown.split_once(' ') else {
            return Ok("no service".into());
        };
        let format = format!("{{{{index .Config.Labels \"{VERSION}\"}}}}");
        let version = self.docker(&["image", "inspect", "-f", &format, image])?;
        Ok(format!("{version}, {tasks} tasks run"))
    }

    fn docker(&self, args: &[&str]) -> Result<String, String> {
        self.client.run(args)
    }

    /// Runs a command on everything that a list names.
    fn each(&self, list: &[&str], then: &[&str]) -> Result<(), String> {
        let ids = self.docker(list)?;
        let ids: Vec<&str> = ids.split_whitespace().collect();
        match ids.is_empty() {
            true => Ok(()),
            false => self.docker(&[then, &ids[..]].concat()).map(drop),
        }
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        // Nothing is left to tell of a failure, and what one step has not removed the next may.
        let _ = self.docker(&["service", "rm", &self.name]);
        let own = format!("label=com.docker.swarm.service.name={}", self.name);
        let began = Instant::now();
        // An image goes once nothing runs it.
        while self
            .docker(&["ps", "-aq", "--filter", &own])
            .is_ok_and(|ids| !ids.is_empty())
            && began.elapsed() < PATIENCE
        {
            sleep(Duration::from_millis(100));
        }
        let records = format!("label=rollback.workload={}", self.workload());
        let configs = ["config", "ls", "-q", "--filter", &records];
        let _ = self.each(&configs, &["config", "rm"]);
        let built = format!("label={LABEL}={}", self.name);
        let images = ["image", "ls", "-q", "--no-trunc", "--filter", &built];
        let _ = self.each(&images, &["image", "rm", "-f"]);
    }
}
