//! Docker image swap for rollback: one container, replaced and put back, or one service of a Swarm.
//!
//! [`DockerBackend`] runs one workload as one container with a fixed name. A tag is resolved once
//! to `repository@digest`; from then on only the digest is pulled and run. The successor is pulled,
//! verified and created while the former runs on; only then is the former stopped, renamed and
//! kept, with its restart policy off, as the way back. Containers are known by label and id, not by
//! name; names say only how far a recreation got. What people made by hand is adopted as it is and
//! never removed.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use rollback_core::backend::Backend;
//! use rollback_docker::{DockerBackend, DockerConfig, RestartPolicy};
//!
//! let config = DockerConfig::new("api@web-1".parse()?, "api", "/var/lib/deploys/api")
//!     .publish("127.0.0.1:8080".parse()?, 80)
//!     .env("DATABASE_URL", std::env::var("DATABASE_URL")?)
//!     .bind("/srv/api/data", "/data")
//!     .restart(RestartPolicy::UnlessStopped)
//!     .soak(Duration::from_secs(10));
//! let backend = DockerBackend::new(config)?;
//! assert_eq!(backend.kind().as_str(), "docker");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`SwarmBackend`] runs one workload as one service of a Swarm: the whole specification is written
//! down at the Swarm itself, and made live by one update that the managers roll out.
//!
//! Values of variables are never recorded: a release holds a keyed fingerprint of each. Going
//! back to older values takes them from today's configuration or from a container that is still
//! kept, or from a Swarm's record; where none has them, the error names the variables.

mod anew;
mod attachment;
mod backend;
mod beside;
mod body;
mod capture;
mod choices;
mod claims;
mod client;
mod config;
mod config_file;
mod config_host;
mod config_swap;
mod connection;
mod container;
mod copies;
mod counted;
mod create;
mod credential_helper;
mod credentials;
mod defaults;
mod dependents;
mod drain;
mod effect;
mod endpoint;
mod error;
mod fence;
mod fingerprint;
mod freed;
mod health;
mod images;
mod inventory;
mod keep;
mod live_labels;
mod log;
mod marks;
mod myself;
mod naming;
mod network;
mod pins;
mod platform;
mod port;
mod ports_taken;
mod preflight;
mod progress;
mod raw;
mod recreate;
mod reference;
mod registry_host;
mod remediation;
mod resources;
mod restart;
mod secrets;
mod settings;
mod source;
mod sources;
mod summary;
mod swarm;
mod switch;
mod tag;
mod today;
mod traffic;
mod view;
mod wanted;
mod way_back;
mod wear;

pub use attachment::{MacAddress, NetworkAttachment};
pub use backend::DockerBackend;
pub use choices::{Healthcheck, PullPolicy};
pub use config::DockerConfig;
pub use config_file::DockerConfigFile;
pub use config_swap::Successor;
pub use copies::Capture;
pub use credentials::{Credentials, CredentialsProvider, StaticCredentials};
pub use dependents::Dependents;
pub use drain::{Drain, Signal};
pub use endpoint::{Certificates, Endpoint};
pub use live_labels::{Configured, LiveLabels, Missing, NewContainer};
pub use platform::Platform;
pub use port::{ContainerPort, Protocol};
pub use recreate::RecreateContainer;
pub use registry_host::RegistryHost;
pub use remediation::RestartContainer;
pub use resources::{Capability, Device, LogDriver, Tmpfs, Ulimit};
pub use restart::RestartPolicy;
pub use swarm::{SwarmBackend, SwarmConfig, UpdateOrder};

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
