//! The custom backend keeps every promise of a backend.
#![allow(clippy::unwrap_used)]

#[path = "../custom_backend/config_file.rs"]
mod config_file;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use config_file::ConfigFile;
use rollback_core::backend::Backend;
use rollback_core::id::WorkloadId;
use rollback_testkit::backend_suite::{WorldBuilder, test_all};
use rollback_testkit::world::{Build, World};

struct Etc {
    dir: tempfile::TempDir,
    cut: AtomicBool,
}

#[async_trait]
impl World for Etc {
    fn workload(&self) -> WorkloadId {
        "proxy@web-1".parse().unwrap()
    }

    fn backend(&self) -> Arc<dyn Backend> {
        let mut dir = self.dir.path().to_owned();
        if self.cut.load(Ordering::SeqCst) {
            dir.push("cut");
        }
        Arc::new(ConfigFile::new(self.workload(), dir.join("sources"), dir.join("etc")).unwrap())
    }

    fn reference(&self, build: Build) -> String {
        build.answer().into()
    }

    async fn serving(&self) -> Option<String> {
        let text = fs::read_to_string(self.dir.path().join("etc/live.conf")).ok()?;
        text.lines().next().map(str::to_owned)
    }

    async fn running(&self) -> usize {
        usize::from(self.serving().await.is_some())
    }

    async fn install_by_hand(&self, build: Build) {
        let dir = self.dir.path();
        fs::create_dir_all(dir.join("etc/releases")).unwrap();
        let file = dir.join("etc/releases/by-hand.conf");
        fs::copy(dir.join("sources").join(build.answer()), file).unwrap();
        std::os::unix::fs::symlink("releases/by-hand.conf", dir.join("etc/live.conf")).unwrap();
    }

    async fn tamper(&self) {
        let live = self.dir.path().join("etc/live.conf");
        let text = fs::read_to_string(&live).unwrap();
        fs::write(live, text + "# by hand\n").unwrap();
    }

    async fn lose(&self, build: Build) {
        let dir = self.dir.path();
        let _ = fs::remove_file(dir.join("sources").join(build.answer()));
        for file in fs::read_dir(dir.join("etc/releases"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            if text.lines().next() == Some(build.answer()) {
                fs::remove_file(file.path()).unwrap();
            }
        }
    }

    async fn cut(&self) {
        // A file where a directory should be: every look and every write fails.
        fs::write(self.dir.path().join("cut"), "").unwrap();
        self.cut.store(true, Ordering::SeqCst);
    }

    async fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

struct Builder;

#[async_trait]
impl WorldBuilder for Builder {
    async fn build(&self) -> Box<dyn World> {
        let dir = tempfile::tempdir().unwrap();
        let sources = dir.path().join("sources");
        fs::create_dir(&sources).unwrap();
        for build in [Build::V1, Build::V2, Build::V3, Build::Broken] {
            let more = if build == Build::Broken {
                ""
            } else {
                "workers = 2\n"
            };
            fs::write(
                sources.join(build.answer()),
                format!("{}\n{more}", build.answer()),
            )
            .unwrap();
        }
        let cut = AtomicBool::new(false);
        Box::new(Etc { dir, cut })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_config_file_backend_conforms() {
    test_all(&Builder).await;
}
