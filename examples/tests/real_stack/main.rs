//! Three real platforms in one group: a checkout of git, a container of dockerd and a unit of systemd go
//! forward and back as one, also where one of them fails its gate, and where the engine's process is killed.
//! What is live each platform is asked itself.
#![allow(clippy::unwrap_used, clippy::panic)]

mod killed;
mod moving;
mod seen;
mod shop;
