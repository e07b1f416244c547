//! What the users of other deployment tools still ask for, each as a test: the numbers are those
//! of the list in the project's design notes. Here, on a fake target and on every store, are the
//! asks about history, policy and the rules of going back:
//!
//! | ask | where |
//! |---|---|
//! | 1, 3, 4, 5, 6, 8, 10, 21, 23 | `targets`: what a rollback can go to |
//! | 2, 12, 18, 19 | `running`: crashes, cancellations, locks |
//! | 11, 16, 17, 20 | `policy`: what a failure or a rollback sets off |
//! | 7, 13, 14, 15, 22 | `record`: what is written down, restored and told |
//! | 9, a whole stack as one | later: records carry a group already; see `sketches/group.rs` |
//!
//! What only a real platform can show is shown there as well: 2 and 19 by `kill -9` in the
//! `tests/kill.rs` of rollback-git, rollback-docker and rollback-systemd; 3, 7 and 10 with real
//! images, tags and units in the `tests/verbs.rs` of the same.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod policy;
mod record;
mod running;
#[path = "../support/mod.rs"]
mod support;
mod targets;
