//! Services of a Swarm: a backend for workloads that Docker itself rolls out, task by task.

mod api;
mod at_hand;
mod attached;
mod backend;
mod build;
mod confidence;
mod config;
mod fence;
mod follow;
mod health;
mod image;
mod keep;
mod marks;
mod nodes;
mod prepare;
mod record;
mod rows;
mod service;
mod spec;
mod survey;
mod switch;
mod task;
mod tasks;
mod view;

pub use backend::SwarmBackend;
pub use config::{SwarmConfig, UpdateOrder};
