//! A directory with a git repository, a deploy root and a history, and a service that runs from
//! it. Dropping it stops the service and deletes the directory.

use std::error::Error;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use git2::{Oid, Repository, Signature, build::CheckoutBuilder};

use crate::service;

/// Where an example plays.
#[derive(Debug)]
pub struct Playground {
    root: PathBuf,
    port: u16,
    // Deletes the directory; `None` if it is to be kept.
    _temporary: Option<tempfile::TempDir>,
}

impl Playground {
    /// In a new temporary directory, or in `keep`, which is left there.
    pub fn new(keep: Option<PathBuf>) -> io::Result<Self> {
        let (root, temporary) = match keep {
            Some(dir) => {
                fs::create_dir_all(&dir)?;
                if dir.join("repository").exists() {
                    return Err(io::Error::other(
                        "the directory was used before; name another",
                    ));
                }
                (dir.canonicalize()?, None)
            }
            None => {
                let dir = tempfile::Builder::new()
                    .prefix("rollback-example-")
                    .tempdir()?;
                (dir.path().canonicalize()?, Some(dir))
            }
        };
        // Free now; the service takes it in a moment.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        Ok(Self {
            root,
            port,
            _temporary: temporary,
        })
    }

    /// The one that another process made.
    pub fn existing(root: PathBuf, port: u16) -> Guest {
        Guest { root, port }
    }

    /// A view of it that stops and deletes nothing when dropped.
    pub fn guest(&self) -> Guest {
        Self::existing(self.root.clone(), self.port)
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        // Nothing is left to tell of a failure; the service ends by itself once its pid file
        // is gone.
        let _ = service::stop(&self.guest().pid_file());
    }
}

/// A view of a [`Playground`].
#[derive(Debug, Clone)]
pub struct Guest {
    root: PathBuf,
    port: u16,
}

impl Guest {
    /// The whole of it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the service listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The git repository.
    pub fn repository(&self) -> PathBuf {
        self.root.join("repository")
    }

    /// The deploy root, with its `current` link.
    pub fn site(&self) -> PathBuf {
        self.root.join("site")
    }

    /// The history's file.
    pub fn history(&self) -> PathBuf {
        self.root.join("history.db")
    }

    fn pid_file(&self) -> PathBuf {
        self.root.join("service.pid")
    }

    /// What the backend runs after each swap: this very program, as `restart`.
    pub fn restart_command(&self) -> io::Result<Vec<String>> {
        let exe = std::env::current_exe()?;
        Ok(vec![
            exe.display().to_string(),
            "restart".into(),
            self.port.to_string(),
            self.pid_file().display().to_string(),
        ])
    }

    /// What the service answers now.
    pub fn ask(&self) -> String {
        service::ask(self.port).unwrap_or_else(|e| format!("no answer: {e}"))
    }

    /// Commits releases of the service, each a version and its health, and tags them.
    pub fn commit(&self, releases: &[(&str, &str)]) -> Result<(), git2::Error> {
        let repo = Repository::init(self.repository())?;
        let author = Signature::now("Ada", "ada@example.org")?;
        let mut parent: Option<Oid> = None;
        for (version, health) in releases {
            let mut tree = repo.treebuilder(None)?;
            for (name, text) in [("version", version), ("health", health)] {
                tree.insert(name, repo.blob(text.as_bytes())?, 0o100_644)?;
            }
            let tree = repo.find_tree(tree.write()?)?;
            let parents = parent.map(|p| repo.find_commit(p)).transpose()?;
            let parents: Vec<_> = parents.iter().collect();
            let id = repo.commit(None, &author, &author, version, &tree, &parents)?;
            repo.reference(&format!("refs/tags/{version}"), id, true, "example")?;
            parent = Some(id);
        }
        Ok(())
    }

    /// Puts a tag live as people did before: a clone, a link, a process.
    pub fn install_by_hand(&self, tag: &str) -> Result<(), Box<dyn Error>> {
        let by_hand = self.site().join("by-hand");
        fs::create_dir_all(self.site())?;
        let repo = Repository::init(&by_hand)?;
        let origin = self.repository().display().to_string();
        repo.remote("origin", &origin)?
            .fetch(&["refs/tags/*:refs/tags/*"], None, None)?;
        let commit = repo.revparse_single(tag)?.peel_to_commit()?;
        repo.set_head_detached(commit.id())?;
        repo.checkout_head(Some(CheckoutBuilder::new().force()))?;
        symlink(&by_hand, self.site().join("current"))?;
        let command = self.restart_command()?;
        let (program, args) = command.split_first().ok_or("no restart command")?;
        let status = Command::new(program)
            .args(args)
            .current_dir(&by_hand)
            .status()?;
        if !status.success() {
            return Err(format!("the service did not start: {status}").into());
        }
        Ok(())
    }
}
