//! The rules that stand between a request and what is live, on a fake target: who may, what is in
//! the way, what is armed, what is shown beforehand and afterwards.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod authorizer;
mod beside;
mod cancels;
mod chains;
mod clean_up;
mod crashes;
mod damaged;
mod display;
mod guards;
mod health;
mod leases;
mod managed;
mod policies;
mod preflight;
mod redeploy;
mod restarts;
mod retaining;
mod rows;
mod statuses;
mod steps;
#[path = "../support/mod.rs"]
mod support;
