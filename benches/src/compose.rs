//! [`Compose`]: Debian's docker-compose, which swaps a container, too.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use rollback_testkit::fixtures::docker::DockerFixture;

/// One service of a compose file, whose image changes with each call.
pub(crate) struct Compose {
    socket: PathBuf,
    file: PathBuf,
    /// What the service has beside its image: a line each.
    rest: Vec<String>,
    images: [String; 2],
    last: Mutex<usize>,
}

impl Compose {
    /// `Err` where it is not installed, with a word on it.
    pub(crate) fn new(
        fixture: &DockerFixture,
        images: &[String; 2],
        rest: &[String],
    ) -> Result<Self, String> {
        let version = Command::new("docker-compose").arg("version").output();
        version.map_err(|e| format!("docker-compose is not installed ({e})"))?;
        for image in images {
            fixture.docker(&["pull", "-q", image])?;
        }
        let compose = Self {
            socket: fixture.socket(),
            file: fixture.dir().join("docker-compose.yml"),
            rest: rest.to_vec(),
            images: images.clone(),
            last: Mutex::new(0),
        };
        compose.up();
        Ok(compose)
    }

    /// `docker-compose up -d` with the other image.
    pub(crate) fn up(&self) {
        let mut last = self.last.lock().unwrap();
        let image = &self.images[*last];
        *last = 1 - *last;
        let mut lines = vec!["version: '2.4'".to_owned(), "services:".into()];
        lines.push("  api:".into());
        lines.push(format!("    image: {image}"));
        lines.extend(self.rest.iter().map(|line| format!("    {line}")));
        std::fs::write(&self.file, lines.join("\n")).unwrap();
        let done = Command::new("docker-compose")
            .args(["-p", "bench", "-f"])
            .arg(&self.file)
            .args(["up", "-d"])
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "docker-compose: {said}");
    }
}
