//! A project of compose's with one service, on the daemon that `DOCKER_HOST` names, and its images.
//! Dropping it removes them.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is said where this cannot be played.
const NEEDS: &str = "this example needs docker's client, Debian's docker-compose, and a daemon. \
     DOCKER_HOST names its socket, as unix:///PATH";
const SOCKET: &str = "/var/run/docker.sock";
/// What every image has, so that it is found again.
const LABEL: &str = "rollback.example";
const VERSION: &str = "rollback.example.version";

/// Where the example plays.
#[derive(Debug)]
pub struct Shop {
    socket: PathBuf,
    name: String,
    dir: tempfile::TempDir,
}

impl Shop {
    /// On the daemon that `DOCKER_HOST` names, or the usual one.
    pub fn new() -> Result<Self, Box<dyn Error>> {
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        let socket = match host.strip_prefix("unix://") {
            Some(path) => PathBuf::from(path),
            None if host.is_empty() => SOCKET.into(),
            None => return Err(format!("{NEEDS} (not {host})").into()),
        };
        let shop = Self {
            socket,
            name: format!("rollback-example-{}", std::process::id()),
            dir: tempfile::Builder::new()
                .prefix("rollback-example-")
                .tempdir()?,
        };
        let told = shop.told("docker", &["version"]);
        told.map_err(|e| format!("{NEEDS} ({e})"))?;
        let told = shop.told("docker-compose", &["version"]);
        told.map_err(|e| format!("{NEEDS} ({e})"))?;
        Ok(shop)
    }

    /// The daemon's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where the compose file is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the project and the repository of its images are called.
    pub fn name(&self) -> &str {
        &self.name
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
            self.told("docker", &["build", "-q", "-t", &tag, &context])?;
        }
        Ok(())
    }

    /// Writes the compose file, with this version of the service.
    pub fn write(&self, version: &str) -> Result<(), Box<dyn Error>> {
        let file = format!(
            "version: '3.8'\nservices:\n  api:\n    image: {}:{version}\n    \
             environment: {{PORT: '8080', TOKEN: 'nobody may see this'}}\n    \
             healthcheck: {{test: [CMD, /server, check], interval: 1s, retries: 2}}\n    \
             restart: unless-stopped\n",
            self.name
        );
        fs::write(self.dir.path().join("docker-compose.yml"), file)?;
        Ok(())
    }

    /// What `docker-compose up -d` says of the service.
    pub fn up(&self) -> Result<String, String> {
        let said = self.told("docker-compose", &["-p", &self.name, "up", "-d"])?;
        let mut own = said.lines().filter(|line| line.contains("_api_1"));
        let last = own.next_back().unwrap_or(&said);
        Ok(last.replace(&self.name, "shop"))
    }

    /// Which version of the service runs, and how many containers compose counts to it.
    pub fn shows(&self) -> Result<String, String> {
        let own = format!("label=com.docker.compose.project={}", self.name);
        let counted = self.told("docker", &["ps", "-aq", "--filter", &own])?;
        let format = format!("{{{{index .Config.Labels \"{VERSION}\"}}}}");
        let live = format!("{}_api_1", self.name);
        let version = self.told("docker", &["inspect", "-f", &format, &live])?;
        let count = counted.lines().count();
        Ok(format!("{version} runs, compose counts {count}"))
    }

    /// Runs a program as a person would; what it says on both of its outputs.
    fn told(&self, program: &str, args: &[&str]) -> Result<String, String> {
        let output = Command::new(program)
            .args(args)
            .current_dir(self.dir.path())
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("{program}: {e}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let (said, errors) = (text(&output.stdout), text(&output.stderr));
        match output.status.success() {
            // Compose says what it does on the other one.
            true => Ok(if said.is_empty() { errors } else { said }),
            false => Err(errors),
        }
    }

    /// Runs a command on everything that a list names.
    fn each(&self, list: &[&str], then: &[&str]) -> Result<(), String> {
        let ids = self.told("docker", list)?;
        let ids: Vec<&str> = ids.split_whitespace().collect();
        match ids.is_empty() {
            true => Ok(()),
            false => self.told("docker", &[then, &ids[..]].concat()).map(drop),
        }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // Nothing is left to tell of a failure, and what one step has not removed the next may.
        let named = format!("name={}", self.name);
        let containers = ["ps", "-aq", "--filter", &named];
        let _ = self.each(&containers, &["rm", "-f"]);
        let networks = ["network", "ls", "-q", "--filter", &named];
        let _ = self.each(&networks, &["network", "rm"]);
        let built = format!("label={LABEL}={}", self.name);
        let images = ["image", "ls", "-q", "--no-trunc", "--filter", &built];
        let _ = self.each(&images, &["image", "rm", "-f"]);
    }
}
