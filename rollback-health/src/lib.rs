//! Health checks for rollback: HTTP, TCP and command; and commands as hooks.
//!
//! Each looks once, within the time it is given, and says yes only on proof; the engine's
//! [`Gate`](rollback_core::health::Gate) repeats it. Several checks of one workload are its
//! edges: it is unhealthy only when all of them fail.
//!
//! ```
//! use rollback_health::{CommandCheck, HttpCheck, TcpCheck};
//!
//! let web = HttpCheck::new("http://127.0.0.1:8080")?; // GET /healthz, 200
//! let db = TcpCheck::new("127.0.0.1:5432")?;
//! let queue = CommandCheck::new("/usr/bin/pgrep", ["-x", "worker"])?;
//! # Ok::<(), rollback_health::InvalidCheck>(())
//! ```

mod address;
mod answer;
mod body;
mod command;
mod connect;
mod error;
mod excerpt;
mod hook;
mod http;
mod tcp;
mod within;

pub use body::MAX_BODY;
pub use command::CommandCheck;
pub use error::{InvalidCheck, InvalidCheckKind};
pub use hook::CommandHook;
pub use http::{HttpCheck, Strictness};
pub use rollback_process::MAX_OUTPUT;
pub use tcp::TcpCheck;

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
