//! A registry that asks for a password.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rollback_testkit::world::Build;

use super::{DockerWorld, fixture, free_port};

/// What `me` is known by.
pub const PASSWORD: &str = "right-password";
/// The same as the registry keeps it (bcrypt).
const HASH: &str = "$2y$04$abcdefghijklmnopqrstuuS80hwFD6gSIL20SCUGvmL7S939BjOHW";

/// The world's registry once more, at a door that asks for a password.
pub struct Guarded {
    pub w: DockerWorld,
    pub dir: PathBuf,
    pub at: String,
    registry: Child,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.registry.kill();
        let _ = self.registry.wait();
    }
}

impl Guarded {
    pub fn new() -> Option<Self> {
        let w = DockerWorld::new(&Arc::new(fixture()?));
        let (dir, at) = (
            w.fixture.dir().join("guarded"),
            format!("127.0.0.1:{}", free_port()),
        );
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("htpasswd"), format!("me:{HASH}\n")).unwrap();
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {at}\nauth:\n  htpasswd:\n    realm: test\n    path: {}\n",
            w.fixture.dir().join("registry").display(),
            dir.join("htpasswd").display(),
        );
        fs::write(dir.join("registry.yml"), text).unwrap();
        let registry = w
            .fixture
            .inside(&["docker-registry", "serve"])
            .arg(dir.join("registry.yml"))
            .env("TMPDIR", &dir)
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        let guarded = Self {
            w,
            dir,
            at,
            registry,
        };
        for _ in 0..200 {
            if guarded.w.fixture.http(&guarded.at, "GET", "/v2/").is_some() {
                return Some(guarded);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!(
            "it does not come up: {:?}",
            fs::read_to_string(guarded.dir.join("log"))
        )
    }

    pub fn reference(&self, build: Build) -> String {
        format!("{}/{}:{}", self.at, self.w.name, build.answer())
    }
}
