//! Git ref swap for rollback: release directories and an atomic `current` link.
//!
//! A deploy root holds one directory per release and a link to the live one:
//!
//! ```text
//! root/current             -> releases/7-1f0c3a9d2b44
//! root/releases/7-1f0c3a9d2b44/    the commit's tree, and nothing else
//! root/.rollback/          this crate's own records, private
//! ```
//!
//! A tag, branch or commit is resolved once to a commit id. [`GitBackend`] pins that commit under
//! `refs/rollback/<workload>/<deployment>` so that `git gc` keeps it, writes its tree to a new
//! directory, makes that durable, and renames a link over `current`: readers see the old tree or
//! the new one, never neither. The repository's own work tree and index are never touched, and no
//! hook, filter or shell is ever run.
//!
//! ```
//! use rollback_core::backend::Backend;
//! use rollback_git::{GitBackend, GitConfig};
//!
//! let config = GitConfig::new("site@web-1".parse()?, "/srv/git/site.git", "/srv/site")
//!     .restart_command(["/usr/bin/systemctl", "reload", "site.service"])
//!     .default_reference("main");
//! let backend = GitBackend::new(config)?;
//! assert_eq!(backend.kind().as_str(), "git");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Not supported, and refused before anything happens: SHA-256 repositories, reftable, partial
//! clones, submodules, and trees with `filter=` attributes (Git LFS among them).

mod backend;
mod client;
mod command;
mod config;
mod error;
mod link;
mod release;
mod tree;
mod view;

pub use backend::GitBackend;
pub use config::GitConfig;
