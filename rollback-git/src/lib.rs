//! Git ref swap for rollback: release directories and an atomic `current` link.
//!
//! A deploy root holds one directory per release and a link to the live one:
//!
//! ```text
//! root/current             -> releases/7-1f0c3a9d2b44
//! root/releases/7-1f0c3a9d2b44/    the commit's tree, and what was built in it
//! root/.rollback/          this crate's own records, private, and room for a way back
//! ```
//!
//! A tag, branch or commit is resolved once to a commit id. [`GitBackend`] pins that commit so that
//! git keeps it, writes its tree to a new directory, makes that durable, and renames a link over
//! `current`: readers see the old tree or the new one, never neither. The repository's own work
//! tree and index are never touched, none of git's locks is taken, and no hook, filter or shell is
//! ever run.
//!
//! A pin is a locked linked worktree that nothing is checked out in: `git worktree list` shows it,
//! `git gc` keeps what it needs, and `git remote update --prune` leaves it alone.
//!
//! What release tasks and the restart command write into a release's directory belongs to the
//! release, and is kept with it for a way back. What is changed there afterwards is drift, but for
//! what [`GitConfig::ignore_changes`] names. A look reads only what has changed since.
//!
//! One root belongs to one workload. It keeps the token of who published there last: an engine
//! that was taken for dead, and acts late, is refused by the root itself.
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
mod build;
mod client;
mod command;
mod config;
mod content;
mod durable;
mod error;
mod file;
mod ignore;
mod inner;
mod json;
mod link;
mod listing;
mod pins;
mod release;
mod reserve;
mod root;
mod scan;
mod seal;
mod switch;
mod synced;
mod tree;
mod view;

pub use backend::GitBackend;
pub use config::GitConfig;

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
