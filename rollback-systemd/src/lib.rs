//! Systemd unit rewind for rollback: unit files written, reloaded and restarted over D-Bus.
//!
//! A release is a unit file's content; the artifact's digest is made of it with a key that stays at
//! the target. Contents of retained releases are kept there too, so a rollback needs nothing from
//! outside. Files are written atomically below `etc/systemd/system`; a vendor's unit is shadowed
//! and never written. Drop-ins are not managed: they are hashed, and one that came or changed is
//! drift. What the manager would not load or restart is refused before anything moves.
//!
//! A program may manage the unit that it runs in. The restart ends it, and the new process finishes
//! the deployment in `recover`: call that when the program starts, and with `Type=notify` say READY
//! first.
//!
//! ```no_run
//! use rollback_core::engine::{RollbackEngine, Workload};
//! use rollback_core::memory::MemoryStore;
//! use rollback_core::prelude::*;
//! use rollback_systemd::{SystemdBackend, SystemdConfig};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let api: WorkloadId = "api@web-1".parse()?;
//! let config = SystemdConfig::new(
//!     api.clone(),
//!     "api.service".parse()?,
//!     "/srv/units",
//!     "/var/lib/rollback/api",
//! );
//! let engine = RollbackEngine::builder(MemoryStore::new())
//!     .workload(Workload::new(SystemdBackend::new(config)?).auto_rollback())
//!     .build()?;
//! engine.adopt(&api, Actor::user("ada")?).await?.await?;
//! engine.deploy(&api, "api-v2.service", Actor::user("ada")?).await?.await?;
//! # Ok(())
//! # }
//! ```

mod acting;
mod backend;
mod check;
mod config;
mod diagnosis;
mod env_file;
mod env_paths;
mod error;
mod files;
mod health;
mod hidden;
mod job;
mod journal;
mod keep;
mod key;
mod link;
mod lock;
mod manager;
mod place;
mod record;
mod release;
mod remediation;
mod search;
mod secrets;
mod shelf;
mod source;
mod state;
mod switch;
mod syntax;
mod unit;

pub use backend::SystemdBackend;
pub use config::{InvalidUnitName, SystemdConfig, UnitName};
pub use release::MAX_UNIT;
pub use remediation::RestartUnit;

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
