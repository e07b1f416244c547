//! A service of a compose file as a rollback workload.
//!
//! [`ComposeProject`] has compose itself read its files: interpolation, `extends`, overrides, profiles
//! and `.env` are compose's own. One [`ComposeService`] of it becomes the configuration of a
//! [`DockerBackend`](rollback_docker::DockerBackend), with what the file says of the service as a text
//! facet, `compose`, of every release. What a container cannot be made with here is refused by name,
//! before anything moves.
//!
//! The live container has compose's own name and labels, so that a later `docker-compose up -d` finds
//! nothing to change: tried with version 1. The plugin's answers are read and its labels written, but its
//! own `up` is untried. What stands by has neither: it is no replica.
//!
//! ```no_run
//! use rollback_compose::ComposeProject;
//! use rollback_docker::DockerBackend;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let project = ComposeProject::at("/srv/shop").file("docker-compose.yml");
//! let api = project.read("api").await?;
//! let config = api.config("api@web-1".parse()?, "/var/lib/deploys/api")?;
//! let backend = DockerBackend::new(config)?;
//! # Ok(())
//! # }
//! ```

mod compose;
mod dotenv;
mod file;
mod image;
mod labels;
mod project;
mod service;
mod settings;
mod surroundings;
mod text;
mod tool;

pub use project::ComposeProject;
pub use service::ComposeService;

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
